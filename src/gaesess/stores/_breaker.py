"""A circuit breaker: keeps requests from waiting, one after the other, for a cache that does not answer."""

from __future__ import annotations

from collections.abc import Callable

from gaesess import events
from gaesess.stores._lock import ProcessLock


class Breaker:
    """Says whether to try the cache: not for `retry_after` seconds after a failure, and then one caller alone.

    `clock` is in seconds.
    """

    def __init__(self, retry_after: float, clock: Callable[[], float]) -> None:
        self._retry_after = retry_after
        self._clock = clock
        self._retry_at: float | None = None  # None while the cache works
        self._lock = ProcessLock()

    def allows(self) -> bool:
        """Return whether the caller may try."""
        if self._retry_at is None:
            return True
        with self._lock():
            now = self._clock()
            if self._retry_at is not None and now < self._retry_at:
                return False
            if self._retry_at is not None:
                self._retry_at = now + self._retry_after  # this caller tries; the others do without
            return True

    def fail(self, reason: str) -> None:
        """Take note that the cache failed."""
        with self._lock():
            opens = self._retry_at is None
            self._retry_at = self._clock() + self._retry_after
        if opens:
            message = f"the cache fails, the durable store serves alone: {reason}"
            events.emit("store_unavailable", message, store="cache")

    def succeed(self) -> None:
        """Take note that it answered."""
        if self._retry_at is None:
            return
        with self._lock():
            closes, self._retry_at = self._retry_at is not None, None
        if closes:
            events.emit("store_recovered", "the cache works again", store="cache")
