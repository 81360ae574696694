"""Many threads use one session, and one manager: what they find and keep, most of all on a Python without GIL.

With a GIL they are switched as often as Python can, so that this tells something there, too. GAESESS_STRESS_ROUNDS says
how often each is tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import FrameType
from typing import Any

import pytest
from browser import Browser, with_session

from gaesess import Session, SessionClosed, SessionManager, generate_key
from gaesess.stores.memory import MemoryStore

THREADS = 6
ROUNDS = int(os.environ.get("GAESESS_STRESS_ROUNDS", "40"))
HOMES = {"cookie": lambda: {}, "store": lambda: {"store": MemoryStore(), "cookie_only_threshold": 0}}

InThreads = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def in_threads() -> Iterator[InThreads]:
    """A function that calls another in every thread at once, with their numbers, and returns what each returns."""
    start = Barrier(THREADS)

    def run(work: Callable[..., object], shared: object) -> list[object]:
        def begin(number: int) -> object:
            start.wait()
            traced = sys.gettrace()  # by coverage
            sys.settrace(between_lines)
            try:
                return work(shared, number)
            finally:
                sys.settrace(traced)

        return list(threads.map(begin, range(THREADS)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with ThreadPoolExecutor(THREADS) as threads:
        yield run
    sys.setswitchinterval(interval)


def between_lines(frame: FrameType, event: str, arg: object) -> Any:
    """Trace, for Python switches threads at calls alone: with this it may do so at every line of the pure twin."""
    return between_lines


@pytest.fixture(params=HOMES)
def browsers(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """One for each round, with a session that lives in its cookie or in the store."""
    manager = SessionManager(cookie_key=generate_key(), **HOMES[request.param]())
    return (with_session(manager, nested={}, n=0) for _ in range(ROUNDS))


def attempt(write: Callable[..., object], *arguments: object) -> bool:
    """Return whether a write was not refused, and so has to be kept."""
    try:
        write(*arguments)
    except SessionClosed:
        return False
    return True


def write_keys(session: Session, number: int, count: int) -> set[str]:
    """Write keys that no other thread writes, and return those that have to be kept."""
    return {key for key in (f"{number}-{turn}" for turn in range(count)) if attempt(session.__setitem__, key, 1)}


def test_first_use_gives_every_thread_the_same_data(browsers, in_threads):
    def work(session, number):
        return dict(session)

    for browser in browsers:
        assert in_threads(work, browser.send()) == [{"nested": {}, "n": 0}] * THREADS


def test_first_write_of_every_thread_is_in_one_session(in_threads):
    def work(session, number):
        session[number] = 1

    manager = SessionManager(cookie_key=generate_key())
    for _ in range(ROUNDS):
        browser = Browser(manager)
        with browser.request() as session:
            in_threads(work, session)
        assert browser.data() == dict.fromkeys(range(THREADS), 1)


def test_first_uses_lose_no_write(browsers, in_threads):
    def work(session, number):
        return write_keys(session, number, 2)

    for browser in browsers:
        with browser.request() as session:
            kept = set().union(*in_threads(work, session))
        assert browser.data().keys() >= kept


@pytest.mark.parametrize("count", [1, 8])
def test_write_that_is_not_refused_survives_saves_by_another_thread(count, browsers, in_threads):
    def work(session, number):
        if number:
            return write_keys(session, number, count)
        for _ in range(4):
            session.save()
        return set()

    for browser in browsers:
        with browser.request() as session:
            session["first"] = 1
            kept = set().union(*in_threads(work, session))
        assert browser.data().keys() >= kept


def test_write_that_is_not_refused_is_in_the_response(browsers, in_threads):
    def work(session, number):
        return write_keys(session, number, 8) if number else browser.receive(session)

    for browser in browsers:
        _, *kept = in_threads(work, browser.send())
        assert browser.data().keys() >= set().union(*kept)


def test_increment_that_is_not_refused_is_counted(browsers, in_threads):
    def work(session, number):
        if number:
            return sum(attempt(session.increment, "n") for _ in range(8))
        session.save()
        return 0

    for browser in browsers:
        with browser.request() as session:
            counted = sum(in_threads(work, session))
        assert browser.data()["n"] == counted


def test_values_that_other_threads_change_are_saved_as_they_were_at_some_time(browsers, in_threads):
    def work(session, number):
        if not number:
            for _ in range(4):
                session.save()
            return browser.receive(session)
        nested = session["nested"]
        for turn in range(20):
            nested[f"{number}-{turn}"] = [turn]
            nested.pop(f"{number}-{turn - 5}", None)

    for browser in browsers:
        in_threads(work, browser.send())
        saved = browser.data()["nested"]
        assert saved == {key: [int(key.partition("-")[2])] for key in saved}


def test_every_thread_reads_what_it_has_written(browsers, in_threads):
    def work(session, number):
        found = []
        for turn in range(10):
            session[number] = turn
            found.append((session[number], session.get("n"), number in session))
        return found

    for browser in browsers:
        assert in_threads(work, browser.send()) == [[(turn, 0, True) for turn in range(10)]] * THREADS


@pytest.mark.parametrize("browsers", ["store"], indirect=True)
def test_overlapping_requests_of_one_session_add_up(browsers, in_threads):
    def work(browser, number):
        with browser.copy().request() as session:
            session.increment("n")
            session[number] = 1

    for browser in browsers:
        in_threads(work, browser)
        assert browser.data() == {"nested": {}, "n": THREADS} | dict.fromkeys(range(THREADS), 1)


@pytest.mark.parametrize("home", HOMES)
def test_one_manager_serves_every_thread_its_own_session(home, in_threads):
    def work(manager, number):
        browser = Browser(manager)
        for turn in range(ROUNDS):
            with browser.request() as session:
                session[number] = turn
        return browser.data()

    manager = SessionManager(cookie_key=generate_key(), **HOMES[home]())
    assert in_threads(work, manager) == [{number: ROUNDS - 1} for number in range(THREADS)]


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_gaesess_does_not_bring_the_gil_back():
    program = "import sys, gaesess.asgi; sys.exit(sys._is_gil_enabled())"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    assert subprocess.run([sys.executable, "-W", "error", "-c", program], env=environ, check=False).returncode == 0
