"""A cache in front of a durable store, which is the truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gaesess.errors import Conflict, Gone, KeyExists, StoreError, StoreUnavailable
from gaesess.stores._breaker import Breaker
from gaesess.stores.base import Cache, Store, Stored, has_calls, key_expiry

T = TypeVar("T")

# What the cache holds under a key: the durable store's version in 8 bytes and the record, or a mark.
VERSION_BYTES = 8
NO_VERSION = 2**64 - 1  # the durable store has no such record yet
UNKNOWN = b"?"  # ask the durable store
MAX_OWED = 5000  # marks kept for a cache that is away: about 1 MB, and 1 second to write
SLOW_SECONDS = 0.25  # longer than Datastore takes for a lookup: a cache that answers no faster is worse than none


@dataclass(frozen=True)
class TieredVersion:
    """The durable store's version, None if it has no such record yet; and the cache's ticket, None if not known."""

    durable: int | None
    ticket: Any = field(compare=False)


class TieredStore(Store):
    """Reads from `cache` where it can, and writes to `durable` first and then to `cache`.

    A cache that fails, or takes longer than a quarter of a second, never fails a call: it is left alone for
    `retry_after` seconds, then one caller tries it, and `durable` serves all the others. So of each process, beyond
    those it surprises, one request in `retry_after` seconds waits for it, as long as its own timeout. While `durable`
    is down, what is in the cache can be read; all else raises StoreUnavailable. `clock` is in seconds.

    A sign-out always tries the cache: `delete` and `invalidate` mark its entry as old at once, because the process may
    exit before `retry_after` is over. So while the cache hangs, each sign-out waits for its timeout.

    Old data cannot enter the cache by a slow hand: readers and writers change only the very entry that they found there
    before they asked the durable store, and where it has changed meanwhile it becomes UNKNOWN. What remains: a new
    record whose entry the cache drops before its writer has put it there, and writes of another machine that the cache
    did not hear of. The revision floor in the cookie catches an old record; it does not catch a sign-out. If the cache
    cannot be reached, or does not answer within its timeout, at a sign-out, other processes may read the old entry
    there until this process uses the cache again or, if it exits first, until the cache drops the entry or a request
    writes to the record.
    """

    def __init__(
        self,
        cache: Cache,
        durable: Store,
        *,
        retry_after: float = 1.0,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        if not has_calls(cache, "get", "gets", "add", "cas", "put", "delete"):
            raise TypeError(f"TieredStore's cache must be a cache, such as a MemcacheStore, got {cache!r}")
        if not has_calls(durable, "get", "add", "replace", "delete", "delete_expired"):
            raise TypeError(f"TieredStore's durable store must be a store, such as a DatastoreStore, got {durable!r}")
        self.cache = cache
        self.durable = durable
        self.may_forget = durable.may_forget
        self._clock = clock
        self._breaker = Breaker(retry_after, clock)
        self._owed: dict[str, object] = {}  # keys whose entry is old, which the cache was not there to hear
        self._owed_lock = threading.Lock()

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        slot = self._look(key)
        entry = _unpack(slot)
        if entry is not None and not fresh:
            return entry
        stored = self.durable.get(key, fresh=fresh)
        if stored is None:
            return None
        if slot is None:
            if fresh:  # whoever asks has reason to doubt what the cache has, and it was not there to be corrected
                self._owe(key)
            return Stored(stored.data, TieredVersion(stored.version, None))
        if entry is not None and entry.version.durable == stored.version:
            return Stored(stored.data, TieredVersion(stored.version, slot.version))
        self._correct(key, slot.version, _pack(stored.data, stored.version))
        return Stored(stored.data, TieredVersion(stored.version, None))

    def add(self, key: str, data: bytes, *, expires_at: int) -> TieredVersion:
        version = self.durable.add(key, data, expires_at=expires_at)
        try:
            self._ask_cache(lambda: self.cache.add(key, _pack(data, version), expires_at=expires_at))
        except StoreError:  # it has a newer record by now, or is not there
            self._forget(key)
        return TieredVersion(version, None)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: TieredVersion) -> TieredVersion:
        if version.durable is None:
            try:
                durable = self.durable.add(key, data, expires_at=expires_at)
            except KeyExists as error:
                raise Conflict("the durable store has a record by now that was in the cache alone") from error
        else:
            durable = self.durable.replace(key, data, expires_at=expires_at, version=version.durable)
        with suppress(Gone):  # the cache has dropped the entry; who reads next fills it
            try:
                self._change(key, version, _pack(data, durable), expires_at)
            except (Conflict, StoreUnavailable):
                self._forget(key)
        return TieredVersion(durable, None)

    def delete(self, key: str) -> None:
        try:
            self.durable.delete(key)
        finally:  # it may have landed also if it failed
            self._forget(key, past_breaker=True)

    def invalidate(self, key: str) -> None:
        """Mark the cache's entry as old if a write of this process could not: call it after a sign-out.

        It is tried even while the cache is left alone.
        """
        if key in self._owed:
            self._forget(key, past_breaker=True)

    def put_quick(
        self, key: str, data: bytes, *, expires_at: int, version: TieredVersion | None
    ) -> TieredVersion | None:
        """Write to the cache only, where the record is at `version` or, if that is None, not there; return its version.

        None says that it was not done, because the cache is away or has another record: make the change durable.
        """
        durable = version.durable if version else None
        try:
            self._change(key, version, _pack(data, durable), expires_at)
        except StoreError:
            return None
        return TieredVersion(durable, None)

    def put_cache(self, key: str, data: bytes) -> None:
        """Write to the cache only, whatever is there, if it can be reached: it is tried even while it is left alone."""
        with suppress(StoreUnavailable):
            self._ask_cache(lambda: self._put(key, _pack(data, None)), past_breaker=True)

    def count_expired(self, *, now: int) -> int:
        return self.durable.count_expired(now=now)

    def delete_expired(self, *, now: int) -> Iterator[int]:
        return self.durable.delete_expired(now=now)

    def _look(self, key: str) -> Stored | None:
        """Return what the cache has; if nothing, what keeps the place of what the durable store will be found to have.

        Only so can a reader tell that the cache has dropped, meanwhile, something newer than what he brings.
        """

        def look() -> Stored | None:
            slot = self.cache.gets(key)
            if slot is None:
                with suppress(KeyExists):
                    self.cache.add(key, UNKNOWN, expires_at=key_expiry(key))
                slot = self.cache.gets(key)
            return slot

        try:
            return self._ask_cache(look)
        except StoreUnavailable:
            return None

    def _correct(self, key: str, ticket: Any, entry: bytes) -> None:
        """Store what the durable store has, if the cache still has what it had before that was asked."""
        try:
            self._ask_cache(lambda: self.cache.cas(key, entry, expires_at=key_expiry(key), ticket=ticket))
        except (Conflict, Gone):
            pass
        except StoreUnavailable:
            self._owe(key)

    def _change(self, key: str, version: TieredVersion | None, entry: bytes, expires_at: int) -> None:
        """Store the entry where the cache has the record at `version`. Raises Conflict, Gone or KeyExists if not."""

        def change() -> None:
            ticket = version.ticket if version else None
            if ticket is None:
                slot = self.cache.gets(key)
                found = _unpack(slot)
                if (found.version if found else None) != version:
                    raise Conflict("the cache has another version of the record")
                if slot is None:
                    self.cache.add(key, entry, expires_at=expires_at)
                    return
                ticket = slot.version
            self.cache.cas(key, entry, expires_at=expires_at, ticket=ticket)

        self._ask_cache(change)

    def _forget(self, key: str, *, past_breaker: bool = False) -> None:
        """Have nobody believe what the cache has under a key."""
        try:
            self._ask_cache(lambda: self._put(key, UNKNOWN), past_breaker=past_breaker)
        except StoreUnavailable:
            self._owe(key)

    def _ask_cache(self, question: Callable[[], T], *, past_breaker: bool = False) -> T:
        """Return the cache's answer. Raises StoreUnavailable if it fails, or is left alone and not `past_breaker`.

        A question `past_breaker` may read nothing from the cache: it is asked before what is owed is paid.
        """
        if not (past_breaker or self._breaker.allows()):
            raise StoreUnavailable("the cache failed a moment ago and is left alone")
        try:
            if self._owed and not past_breaker:
                self._pay()
            began = self._clock()
            answer = question()
        except StoreUnavailable as error:
            self._breaker.fail(str(error))
            raise
        except StoreError:  # an answer too
            self._breaker.succeed()
            raise
        if self._clock() - began > SLOW_SECONDS:
            self._breaker.fail(f"it took more than {SLOW_SECONDS} seconds to answer")
        else:
            self._breaker.succeed()
        return answer

    def _owe(self, key: str) -> None:
        with self._owed_lock:
            self._owed[key] = object()
            if len(self._owed) > MAX_OWED:
                del self._owed[next(iter(self._owed))]

    def _pay(self) -> None:
        """Mark what a cache that was away has not heard of, before anything is read from it again."""
        with self._owed_lock:
            owed = list(self._owed)
        for key in owed:
            self._put(key, UNKNOWN)

    def _put(self, key: str, entry: bytes) -> None:
        """Store an entry whatever is there. The key stays owed until then: no other caller reads past it meanwhile."""
        debt = self._owed.get(key)
        self.cache.put(key, entry, expires_at=key_expiry(key))
        with self._owed_lock:
            if self._owed.get(key) is debt:
                self._owed.pop(key, None)


def _pack(data: bytes, version: int | None) -> bytes:
    return (NO_VERSION if version is None else version).to_bytes(VERSION_BYTES, "big") + data


def _unpack(slot: Stored | None) -> Stored | None:
    if slot is None or len(slot.data) < VERSION_BYTES:
        return None
    number = int.from_bytes(slot.data[:VERSION_BYTES], "big")
    durable = None if number == NO_VERSION else number
    return Stored(slot.data[VERSION_BYTES:], TieredVersion(durable, slot.version))
