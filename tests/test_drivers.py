"""What runs the coroutines of stored sessions: turns of threads and of coroutines, threads for an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import ContextVar

import pytest

from gaesess import drivers
from gaesess.drivers import MAX_WAIT_SECONDS, Loop, Threads, awaitable, run
from gaesess.stores.base import Store
from gaesess.stores.memory import MemoryStore

WAITING = ContextVar("WAITING", default="nobody")


@pytest.fixture
def threads():
    return Threads(2, MemoryStore())


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(drivers, "MAX_WAIT_SECONDS", 0.01)


async def entered(turn):
    """Enter and leave a turn, and return whether there was anybody to wait for."""
    async with turn as waited:
        return waited


class Held:
    """A turn that another thread holds until `let_go`."""

    def __init__(self, driver, name):
        self._turn = driver.turn(name)
        self._taken, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: run(self._hold()))

    async def _hold(self):
        async with self._turn:
            self._taken.set()
            self._let_go.wait(30)

    def __enter__(self):
        self._thread.start()
        assert self._taken.wait(30)
        return self

    def let_go(self):
        self._let_go.set()

    def __exit__(self, *_):
        self.let_go()
        self._thread.join()


class TestThreadTurns:
    def test_a_turn_that_nobody_has_is_not_waited_for(self, threads):
        assert run(entered(threads.turn("a"))) is False

    def test_it_can_be_taken_again_after_it_was_left(self, threads, impatient):
        run(entered(threads.turn("a")))
        assert run(entered(threads.turn("a"))) is False

    def test_it_is_left_after_an_exception(self, threads):
        async def fail():
            async with threads.turn("a"):
                raise ValueError("of the request")

        turn = threads.turn("a")
        with pytest.raises(ValueError, match="of the request"):
            run(fail())
        assert run(entered(turn)) is False

    def test_one_that_another_thread_has_is_waited_for_until_it_is_left(self, threads, monkeypatch):
        waits = []

        class Patient(drivers.Turn):
            async def _wait(self, gate, seconds):
                waits.append(seconds)
                held.let_go()
                return await super()._wait(gate, seconds)

        monkeypatch.setattr(drivers, "Turn", Patient)
        monkeypatch.setattr(threads, "clock", lambda: 0.0)
        with Held(threads, "a") as held:
            assert run(entered(threads.turn("a"))) is True
            assert run(entered(threads.turn("a"))) is False
        assert waits == [MAX_WAIT_SECONDS]

    def test_nobody_waits_for_a_turn_of_another_name(self, threads):
        with Held(threads, "a"):
            assert run(entered(threads.turn("b"))) is False

    def test_who_has_waited_long_enough_goes_on_without_it(self, threads, impatient):
        with Held(threads, "a"):
            assert run(entered(threads.turn("a"))) is True

    def test_and_does_not_take_it_from_who_has_it(self, threads, impatient):
        with Held(threads, "a"):
            run(entered(threads.turn("a")))
            assert run(entered(threads.turn("a"))) is True

    def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent(self, threads, monkeypatch):
        with Held(threads, "a"):
            monkeypatch.setattr(os, "getpid", lambda: -1)
            assert run(entered(threads.turn("a"))) is False


class TestLoopTurns:
    def test_a_turn_that_nobody_has_is_not_waited_for(self):
        async def main():
            return await entered(Loop().turn("a"))

        assert asyncio.run(main()) is False

    def test_it_can_be_taken_again_after_it_was_left(self, impatient):
        async def main():
            turn = Loop().turn
            first = turn("a")  # which keeps the lock
            await entered(first)
            return await entered(turn("a"))

        assert asyncio.run(main()) is False

    def test_one_that_another_coroutine_has_is_waited_for(self):
        async def main():
            loop, order = Loop(), []

            async def second():
                async with loop.turn("a") as waited:
                    order.append(f"second, waited: {waited}")

            async with loop.turn("a"):
                task = asyncio.create_task(second())
                await asyncio.sleep(0)
                order.append("first")
            await task
            return order

        assert asyncio.run(main()) == ["first", "second, waited: True"]

    def test_who_has_waited_long_enough_goes_on_without_it(self, impatient):
        async def main():
            loop = Loop()
            async with loop.turn("a"):
                return [await entered(loop.turn("a")) for _ in range(2)]

        assert asyncio.run(main()) == [True, True]

    def test_nobody_waits_for_a_turn_of_another_name(self):
        async def main():
            loop = Loop()
            async with loop.turn("a"):
                return await entered(loop.turn("b"))

        assert asyncio.run(main()) is False

    def test_nobody_waits_for_a_turn_of_another_event_loop(self):
        driver = Loop()

        async def elsewhere():
            return await entered(driver.turn("a"))

        async def main():
            async with driver.turn("a"):
                return await asyncio.to_thread(lambda: asyncio.run(elsewhere()))

        assert asyncio.run(main()) is False


class TestRun:
    def test_a_coroutine_that_suspends_is_an_error_and_is_closed(self):
        closed = []

        async def suspends():
            try:
                await asyncio.sleep(0)
            finally:
                closed.append(True)

        with pytest.raises(RuntimeError, match="must be an AsyncStore"):
            run(suspends())
        assert closed == [True]

    def test_over_an_async_store_the_error_names_what_to_await(self):
        async def suspends():
            await asyncio.sleep(0)

        with pytest.raises(RuntimeError, match=r"await session\.aload\(\)"):
            Loop().run(suspends())


class TestSleep:
    def test_a_thread_sleeps(self, threads, monkeypatch):
        slept = []
        monkeypatch.setattr("time.sleep", slept.append)
        run(threads.sleep(0.5))
        assert slept == [0.5]

    def test_a_coroutine_lets_others_go_on(self, monkeypatch):
        slept = []

        async def sleep(seconds):
            slept.append(seconds)

        monkeypatch.setattr("asyncio.sleep", sleep)
        run(Loop().sleep(0.5))
        assert slept == [0.5]


class TestThreads:
    def test_a_call_runs_in_a_thread_of_gaesess_with_the_callers_context(self, threads):
        async def main():
            WAITING.set("Ada")
            return await threads.in_thread(lambda name: (threading.current_thread().name, name, WAITING.get()), "x")

        thread, *given = asyncio.run(main())
        assert thread.startswith("gaesess")
        assert given == ["x", "Ada"]

    def test_there_are_as_many_threads_as_were_asked_for(self, threads):
        assert threads.executor._max_workers == 2

    def test_a_process_keeps_its_threads(self, threads):
        assert threads.executor is threads.executor

    def test_a_forked_child_starts_threads_of_its_own(self, threads, monkeypatch):
        executor = threads.executor
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert threads.executor is not executor

    def test_only_a_store_whose_own_class_says_so_is_read_at_once(self):
        class AtOnce(MemoryStore):
            reads_at_once = True

        class Derived(AtOnce):
            pass

        assert [Threads(1, kind()).reads_at_once for kind in (AtOnce, Derived)] == [True, False]


class TestBlocking:
    def test_a_store_without_get_many_is_read_one_by_one_past_its_cache(self):
        class OneByOne:
            def get(self, key, *, fresh=False):
                return key, fresh

        assert run(awaitable(OneByOne()).get_many(["a", "b"])) == [("a", True), ("b", True)]

    def test_any_other_is_asked_once(self):
        class AtOnce(Store):
            def get_many(self, keys):
                return ["all", *keys]

        assert run(awaitable(AtOnce()).get_many(["a", "b"])) == ["all", "a", "b"]
