"""A store that fails on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from gaesess.errors import StoreUnavailable
from gaesess.stores.base import Cache, Store, Stored, Version

T = TypeVar("T")


class FaultyStore:
    """Passes everything on to a store or a cache, and fails on demand.

    While `down` is true every call raises StoreUnavailable and does nothing. While `deaf` is true every call does its
    work and raises StoreUnavailable then, as if the reply were lost. While `resends` is true every write is sent
    twice, as by a client library that lost the first reply: the caller gets the second one, which is an error of `add`,
    `replace` and `cas`. A number does that to some writes only: 7 to every seventh.
    """

    reads_at_once = False

    def __init__(self, store: Store | Cache) -> None:
        self.store = cast(Cache, store)  # what only a cache has is asked of a cache only
        self.may_forget = store.may_forget
        self.down = False
        self.deaf = False
        self.resends = 0
        self._writes = 0

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return self._call(self.store.get, key, fresh=fresh)

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        return self._call(self.store.get_many, keys)

    def add(self, key: str, data: bytes, *, expires_at: int) -> Version:
        return self._write(self.store.add, key, data, expires_at=expires_at)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> Version:
        return self._write(self.store.replace, key, data, expires_at=expires_at, version=version)

    def delete(self, key: str) -> None:
        self._write(self.store.delete, key)

    def count_expired(self, *, now: int) -> int:
        return self._call(self.store.count_expired, now=now)

    def delete_expired(self, *, now: int) -> Iterator[int]:
        yield from self._call(lambda: list(self.store.delete_expired(now=now)))

    def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        self._write(self.store.put, key, data, expires_at=expires_at)

    def gets(self, key: str) -> Stored | None:
        return self._call(self.store.gets, key)

    def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        self._write(self.store.cas, key, data, expires_at=expires_at, ticket=ticket)

    def _write(self, method: Callable[..., T], *arguments: Any, **options: Any) -> T:
        self._writes += 1
        if self.resends and self._writes % self.resends == 0 and not self.down:
            method(*arguments, **options)
        return self._call(method, *arguments, **options)

    def _call(self, method: Callable[..., T], *arguments: Any, **options: Any) -> T:
        if self.down:
            raise StoreUnavailable("FaultyStore is down")
        result = method(*arguments, **options)
        if self.deaf:
            raise StoreUnavailable("FaultyStore has lost the reply")
        return result
