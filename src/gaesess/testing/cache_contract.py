"""The contract that every cache keeps besides, as tests."""

from __future__ import annotations

import pytest

from gaesess.errors import Conflict, Gone, KeyExists
from gaesess.stores.base import Cache, Stored
from gaesess.testing.contract import EXPIRY, StoreContract, check_one_wins, new_key


class EntryContract:
    """What gaesess asks of every cache, synchronous or not, beyond what it asks of a store: `put`, `gets` and `cas`."""

    def test_a_cache_may_forget(self, store: Cache) -> None:
        assert store.may_forget

    def test_put_stores_a_record_that_is_not_there(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"put", expires_at=EXPIRY)
        assert _data(store.get(key)) == b"put"

    def test_put_stores_over_a_record_and_makes_its_version_stale(self, store: Cache) -> None:
        key = new_key()
        version = store.add(key, b"added", expires_at=EXPIRY)
        store.put(key, b"put", expires_at=EXPIRY)
        with pytest.raises(Conflict):
            store.replace(key, b"replaced", expires_at=EXPIRY, version=version)
        assert _data(store.get(key)) == b"put"

    def test_gets_of_nothing_is_none(self, store: Cache) -> None:
        assert store.gets(new_key()) is None

    def test_gets_reads_what_was_added_replaced_and_put(self, store: Cache) -> None:
        key = new_key()
        version = store.add(key, b"added", expires_at=EXPIRY)
        assert _data(store.gets(key)) == b"added"
        store.replace(key, b"replaced", expires_at=EXPIRY, version=version)
        assert _data(store.gets(key)) == b"replaced"
        store.put(key, b"put", expires_at=EXPIRY)
        assert _data(store.gets(key)) == b"put"

    def test_cas_stores_over_the_entry_that_the_ticket_is_of(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"first", expires_at=EXPIRY)
        store.cas(key, b"second", expires_at=EXPIRY, ticket=_ticket(store, key))
        assert _data(store.gets(key)) == b"second"
        assert _data(store.get(key)) == b"second"

    def test_each_cas_needs_a_ticket_of_its_own(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"first", expires_at=EXPIRY)
        ticket = _ticket(store, key)
        store.cas(key, b"second", expires_at=EXPIRY, ticket=ticket)
        with pytest.raises(Conflict):
            store.cas(key, b"third", expires_at=EXPIRY, ticket=ticket)
        assert _data(store.get(key)) == b"second"

    @pytest.mark.parametrize("write", ["replace", "put"])
    def test_a_cas_after_another_write_of_the_same_data_raises_conflict(self, store: Cache, write: str) -> None:
        key = new_key()
        version = store.add(key, b"same", expires_at=EXPIRY)
        ticket = _ticket(store, key)
        if write == "replace":
            store.replace(key, b"same", expires_at=EXPIRY, version=version)
        else:
            store.put(key, b"same", expires_at=EXPIRY)
        with pytest.raises(Conflict):
            store.cas(key, b"lost", expires_at=EXPIRY, ticket=ticket)
        assert _data(store.get(key)) == b"same"

    def test_a_cas_never_brings_a_deleted_entry_back(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"first", expires_at=EXPIRY)
        ticket = _ticket(store, key)
        store.delete(key)
        with pytest.raises(Gone):
            store.cas(key, b"second", expires_at=EXPIRY, ticket=ticket)
        assert store.get(key) is None

    def test_an_entry_deleted_and_put_anew_has_another_ticket(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"same", expires_at=EXPIRY)
        ticket = _ticket(store, key)
        store.delete(key)
        store.put(key, b"same", expires_at=EXPIRY)
        with pytest.raises(Conflict):
            store.cas(key, b"lost", expires_at=EXPIRY, ticket=ticket)
        assert _data(store.get(key)) == b"same"

    def test_a_cas_makes_the_version_stale_that_was_read_before(self, store: Cache) -> None:
        key = new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        store.cas(key, b"second", expires_at=EXPIRY, ticket=_ticket(store, key))
        with pytest.raises(Conflict):
            store.replace(key, b"lost", expires_at=EXPIRY, version=version)
        assert _data(store.get(key)) == b"second"

    def test_what_cas_stored_can_be_replaced_at_the_version_read(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"first", expires_at=EXPIRY)
        store.cas(key, b"second", expires_at=EXPIRY, ticket=_ticket(store, key))
        read = store.get(key)
        assert read is not None
        version = store.replace(key, b"third", expires_at=EXPIRY, version=read.version)
        assert store.get(key) == Stored(b"third", version)

    @pytest.mark.parametrize("data", [b"", b"\0", b"\r\nEND\r\n", bytes(range(256)) * 400])
    def test_gets_gives_data_byte_for_byte(self, store: Cache, data: bytes) -> None:
        key = new_key()
        store.put(key, b"before", expires_at=EXPIRY)
        store.cas(key, data, expires_at=EXPIRY, ticket=_ticket(store, key))
        assert _data(store.gets(key)) == data

    def test_of_two_threads_with_one_ticket_one_wins(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"before", expires_at=EXPIRY)
        ticket = _ticket(store, key)

        def cas(data: bytes) -> None:
            store.cas(key, data, expires_at=EXPIRY, ticket=ticket)

        check_one_wins(store, key, cas, Conflict)

    def test_what_was_put_is_there_to_an_add(self, store: Cache) -> None:
        key = new_key()
        store.put(key, b"put", expires_at=EXPIRY)
        with pytest.raises(KeyExists):
            store.add(key, b"added", expires_at=EXPIRY)


class CacheContract(EntryContract, StoreContract):
    """What gaesess asks of a cache: all that it asks of a store, and `put`, `gets` and `cas`."""


def _data(stored: Stored | None) -> bytes:
    assert stored is not None, "the cache has forgotten an entry in the middle of a test"
    return stored.data


def _ticket(store: Cache, key: str) -> object:
    stored = store.gets(key)
    assert stored is not None, "the cache has forgotten an entry in the middle of a test"
    return stored.version
