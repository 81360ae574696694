"""The removal of expired sessions: all of them, batch by batch, and no live one."""

from __future__ import annotations

import pytest

from gaesess import StoreUnavailable, delete_expired_sessions
from gaesess.cleanup import BATCH_RECORDS
from gaesess.stores.base import record_key
from gaesess.stores.memory import MemoryStore

NOW = 1_800_000_000


def fill(store: MemoryStore, records: int, expires: int) -> list[str]:
    keys = [record_key(expires, number.to_bytes(16, "big")) for number in range(records)]
    for key in keys:
        store.add(key, b"data", expires_at=expires)
    return keys


def clean(store: MemoryStore, now: float = NOW) -> list[int]:
    """Delete the expired records; return what progress was told, and the result last."""
    told: list[int] = []
    deleted = delete_expired_sessions(store, clock=lambda: now, progress=told.append)
    return [*told, deleted]


def test_the_expired_go_and_the_live_stay() -> None:
    store = MemoryStore()
    expired, live = fill(store, 3, NOW), fill(store, 3, NOW + 1)
    assert delete_expired_sessions(store, clock=lambda: NOW + 0.9) == 3
    assert [store.get(key) for key in expired] == [None] * 3
    assert None not in [store.get(key) for key in live]


@pytest.mark.parametrize(
    ("records", "told"),
    [
        (0, [0, 0]),
        (1, [1, 1]),
        (BATCH_RECORDS - 1, [BATCH_RECORDS - 1, BATCH_RECORDS - 1]),
        (BATCH_RECORDS, [BATCH_RECORDS, BATCH_RECORDS, BATCH_RECORDS]),
        (2 * BATCH_RECORDS + 1, [BATCH_RECORDS, 2 * BATCH_RECORDS, 2 * BATCH_RECORDS + 1, 2 * BATCH_RECORDS + 1]),
    ],
)
def test_progress_is_told_the_number_after_each_batch(records: int, told: list[int]) -> None:
    store = MemoryStore()
    fill(store, records, NOW)
    assert clean(store) == told
    assert store.count_expired(now=NOW) == 0


def test_interrupted_it_goes_on_where_it_was() -> None:
    store = MemoryStore()
    fill(store, BATCH_RECORDS + 7, NOW)

    def interrupt(deleted: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delete_expired_sessions(store, clock=lambda: NOW, progress=interrupt)
    assert clean(store) == [7, 7]


def test_an_outage_is_raised() -> None:
    class Down(MemoryStore):
        def delete_expired(self, *, now: int, limit: int) -> int:
            raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        delete_expired_sessions(Down())


def test_the_time_is_that_of_the_system_unless_told_otherwise() -> None:
    store = MemoryStore()
    fill(store, 2, 1_000_000_000)
    (live,) = fill(store, 1, 4_000_000_000)
    assert delete_expired_sessions(store) == 2
    assert store.get(live) is not None
