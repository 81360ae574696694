"""Requests that stop before every call of an engine, so that a test can let them run in any order it likes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from greenlet import getcurrent, greenlet

from gaesess import StoreError, StoreUnavailable

# What can become of a call: the engine is not reached; the reply is lost; the caller gives up, and it is done later;
# the client library did not get the first reply and sends it again.
FAULTS = ("not reached", "reply lost", "late", "sent twice")


class Task:
    """Work that goes on, with each `step`, to its first engine call and from one to the next.

    Its calls of `engine` meet with `faults`, one after the other. `failed_by` are the engines that have not answered.
    """

    def __init__(
        self, work: Callable[[], object], engine: Engine | None = None, faults: Iterable[str | None] = ()
    ) -> None:
        self._engine = engine
        self._faults = iter(faults)
        self.before: Engine | None = None  # whose call comes next
        self.failed_by: set[Engine] = set()
        self._greenlet = _TaskGreenlet(work)
        self._greenlet.task = self

    @property
    def done(self) -> bool:
        return self._greenlet.dead

    def step(self, fault: str | None = None) -> None:
        """Let it make the call before which it stands, with this fault, and go on to the next or to its end."""
        if self.before is None:
            self._greenlet.switch()
        else:
            expected = next(self._faults, None) if self.before is self._engine else None
            self._greenlet.switch(fault or expected)

    def finish(self) -> None:
        """Let it make all its calls."""
        while not self.done:
            self.step()


class _TaskGreenlet(greenlet):
    """Tells a task's calls from those that the test makes itself."""

    task: Task


class Line:
    """One process's way to an engine that it shares with others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.may_forget = engine.store.may_forget

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            here = getcurrent()
            task = here.task if isinstance(here, _TaskGreenlet) else None
            fault = None
            if task:
                task.before = self._engine
                fault = here.parent.switch()
            try:
                return self._engine.call(fault, lambda: getattr(self._engine.store, method)(*arguments, **options))
            except StoreUnavailable:
                if task:
                    task.failed_by.add(self._engine)
                raise

        return call


class Engine:
    """A store that all processes share, and the calls it has yet to make for callers who have given up.

    `sound` says that it has answered every call, and that nobody has touched it from outside.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.down = False
        self.sound = True
        self.late: list[Callable[[], object]] = []

    def call(self, fault: str | None, work: Callable[[], Any]) -> Any:
        self.sound &= not (self.down or fault)
        if self.down or fault == "not reached":
            raise StoreUnavailable("the engine is not reached")
        if fault == "late":
            self.late.append(work)
            raise StoreUnavailable("no answer in time")
        if fault == "sent twice":
            work()
        try:
            return work()
        finally:
            if fault == "reply lost":
                raise StoreUnavailable("the reply is lost")

    def land(self, number: int = 0) -> None:
        """Make one of the calls that were given up."""
        with contextlib.suppress(StoreError):
            self.late.pop(number)()
