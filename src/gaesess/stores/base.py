"""What gaesess asks of a store, and what each answer means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, TypeAlias

MAX_RECORD_BYTES = 1_000_000  # of data: memcached takes items of 1 MiB, Datastore properties of 1,048,487 bytes
CO_COROUTINE = 0x80  # inspect.CO_COROUTINE; to import inspect takes some milliseconds
MAX_SECONDS = 86_400  # of a timeout: SQLite, for one, takes some of the longer ones for 0
CLOCK_MARGIN = 3600  # seconds for which a record outlives its session: a cleanup's host may have a clock that is ahead
NAMESPACE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
SHARDS = tuple(f"{number:02x}" for number in range(256))  # docs/explanation/scale.md tells why so many

Version: TypeAlias = Any
"""What tells one state of a record from another: opaque to callers, who hand it back as they got it.

Of a store that is to be the durable one of a TieredStore it is an unsigned 64-bit number.
"""


def record_key(expires: int, sid: bytes, kind: bytes = b"record") -> str:
    """Return the key of a record: a hash with, after two digits, ten digits of expiry (Unix seconds).

    Each kind has keys of its own, so that no session id leads to a record that is not a session's. It is not the
    session id itself, so that keys in logs and listings name no session; a hash without a secret, so that records
    outlive a change of the cookie key. The two digits are the shard, which keeps new keys from all going to one
    Datastore tablet; within a shard what has expired is one range of keys.
    """
    name = sha256(b"gaesess/2 " + kind + sid).hexdigest()[:32]
    return f"{name[:2]}{expires:010d}{name[2:]}"


def key_expiry(key: str) -> int:
    """Return the expiry (Unix seconds) that `record_key` has written into a key."""
    return int(key[2:12])


def expired_key_ranges(now: int) -> Iterator[tuple[str, str]]:
    """Yield, shard by shard, the half-open range of keys whose expiry (Unix seconds) is not after `now`."""
    for shard in SHARDS:
        yield f"{shard}{0:010d}", f"{shard}{now + 1:010d}"


def checked_seconds(name: str, value: object) -> float:
    """Return the seconds of an argument such as `timeout`. Raises ValueError for what is no time that a call can wait.

    A store checks it when it is made: a wrong timeout would fail, or wait forever, only in an outage.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_SECONDS:
        return float(value)
    raise ValueError(f"{name} must be a number of seconds above 0, got {value!r}; the longest is {MAX_SECONDS:,}")


def checked_namespace(value: object) -> str:
    """Return a namespace of Datastore, or of App Engine's memcache. Raises ValueError for what cannot be one."""
    if isinstance(value, str) and len(value) <= 100 and NAMESPACE_CHARACTERS.issuperset(value):
        return value
    raise ValueError(f"namespace must be at most 100 of A-Z a-z 0-9 . _ -, got {value!r}")


class Stored(NamedTuple):
    """A record as read: its bytes, and the version that `replace` will ask for (from `gets`: the ticket for `cas`)."""

    data: bytes
    version: Version

    def __repr__(self) -> str:
        return f"<Stored version={self.version}>"  # no record, which has the session's id and its data in it


