"""MemoryStore: the contract of stores and of caches."""

from __future__ import annotations

import os

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.* is multi-threaded, use of fork:DeprecationWarning")
def test_a_child_that_was_forked_while_a_thread_wrote_can_write() -> None:
    store = MemoryStore()
    with store._lock():  # as another thread would
        child = os.fork()
        if child == 0:
            store.add(new_key(), b"data", expires_at=NOW)
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
