"""Requests that stop before every call of an engine, so that a test can let them run in any order it likes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from gaesess import StoreError, StoreUnavailable

# What can become of a call: the engine is not reached; the reply is lost; the caller gives up, and it is done later.
FAULTS = ("not reached", "reply lost", "late")


class Task:
    """Work under way, which goes on from one engine call to the next with each `step`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._greenlet = _TaskGreenlet(work)
        self._greenlet.switch()

    @property
    def done(self) -> bool:
        return self._greenlet.dead

    def step(self, fault: str | None = None) -> None:
        """Let it make the call before which it stands, with this fault, and go on to the next or to its end."""
        self._greenlet.switch(fault)


class _TaskGreenlet(greenlet):
    """Tells a task's calls from those that the test makes itself."""


class Line:
    """One process's way to an engine that it shares with others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.may_forget = engine.store.may_forget

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            here = getcurrent()
            fault = here.parent.switch() if isinstance(here, _TaskGreenlet) else None
            return self._engine.call(fault, lambda: getattr(self._engine.store, method)(*arguments, **options))

        return call


class Engine:
    """A store that all processes share, and the calls it has yet to make for callers who have given up."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.down = False
        self.late: list[Callable[[], object]] = []

    def call(self, fault: str | None, work: Callable[[], Any]) -> Any:
        if self.down or fault == "not reached":
            raise StoreUnavailable("the engine is not reached")
        if fault == "late":
            self.late.append(work)
            raise StoreUnavailable("no answer in time")
        try:
            return work()
        finally:
            if fault == "reply lost":
                raise StoreUnavailable("the reply is lost")

    def land(self, number: int = 0) -> None:
        """Make one of the calls that were given up."""
        with contextlib.suppress(StoreError):
            self.late.pop(number)()
