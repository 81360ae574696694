"""Pools of connections, for clients that have none that is safe under threads, interrupts and forks."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gaesess.errors import StoreBusy

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Semaphore


class Connection(Protocol):
    """What can be closed."""

    def close(self) -> Any:
        """Close it; to close it twice is no error."""
        ...


C = TypeVar("C", bound=Connection)
T = TypeVar("T")

MAX_IDLE = 32  # connections; a burst of requests makes more, which are closed when it is over


def is_readable(descriptor: int) -> bool:
    """Return whether there is something to read from a socket, or its end, before anything was asked.

    The other side has closed the connection, or says that it is about to: what is sent there gets no answer.
    """
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    watch = select.poll()
    watch.register(descriptor, select.POLLIN)
    return bool(watch.poll(0))


class _Process(Generic[C]):
    """What a pool has in one process. After a fork the child begins with a new one."""

    def __init__(self, max_connections: int | None) -> None:
        self.pid = os.getpid()
        self.idle: list[C] = []  # its `pop` and `append` need no lock, which a fork could find locked
        self.free = threading.Semaphore(max_connections) if max_connections else None


class Pool(Generic[C]):
    """Lends each connection to one caller at a time, and makes one more if all are out.

    One whose use ends in any exception, KeyboardInterrupt and gevent's Timeout included, is closed: there may be half
    a reply in it, which the next caller would take for its own. One that `is_stale` when it is to be lent is closed,
    and nothing was sent.

    No connection is used by two processes, which would read each other's replies: a child `abandons` those that it has
    from its parent. It sees that by its process id, because not every server that forks tells Python.

    If there are `max_connections`, a caller waits up to `timeout` seconds for one, then it gets StoreBusy.
    """

    def __init__(
        self,
        connect: Callable[[], C],
        *,
        is_stale: Callable[[C], bool] = lambda connection: False,
        abandon: Callable[[C], object] = lambda connection: connection.close(),
        max_connections: int | None = None,
        timeout: float = 5.0,
    ) -> None:
        self._connect, self._is_stale, self._abandon = connect, is_stale, abandon
        self._max_connections, self._timeout = max_connections, timeout
        self._process: _Process[C] | None = None  # made at the first use, when gevent has patched what it patches

    def lend(self, use: Callable[[C], T]) -> T:
        """Return what `use` returns when it is called with a connection, which it must not keep."""
        # A function and not a context manager: a generator for one costs more than all the rest.
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._begin()
        if process.free is None:
            return self._lend(process.idle, use)
        if not process.free.acquire(timeout=self._timeout):
            raise _all_in_use(self._max_connections, self._timeout)
        try:
            return self._lend(process.idle, use)
        finally:
            process.free.release()

    def close(self) -> None:
        """Close the idle connections. The pool stays usable."""
        process = self._process
        if process is not None and process.pid == os.getpid():
            _close_all(process.idle)

    def _begin(self) -> _Process[C]:
        inherited, self._process = self._process, _Process(self._max_connections)
        while inherited and inherited.idle:
            self._abandon(inherited.idle.pop())
        return self._process

    def _lend(self, idle: list[C], use: Callable[[C], T]) -> T:
        connection = self._idle_one(idle) or self._connect()
        try:
            result = use(connection)
        except BaseException:
            connection.close()
            _close_all(idle)  # what broke one, a restarted server say, has mostly broken all
            raise
        if len(idle) < MAX_IDLE:
            idle.append(connection)
        else:
            connection.close()
        return result

    def _idle_one(self, idle: list[C]) -> C | None:
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                return None
            if not self._is_stale(connection):
                return connection
            connection.close()
        return None


class AsyncPool(Generic[C]):
    """A Pool for coroutines. A connection belongs to the event loop in which it was made.

    `discard` gets rid of a connection without waiting, in any thread.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        *,
        discard: Callable[[C], object],
        is_stale: Callable[[C], bool] = lambda connection: False,
        max_connections: int,
        timeout: float = 5.0,
    ) -> None:
        self._connect, self._is_stale, self._discard = connect, is_stale, discard
        self._max_connections, self._timeout = max_connections, timeout
        self._loops: dict[AbstractEventLoop, tuple[list[C], Semaphore]] = {}

    async def lend(self, use: Callable[[C], Awaitable[T]]) -> T:
        """Return what `use` returns when it is awaited with a connection, which it must not keep."""
        import asyncio  # in memory already, where there is a loop

        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._discard_closed()
            self._loops[loop] = [], asyncio.Semaphore(self._max_connections)
        idle, free = self._loops[loop]
        try:  # `wait_for` makes a task, which takes longer than a query
            await (asyncio.wait_for(free.acquire(), self._timeout) if free.locked() else free.acquire())
        except asyncio.TimeoutError:
            raise _all_in_use(self._max_connections, self._timeout) from None
        try:
            return await self._lend(idle, use)
        finally:
            free.release()

    def close(self) -> None:
        """Close the idle connections of all loops. The pool stays usable."""
        for idle, _ in list(self._loops.values()):
            while idle:
                self._discard(idle.pop())

    async def _lend(self, idle: list[C], use: Callable[[C], Awaitable[T]]) -> T:
        connection = self._idle_one(idle)
        if connection is None:
            connection = await self._connect()
        try:
            result = await use(connection)
        except BaseException:
            for broken in (connection, *idle):
                self._discard(broken)
            idle.clear()
            raise
        idle.append(connection)
        return result

    def _idle_one(self, idle: list[C]) -> C | None:
        while idle:
            connection = idle.pop()
            if not self._is_stale(connection):
                return connection
            self._discard(connection)
        return None

    def _discard_closed(self) -> None:
        """Get rid of the connections of loops that have ended, as under asyncio.run."""
        for loop in [loop for loop in list(self._loops) if loop.is_closed()]:
            idle, _ = self._loops.pop(loop)
            while idle:
                self._discard(idle.pop())


def _all_in_use(max_connections: int | None, timeout: float) -> StoreBusy:
    return StoreBusy(f"all {max_connections} connections of this process were in use for {timeout} seconds")


def _close_all(idle: list[C]) -> None:
    while idle:
        try:
            idle.pop().close()
        except IndexError:  # another thread has closed the last one
            return
