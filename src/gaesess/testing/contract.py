"""The contract that every store keeps, as tests."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from gaesess.errors import Conflict, Gone, KeyExists, StoreError
from gaesess.stores.base import Store, Stored, Version, record_key

T = TypeVar("T")

EXPIRY = 4_000_000_000  # Unix seconds, in 2096
NOW = 3_900_000_000  # Unix seconds, in 2093: what the tests of expiry take for the present


def new_key(expires: int = EXPIRY) -> str:
    """Return the key of a session that there has never been. `expires` is in Unix seconds."""
    return record_key(expires, secrets.token_bytes(16))


class RecordContract:
    """What gaesess asks of every store, synchronous or not, as tests; all but the cleanup."""

    numeric_versions = False

    def test_a_miss_is_none(self, store: Store) -> None:
        assert store.get(new_key()) is None

    def test_what_is_added_is_read_with_its_version(self, store: Store) -> None:
        key = new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        assert store.get(key) == Stored(b"first", version)

    def test_a_fresh_read_gives_the_same(self, store: Store) -> None:
        key = new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        assert store.get(key, fresh=True) == Stored(b"first", version)

    def test_many_records_come_in_the_order_of_the_keys(self, store: Store) -> None:
        keys = [new_key() for _ in range(5)]
        versions = [store.add(key, b"%d" % number, expires_at=EXPIRY) for number, key in enumerate(keys)]
        stored = [Stored(b"%d" % number, version) for number, version in enumerate(versions)]
        assert store.get_many(keys) == stored
        assert store.get_many(keys[::-1]) == stored[::-1]

    def test_of_many_records_a_missing_one_is_none(self, store: Store) -> None:
        key, deleted = new_key(), new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        store.add(deleted, b"deleted", expires_at=EXPIRY)
        store.delete(deleted)
        assert store.get_many([new_key(), key, deleted]) == [None, Stored(b"first", version), None]

    def test_no_keys_give_no_records(self, store: Store) -> None:
        assert store.get_many([]) == []

    def test_a_key_that_is_given_twice_gives_its_record_twice(self, store: Store) -> None:
        key, missing = new_key(), new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        expected = [Stored(b"first", version), None] * 2
        assert store.get_many([key, missing, key, missing]) == expected

    def test_a_thousand_keys_and_more_are_read(self, store: Store) -> None:
        keys = [new_key() for _ in range(1100)]
        first, last = (store.add(key, b"there", expires_at=EXPIRY) for key in (keys[0], keys[-1]))
        assert store.get_many(keys) == [Stored(b"there", first), *[None] * 1098, Stored(b"there", last)]

    def test_a_record_read_among_many_can_be_replaced_at_its_version(self, store: Store) -> None:
        key = new_key()
        store.add(key, b"first", expires_at=EXPIRY)
        (read,) = store.get_many([key])
        assert read is not None
        version = store.replace(key, b"second", expires_at=EXPIRY, version=read.version)
        assert store.get_many([key]) == [Stored(b"second", version)]
        with pytest.raises(Conflict):
            store.replace(key, b"third", expires_at=EXPIRY, version=read.version)

    def test_a_version_is_an_unsigned_64_bit_number(self, store: Store) -> None:
        if not self.numeric_versions:
            pytest.skip("no durable store of a TieredStore")
        key = new_key()
        first = store.add(key, b"first", expires_at=EXPIRY)
        second = store.replace(key, b"second", expires_at=EXPIRY, version=first)
        assert [type(version) for version in (first, second)] == [int, int]
        assert 0 <= min(first, second) <= max(first, second) < 2**64

    def test_a_second_add_raises_key_exists_and_leaves_the_first(self, store: Store) -> None:
        key = new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        with pytest.raises(KeyExists):
            store.add(key, b"second", expires_at=EXPIRY)
        assert store.get(key) == Stored(b"first", version)

    def test_keys_do_not_share_records(self, store: Store) -> None:
        first, second = new_key(), new_key()
        store.add(first, b"first", expires_at=EXPIRY)
        assert store.get(second) is None

    def test_each_replace_returns_the_version_for_the_next(self, store: Store) -> None:
        key = new_key()
        version = store.add(key, b"0", expires_at=EXPIRY)
        for number in (b"1", b"2", b"3"):
            version = store.replace(key, number, expires_at=EXPIRY, version=version)
            assert store.get(key) == Stored(number, version)

    def test_no_version_of_a_record_comes_twice(self, store: Store) -> None:
        key = new_key()
        versions = [store.add(key, b"0", expires_at=EXPIRY)]
        for _ in range(5):
            version = store.replace(key, b"0", expires_at=EXPIRY, version=versions[-1])
            assert version not in versions
            versions.append(version)

    def test_a_replace_at_an_old_version_raises_conflict_and_writes_nothing(self, store: Store) -> None:
        key = new_key()
        old = store.add(key, b"first", expires_at=EXPIRY)
        new = store.replace(key, b"second", expires_at=EXPIRY, version=old)
        with pytest.raises(Conflict):
            store.replace(key, b"third", expires_at=EXPIRY, version=old)
        assert store.get(key) == Stored(b"second", new)

    def test_a_replace_of_what_was_never_there_raises_gone_and_writes_nothing(self, store: Store) -> None:
        key = new_key()
        version = store.add(new_key(), b"another", expires_at=EXPIRY)
        with pytest.raises(Gone):
            store.replace(key, b"second", expires_at=EXPIRY, version=version)
        assert store.get(key) is None

    def test_a_replace_never_brings_a_deleted_record_back(self, store: Store) -> None:
        key = new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        store.delete(key)
        with pytest.raises(Gone):
            store.replace(key, b"second", expires_at=EXPIRY, version=version)
        assert store.get(key) is None

    def test_a_deleted_record_is_not_read_any_more(self, store: Store) -> None:
        key = new_key()
        store.add(key, b"first", expires_at=EXPIRY)
        store.delete(key)
        assert store.get(key) is None

    def test_to_delete_what_is_not_there_is_no_error(self, store: Store) -> None:
        key = new_key()
        store.delete(key)
        store.delete(key)
        assert store.get(key) is None

    def test_a_deleted_key_can_be_added_again(self, store: Store) -> None:
        key = new_key()
        store.add(key, b"first", expires_at=EXPIRY)
        store.delete(key)
        version = store.add(key, b"second", expires_at=EXPIRY)
        assert store.get(key) == Stored(b"second", version)

    def test_a_version_from_before_a_deletion_is_stale_after_a_new_add(self, store: Store) -> None:
        key = new_key()
        old = store.add(key, b"first", expires_at=EXPIRY)
        store.delete(key)
        store.add(key, b"second", expires_at=EXPIRY)
        with pytest.raises(Conflict):
            store.replace(key, b"third", expires_at=EXPIRY, version=old)

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"\0", id="one byte"),
            pytest.param(bytes(range(256)), id="every byte value"),
            pytest.param(b"\r\nEND\r\n", id="memcached's end of a reply"),
            pytest.param(bytes(range(256)) * 400, id="100 KB"),
        ],
    )
    def test_data_comes_back_byte_for_byte(self, store: Store, data: bytes) -> None:
        key = new_key()
        version = store.add(key, b"before", expires_at=EXPIRY)
        version = store.replace(key, data, expires_at=EXPIRY, version=version)
        assert store.get(key) == Stored(data, version)

    def test_of_two_threads_that_add_one_wins(self, store: Store) -> None:
        key = new_key()
        check_one_wins(store, key, lambda data: store.add(key, data, expires_at=EXPIRY), KeyExists)

    def test_of_two_threads_that_replace_one_version_one_wins(self, store: Store) -> None:
        key = new_key()
        version = store.add(key, b"before", expires_at=EXPIRY)

        def replace(data: bytes) -> Version:
            return store.replace(key, data, expires_at=EXPIRY, version=version)

        check_one_wins(store, key, replace, Conflict)

    def test_threads_do_not_mix_up_their_keys(self, store: Store) -> None:
        def count_up(name: bytes) -> bool:
            key = new_key()
            version = store.add(key, name, expires_at=EXPIRY)
            for number in range(10):
                data = b"%s %d" % (name, number)
                version = store.replace(key, data, expires_at=EXPIRY, version=version)
                if store.get(key) != Stored(data, version):
                    return False
            return True

        assert race(count_up, [b"thread %d" % number for number in range(8)]) == [True] * 8


class StoreContract(RecordContract):
    """What gaesess asks of every store, as tests. Subclass it and give it your store, new and empty for each test::

        class TestMyStore(StoreContract):
            @pytest.fixture
            def store(self, tmp_path):
                store = MyStore(tmp_path / "records")
                yield store
                store.close()

    For a store that forgets expired records by itself, as memcached does, set `forgets_expired = True`. For one that is
    to be the durable store of a TieredStore set `numeric_versions = True`: its versions have to be numbers of 64 bits.
    """

    forgets_expired = False

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """Give your store: a fixture of this name in the subclass."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `store`: see gaesess.testing.StoreContract")

    def test_a_record_whose_expiry_is_now_is_expired(self, store: Store) -> None:
        store.add(new_key(NOW), b"over", expires_at=NOW)
        assert store.count_expired(now=NOW) == self._forgotten(1)
        assert sum(store.delete_expired(now=NOW)) == self._forgotten(1)

    def test_a_record_with_a_second_left_is_not_deleted(self, store: Store) -> None:
        key = new_key(NOW + 1)
        version = store.add(key, b"live", expires_at=NOW + 1)
        assert store.count_expired(now=NOW) == 0
        assert list(store.delete_expired(now=NOW)) == []
        assert store.get(key) == Stored(b"live", version)

    def test_expired_records_are_deleted_and_no_others(self, store: Store) -> None:
        old, live = new_key(NOW - 1), new_key(NOW + 1)
        store.add(old, b"over", expires_at=NOW - 1)
        version = store.add(live, b"live", expires_at=NOW + 1)
        list(store.delete_expired(now=NOW))
        assert store.get(live, fresh=True) == Stored(b"live", version)
        if not self.forgets_expired:
            assert store.get(old, fresh=True) is None

    def test_what_batches_add_up_to_is_what_was_counted(self, store: Store) -> None:
        for _ in range(5):
            store.add(new_key(NOW), b"over", expires_at=NOW)
        assert store.count_expired(now=NOW) == self._forgotten(5)
        assert sum(store.delete_expired(now=NOW)) == self._forgotten(5)
        assert store.count_expired(now=NOW) == 0

    def test_a_cleanup_that_was_stopped_leaves_the_rest_to_the_next(self, store: Store) -> None:
        for _ in range(5):
            store.add(new_key(NOW), b"over", expires_at=NOW)
        first = next(iter(store.delete_expired(now=NOW)), 0)
        assert sum(store.delete_expired(now=NOW)) <= self._forgotten(5) - first
        assert store.count_expired(now=NOW) == 0

    def _forgotten(self, count: int) -> int:
        return 0 if self.forgets_expired else count


def check_one_wins(store: Store, key: str, write: Callable[[bytes], object], loss: type[StoreError]) -> None:
    """Check that of two threads that write at once the record has what one wrote, and the other is told by `loss`."""

    def wins(data: bytes) -> bool:
        try:
            write(data)
        except loss:
            return False
        return True

    data = [b"one", b"two"]
    won = race(wins, data)
    stored = store.get(key)
    assert stored is not None
    assert [each for each, is_first in zip(data, won, strict=True) if is_first] == [stored.data]


def race(function: Callable[[bytes], T], arguments: list[bytes]) -> list[T]:
    """Call a function once per argument, each in a thread of its own, all at once; return the results in order."""
    start = threading.Barrier(len(arguments))

    def run(argument: bytes) -> T:
        start.wait()
        return function(argument)

    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(run, arguments))
