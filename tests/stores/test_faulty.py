"""FaultyStore: it passes everything on, and fails on demand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from gaesess.errors import Conflict, KeyExists, StoreError, StoreUnavailable
from gaesess.stores.base import Stored
from gaesess.stores.memory import MemoryStore
from gaesess.testing import EXPIRY, CacheContract, FaultyStore, new_key


class TestFaultyStore(CacheContract):
    numeric_versions = True

    @pytest.fixture
    def store(self) -> FaultyStore:
        return FaultyStore(MemoryStore())


class Noted(MemoryStore):
    """Notes the calls that arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in WRITES:
            return value

        def noted(*arguments: Any, **options: Any) -> Any:
            self.noted.append(name)
            return value(*arguments, **options)

        return noted


WRITES: dict[str, Callable[[FaultyStore, str, Any], object]] = {
    "add": lambda store, key, version: store.add(new_key(), b"new", expires_at=EXPIRY),
    "replace": lambda store, key, version: store.replace(key, b"new", expires_at=EXPIRY, version=version),
    "put": lambda store, key, version: store.put(key, b"new", expires_at=EXPIRY),
    "cas": lambda store, key, version: store.cas(key, b"new", expires_at=EXPIRY, ticket=version),
    "delete": lambda store, key, version: store.delete(key),
}


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(Noted())


@pytest.mark.parametrize(
    ("name", "error"),
    [("add", KeyExists), ("replace", Conflict), ("cas", Conflict), ("put", None), ("delete", None)],
)
def test_a_write_that_is_sent_twice_gets_the_second_answer(
    store: FaultyStore, name: str, error: type[StoreError] | None
) -> None:
    key = new_key()
    version = store.store.add(key, b"old", expires_at=EXPIRY)
    store.store.noted.clear()
    store.resends = True
    if error is None:
        WRITES[name](store, key, version)
    else:
        with pytest.raises(error):
            WRITES[name](store, key, version)
    assert [call for call in store.store.noted if call == name] == [name] * 2


def test_a_write_that_is_sent_twice_is_made(store: FaultyStore) -> None:
    key = new_key()
    store.resends = True
    with pytest.raises(KeyExists):
        store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key).data == b"data"
    store.delete(key)
    assert store.get(key) is None


def test_only_every_third_write_is_sent_twice(store: FaultyStore) -> None:
    store.resends = 3
    sent = []
    for _ in range(7):
        store.store.noted.clear()
        with suppress(KeyExists):
            store.add(new_key(), b"data", expires_at=EXPIRY)
        sent.append(len(store.store.noted))
    assert sent == [1, 1, 2, 1, 1, 2, 1]


@pytest.mark.parametrize("name", WRITES)
def test_a_store_that_is_down_is_sent_nothing(store: FaultyStore, name: str) -> None:
    store.resends = store.down = True
    with pytest.raises(StoreUnavailable):
        WRITES[name](store, new_key(), 1)
    assert store.store.noted == []


def test_many_records_are_read_until_it_fails(store: FaultyStore) -> None:
    key = new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get_many([key]) == [Stored(b"data", version)]
    store.down = True
    with pytest.raises(StoreUnavailable):
        store.get_many([key])
