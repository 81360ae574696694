"""MemoryStore: the contract of stores and of caches."""

from __future__ import annotations

import pytest

from gaesess.stores.base import Stored
from gaesess.stores.memory import MemoryStore
from gaesess.testing import NOW, CacheContract, new_key


class TestMemoryStore(CacheContract):
    numeric_versions = True

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


def test_replace_moves_the_expiry() -> None:
    store, key = MemoryStore(), new_key()
    version = store.add(key, b"short", expires_at=NOW)
    version = store.replace(key, b"long", expires_at=NOW + 1, version=version)
    assert list(store.delete_expired(now=NOW)) == []
    assert store.get(key) == Stored(b"long", version)
