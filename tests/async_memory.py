"""A store in memory whose methods are coroutines that let others run, before and after they do their work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from gaesess.stores.base import AsyncCache, Stored, Version
from gaesess.stores.memory import MemoryStore


class AsyncMemoryStore(AsyncCache):
    """MemoryStore, for an event loop."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return await self._call("get", key, fresh=fresh)

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        return await self._call("get_many", keys)

    async def add(self, key: str, data: bytes, *, expires_at: int) -> Version:
        return await self._call("add", key, data, expires_at=expires_at)

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> Version:
        return await self._call("replace", key, data, expires_at=expires_at, version=version)

    async def delete(self, key: str) -> None:
        return await self._call("delete", key)

    async def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        return await self._call("put", key, data, expires_at=expires_at)

    async def gets(self, key: str) -> Stored | None:
        return await self._call("gets", key)

    async def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        return await self._call("cas", key, data, expires_at=expires_at, ticket=ticket)

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        try:
            return getattr(self.store, name)(*arguments, **options)
        finally:
            await asyncio.sleep(0)
