"""How the coroutines of stored sessions run: at once over a Store, by the event loop over an AsyncStore.

They await nothing but the calls of a store, a lock and a sleep, and all three come from here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Coroutine, Hashable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from gaesess.errors import StoreUnavailable
from gaesess.stores.base import AsyncCache, is_async

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

RETRY_SECONDS = 0.25  # after which a failed call has hung, and what a request has read may be outdated
MAX_WAIT_SECONDS = 5.0  # longer than a hundred writes take, and no client waits much longer


def awaitable(store: Any) -> AsyncCache:
    """Return a store or cache of either kind as one whose calls are awaited."""
    return store if is_async(store) else _Blocking(store)  # type: ignore[return-value]


class _Blocking:
    """A Store whose calls can be awaited: they are made at once, and never suspend."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return getattr(self._store, name)(*arguments, **options)

        setattr(self, name, call)
        return call

    async def get_many(self, keys: Any) -> Any:
        if hasattr(self._store, "get_many"):
            return self._store.get_many(keys)
        return [self._store.get(key, fresh=True) for key in keys]  # one that does not inherit from Store


def run(
    coroutine: Coroutine[Any, Any, T],
    complaint: str = "a Store has waited for an event loop: one that does so must be an AsyncStore",
) -> T:
    """Return the result of a coroutine that never suspends, as over a Store. Raises RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError(complaint)


class Driver:
    """Runs the coroutines of one manager. `clock` is in seconds, and never steps back."""

    is_async: bool
    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._turns: dict[Hashable, Turn] = {}

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine to a caller that cannot await it."""
        raise NotImplementedError

    def turn(self, name: Hashable) -> Turn:
        """Return the lock of a session, a user or an object. Entering it returns whether it was taken.

        It avoids conflicts; no guarantee depends on it: after MAX_WAIT_SECONDS a request goes on without it. If the
        store hangs for the request that has the lock, the ones that wait for it get StoreUnavailable too.
        """
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        """Let others go on."""
        raise NotImplementedError


class Threads(Driver):
    """Runs coroutines over a Store, in the thread that asks. For an event loop, in at most `size` other threads.

    Those are not the loop's default executor, which has six threads on a machine with two CPUs: if a store hangs, the
    application's own work and name lookups must not wait for it.
    """

    is_async = False

    def __init__(self, size: int, store: object) -> None:
        super().__init__()
        # Only if the class itself says so: one that is derived from it may wait.
        self.reads_at_once = vars(type(store)).get("reads_at_once", False)
        # A store that uses the application's own connection, as DjangoStore does, says what its threads and its
        # transactions are; so does the durable one of a TieredStore.
        durable = getattr(store, "durable", store)
        self.in_transaction: Callable[[], bool] = getattr(durable, "in_transaction", lambda: False)
        self.on_commit: Callable[[Callable[[], object]], object] | None = getattr(durable, "on_commit", None)
        self._in_thread: Callable[..., Coroutine[Any, Any, Any]] | None = getattr(durable, "in_thread", None)
        self._size = size
        self._executor: tuple[int, ThreadPoolExecutor] | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return run(coroutine)

    def turn(self, name: Hashable) -> Turn:
        name = os.getpid(), name  # a fork must not leave the child a turn of the parent's threads
        return Turn(self._turns, name, self.clock)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that may wait for the store, in a copy of the caller's context."""
        if self._in_thread:
            result: T = await self._in_thread(function, *arguments)
            return result
        from asyncio import get_running_loop  # in memory already, where there is one

        context = copy_context()
        return await get_running_loop().run_in_executor(self.executor, lambda: context.run(function, *arguments))

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The threads of this process, which start as they are needed."""
        process = os.getpid()  # a forked child has none of its parent's threads
        if self._executor is None or self._executor[0] != process:
            from concurrent.futures import ThreadPoolExecutor  # not in every process

            self._executor = process, ThreadPoolExecutor(self._size, thread_name_prefix="gaesess")
        return self._executor[1]


class Loop(Driver):
    """Runs coroutines over an AsyncStore: their callers await them."""

    is_async = True

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return run(  # it may not need the store
            coroutine,
            "the store is an AsyncStore, which only a coroutine can wait for: "
            "await session.aload() before the first use, and asave(), aterminate(), aregenerate_id()",
        )

    def turn(self, name: Hashable) -> Turn:
        from asyncio import get_running_loop

        return _LoopTurn(self._turns, (id(get_running_loop()), name), self.clock)

    async def sleep(self, seconds: float) -> None:
        from asyncio import sleep

        await sleep(seconds)


class Turn:
    """One caller's turn; see `Driver.turn`. It is in `turns`, under its name, while it lasts."""

    hung = False  # the store hung for it

    def __init__(self, turns: dict[Hashable, Turn], name: Hashable, clock: Callable[[], float]) -> None:
        self._turns, self._name, self._clock = turns, name, clock
        self._began = clock()

    async def __aenter__(self) -> bool:
        waited = False
        while (holder := self._turns.setdefault(self._name, self)) is not self:
            waited = True
            seconds = self._began + MAX_WAIT_SECONDS - self._clock()
            gate = vars(holder).setdefault("gate", self._new_gate())  # made only if somebody waits
            has_ended = self._turns.get(self._name) is not holder  # maybe without seeing the gate
            if not has_ended and not (seconds > 0 and await self._wait(gate, seconds)):
                break
            if holder.hung:
                raise StoreUnavailable("the store hangs, as another request has found")
        self._began = self._clock()
        return waited

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self.hung = isinstance(error, StoreUnavailable) and self._clock() - self._began >= RETRY_SECONDS
        if self._turns.get(self._name) is self:
            del self._turns[self._name]
        if gate := vars(self).get("gate"):
            gate.set()

    def _new_gate(self) -> Any:
        return threading.Event()

    async def _wait(self, gate: Any, seconds: float) -> bool:
        """Return whether the gate was opened within that time."""
        return bool(gate.wait(seconds))


class _LoopTurn(Turn):
    def _new_gate(self) -> Any:
        from asyncio import Event

        return Event()

    async def _wait(self, gate: Any, seconds: float) -> bool:
        from asyncio import TimeoutError, wait_for

        try:
            return await wait_for(gate.wait(), seconds)
        except TimeoutError:
            return False
