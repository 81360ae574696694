"""The removal of expired sessions: all of them, batch by batch, and no live one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gaesess import StoreUnavailable, delete_expired_sessions
from gaesess.stores.base import record_key
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

NOW = 1_800_000_000


def fill(store: MemoryStore, records: int, expires: int) -> list[str]:
    keys = [record_key(expires, number.to_bytes(16, "big")) for number in range(records)]
    for key in keys:
        store.add(key, b"data", expires_at=expires)
    return keys


class InBatches(MemoryStore):
    """Deletes one record at a time."""

    def delete_expired(self, *, now: int) -> Iterator[int]:
        for key, record in list(self._records.items()):
            if record.expires_at <= now:
                self.delete(key)
                yield 1


def test_the_expired_go_and_the_live_stay() -> None:
    store = MemoryStore()
    expired, live = fill(store, 3, NOW), fill(store, 3, NOW + 1)
    assert delete_expired_sessions(store, clock=lambda: NOW + 0.9) == 3
    assert [store.get(key) for key in expired] == [None] * 3
    assert None not in [store.get(key) for key in live]


def test_progress_is_told_the_number_after_each_batch() -> None:
    store = InBatches()
    fill(store, 3, NOW)
    told: list[int] = []
    assert delete_expired_sessions(store, clock=lambda: NOW, progress=told.append) == 3
    assert told == [1, 2, 3]


def test_interrupted_it_goes_on_where_it_was() -> None:
    store = InBatches()
    fill(store, 3, NOW)

    def interrupt(deleted: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delete_expired_sessions(store, clock=lambda: NOW, progress=interrupt)
    assert store.count_expired(now=NOW) == 2
    assert delete_expired_sessions(store, clock=lambda: NOW) == 2


def test_an_outage_is_raised() -> None:
    store = FaultyStore(InBatches())
    store.down = True
    with pytest.raises(StoreUnavailable):
        delete_expired_sessions(store)


def test_the_time_is_that_of_the_system_unless_told_otherwise() -> None:
    store = MemoryStore()
    fill(store, 2, 1_000_000_000)
    (live,) = fill(store, 1, 4_000_000_000)
    assert delete_expired_sessions(store) == 2
    assert store.get(live) is not None
