"""Two programs on one session, in every order: they are switched up to twice, besides where one ends or waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, count, repeat
from types import FrameType
from typing import Any

from greenlet import getcurrent, greenlet

from gaesess import Session, register
from gaesess.testing import FaultyStore

NEVER = 0  # a point that is not reached
CONTENT = "a dictionary or list"  # its items; an access does not show which one it is, so all count as one

Program = Sequence[Callable[[], bool]]  # calls that return whether it goes on
Footprint = dict[str, bool]  # what a program accesses, and whether it writes it


def access(name: str, *, write: bool = True) -> None:
    """Tell the running program that it is about to read or write this. It may be stopped here."""
    here = getcurrent()
    if isinstance(here, Thread):
        here.access(name, write)


def conflict(name: str, write: bool, footprint: Footprint) -> bool:
    return name in footprint and (write or footprint[name])


class Key(str):
    """A key of a session. To look it up, or to pack it, is an access to a dictionary."""

    __slots__ = ()

    def __hash__(self) -> int:
        access(CONTENT)
        return super().__hash__()

    def dump(self) -> str:
        access(CONTENT)
        return str(self)


register(Key, "guarantees.schedules.Key", Key.dump, Key)


@cache
def is_state(name: str) -> bool:
    """Return whether a session's attribute is part of its state."""
    private = name.startswith("_") and not name.startswith("__") and name != "_config"
    return private and not callable(getattr(Session, name, None))


class WatchedSession(Session):
    """A session in which programs can be stopped."""

    def __getattribute__(self, name: str) -> Any:
        if not is_state(name):
            return super().__getattribute__(name)
        access(name, write=False)
        value = super().__getattribute__(name)
        if type(value) in (dict, list):
            access(CONTENT)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if is_state(name):
            access(name)
        super().__setattr__(name, value)


class WatchedStore(FaultyStore):
    """A store in which programs can be stopped."""

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        access("the store")
        return super()._call(method, *arguments, **options)


class WatchedLock:
    """A `threading.RLock` for programs: while one waits for it, the other one runs."""

    def __init__(self) -> None:
        self.owner: greenlet | None = None
        self.depth = 0

    def acquire(self, blocking: bool = True) -> bool:
        access("the lock")
        here = getcurrent()
        while self.owner not in (None, here):
            if not blocking:
                return False
            if not isinstance(here, Thread):
                raise RuntimeError("a program has not released the lock")
            here.wait(self)
        self.owner = here
        self.depth += 1
        return True

    def release(self) -> None:
        access("the lock")
        self.depth -= 1
        if not self.depth:
            self.owner = None

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


class Thread(greenlet):
    """Runs one of the programs."""

    other: Thread

    def __init__(self, name: str, program: Program, footprint: Footprint, schedule: Schedule) -> None:
        super().__init__()
        self.name, self.program, self.footprint, self.schedule = name, program, footprint, schedule
        self.stopped_before: Footprint = {}
        self.waits_for: WatchedLock | None = None

    def run(self) -> None:
        all(call() for call in self.program)
        self.schedule.note(f"{self.name} ends")

    def can_run(self) -> bool:
        return not self.dead and (self.waits_for is None or self.waits_for.owner in (None, self))

    def access(self, name: str, write: bool) -> None:
        """Stop if it is time. This is only asked where a switch makes a difference.

        It makes one where the other program accesses the same thing, and one of both writes it. The second switch makes
        one after this program has accessed what the other one is stopped before: else that could have run further.
        """
        self.footprint[name] = self.footprint.get(name, False) or write
        other = self.other
        if other.stopped_before:
            if conflict(name, write, other.stopped_before):
                other.stopped_before = {}
        elif conflict(name, write, other.footprint) and other.can_run() and self.schedule.is_time():
            self.schedule.note(f"{self.name} stops before {name}", sys._getframe())
            self.stopped_before = {name: write}
            self.parent.switch()

    def wait(self, lock: WatchedLock) -> None:
        self.schedule.note(f"{self.name} waits for the lock", sys._getframe())
        self.waits_for = lock
        self.parent.switch()
        self.waits_for = None


class Schedule:
    """When to switch: at the first number of points, and again so many points later."""

    def __init__(self, *points: int) -> None:
        self.points = list(points)
        self.steps: list[str] = []

    def is_time(self) -> bool:
        """Count a point, and return whether to switch there."""
        if self.points:
            self.points[0] -= 1
        if self.points[:1] != [0]:
            return False
        del self.points[0]
        return True

    def run(self, thread: Thread, other: Thread) -> int:
        """Run both programs to their ends, and return how many switches did not come before."""
        thread.other, other.other = other, thread
        running = thread
        while running.can_run():
            running.switch()
            running = running.other if running.other.can_run() else running
        missed = len(self.points)
        self.points.clear()
        assert (thread.dead, other.dead) == (True, True), f"deadlock: {self.steps}"
        return missed

    def note(self, step: str, frame: FrameType | None = None) -> None:
        """Note what a program does, and where in gaesess."""
        while frame and not frame.f_globals["__name__"].startswith("gaesess."):
            frame = frame.f_back
        place = frame and f" ({frame.f_code.co_name}, {frame.f_globals['__name__']}:{frame.f_lineno})"
        self.steps.append(step + (place or ""))


def schedules(begin: Callable[[], Any]) -> Iterator[tuple[Any, Schedule]]:
    """Run the two `programs` of a request in every order, each time of a new request that `begin` returns.

    Yield each request, and its schedule, when both programs have ended. What they access is known only after they have
    run: so all runs are repeated until they show no new access.
    """
    footprints: tuple[Footprint, Footprint] = ({}, {})
    for switches in chain((0, 1), repeat(2)):
        known = (dict(footprints[0]), dict(footprints[1]))
        for first in (0, 1):
            yield from _schedules(begin, footprints, first, switches)
        if switches == 2 and known == footprints:
            return


def _schedules(
    begin: Callable[[], Any], footprints: Sequence[Footprint], first: int, switches: int
) -> Iterator[tuple[Any, Schedule]]:
    for point in count(1) if switches > 0 else [NEVER]:
        for later in count(1) if switches > 1 else [NEVER]:
            request, schedule = begin(), Schedule(point, later)
            threads = [Thread(*parts, schedule) for parts in zip("AB", request.programs, footprints, strict=True)]
            missed = schedule.run(threads[first], threads[1 - first])
            yield request, schedule
            if missed:
                break
        if missed == 2:
            break
