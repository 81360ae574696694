"""The contracts of async stores: what keeps them passes, and what breaks them is found."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from async_memory import AsyncMemoryStore

from gaesess.errors import Conflict
from gaesess.stores.base import AsyncStore, Stored, Version, is_async
from gaesess.stores.memory import MemoryStore
from gaesess.testing import AsyncCacheContract, AsyncStoreContract, FaultyStore
from gaesess.testing.async_contract import Blocking, InLoop, event_loop


class TestAsyncMemoryStore(AsyncCacheContract):
    numeric_versions = True

    @pytest.fixture
    def async_store(self) -> AsyncMemoryStore:
        return AsyncMemoryStore()


class TestMadeInTheLoop(AsyncStoreContract):
    """A store that is bound to the event loop in which it was made, as the pools of many clients are."""

    @pytest.fixture
    def async_store(self, in_loop: InLoop) -> Iterator[AsyncStore]:
        class Bound(AsyncMemoryStore):
            def __init__(self) -> None:
                super().__init__()
                self.loop = asyncio.get_running_loop()

            async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
                assert asyncio.get_running_loop() is self.loop
                return await super()._call(name, *arguments, **options)

        async def make() -> Bound:
            return Bound()

        store = in_loop(make())
        yield store
        assert in_loop(store.get_many([])) == []


class OneByOne(AsyncMemoryStore):
    """Inherits `get_many` from AsyncStore."""

    get_many = AsyncStore.get_many


class TestOneByOne(AsyncStoreContract):
    @pytest.fixture
    def async_store(self) -> OneByOne:
        return OneByOne()


# Stores that break the contract


class NotAtomic(AsyncMemoryStore):
    """Lets others run between the check of a version and the write."""

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> Version:
        found = await self.get(key)
        if found is None or found.version != version:
            raise Conflict("the record was replaced since it was read")
        await asyncio.sleep(0.01)
        await self.put(key, data, expires_at=expires_at)
        stored = await self.get(key)
        assert stored is not None
        return stored.version


class OutOfStep(AsyncMemoryStore):
    """Reads the replies of one connection in order, and leaves that of a cancelled call to the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: deque[Any] = deque()

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        self.replies.append(self.store.get(key))
        await asyncio.sleep(0)
        reply: Stored | None = self.replies.popleft()
        return reply


@pytest.fixture
def in_loop() -> Iterator[InLoop]:
    with event_loop() as in_loop:
        yield in_loop


def test_a_replace_in_two_steps_is_found(in_loop: InLoop) -> None:
    store: Any = Blocking(NotAtomic(), in_loop)
    with pytest.raises(AssertionError):
        AsyncStoreContract().test_of_two_threads_that_replace_one_version_one_wins(store)


def test_a_reply_left_by_a_cancelled_call_is_found(in_loop: InLoop) -> None:
    with pytest.raises(AssertionError):
        AsyncStoreContract().test_a_cancelled_call_leaves_the_store_usable(OutOfStep(), in_loop)


def test_a_contract_without_a_store_says_what_it_needs() -> None:
    with pytest.raises(NotImplementedError, match="AsyncStoreContract needs a fixture `async_store`"):
        AsyncStoreContract.async_store.__wrapped__(AsyncStoreContract())  # type: ignore[attr-defined]


# What is async


def test_a_store_is_async_if_it_or_its_get_says_so() -> None:
    class Plain:
        async def get(self, key: str) -> None:
            """Of no base class."""

    class Compiled:
        is_async = True

        def get(self, key: str) -> Any:
            """Returns an awaitable, as of a compiled module."""

    class Said(Plain):
        is_async = False

    assert all(is_async(store) for store in (AsyncMemoryStore(), Plain(), Compiled()))
    assert not any(is_async(store) for store in (MemoryStore(), FaultyStore(MemoryStore()), Said(), object(), None))
