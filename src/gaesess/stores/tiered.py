"""A cache in front of a durable store, which is the truth."""

from __future__ import annotations

import hmac
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from gaesess import events
from gaesess._core import MAX_U32
from gaesess.drivers import awaitable, run
from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge, StoreError, StoreUnavailable
from gaesess.pickling import refuse_keys
from gaesess.stores._breaker import Breaker
from gaesess.stores.base import AsyncCache, Cache, Store, Stored, checked_seconds, has_calls, is_async, key_expiry

T = TypeVar("T")

# An entry of the cache: a tag, the time (Unix seconds) at which the durable store had this record, the version there,
# and the record. Or a mark.
UNKNOWN = b"?"  # the mark: query the durable store
NO_VERSION = 2**64 - 1  # the durable store has no such record yet
TAG_BYTES = 16
_STAMP = struct.Struct("!IQ")
_ENTRY_BYTES = TAG_BYTES + _STAMP.size
SLOW_SECONDS = 0.25  # longer than Datastore takes for a lookup: a cache that answers no faster is worse than none
CACHE_SECONDS = 60  # at most one read of the durable store a minute, for a session in use


@dataclass(frozen=True)
class TieredVersion:
    """The durable store's version, None if it has no such record yet; and of the cache's entry the ticket and age."""

    durable: int | None
    ticket: Any = field(default=None, compare=False)
    known_at: int = field(default=0, compare=False)  # Unix seconds at which the durable store had this version


class _Entry(NamedTuple):
    data: bytes
    version: TieredVersion


