"""The contracts of stores and caches whose methods are coroutines: those of the others, run in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, cast

import pytest

from gaesess.errors import Conflict
from gaesess.stores.base import AsyncStore, Cache, is_async
from gaesess.testing.cache_contract import EntryContract
from gaesess.testing.contract import EXPIRY, RecordContract, new_key

InLoop: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]

CANCELLATIONS = 30  # each one turn of the event loop later than the one before


class Blocking:
    """An async store with the calls of a synchronous one: each runs in the event loop, and the thread waits for it."""

    def __init__(self, store: AsyncStore, in_loop: InLoop) -> None:
        self.may_forget = store.may_forget
        self._store = store
        self._in_loop = in_loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            return await getattr(self._store, name)(*arguments, **options)

        return lambda *arguments, **options: self._in_loop(call(*arguments, **options))


@contextmanager
def event_loop() -> Iterator[InLoop]:
    """Run an event loop in a thread of its own, and yield what runs a coroutine there and returns its result."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def in_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    try:
        yield in_loop
        in_loop(loop.shutdown_asyncgens())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class AsyncStoreContract(RecordContract):
    """StoreContract for an AsyncStore, without the cleanup. Subclass it and give it your store, new for each test::

        class TestMyStore(AsyncStoreContract):
            @pytest.fixture
            def async_store(self, in_loop):
                client = in_loop(connect("localhost"))
                yield MyStore(client)
                in_loop(client.close())

    `in_loop` runs a coroutine in the event loop of the test and returns its result: use it for what must be made, or
    closed, in the loop in which it is used. Set `numeric_versions = True` as for StoreContract.
    """

    @pytest.fixture
    def in_loop(self) -> Iterator[InLoop]:
        """Give what runs a coroutine in the event loop of the test."""
        with event_loop() as in_loop:
            yield in_loop

    @pytest.fixture
    def async_store(self) -> Iterator[AsyncStore]:
        """Give your store: a fixture of this name in the subclass."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture `async_store`: see gaesess.testing.AsyncStoreContract"
        )

    @pytest.fixture
    def store(self, async_store: AsyncStore, in_loop: InLoop) -> Cache:
        """Give the store to the tests of the other contracts."""
        return cast(Cache, Blocking(async_store, in_loop))

    def test_it_is_known_as_async(self, async_store: AsyncStore) -> None:
        assert is_async(async_store)

    def test_a_cancelled_call_leaves_the_store_usable(self, async_store: AsyncStore, in_loop: InLoop) -> None:
        async def cancel(call: Coroutine[Any, Any, object], after_turns: int) -> None:
            task = asyncio.ensure_future(call)
            for _ in range(after_turns):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError, Conflict):
                await task

        async def check() -> None:
            key, other = new_key(), new_key()
            await async_store.add(key, b"before", expires_at=EXPIRY)
            await async_store.add(other, b"other", expires_at=EXPIRY)
            for turns in range(CANCELLATIONS):
                read = await async_store.get(key)
                assert read is not None
                data = b"%d" % turns
                await cancel(async_store.replace(key, data, expires_at=EXPIRY, version=read.version), turns)
                assert await _data(async_store, other) == b"other"
                assert await _data(async_store, key) in (read.data, data)
                await cancel(async_store.get(key), turns)
                assert await _data(async_store, other) == b"other"
                assert await async_store.get(new_key()) is None

        in_loop(check())


class AsyncCacheContract(EntryContract, AsyncStoreContract):
    """CacheContract for an AsyncCache, used as AsyncStoreContract is."""


async def _data(store: AsyncStore, key: str) -> bytes:
    stored = await store.get(key)
    assert stored is not None, "a record that was not deleted is missing"
    return stored.data
