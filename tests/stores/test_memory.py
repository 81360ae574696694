"""MemoryStore: the contract of stores and of caches."""

from __future__ import annotations

import pytest

from gaesess.stores.base import Stored
from gaesess.stores.memory import MemoryStore
from gaesess.testing import EXPIRY, NOW, StoreContract, new_key


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


def test_put_stores_a_record_that_is_not_there() -> None:
    store, key = MemoryStore(), new_key()
    store.put(key, b"put", expires_at=EXPIRY)
    assert store.get(key).data == b"put"


def test_put_stores_over_a_record_and_changes_its_version() -> None:
    store, key = MemoryStore(), new_key()
    version = store.add(key, b"added", expires_at=EXPIRY)
    store.put(key, b"put", expires_at=EXPIRY)
    assert store.get(key).data == b"put"
    assert store.get(key).version != version


def test_replace_moves_the_expiry() -> None:
    store, key = MemoryStore(), new_key()
    version = store.add(key, b"short", expires_at=NOW)
    version = store.replace(key, b"long", expires_at=NOW + 1, version=version)
    assert store.delete_expired(now=NOW, limit=10) == 0
    assert store.get(key) == Stored(b"long", version)
