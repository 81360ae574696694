"""A pool of connections, for clients that have none that is safe under threads, interrupts and forks."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar


class Connection(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Close it; to close it twice is no error."""
        ...


C = TypeVar("C", bound=Connection)
T = TypeVar("T")

_pools: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()
_lock = threading.Lock()  # held across a fork, so that no connection becomes idle in the middle of it


class Pool(Generic[C]):
    """Lends each connection to one caller at a time, and makes one more if all are out.

    One whose use ends in any exception, KeyboardInterrupt and gevent's Timeout included, is closed: there may be half
    a reply in it, which the next caller would take for its own. None that is idle crosses a fork: two processes on one
    socket read each other's replies, and SQLite forbids it (https://www.sqlite.org/howtocorrupt.html section 2.6).
    """

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._idle: list[C] = []
        _pools.add(self)

    def lend(self, use: Callable[[C], T]) -> T:
        """Return what `use` returns when it is called with a connection, which it must not keep."""
        # A function and not a context manager: a generator for one costs more than all the rest.
        with _lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            result = use(connection)
        except BaseException:
            connection.close()
            self.close()  # what broke one, a restarted server say, has mostly broken all
            raise
        with _lock:
            self._idle.append(connection)
        return result

    def close(self) -> None:
        """Close the idle connections. The pool stays usable."""
        with _lock:
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


def _before_fork() -> None:
    _lock.acquire()
    for pool in _pools:
        pool._close_idle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_lock.release, after_in_child=_lock.release)
