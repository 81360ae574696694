"""Sessions in a store: sealed on the way in, verified on the way out, and ended by a tombstone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from gaesess import events
from gaesess._core import POINTER, RECORDED, Token
from gaesess.errors import (
    Conflict,
    ExpiredToken,
    Gone,
    InvalidToken,
    KeyExists,
    MalformedToken,
    RecordGone,
    SessionDataLoss,
    SessionTerminated,
    StoreUnavailable,
)
from gaesess.record import History, Record, frame, tombstone, unframe
from gaesess.sealer import Sealer
from gaesess.stores.base import Store, Stored, Version, record_key

if TYPE_CHECKING:
    from gaesess.stores.tiered import TieredStore

T = TypeVar("T")

MAX_TRIES = 3  # of a write whose outcome is not known
OVERLAP_SECONDS = 60  # from a session's take-over, for requests on their way with its old cookie: more than they take
MAX_REPLAYS = 100  # as many requests as an HTTP/2 connection may have at once (RFC 9113 section 6.5.2): each wins once


class Records:
    """Reads and writes the records of sessions. Every method raises StoreUnavailable if the store cannot answer."""

    def __init__(self, store: Store, sealer: Sealer, label: Callable[[bytes], str], now: Callable[[], int]) -> None:
        self._store = store
        self._sealer = sealer
        self._label = label
        self._now = now

    @property
    def may_forget(self) -> bool:
        """Return whether a record can vanish that nobody has deleted."""
        return self._store.may_forget

    def read(self, pointer: Token) -> Record:
        """Return the record that a cookie points to, of at least the cookie's revision.

        What a cache has is looked up past it if it is not to be believed. Raises RecordGone if the session was
        terminated, or the store may forget and has; SessionDataLoss if it must not have.
        """
        stored = self._get(pointer)
        record = self._verified(pointer, stored)
        if record is None and stored is not None:
            fresh = self._get(pointer, fresh=True)
            record = self._verified(pointer, fresh) if fresh != stored else None
        if record is None:
            raise self._missing(pointer)
        if record.ended:
            raise RecordGone("the session has ended")
        return record

    def latest(self, token: Token) -> Record | None:
        """Return the record that a write has met with, read past any cache, or None if there is none.

        Raises SessionTerminated for a tombstone, and StoreUnavailable for what this process cannot read.
        """
        record, version = self.look(token)
        if record is None and version is not None:
            raise StoreUnavailable("another process has written what this one cannot read; do they have the same keys?")
        if record is not None and record.ended:
            raise SessionTerminated("the session ended while this request was at work")
        return record

    def look(self, token: Token, *, fresh: bool = True) -> tuple[Record | None, Version | None]:
        """Return the record, if there is one to be believed, and the version of whatever is in its place.

        Unless `fresh` it may be what a cache has, if that is to be believed.
        """
        stored = self._get(token, fresh=fresh)
        record = self._verified(token._replace(revision=0), stored)
        if record is None and stored is not None and not fresh:
            return self.look(token)
        return record, stored.version if stored else None

    def has_ended(self, token: Token) -> bool:
        """Return whether the store has a tombstone of a session, or something that nobody can read in its place."""
        stored = self._get(token)
        record = self._verified(token._replace(revision=0), stored)
        return stored is not None and (record is None or record.ended)

    def write(self, token: Token, version: Version | None, history: History) -> Version:
        """Add a record, or replace the one at `version`; return the new version.

        Raises KeyExists, Conflict or Gone as the store does.
        """
        return self._put(token, version, frame(token.payload, history))

    def write_quick(self, token: Token, version: Version | None, history: History) -> Version | None:
        """Write to the cache alone, if there is one in front of a durable store; return the version, or None."""
        if self._tiered is None:
            return None
        key, data = record_key(token.expires, token.sid), self._seal(token, frame(token.payload, history))
        return self._tiered.put_quick(key, data, expires_at=token.expires, version=version)

    def retire(self, old: Token, version: Version, *, heir: Token) -> None:
        """Put a tombstone in the place of the record of a session's old id, unless it was changed since `version`.

        Raises Conflict or Gone as the store does. To retire it again for the same heir, after a reply was lost, is no
        error.
        """
        try:
            self._put(old, version, tombstone(heir))
        except (Conflict, StoreUnavailable):
            if not self._is_retired(old, heir):
                raise
        self.invalidate(old)

    def terminate(self, token: Token, version: Version | None = None) -> None:
        """End a session under this identity and every one that it was given meanwhile. `version` as for `end`."""
        heir = self.end(token, version)
        while heir:
            heir = self.end(heir)

    def end(self, token: Token, version: Version | None = None) -> Token | None:
        """Put a tombstone in the place of a record, whatever is there; return its heir if it has ended before.

        `version` is that of the record if it is known. If the durable store cannot be told, the cache is.
        """
        for attempt in range(MAX_REPLAYS):
            try:
                if attempt or (version is None and token.flags & RECORDED):
                    stored = self._get(token, fresh=True)
                    record = self._verified(token._replace(revision=0), stored)
                    if record is not None and record.ended:
                        self.invalidate(token)
                        return record.heir
                    version = stored.version if stored else None
                self._put(token, version, tombstone(None))
                self.invalidate(token)
                events.emit("terminated", "the record of a session was ended", session=self._label(token.sid))
                return None
            except (KeyExists, Conflict, Gone):
                pass
            except StoreUnavailable:
                if attempt:
                    self._end_in_cache(token)
                    raise
        raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be terminated")

    def bar(self, old: Token, *, heir: Token) -> None:
        """Put a tombstone under the identity of another library's session, which goes on as `heir`.

        Raises Conflict if it is barred by now. To bar it again, for another heir too, is no error otherwise.
        """
        try:
            self._put(old, None, tombstone(heir))
        except KeyExists:
            if self.is_barred(old):
                raise Conflict("the session of another library has ended") from None
        except StoreUnavailable:
            if not self._is_retired(old, heir):
                raise

    def is_barred(self, old: Token) -> bool:
        """Return whether the session of another library is not to be taken over (again).

        Requests that overlap with the first one to do so each may, unless the heir has ended meanwhile.
        """
        stored = self._get(old, fresh=True)
        record = self._verified(old, stored)
        if stored is None or record is None:
            return stored is not None  # nobody but us has ever had a record there
        if record.heir is None or record.token.issued + OVERLAP_SECONDS <= self._now():
            return True
        heir = self._verified(record.heir._replace(revision=0), self._get(record.heir, fresh=True))
        return heir is not None and heir.ended

    def invalidate(self, token: Token) -> None:
        """Mark a cache's entry as old if the last write could not: call it after a sign-out."""
        if self._tiered:
            self._tiered.invalidate(record_key(token.expires, token.sid))

    def delete(self, token: Token) -> None:
        """Delete a record that nobody knows of."""
        self._ask(lambda: self._store.delete(record_key(token.expires, token.sid)))

    def _is_retired(self, old: Token, heir: Token) -> bool:
        record = self._verified(old._replace(revision=0), self._get(old, fresh=True))
        return record is not None and record.heir is not None and record.heir.sid == heir.sid

    def _verified(self, wanted: Token, stored: Stored | None) -> Record | None:
        """Return what is stored as a record, or None if there is nothing, or nothing to be believed."""
        if stored is None:
            return None
        try:
            token, retired_key = self._sealer.unseal(stored.data, self._now())
            if (token.sid, token.expires) != (wanted.sid, wanted.expires):
                raise MalformedToken("record is of another session")
            record = unframe(token, stored.version)._replace(retired_key=retired_key)
        except InvalidToken as error:
            if isinstance(error, ExpiredToken) and wanted.expires <= self._now():
                return Record(wanted, stored.version, History())  # as good as terminated
            message = f"ignored a session record: {error}"
            events.emit("poisoned_record", message, session=self._label(wanted.sid))
            return None
        if not record.ended and token.revision < wanted.revision:
            message = "ignored a session record: record is older than what the client has seen"
            events.emit("stale_record", message, session=self._label(wanted.sid))
            return None
        return record

    def _missing(self, pointer: Token) -> RecordGone | SessionDataLoss:
        if self.may_forget or not pointer.revision:
            return RecordGone("token points to a record that is gone")
        message = "the store does not have what a client was told was saved"
        events.emit("data_loss", message, session=self._label(pointer.sid), revision=pointer.revision)
        return SessionDataLoss(f"{message}: was it restored from a backup, or emptied?")

    def _get(self, token: Token, *, fresh: bool = False) -> Stored | None:
        return self._ask(lambda: self._store.get(record_key(token.expires, token.sid), fresh=fresh))

    def _put(self, token: Token, version: Version | None, payload: bytes) -> Version:
        key, data, expires = record_key(token.expires, token.sid), self._seal(token, payload), token.expires
        if version is None:
            return self._ask(lambda: self._store.add(key, data, expires_at=expires))
        return self._ask(lambda: self._store.replace(key, data, expires_at=expires, version=version))

    def _end_in_cache(self, token: Token) -> None:
        if self._tiered:
            key, data = record_key(token.expires, token.sid), self._seal(token, tombstone(None))
            self._tiered.put_cache(key, data)

    @property
    def _tiered(self) -> TieredStore | None:
        from gaesess.stores.tiered import TieredStore  # not in every process

        return self._store if isinstance(self._store, TieredStore) else None

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except StoreUnavailable as error:
            store = type(self._store).__name__
            events.emit("store_unavailable", f"the session store did not answer: {error}", store=store)
            raise

    def _seal(self, token: Token, payload: bytes) -> bytes:
        return self._sealer.seal(self._sealer.shrink(token._replace(flags=token.flags & ~POINTER, payload=payload)))
