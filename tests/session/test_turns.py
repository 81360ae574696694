"""Requests of one process that overlap take turns on a session, and need no conflict to find out what they missed."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from async_memory import AsyncMemoryStore
from browser import with_session

from gaesess import SessionManager, StoreUnavailable, generate_key
from gaesess.drivers import Turn
from gaesess.stores.memory import MemoryStore

BIG = "x" * 5000
OVERLAPPING = 80


class Store(MemoryStore):
    """Counts its calls; each waits while `gate` is not set, and fails then if it is `down`."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.gate, self.called = threading.Event(), threading.Event()
        self.gate.set()
        self.down = lambda: None

    def get(self, *arguments, **options):
        return self._call(super().get, *arguments, **options)

    def replace(self, *arguments, **options):
        return self._call(super().replace, *arguments, **options)

    def _call(self, method, *arguments, **options):
        self.calls += 1
        self.called.set()
        assert self.gate.wait(30)
        self.down()
        return method(*arguments, **options)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def browser(make_manager, store):
    return with_session(make_manager(store=store), filler=BIG, n=0)


def overlapping(browser, number):
    """Return requests that have all read the session, and have each added one."""
    sessions = [browser.send() for _ in range(number)]
    for session in sessions:
        session.increment("n")
    return sessions


def test_what_a_request_costs_does_not_grow_with_how_many_overlap(browser, store):
    sessions = overlapping(browser, OVERLAPPING)
    store.calls = 0
    with ThreadPoolExecutor(OVERLAPPING) as pool:
        list(pool.map(lambda session: session.commit(), sessions))
    assert store.calls <= 3 * OVERLAPPING  # a refused write and a read at most, besides the write
    assert browser.data()["n"] == OVERLAPPING


def test_while_the_store_hangs_nobody_waits_for_it_after_somebody_else_did(browser, store, clock, monkeypatch):
    monkeypatch.setattr(browser.manager.config.driver, "clock", clock)
    sessions = overlapping(browser, 3)

    def hang():
        clock.time += 1
        raise StoreUnavailable("no answer in time")

    wait, waiting = Turn._wait, threading.Barrier(3)

    async def noted(turn, gate, seconds):
        waiting.wait(30)
        return await wait(turn, gate, seconds)

    monkeypatch.setattr(Turn, "_wait", noted)
    store.gate.clear()
    store.called.clear()
    store.calls, store.down = 0, hang
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(sessions[0].commit)
        assert store.called.wait(30)
        others = [pool.submit(session.commit) for session in sessions[1:]]
        waiting.wait(30)
        store.gate.set()
        for future in (first, *others):
            with pytest.raises(StoreUnavailable):
                future.result(30)
    assert store.calls == 2  # of the first: its write, and the look whether that has landed


def test_coroutines_take_turns_too():
    store = AsyncMemoryStore()
    manager = SessionManager(generate_key(), store=store, cookie_only_threshold=0)
    calls = []
    call = store._call

    async def counted(name, *arguments, **options):
        calls.append(name)
        return await call(name, *arguments, **options)

    async def use():
        session = manager.open(None)
        session["n"] = 0
        cookie = (await session.acommit())[0].partition(";")[0]
        sessions = [manager.open(cookie) for _ in range(OVERLAPPING)]
        for session in sessions:
            await session.aload()
            session.increment("n")
        store._call = counted
        await asyncio.gather(*(session.acommit() for session in sessions))
        last = manager.open(cookie)
        await last.aload()
        assert last["n"] == OVERLAPPING

    asyncio.run(use())
    assert len(calls) <= 3 * OVERLAPPING + 1
