"""Sessions in a store: sealed on the way in, verified on the way out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from gaesess import _impl
from gaesess._core import POINTER, Token
from gaesess.errors import (
    BadSignature,
    ExpiredToken,
    InvalidToken,
    MalformedToken,
    RecordGone,
    StoreError,
    StoreUnavailable,
)
from gaesess.keys import KeySet
from gaesess.log import logger
from gaesess.stores.base import Store, Stored, record_key

RETIRED = b"retired for "  # begins what stands in for a record between the end of its id and its deletion


class Records:
    """Reads and writes the records of sessions. Every method raises StoreUnavailable if the store cannot answer."""

    def __init__(self, store: Store, keys: KeySet, now: Callable[[], int]) -> None:
        self.store = store
        self._keys = keys
        self._now = now

    def read(self, wanted: Token, *, fresh: bool = False) -> tuple[Token, int]:
        """Return the record of a session, of at least its revision, and the record's version.

        One from a cache that is not to be believed is looked up past the cache. Raises RecordGone, or another
        InvalidToken for a record that is damaged, too old or not this session's.
        """
        key = record_key(wanted.expires, wanted.sid)
        try:
            return self._verify(wanted, self.store.get(key, fresh=fresh))
        except (RecordGone, ExpiredToken):
            raise
        except InvalidToken as error:
            if fresh:
                raise
            reason = str(error)
        found = self._verify(wanted, self.store.get(key, fresh=True))
        logger().warning("ignored a cached session record: %s", reason)
        return found

    def _verify(self, wanted: Token, stored: Stored | None) -> tuple[Token, int]:
        if stored is None or stored.data.startswith(RETIRED):
            raise RecordGone("token points to a record that is gone")
        record = _impl.unseal(self._keys.verifying, stored.data, self._now())
        if (record.sid, record.expires) != (wanted.sid, wanted.expires):
            raise BadSignature("record is of another session")
        if record.revision < wanted.revision:
            raise MalformedToken("record is older than what the client has seen")
        return record, stored.version

    def write(self, record: Token, version: int | None) -> int:
        """Add the record, or replace the one at `version`; return the new version.

        Raises KeyExists, Conflict or Gone as the store does.
        """
        key, data = record_key(record.expires, record.sid), self._seal(record)
        if version is None:
            return self.store.add(key, data, expires_at=record.expires)
        return self.store.replace(key, data, expires_at=record.expires, version=version)

    def write_quick(self, record: Token, version: int) -> bool:
        """Write to the cache alone, if there is one in front of a durable store; return whether that was done."""
        from gaesess.stores.tiered import TieredStore  # not for every process: see log.py

        if not isinstance(self.store, TieredStore):
            return False
        key = record_key(record.expires, record.sid)
        return self.store.put_quick(key, self._seal(record), expires_at=record.expires, version=version)

    def retire(self, token: Token, version: int, *, heir: Token) -> None:
        """Delete the record of a session's old id, unless a concurrent request has changed it since `version`.

        Raises Conflict or Gone as the store does. A writer who comes later finds it gone, so nothing of his is lost
        without his knowing. To retire it again for the same heir, after a reply was lost, is no error.
        """
        key = record_key(token.expires, token.sid)
        mark = RETIRED + record_key(heir.expires, heir.sid).encode()
        try:
            self.store.replace(key, mark, expires_at=token.expires, version=version)
        except StoreError:
            stored = self.store.get(key, fresh=True)
            if stored is None or stored.data != mark:
                raise
        with suppress(StoreUnavailable):  # what is left says nothing, until it expires
            self.store.delete(key)

    def delete(self, token: Token) -> None:
        """Delete the record of a session, if there is one."""
        self.store.delete(record_key(token.expires, token.sid))

    def _seal(self, record: Token) -> bytes:
        return _impl.seal(self._keys.sealing, record._replace(flags=record.flags & ~POINTER), 1)