class TieredStore(Store):
    """Reads from `cache` where it can, and writes to `durable` first and then to `cache`.

    An entry of the cache is used for `cache_seconds` after `durable` was known to have it; with the setting `revocable`
    for 5 seconds. The entry carries that time, signed. So a process can show outdated data for that long, but no
    longer, even if the cache fails or a process dies before it has updated the cache. If the clocks of two machines
    differ, add the difference.

    A cache that fails, or takes longer than a quarter of a second, never fails a call. It is left alone for
    `retry_after` seconds, and `durable` serves alone; then one caller tries the cache again. So in each process, after
    the requests that were waiting when it failed, one request in `retry_after` seconds waits for the cache's own
    timeout. A sign-out always tries the cache. While `durable` is down, entries of the cache can be read for
    `cache_seconds`, or with the setting `outage="degrade"` until it is back; anything else raises StoreUnavailable.
    `clock` is in seconds.

    A slow request never puts old data into the cache: it replaces only the entry that it found there before it queried
    `durable`, and marks it as UNKNOWN if it has changed since.

    Two AsyncStores make an AsyncStore. Used as a store directly, without a SessionManager, it has no key to sign with.
    """

    def __init__(
        self,
        cache: Cache | AsyncCache,
        durable: Any,
        *,
        cache_seconds: float = CACHE_SECONDS,
        retry_after: float = 1.0,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        if not has_calls(cache, "get", "gets", "add", "cas", "put", "delete"):
            raise TypeError(f"TieredStore's cache must be a cache, such as a MemcacheStore, got {cache!r}")
        if not has_calls(durable, "get", "add", "replace", "delete"):
            raise TypeError(f"TieredStore's durable store must be a store, such as a DatastoreStore, got {durable!r}")
        self.is_async = is_async(durable)
        if is_async(cache) != self.is_async:
            raise TypeError("TieredStore's cache and durable store must be both Stores or both AsyncStores")
        if not cache_seconds >= 0:
            raise ValueError(f"cache_seconds must be a number of seconds, 0 or more, got {cache_seconds!r}")
        self.cache = cache
        self.durable = durable
        self.cache_seconds = cache_seconds
        self.breaker = Breaker(checked_seconds("retry_after", retry_after), clock)
        self.clock = clock
        self._tiers = self.tiers([b""], time.time, cache_seconds)
        self._drive: Callable[..., Any] = (lambda coroutine: coroutine) if self.is_async else run

    @property
    def may_forget(self) -> bool:  # type: ignore[override]
        """Whether the durable store may forget records."""
        return self.durable.may_forget  # type: ignore[no-any-return]

    def tiers(self, keys: Sequence[bytes], now: Callable[[], float], seconds: float, degrades: bool = False) -> Tiers:
        """Return coroutines over the two stores, for one application.

        The first of `keys` signs the times of entries, and all of them verify. `now` is in Unix seconds. Entries are
        used for `seconds`; if it `degrades`, older ones too while the durable store is down.
        """
        return Tiers(self, keys, now, seconds, degrades)

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return self._drive(self._tiers.get(key, fresh=fresh))  # type: ignore[no-any-return]

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        return self._drive(self._tiers.get_many(keys))  # type: ignore[no-any-return]

    def add(self, key: str, data: bytes, *, expires_at: int) -> TieredVersion:
        return self._drive(self._tiers.add(key, data, expires_at=expires_at))  # type: ignore[no-any-return]

    def replace(self, key: str, data: bytes, *, expires_at: int, version: TieredVersion) -> TieredVersion:
        coroutine = self._tiers.replace(key, data, expires_at=expires_at, version=version)
        return self._drive(coroutine)  # type: ignore[no-any-return]

    def delete(self, key: str) -> None:
        self._drive(self._tiers.delete(key))

    def count_expired(self, *, now: int) -> int:
        return self.durable.count_expired(now=now)  # type: ignore[no-any-return]

    def delete_expired(self, *, now: int) -> Iterator[int]:
        return self.durable.delete_expired(now=now)  # type: ignore[no-any-return]


class Tiers:
    """Reads and writes the two stores of a TieredStore; see `TieredStore.tiers`."""

    __reduce__ = refuse_keys

    def __init__(
        self, store: TieredStore, keys: Sequence[bytes], now: Callable[[], float], seconds: float, degrades: bool
    ) -> None:
        self._cache = awaitable(store.cache)
        self._durable = awaitable(store.durable)
        self._breaker, self._clock = store.breaker, store.clock
        self._keys, self._now, self._seconds, self._degrades = keys, now, seconds, degrades

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        """Return the record, past the cache if `fresh`."""
        slot = await self._slot(key)
        entry = self._opened(key, slot)
        now = self._seconds_now()  # before the durable store is queried: its answer may be old when it arrives
        if entry and not fresh and 0 <= now - entry.version.known_at < self._seconds:
            return Stored(*entry)
        try:
            stored = await self._durable.get(key, fresh=fresh)
        except StoreUnavailable:
            if entry and not fresh and self._degrades:
                return Stored(*entry)
            raise
        is_same = entry is not None and entry.version.durable == (stored.version if stored else None)
        if entry and is_same and not fresh:
            data = entry.data  # including quick writes
        elif stored:
            data = stored.data
        else:
            return None
        version = TieredVersion(stored.version if stored else None, None, now)
        if entry and is_same and fresh and entry.data == data:  # nothing to correct, and the ticket stays valid
            return Stored(data, replace(version, ticket=entry.version.ticket))
        if slot:
            try:
                await self._ask_cache(lambda: self._cas(key, data, version, slot.version))
            except (StoreError, SessionTooLarge):  # a quick write may be based on what this reader knows to be outdated
                if fresh:
                    await self._mark(key)
        return Stored(data, version)

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return the records of several keys, past the cache."""
        now = self._seconds_now()
        found = await self._durable.get_many(keys)
        return [each and Stored(each.data, TieredVersion(each.version, None, now)) for each in found]

    async def add(self, key: str, data: bytes, *, expires_at: int) -> TieredVersion:
        """Add a record."""
        slot, now = await self._slot(key, is_new=True), self._seconds_now()
        written = TieredVersion(await self._durable.add(key, data, expires_at=expires_at), None, now)
        await self._copy(key, data, TieredVersion(None, slot and slot.version), written)
        return written

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: TieredVersion) -> TieredVersion:
        """Replace a record at its version."""
        written = await self._replace(key, data, expires_at, version)
        await self._copy(key, data, version, written)
        return written

    async def end(self, key: str, data: bytes, *, expires_at: int, version: TieredVersion | None) -> TieredVersion:
        """Replace a record by a tombstone, and mark the cache's entry even while the cache is left alone.

        The process may exit before it tries the cache again. If the cache cannot be reached, its entry is used until
        its time is over.
        """
        try:
            if version is None:
                return TieredVersion(await self._durable.add(key, data, expires_at=expires_at))
            return await self._replace(key, data, expires_at, version)
        finally:  # it may have landed also if it failed
            await self.mark(key)

    async def delete(self, key: str) -> None:
        """Delete a record, as `end` ends one."""
        try:
            await self._durable.delete(key)
        finally:
            await self.mark(key)

    async def mark(self, key: str) -> None:
        """Mark the cache's entry as UNKNOWN: call it after a sign-out."""
        await self._mark(key, past_breaker=True)

    async def put_quick(self, key: str, data: bytes, version: TieredVersion | None) -> TieredVersion | None:
        """Write to the cache only, if it has the record at `version` or, for None, no record; return the version.

        Returns None if the cache is down or has another record: then make the change durable.
        """
        known_at = version.known_at if version else self._seconds_now()
        written = TieredVersion(version.durable if version else None, None, known_at)
        try:
            await self._change(key, data, version, written)
        except (StoreError, SessionTooLarge):
            return None
        return written

    async def _replace(self, key: str, data: bytes, expires_at: int, version: TieredVersion) -> TieredVersion:
        now = self._seconds_now()
        if version.durable is not None:
            written = await self._durable.replace(key, data, expires_at=expires_at, version=version.durable)
            return TieredVersion(written, None, now)
        try:
            return TieredVersion(await self._durable.add(key, data, expires_at=expires_at), None, now)
        except KeyExists as error:
            raise Conflict("the durable store has a record by now that was in the cache alone") from error

    # the cache

    async def _slot(self, key: str, *, is_new: bool = False) -> Stored | None:
        """Return what the cache has, probably nothing if the record `is_new`; None if the cache is down."""
        try:
            return await self._ask_cache(lambda: self._placed(key, is_new=is_new))
        except StoreUnavailable:
            return None

    async def _placed(self, key: str, *, is_new: bool = False) -> Stored | None:
        """Return what the cache has; if nothing, put a mark there first.

        The mark's ticket tells the reader, later, whether the cache has dropped something newer in the meantime.
        """
        slot = None if is_new else await self._cache.gets(key)
        if slot is None:
            with suppress(KeyExists):
                await self._cache.add(key, UNKNOWN, expires_at=key_expiry(key))
            slot = await self._cache.gets(key)
        return slot

    async def _copy(self, key: str, data: bytes, old: TieredVersion, new: TieredVersion) -> None:
        """Copy to the cache what the durable store has accepted, if the cache has the version before it."""
        try:
            await self._change(key, data, old, new)
        except Gone:  # the cache has dropped the entry; the next reader fills it
            pass
        except (StoreError, SessionTooLarge):
            await self._mark(key)

    async def _change(self, key: str, data: bytes, old: TieredVersion | None, new: TieredVersion) -> None:
        """Store an entry if the cache has the record at `old`. Raises Conflict or Gone if not."""

        async def change() -> None:
            ticket = old.ticket if old else None
            if ticket is None:
                slot = await (self._cache.gets(key) if old else self._placed(key))
                if slot is None:
                    raise Gone("the cache has dropped the record")
                entry = self._opened(key, slot)
                if (entry.version if entry else None) != old:
                    raise Conflict("the cache has another version of the record")
                ticket = slot.version
            await self._cas(key, data, new, ticket)

        await self._ask_cache(change)

    async def _cas(self, key: str, data: bytes, version: TieredVersion, ticket: Any) -> None:
        number = NO_VERSION if version.durable is None else version.durable
        stamp = _STAMP.pack(version.known_at, number)
        entry = self._tag(self._keys[0], key, stamp, data) + stamp + data
        await self._cache.cas(key, entry, expires_at=key_expiry(key), ticket=ticket)

    async def _mark(self, key: str, *, past_breaker: bool = False) -> None:
        with suppress(StoreUnavailable):
            expires_at = key_expiry(key)
            await self._ask_cache(lambda: self._cache.put(key, UNKNOWN, expires_at=expires_at), past_breaker)

    async def _ask_cache(self, question: Callable[[], Awaitable[T]], past_breaker: bool = False) -> T:
        """Return the cache's answer. Raises StoreUnavailable if it fails, or is left alone and not `past_breaker`."""
        if not (past_breaker or self._breaker.allows()):
            raise StoreUnavailable("the cache failed a moment ago and is left alone")
        began = self._clock()
        try:
            answer = await question()
        except StoreUnavailable as error:
            self._breaker.fail(str(error))
            raise
        except (StoreError, SessionTooLarge):  # answers too
            self._breaker.succeed()
            raise
        if self._clock() - began > SLOW_SECONDS:
            self._breaker.fail(f"it took more than {SLOW_SECONDS} seconds to answer")
        else:
            self._breaker.succeed()
        return answer

    def _seconds_now(self) -> int:
        return min(max(int(self._now()), 0), MAX_U32)

    def _opened(self, key: str, slot: Stored | None) -> _Entry | None:
        """Return the entry in a slot of the cache; None for a mark, and for one that none of our keys has signed."""
        if slot is None or slot.data == UNKNOWN:
            return None
        stamp, data = slot.data[TAG_BYTES:_ENTRY_BYTES], slot.data[_ENTRY_BYTES:]
        tags = (self._tag(secret, key, stamp, data) for secret in self._keys)
        if len(stamp) < _STAMP.size or not any(hmac.compare_digest(slot.data[:TAG_BYTES], tag) for tag in tags):
            events.emit("poisoned_record", "ignored an entry of the cache: none of our keys has signed its time")
            return None
        known_at, number = _STAMP.unpack(stamp)
        return _Entry(data, TieredVersion(None if number == NO_VERSION else number, slot.version, known_at))

    def _tag(self, secret: bytes, key: str, stamp: bytes, data: bytes) -> bytes:
        """Return the tag of an entry. The end of the record's own tag represents the record."""
        return hmac.digest(secret, key.encode() + stamp + data[-TAG_BYTES:], "sha256")[:TAG_BYTES]
