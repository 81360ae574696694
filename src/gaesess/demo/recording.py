"""What happens under a request: the store calls it makes, and what gaesess tells of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from gaesess import events
from gaesess.stores.base import Cache, Store, Stored, Version


class Call(NamedTuple):
    """One call of a store: `size` is that of the record in bytes, None if none went either way."""

    engine: str
    verb: str
    size: int | None
    milliseconds: float


@dataclass
class Journal:
    """What one request did."""

    calls: list[Call] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


_current: ContextVar[Journal | None] = ContextVar("gaesess.demo.journal", default=None)


@contextmanager
def journal() -> Iterator[Journal]:
    """Keep a journal of what this thread does in the block."""
    kept = Journal()
    token = _current.set(kept)
    try:
        yield kept
    finally:
        _current.reset(token)


def note(event: events.Event) -> None:
    """Write what an event says, from INFO on, into the journal of the request that it is about."""
    kept = _current.get()
    if kept is not None and event.level > events.DEBUG:
        kept.told.append(event.message)


@contextmanager
def subscribed(listener: events.Listener) -> Iterator[None]:
    """Call a listener with each event in the block."""
    unsubscribe = events.subscribe(listener)
    try:
        yield
    finally:
        unsubscribe()


class RecordedStore(Store):
    """A store whose calls are written into the journal of the request that makes them."""

    def __init__(self, store: Store, engine: str) -> None:
        self._store = store
        self._engine = engine
        self.may_forget = store.may_forget

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return self._read("get", lambda: self._store.get(key, fresh=fresh))

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        with self._recorded("get_many") as calls:
            found = self._store.get_many(keys)
        if calls:
            calls[-1] = calls[-1]._replace(size=sum(len(stored.data) for stored in found if stored is not None))
        return found

    def add(self, key: str, data: bytes, *, expires_at: int) -> Version:
        with self._recorded("add", len(data)):
            return self._store.add(key, data, expires_at=expires_at)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> Version:
        with self._recorded("replace", len(data)):
            return self._store.replace(key, data, expires_at=expires_at, version=version)

    def delete(self, key: str) -> None:
        with self._recorded("delete"):
            self._store.delete(key)

    def count_expired(self, *, now: int) -> int:
        return self._store.count_expired(now=now)

    def delete_expired(self, *, now: int) -> Iterator[int]:
        return self._store.delete_expired(now=now)

    def _read(self, verb: str, read: Callable[[], Stored | None]) -> Stored | None:
        with self._recorded(verb) as calls:
            stored = read()
        if calls and stored is not None:
            calls[-1] = calls[-1]._replace(size=len(stored.data))
        return stored

    @contextmanager
    def _recorded(self, verb: str, size: int | None = None) -> Iterator[list[Call]]:
        kept = _current.get()
        calls = [] if kept is None else kept.calls
        start = time.perf_counter()
        try:
            yield calls
        finally:
            calls.append(Call(self._engine, verb, size, (time.perf_counter() - start) * 1000))


class RecordedCache(RecordedStore, Cache):
    """The same for the cache in front of a TieredStore."""

    def __init__(self, store: Cache, engine: str) -> None:
        super().__init__(store, engine)
        self._cache = store

    def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        with self._recorded("put", len(data)):
            self._cache.put(key, data, expires_at=expires_at)

    def gets(self, key: str) -> Stored | None:
        return self._read("gets", lambda: self._cache.gets(key))

    def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        with self._recorded("cas", len(data)):
            self._cache.cas(key, data, expires_at=expires_at, ticket=ticket)
