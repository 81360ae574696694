"""The removal of expired sessions: all of them, batch by batch, and no live one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browser, with_session

from gaesess import SessionManager, StoreUnavailable, delete_expired_sessions, generate_key
from gaesess._core import MAX_U32
from gaesess.stores.base import CLOCK_MARGIN, record_key
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

NOW = 1_800_000_000
DAY = 24 * 3600


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


def saved(store: MemoryStore, expires: int) -> None:
    """Save a session in the store."""
    manager = SessionManager(generate_key(), store=store, cookie_only_threshold=0, clock=lambda: NOW)
    with Browser(manager).request() as session:
        session.start(expires)


def test_a_session_stays_for_an_hour_after_its_expiry_because_the_clock_may_be_ahead() -> None:
    store = MemoryStore()
    saved(store, NOW + DAY)
    assert delete_expired_sessions(store, clock=lambda: NOW + DAY + CLOCK_MARGIN - 0.1) == 0
    assert delete_expired_sessions(store, clock=lambda: NOW + DAY + CLOCK_MARGIN) == 1


def test_so_does_a_session_that_has_ended() -> None:
    store = MemoryStore()
    manager = SessionManager(generate_key(), store=store, cookie_only_threshold=0, clock=lambda: NOW)
    browser = with_session(manager, name="Ada")
    with browser.request() as session:
        expires = session.get_expiration()
        session.terminate()
    assert delete_expired_sessions(store, clock=lambda: expires + CLOCK_MARGIN - 1) == 0
    assert delete_expired_sessions(store, clock=lambda: expires + CLOCK_MARGIN) == 1


@pytest.mark.parametrize("expires", [MAX_U32 - CLOCK_MARGIN, MAX_U32 - 1, MAX_U32])
def test_the_hour_ends_with_the_time_that_32_bits_can_tell(expires: int) -> None:
    store = MemoryStore()
    saved(store, expires)
    assert [record.expires_at for record in store._records.values()] == [MAX_U32]


def test_a_session_that_expires_with_32_bits_can_be_read_and_ended() -> None:
    manager = SessionManager(generate_key(), store=MemoryStore(), cookie_only_threshold=0, clock=lambda: NOW)
    browser = Browser(manager)
    with browser.request() as session:
        session.start(MAX_U32)
        session["name"] = "Ada"
    assert browser.data() == {"name": "Ada"}
    copy = browser.copy()
    with browser.request() as session:
        session.terminate()
    assert copy.data() == {}


def test_a_loop_that_waits_for_it_to_be_true_ends() -> None:
    """As the cron job of gae-sessions 1.07 has it."""
    store = MemoryStore()
    fill(store, 1, NOW)
    calls = 0
    for _ in range(2):
        while not delete_expired_sessions(store, clock=lambda: NOW):
            calls += 1
    assert calls == 0
    assert f"{delete_expired_sessions(store)} deleted" == "0 deleted"
