"""How long a save goes on while other requests win, or the store fails: by a clock that these tests set."""

from __future__ import annotations

from typing import Any

import pytest
from browser import Browser, with_session

from gaesess import SessionManager, SessionTooLarge, StoreUnavailable, generate_key
from gaesess.drivers import RETRY_SECONDS
from gaesess.errors import Conflict
from gaesess.records import BURST_WRITES, SAVE_SECONDS
from gaesess.stores.base import Version
from gaesess.stores.memory import MemoryStore


class Seconds:
    """The clock of the driver, which tells the tests, too, how long was slept."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Noted(MemoryStore):
    """Notes its calls, and can be made to fail in each write."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.before_write: Any = None

    def get(self, key: str, *, fresh: bool = False) -> Any:
        self.calls.append("get")
        return super().get(key, fresh=fresh)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> int:
        self.calls.append("replace")
        if self.before_write:
            self.before_write()
        return super().replace(key, data, expires_at=expires_at, version=version)


@pytest.fixture
def store() -> Noted:
    return Noted()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def browser(store: Noted, seconds: Seconds, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A browser with a session in the store."""
    manager = SessionManager(generate_key(), store=store, cookie_only_threshold=0)
    manager.config.driver.clock = seconds

    async def sleep(time: float) -> None:
        seconds.time += time

    monkeypatch.setattr(manager.config.driver, "sleep", sleep)
    return with_session(manager, n=0)


def add_one(browser: Browser) -> None:
    with browser.request() as session:
        session.increment("n")


def test_a_session_that_was_read_a_moment_ago_is_written_without_another_look(
    store: Noted, seconds: Seconds, browser: Browser
) -> None:
    store.calls.clear()
    with browser.request() as session:
        session.increment("n")
        seconds.time += RETRY_SECONDS
    assert store.calls == ["get", "replace"]


def test_a_session_that_was_read_longer_ago_is_read_again_first(
    store: Noted, seconds: Seconds, browser: Browser
) -> None:
    late = browser.send()
    late.increment("n")
    add_one(browser)
    seconds.time += RETRY_SECONDS + 0.01
    store.calls.clear()
    browser.receive(late)
    assert store.calls == ["get", "replace"]
    assert browser.data() == {"n": 2}


def test_a_write_that_was_refused_after_more_writes_than_are_remembered_is_an_outage(browser: Browser) -> None:
    """Nobody can tell whether it was sent twice, and refused the second time: so it is not written again."""
    late = browser.send()
    late.increment("n")
    for _ in range(BURST_WRITES + 1):
        add_one(browser)
    with pytest.raises(StoreUnavailable, match="too much was written since"):
        late.commit()
    assert browser.data() == {"n": BURST_WRITES + 1}


def test_a_write_that_was_refused_after_as_many_as_are_remembered_is_replayed(browser: Browser) -> None:
    late = browser.send()
    late.increment("n")
    for _ in range(BURST_WRITES - 1):
        add_one(browser)
    late.commit()
    assert browser.data() == {"n": BURST_WRITES}


def test_who_reads_late_replays_after_any_number_of_writes(seconds: Seconds, browser: Browser) -> None:
    late = browser.send()
    late.increment("n")
    for _ in range(3 * BURST_WRITES):
        add_one(browser)
    seconds.time += RETRY_SECONDS + 0.01
    late.commit()
    assert browser.data() == {"n": 3 * BURST_WRITES + 1}


def test_when_others_win_for_as_long_as_a_client_waits_it_is_an_outage(
    store: Noted, seconds: Seconds, browser: Browser
) -> None:
    def refuse() -> None:
        seconds.time += 0.2
        raise Conflict("another request was faster")

    late = browser.send()
    late.increment("n")
    store.before_write = refuse
    with pytest.raises(StoreUnavailable, match=f"for {SAVE_SECONDS} seconds"):
        late.commit()
    assert SAVE_SECONDS < seconds.time < SAVE_SECONDS + 1


def test_a_failure_that_took_long_is_an_outage_at_once(store: Noted, seconds: Seconds, browser: Browser) -> None:
    def hang() -> None:
        seconds.time += SAVE_SECONDS
        raise StoreUnavailable("no answer in time")

    late = browser.send()
    late.increment("n")
    store.before_write = hang
    store.calls.clear()
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        late.commit()
    assert store.calls == ["replace"]


def test_a_failure_that_came_at_once_is_looked_up_and_tried_again(store: Noted, browser: Browser) -> None:
    def fail_once() -> None:
        store.before_write = None
        raise StoreUnavailable("the connection was closed")

    late = browser.send()
    late.increment("n")
    store.before_write = fail_once
    store.calls.clear()
    late.commit()
    assert store.calls == ["replace", "get", "replace"]
    assert browser.data() == {"n": 1}


def test_a_record_that_the_store_finds_too_large_is_no_outage_and_not_tried_again(
    store: Noted, browser: Browser
) -> None:
    def refuse() -> None:
        raise SessionTooLarge("the engine takes no item of that size")

    late = browser.send()
    late.increment("n")
    store.before_write = refuse
    store.calls.clear()
    with pytest.raises(SessionTooLarge):
        late.commit()
    assert store.calls == ["replace"]
