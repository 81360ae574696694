"""What gaesess asks of a store, and what each answer means."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, TypeAlias

MAX_RECORD_BYTES = 1_000_000  # of data: memcached takes items of 1 MiB, Datastore properties of 1,048,487 bytes
SHARDS = tuple(f"{number:02x}" for number in range(256))  # docs/explanation/scale.md tells why so many

Version: TypeAlias = Any
"""What tells one state of a record from another: opaque to callers, who hand it back as they got it.

Of a store that is to be the durable one of a TieredStore it is an unsigned 64-bit number.
"""


def record_key(expires: int, sid: bytes) -> str:
    """Return the key of a session's record: a hash with, after two digits, ten digits of expiry (Unix seconds).

    Not the session id itself, so that keys in logs and listings name no session; a hash without a secret, so that
    records outlive a change of the cookie key. The two digits are the shard, which keeps new keys from all going to
    one Datastore tablet; within a shard what has expired is one range of keys.
    """
    name = sha256(b"gaesess/2 record" + sid).hexdigest()[:32]
    return f"{name[:2]}{expires:010d}{name[2:]}"


def key_expiry(key: str) -> int:
    """Return the expiry (Unix seconds) that `record_key` has written into a key."""
    return int(key[2:12])


def expired_key_ranges(now: int) -> Iterator[tuple[str, str]]:
    """Yield, shard by shard, the half-open range of keys whose expiry (Unix seconds) is not after `now`."""
    for shard in SHARDS:
        yield f"{shard}{0:010d}", f"{shard}{now + 1:010d}"


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
    answer or cannot confirm a write: an outage is no miss, and a write that may not have landed is no success.
    All are safe to call from many threads.
    """

    may_forget: bool = False
    """Whether a record can vanish before its time without having been deleted, as from memory or a cache."""

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        """Return the record, or None if there is none. `fresh` reads past any cache; a store without one ignores it."""
        ...

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
        """Store the record whether or not there is one."""
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
