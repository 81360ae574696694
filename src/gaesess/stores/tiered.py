"""A cache in front of a durable store, which is the truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from gaesess.errors import StoreError, StoreUnavailable
from gaesess.log import logger
from gaesess.stores.base import Cache, Store, Stored

T = TypeVar("T")

# What the cache holds under a key: the durable store's version in 8 bytes and the record, or one of two marks.
VERSION_BYTES = 8
TERMINATED = b""  # there is no record, do not ask
UNKNOWN = b"?"  # ask the durable store
MAX_OWED = 5000  # marks kept for a cache that is away: about 1 MB, and 1 second to write


class TieredStore(Store):
    """Reads from `cache` where it can, and writes to `durable` first and then to `cache`.

    A cache that fails never fails a call: for `retry_after` seconds it is left alone, and `durable` serves. A record in
    the cache carries the durable version, so that what was read there can be replaced in the durable store. While
    `durable` is down, what is in the cache can be read; all else raises StoreUnavailable. `clock` is in seconds.

    Old data cannot enter the cache by a slow hand: a reader fills only what has not changed since before it asked the
    durable store, a writer replaces only the very version that its own follows, and in any doubt the entry becomes
    UNKNOWN. What remains: an entry that the cache itself drops between two steps, and writes of another machine that
    the cache did not hear of. The revision floor in the cookie catches an old record; the session manager then reads
    `fresh`. It does not catch a deletion: what a process deletes that cannot reach the cache may be read there by
    others, until that process can tell the cache, or the cache forgets.
    """

    def __init__(
        self,
        cache: Cache,
        durable: Store,
        *,
        retry_after: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cache = cache
        self.durable = durable
        self._breaker = _Breaker(retry_after, clock)
        self._owed: dict[str, bytes] = {}  # marks that the cache was not there to take
        self._owed_lock = threading.Lock()

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        try:
            slot = self._ask_cache(lambda cache: cache.get(key))
        except StoreUnavailable:
            return self.durable.get(key)
        if slot is not None and slot.data != UNKNOWN and not fresh:
            return _unpack(slot.data)
        stored = self.durable.get(key)
        if stored is not None or slot is not None:
            self._fill(key, slot, TERMINATED if stored is None else _pack(stored.data, stored.version))
        return stored

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        version = self.durable.add(key, data, expires_at=expires_at)
        try:
            self._ask_cache(lambda cache: cache.add(key, _pack(data, version), expires_at=expires_at))
        except StoreError:  # it has a newer record by now, or a mark that there is none any more
            self._put(key, UNKNOWN, expires_at)
        return version

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        try:
            new_version = self.durable.replace(key, data, expires_at=expires_at, version=version)
        except StoreError:  # the caller may have read an old record in the cache, or the write landed unacknowledged
            self._put(key, UNKNOWN, expires_at)
            raise
        if not self._advance(key, version, _pack(data, new_version), expires_at):
            self._put(key, UNKNOWN, expires_at)
        return new_version

    def delete(self, key: str) -> None:
        try:
            self.durable.delete(key)
        except StoreUnavailable:  # it may have landed
            self._put(key, UNKNOWN, _key_expiry(key))
            raise
        self._put(key, TERMINATED, _key_expiry(key))

    def put_quick(self, key: str, data: bytes, *, expires_at: int, version: int) -> bool:
        """Change the record in the cache only, where it is at the durable `version`, and return whether that was done.

        If not, because the cache is away or has no such record, make the change durable by `replace`.
        """
        return self._advance(key, version, _pack(data, version), expires_at)

    def count_expired(self, *, now: int) -> int:
        return self.durable.count_expired(now=now)

    def delete_expired(self, *, now: int, limit: int) -> int:
        return self.durable.delete_expired(now=now, limit=limit)

    def _fill(self, key: str, slot: Stored | None, entry: bytes) -> None:
        """Store what was read from the durable store, if the cache still is as it was found before that."""

        def fill(cache: Cache) -> None:
            if slot is None:
                cache.add(key, entry, expires_at=_key_expiry(key))
            else:
                cache.replace(key, entry, expires_at=_key_expiry(key), version=slot.version)

        with suppress(StoreError):
            self._ask_cache(fill)

    def _advance(self, key: str, version: int, entry: bytes, expires_at: int) -> bool:
        """Store the entry where the cache has the record at that durable version; return whether it had."""

        def advance(cache: Cache) -> bool:
            slot = cache.get(key)
            if slot is None or _durable_version(slot.data) != version:
                return False
            cache.replace(key, entry, expires_at=expires_at, version=slot.version)
            return True

        try:
            return self._ask_cache(advance)
        except StoreError:
            return False

    def _put(self, key: str, entry: bytes, expires_at: int) -> None:
        try:
            self._ask_cache(lambda cache: cache.put(key, entry, expires_at=expires_at))
        except StoreUnavailable:
            self._owe(key, TERMINATED if entry == TERMINATED else UNKNOWN)

    def _ask_cache(self, question: Callable[[Cache], T]) -> T:
        if not self._breaker.allows():
            raise StoreUnavailable("the cache failed a moment ago and is left alone")
        try:
            if self._owed:
                self._pay()
            answer = question(self.cache)
        except StoreUnavailable as error:
            self._breaker.fail(error)
            raise
        except StoreError:  # an answer too
            self._breaker.succeed()
            raise
        self._breaker.succeed()
        return answer

    def _owe(self, key: str, mark: bytes) -> None:
        with self._owed_lock:
            self._owed[key] = mark
            if len(self._owed) > MAX_OWED:
                del self._owed[next(iter(self._owed))]

    def _pay(self) -> None:
        """Write the marks that a cache which was away has not heard of, before anything is read from it again."""
        with self._owed_lock:
            owed = list(self._owed.items())
        for key, mark in owed:  # a mark stays owed until it is written, so that no other caller reads past it meanwhile
            self.cache.put(key, mark, expires_at=_key_expiry(key))
            with self._owed_lock:
                if self._owed.get(key) == mark:
                    del self._owed[key]


class _Breaker:
    """Says whether to try the cache: not for `retry_after` seconds after a failure, and then one caller alone."""

    def __init__(self, retry_after: float, clock: Callable[[], float]) -> None:
        self._retry_after = retry_after
        self._clock = clock
        self._retry_at: float | None = None  # None while the cache works
        self._lock = threading.Lock()

    def allows(self) -> bool:
        if self._retry_at is None:
            return True
        with self._lock:
            now = self._clock()
            if self._retry_at is not None and now < self._retry_at:
                return False
            if self._retry_at is not None:
                self._retry_at = now + self._retry_after  # this caller tries; the others do without
            return True

    def fail(self, error: StoreUnavailable) -> None:
        with self._lock:
            opens = self._retry_at is None
            self._retry_at = self._clock() + self._retry_after
        if opens:
            logger().warning("the cache fails, the durable store serves alone: %s", error)

    def succeed(self) -> None:
        if self._retry_at is None:
            return
        with self._lock:
            closes, self._retry_at = self._retry_at is not None, None
        if closes:
            logger().info("the cache works again")


def _pack(data: bytes, version: int) -> bytes:
    return version.to_bytes(VERSION_BYTES, "big") + data


def _unpack(entry: bytes) -> Stored | None:
    return None if entry == TERMINATED else Stored(entry[VERSION_BYTES:], int.from_bytes(entry[:VERSION_BYTES], "big"))


def _durable_version(entry: bytes) -> int | None:
    return int.from_bytes(entry[:VERSION_BYTES], "big") if len(entry) >= VERSION_BYTES else None


def _key_expiry(key: str) -> int:
    return int(key[1:11])  # where `record_key` writes it
