"""Pools of connections, for clients that have none that is safe under threads, interrupts and forks."""

from __future__ import annotations

import os
import queue
import select
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

from gaesess.errors import StoreBusy
from gaesess.stores._lock import ProcessLock

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Semaphore


class Connection(Protocol):
    """What can be closed."""

    def close(self) -> Any:
        """Close it; to close it twice is no error."""
        ...


C = TypeVar("C", bound=Connection)
T = TypeVar("T")

Places: TypeAlias = "queue.SimpleQueue[None]"

_pools: WeakSet[Pool[Any]] = WeakSet()
_beginning = ProcessLock()

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


def places(number: int) -> Places:
    """Return that many places: a call takes one for as long as it has a connection."""
    # It takes a tenth of the time of threading.Semaphore, and gevent patches it too.
    free: Places = queue.SimpleQueue()
    for _ in range(number):
        free.put(None)
    return free


class _Process(Generic[C]):
    """What a pool has in one process. After a fork the child begins with a new one."""

    def __init__(self, free: Places | None) -> None:
        self.pid = os.getpid()
        self.idle: list[C] = []  # its `pop` and `append` need no lock, which a fork could find locked
        self.free = free


class Pool(Generic[C]):
    """Lends each connection to one caller at a time, and makes one more if all are out.

    One whose use ends in any exception, KeyboardInterrupt and gevent's Timeout included, is closed: there may be half
    a reply in it, which the next caller would take for its own. One that `is_stale` when it is to be lent is closed,
    and nothing was sent.

    No connection is used by two processes, which would read each other's replies: a child `abandons` those that it has
    from its parent, at the fork, or, because not every server that forks tells Python, when one is lent: then the
    process ids differ.

    If there are `max_connections`, a caller waits up to `timeout` seconds for one, then it gets StoreBusy. Pools that
    share them have a function that returns the `places` of this process, called again in each child.
    """

    def __init__(
        self,
        connect: Callable[..., C],
        *,
        is_stale: Callable[[C], bool] | None = None,
        abandon: Callable[[C], object] = lambda connection: connection.close(),
        max_connections: int | None = None,
        shared_places: Callable[[], Places] | None = None,
        timeout: float = 5.0,
    ) -> None:
        self._connect, self._is_stale, self._abandon = connect, is_stale, abandon
        self._max_connections, self._shared_places, self._timeout = max_connections, shared_places, timeout
        self._process: _Process[C] | None = None  # made at the first use, when gevent has patched what it patches
        _pools.add(self)

    def lend(self, use: Callable[[C], T], deadline: float | None = None) -> T:
        """Return what `use` returns when it is called with a connection, which it must not keep.

        With a `deadline`, of time.monotonic, a place is waited for until then, and `connect` is called with it.
        """
        # A function and not a context manager: a generator for one costs more than all the rest.
        process = self._process
        if process is None or process.pid != os.getpid():
            process = self._begin()
        idle, free = process.idle, process.free
        if free is not None:
            try:
                free.get_nowait()
            except queue.Empty:
                self._wait(free, deadline)
        try:
            connection = self._idle_one(idle)
            if connection is None:
                connection = self._connect() if deadline is None else self._connect(deadline)
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
        finally:
            if free is not None:
                free.put(None)

    def close(self) -> None:
        """Close the idle connections. The pool stays usable."""
        process = self._process
        if process is not None and process.pid == os.getpid():
            _close_all(process.idle)

    def abandon_inherited(self) -> None:
        """In a child, abandon the idle connections of the parent process."""
        process = self._process
        if process is not None and process.pid != os.getpid():
            while process.idle:
                self._abandon(process.idle.pop())

    def _begin(self) -> _Process[C]:
        with _beginning():
            process = self._process
            if process is None or process.pid != os.getpid():
                self.abandon_inherited()
                if self._shared_places is not None:
                    free: Places | None = self._shared_places()
                else:
                    free = places(self._max_connections) if self._max_connections else None
                process = self._process = _Process(free)
            return process

    def _wait(self, free: Places, deadline: float | None) -> None:
        try:
            free.get(timeout=self._timeout if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise _all_in_use(self._max_connections, self._timeout) from None

    def _idle_one(self, idle: list[C]) -> C | None:
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                return None
            if self._is_stale is None or not self._is_stale(connection):
                return connection
            connection.close()
        return None


def _abandon_inherited() -> None:
    for pool in list(_pools):
        pool.abandon_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_inherited)


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