class Store(Protocol):
    """Keeps sealed records, as opaque bytes, by key.

    Keys are the 42 ASCII characters of `record_key`. A store of your own passes `gaesess.testing.StoreContract` before
    it is trusted with sessions. Every method raises StoreUnavailable, and nothing else of its client's, when it cannot
    answer or cannot confirm a write: an outage is no miss, and a write that may not have landed is no success. A
    write that the engine refuses for the size of the record raises SessionTooLarge: an answer, and no outage. All are
    safe to call from many threads.
    """

    may_forget: bool = False
    """Whether a record can vanish before its time without having been deleted, as from memory or a cache."""

    reads_at_once: bool = False
    """Whether a read takes so little time that an event loop may wait for it: it waits for no network and no lock.

    It counts only where the class itself says so. It is not inherited, because the `get` of a subclass may wait.
    """

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        """Return the record, or None if there is none. `fresh` reads past any cache; a store without one ignores it."""
        ...

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return the records under several keys, in the order of the keys, each read past any cache.

        A store whose engine can read several records in one round trip overrides this.
        """
        return [self.get(key, fresh=True) for key in keys]

    def add(self, key: str, data: bytes, *, expires_at: int) -> Version:
        """Store a new record and return its version. Raises KeyExists, and leaves the record there, if there is one.

        The record may be forgotten from `expires_at` (Unix seconds) on.
        """
        ...

    def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> Version:
        """Replace the record if it is still at `version`, and return its new version.

        Raises Conflict if it was replaced since, Gone if it is not there; in either case nothing is written.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete the record, so that no `replace` brings it back. To delete what is not there is no error."""
        ...

    def count_expired(self, *, now: int) -> int:
        """Return how many records `delete_expired` would delete in all; 0 where the store forgets them by itself."""
        ...

    def delete_expired(self, *, now: int) -> Iterator[int]:
        """Delete the records whose `expires_at` is not after `now` (Unix seconds); yield how many after each batch.

        Never deletes a live one. A caller may stop between batches: what is left is there for the next call.
        """
        ...


def has_calls(value: object, *calls: str) -> bool:
    """Return whether a value, which is to be a store and not its class, has these methods."""
    return not isinstance(value, type) and all(callable(getattr(value, call, None)) for call in calls)


class Cache(Store, Protocol):
    """A store that may forget, and that can be filled without asking: the front of a `TieredStore`.

    One of your own passes `gaesess.testing.CacheContract`.
    """

    may_forget: bool = True

    def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        """Store the record whether or not there is one. If it is too large, the one that was there may be deleted."""
        ...

    def gets(self, key: str) -> Stored | None:
        """Return the record with, in place of its version, a ticket for `cas`; None if there is none. One round trip.

        A ticket is opaque, and good for `cas` only.
        """
        ...

    def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        """Store the record if the entry there is still the very one that `ticket` is of. One round trip.

        Raises Conflict if it was written since, Gone if it is not there any more; in either case nothing is written.
        An entry that was deleted and stored anew never has an old ticket.
        """
        ...


class AsyncStore(Protocol):
    """A Store whose methods are coroutines, for applications under ASGI. One of your own passes AsyncStoreContract.

    Each may be awaited in any task of the event loop, many at once. One that is cancelled may or may not have written,
    and must leave the client usable: no later call gets its reply. Expired records are deleted by the command
    `gaesess cleanup` or by `delete_expired_sessions`, with the synchronous store of the same engine.
    """

    is_async: bool = True
    may_forget: bool = False
    """As Store's."""

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        """As Store's."""
        ...

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        """As Store's."""
        return [await self.get(key, fresh=True) for key in keys]

    async def add(self, key: str, data: bytes, *, expires_at: int) -> Version:
        """As Store's."""
        ...

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> Version:
        """As Store's."""
        ...

    async def delete(self, key: str) -> None:
        """As Store's."""
        ...


class AsyncCache(AsyncStore, Protocol):
    """A Cache whose methods are coroutines, as AsyncStore's are. One of your own passes AsyncCacheContract."""

    may_forget: bool = True

    async def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        """As Cache's."""
        ...

    async def gets(self, key: str) -> Stored | None:
        """As Cache's."""
        ...

    async def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        """As Cache's."""
        ...


def is_async(store: object) -> bool:
    """Return whether the methods of a store are coroutines: what its `is_async` says, else whether its `get` is one."""
    said = getattr(store, "is_async", None)
    if isinstance(said, bool):
        return said
    code = getattr(getattr(store, "get", None), "__code__", None)
    return code is not None and bool(code.co_flags & CO_COROUTINE)
