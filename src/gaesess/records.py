"""The records that a store has of sessions and users: how they are laid out, sealed on the way in, and verified.

Everything that decides what becomes of a stored session is a coroutine that awaits only the store, a lock and a sleep:
here, in saving.py, ending.py, users.py and stores/tiered.py. A driver runs it: at once over a Store, by the event loop
over an AsyncStore, and in the tests step by step, in every order.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gaesess import _impl, events
from gaesess._core import MAX_U32, POINTER, SID_BYTES, Key, Token, compressed, expanded
from gaesess.drivers import awaitable
from gaesess.errors import (
    ExpiredToken,
    InvalidToken,
    MalformedToken,
    RecordGone,
    SessionDataLoss,
    SessionTerminated,
    StoreBusy,
    StoreUnavailable,
)
from gaesess.stores.base import CLOCK_MARGIN, MAX_RECORD_BYTES, Stored, Version, record_key

if TYPE_CHECKING:
    from gaesess.config import SessionConfig
    from gaesess.stores.tiered import TieredStore, Tiers

T = TypeVar("T")

WRITE_ID_BYTES = 8
REMEMBERED_WRITES = 16  # 128 bytes
BURST_WRITES = 255  # remembered while one follows the other: more than others write in RETRY_SECONDS; 2 KB
BURST_SECONDS = 10  # after which it is none any more
MAX_REPLAYS = 100  # as many requests as an HTTP/2 connection may have at once (RFC 9113 section 6.5.2): each wins once
SAVE_SECONDS = 5.0  # for which other requests may win, and after which no failed call is repeated

_FRAME = struct.Struct("!BII")  # number of write ids, cookie revision, time; the ids and the data follow
_HEIR = struct.Struct(f"!I{SID_BYTES}s")


class History(NamedTuple):
    """How a record came about: the ids of its latest writes, the last one first, and where it branched off its cookie.

    `cookie_revision` is the last revision at which the session was whole in its cookie. A cookie of a higher one was
    answered later: what the record has was never acknowledged to that client. `written_at` is in Unix seconds.
    """

    write_ids: bytes = b""
    cookie_revision: int = 0
    written_at: int = 0

    @property
    def latest(self) -> bytes:
        """The id of the last write."""
        return self.write_ids[:WRITE_ID_BYTES]

    @property
    def writes(self) -> list[bytes]:
        """The ids one by one."""
        ids = self.write_ids
        return [ids[start : start + WRITE_ID_BYTES] for start in range(0, len(ids), WRITE_ID_BYTES)]

    def continued(self, now: int, cookie_revision: int | None = None) -> History:
        """Return the history of a record after one more write; with its revision if it stays whole in its cookie."""
        remembered = BURST_WRITES if abs(now - self.written_at) < BURST_SECONDS else REMEMBERED_WRITES
        write_ids = (os.urandom(WRITE_ID_BYTES) + self.write_ids)[: remembered * WRITE_ID_BYTES]
        written_at = min(max(now, 0), MAX_U32)
        return History(write_ids, self.cookie_revision if cookie_revision is None else cookie_revision, written_at)

    def up_to(self, write_id: bytes) -> History:
        """Return the history as it was after a write that it has."""
        return self._replace(write_ids=self.write_ids[self.writes.index(write_id) * WRITE_ID_BYTES :])


class Record(NamedTuple):
    """What the store has of a session: its token with the data, and how it came about.

    The record of a session that has ended, a tombstone, has no writes. Its `heirs` are the identities with which the
    session went on, one for each of the overlapping requests that gave it a new id.
    """

    token: Token
    version: Version
    history: History
    heirs: tuple[Token, ...] = ()
    retired: bool = False  # a retired key has sealed it

    @property
    def ended(self) -> bool:
        """Whether it is a tombstone."""
        return not self.history.write_ids

    def acknowledged(self, cookie_revision: int) -> History:
        """Return the history of a cookie of that revision, which is later than the record.

        What was written after the session left its cookie no client was told: those ids must not be taken for landed.
        """
        untold = max(self.token.revision - self.history.cookie_revision, 0)
        write_ids = self.history.write_ids[untold * WRITE_ID_BYTES :]
        return self.history._replace(write_ids=write_ids, cookie_revision=cookie_revision)

    def lacks(self, write_id: bytes, revision: int) -> bool:
        """Return whether a write that made that revision is certainly not in it."""
        writes = self.history.writes
        all_remembered = len(writes) < REMEMBERED_WRITES or self.token.revision - revision < len(writes)
        return all_remembered and write_id not in writes

    def has(self, write_id: bytes, revision: int) -> bool:
        """Return whether a write that would have made that revision has landed in it.

        Raises StoreUnavailable if too much was written since to tell.
        """
        landed = write_id in self.history.writes
        if not landed and not self.lacks(write_id, revision):
            raise StoreUnavailable("too much was written since for anybody to tell whether this session was saved")
        return landed


def frame(data: bytes, history: History) -> bytes:
    """Return a record's payload."""
    write_ids, cookie_revision, written_at = history
    return _FRAME.pack(len(write_ids) // WRITE_ID_BYTES, cookie_revision, written_at) + write_ids + data


def tombstone(*heirs: Token) -> bytes:
    """Return the payload of an ended session's record."""
    return frame(b"".join(_HEIR.pack(heir.expires, heir.sid) for heir in heirs), History())


def unframe(token: Token, version: Version) -> Record:
    """Return the record that was stored with this verified token. Raises MalformedToken if its payload is no frame."""
    payload = token.payload
    count = payload[0] if payload else 0
    end = _FRAME.size + count * WRITE_ID_BYTES
    if len(payload) < end:
        raise MalformedToken("record is cut short")
    _, cookie_revision, written_at = _FRAME.unpack_from(payload)
    history, data = History(payload[_FRAME.size : end], cookie_revision, written_at), payload[end:]
    heirs = () if count else _heirs(token, data)
    return Record(token._replace(payload=data), version, history, heirs)


def _heirs(token: Token, data: bytes) -> tuple[Token, ...]:
    if len(data) % _HEIR.size:
        raise MalformedToken("record has an heir that cannot be")
    heirs = tuple(token._replace(expires=expires, sid=sid, payload=b"") for expires, sid in _HEIR.iter_unpack(data))
    if any(not heir.expires or heir.sid == token.sid for heir in heirs):
        raise MalformedToken("record has an heir that cannot be")
    return heirs


def as_tiered(store: object) -> TieredStore | None:
    """Return a store that has a cache in front of it; None for any other."""
    from gaesess.stores.tiered import TieredStore  # not in every process

    return store if isinstance(store, TieredStore) else None


class Records:
    """The records of a store, sealed on the way in and verified on the way out.

    Every method raises StoreUnavailable if the store cannot answer. `tiers` are those of a TieredStore.
    """

    def __init__(
        self,
        config: SessionConfig,
        store: Any,
        keys: dict[int, Key],
        tiers: Tiers | None = None,
        kind: bytes = b"record",
    ) -> None:
        self.config = config
        self._kind = kind
        self._keys = keys
        self._key = next(iter(keys.values()))
        self._name = type(store).__name__
        self._store: Any = tiers or awaitable(store)
        self._tiers = tiers
        self._source: Any = store.durable if tiers else store

    @property
    def may_forget(self) -> bool:
        """Whether a record can vanish that nobody has deleted. A store may learn it only when it is first called."""
        return self._source.may_forget  # type: ignore[no-any-return]

    def key(self, token: Token) -> str:
        """Return the store's key of a record."""
        return record_key(_kept_until(token), token.sid, self._kind)

    # reading

    async def load(self, pointer: Token) -> Record:
        """Return the record that a cookie points to, of at least the cookie's revision.

        What a cache has is looked up past it if it cannot be believed. Raises RecordGone if the session was terminated,
        or the store may forget and has; SessionDataLoss if it must not have.
        """
        stored = await self._get(pointer)
        record = self.verified(pointer, stored)
        if record is None and stored is not None:
            fresh = await self._get(pointer, fresh=True)
            record = self.verified(pointer, fresh) if fresh != stored else None
        if record is None:
            raise self._missing(pointer)
        if record.ended:
            raise RecordGone("the session has ended")
        return record

    async def latest(self, token: Token) -> Record | None:
        """Return the record that a write has met with, read past any cache, or None if there is none.

        Raises SessionTerminated for a tombstone, and StoreUnavailable for what this process cannot read.
        """
        record, version = await self.look(token)
        if record is None and version is not None:
            raise StoreUnavailable("another process has written what this one cannot read; do they have the same keys?")
        if record is not None and record.ended:
            raise SessionTerminated("the session ended while this request was at work")
        return record

    async def look(self, token: Token) -> tuple[Record | None, Version | None]:
        """Return the record, if there is one to be believed, and the version of whatever is in its place."""
        stored = await self._get(token, fresh=True)
        return self.verified(token._replace(revision=0), stored), stored.version if stored else None

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return what the store has under several keys, past any cache; `verified` checks it."""
        return await self._ask(self._store.get_many(keys))

    def verified(self, wanted: Token, stored: Stored | None) -> Record | None:
        """Return what is stored as a record, or None if there is nothing, or nothing to be believed."""
        if stored is None:
            return None
        now = self.config.now()
        try:
            token = expanded(_impl.unseal(self._keys, stored.data, now))
            if (token.sid, token.expires) != (wanted.sid, wanted.expires):
                raise MalformedToken("record is of another session")
            record = unframe(token, stored.version)._replace(retired=stored.data[1] != self._key.id)
        except InvalidToken as error:
            if isinstance(error, ExpiredToken) and wanted.expires <= now:
                return Record(wanted, stored.version, History())  # as good as terminated
            message = f"ignored a session record: {error}"
            events.emit("poisoned_record", message, session=self.config.label(wanted.sid))
            return None
        if not record.ended and token.revision < wanted.revision:
            message = "ignored a session record: record is older than what the client has seen"
            events.emit("stale_record", message, session=self.config.label(wanted.sid))
            return None
        return record

    def _missing(self, pointer: Token) -> RecordGone | SessionDataLoss:
        if self.may_forget or not pointer.revision:
            return RecordGone("token points to a record that is gone")
        message = "the store does not have what a client was told was saved"
        events.emit("data_loss", message, session=self.config.label(pointer.sid), revision=pointer.revision)
        return SessionDataLoss(f"{message}: was it restored from a backup, or emptied?")

    # writing

    async def write(self, token: Token, version: Version | None, history: History) -> Version:
        """Add a record, or replace the one at `version`; return the new version.

        Raises KeyExists, Conflict or Gone as the store does.
        """
        key, data = self.key(token), self._sealed(token, frame(token.payload, history))
        return await self._ask(_put(self._store, key, data, _kept_until(token), version))

    async def write_quick(self, token: Token, version: Version | None, history: History) -> Version | None:
        """Write to the cache alone, if there is one in front of a durable store; return the version, or None."""
        if self._tiers is None or len(token.payload) > MAX_RECORD_BYTES:
            return None
        key, data = self.key(token), self._sealed(token, frame(token.payload, history))
        return await self._tiers.put_quick(key, data, version)

    async def bury(self, token: Token, version: Version | None, *heirs: Token) -> None:
        """Put a tombstone in the place of a record. Raises KeyExists, Conflict or Gone as the store does."""
        key, data = self.key(token), self._sealed(token, tombstone(*heirs))
        try:
            if self._tiers is None:
                await self._ask(_put(self._store, key, data, _kept_until(token), version))
            else:
                await self._ask(self._tiers.end(key, data, expires_at=_kept_until(token), version=version))
        finally:  # it may have landed also if it failed
            self.config.forget(token.sid)

    async def mark(self, token: Token) -> None:
        """Mark a cache's entry as outdated, after the session has ended."""
        self.config.forget(token.sid)
        if self._tiers:
            await self._tiers.mark(self.key(token))

    async def delete(self, token: Token) -> None:
        """Delete a record whose id no client has been sent."""
        await self._ask(self._store.delete(self.key(token)))

    def is_final(self, error: StoreUnavailable, began: float) -> bool:
        """Return whether there is no use, or no time, to query the store again after a call that failed.

        `began` is when the first call did, by the driver's clock.
        """
        return isinstance(error, StoreBusy) or self.config.driver.clock() - began >= SAVE_SECONDS

    # helpers

    async def _get(self, token: Token, *, fresh: bool = False) -> Stored | None:
        return await self._ask(self._store.get(self.key(token), fresh=fresh))

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            return await question
        except StoreUnavailable as error:
            message = f"the session store did not answer: {error}"
            events.emit("store_unavailable", message, store=self._name)
            raise

    def _sealed(self, token: Token, payload: bytes) -> bytes:
        token = token._replace(flags=token.flags & ~POINTER, payload=payload)
        return _impl.seal(self._key, compressed(token) if self.config.compress else token, 1)


def _kept_until(token: Token) -> int:
    return min(token.expires + CLOCK_MARGIN, MAX_U32)


async def _put(store: Any, key: str, data: bytes, expires_at: int, version: Version | None) -> Version:
    if version is None:
        return await store.add(key, data, expires_at=expires_at)
    return await store.replace(key, data, expires_at=expires_at, version=version)
