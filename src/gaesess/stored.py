"""A session in a store: how it is loaded, saved in spite of other requests and lost replies, and ended.

Plain data in, plain data out: no session of a request comes in here, only what must be saved of it, as a Draft.

Everything that decides is a coroutine that awaits only the store, a lock and a sleep. A driver runs it: at once over a
Store, by the event loop over an AsyncStore, and in the tests step by step, in every order.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Hashable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gaesess import _impl, events
from gaesess._core import ADDED, MAX_U32, POINTER, RECORDED, SID_BYTES, WRITTEN, Key, Token, compressed, expanded
from gaesess.drivers import RETRY_SECONDS, awaitable
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
    SessionTooLarge,
    StoreBusy,
    StoreError,
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
MAX_TRIES = 3  # of a write whose outcome is not known
MAX_REPLAYS = 100  # as many requests as an HTTP/2 connection may have at once (RFC 9113 section 6.5.2): each wins once
MAX_HEIRS = 16  # sign-ins that overlap, each with a new id of its own
SAVE_SECONDS = 5.0  # for which other requests may win, and after which no failed call is repeated
BACK_OFF_SECONDS = 0.002  # at most, for each conflict, up to 16 ms: who waits longer than others write never wins
OVERLAP_SECONDS = 60  # after a migration from another library, for requests on their way with its old cookie

# Instead of the version of a record that a session has given up:
CONVERTED = object()  # it is of another library, whose session must be blocked
UNRELATED = object()  # nothing of it goes on

Identity = tuple[Token, Version | None]  # what the store may have a record of, and its version if it is known

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
        self.may_forget = store.may_forget  # whether a record can vanish that nobody has deleted

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


# -- ending


async def end(records: Records, token: Token, version: Version | None = None, over: tuple[bytes, ...] = ()) -> None:
    """End a session under this identity, and under every identity that it was given meanwhile.

    `version` is that of its record, if known; `over` are the ids that have ended already. After it has returned, no
    request can give the session another identity.
    """
    began = records.config.driver.clock()
    for attempt in range(MAX_REPLAYS):
        try:
            if attempt or (version is None and token.flags & RECORDED):
                try:
                    record, version = await records.look(token)
                except StoreUnavailable:
                    await records.mark(token)
                    raise
                if record is not None and record.ended:
                    if not record.heirs:
                        await records.mark(token)
                        return
                    for heir in record.heirs:
                        if heir.sid not in over:
                            await end(records, heir, None, (*over, token.sid))
            await records.bury(token, version)
            events.emit("terminated", "the record of a session was ended", session=records.config.label(token.sid))
            return
        except (KeyExists, Conflict, Gone):
            pass
        except StoreUnavailable as error:
            if attempt or _is_final(records.config, error, began):
                raise
    raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be terminated")


async def hand_on(records: Records, old: Token, version: Version | None, heir: Token) -> None:
    """End the record of a session that goes on as `heir`.

    Where another request has done the same meanwhile, the session goes on as both. With a `version` it raises Conflict
    or Gone if the record was changed since; it raises SessionTerminated if the session has ended. To do it again, after
    a reply was lost, is no error.
    """
    began = records.config.driver.clock()
    read = version
    heirs: tuple[Token, ...] = (heir,)
    for _ in range(MAX_HEIRS):
        try:
            await records.bury(old, version, *heirs)
            return
        except StoreError as error:
            if isinstance(error, StoreUnavailable) and _is_final(records.config, error, began):
                raise
            record, version = await records.look(old)
            if record is None or not record.ended:
                if read is not None or isinstance(error, StoreUnavailable):
                    raise
            elif any(other.sid == heir.sid for other in record.heirs):
                await records.mark(old)
                return
            elif record.heirs:
                heirs = (*record.heirs, heir)
                old = old._replace(issued=record.token.issued)  # by which `may_migrate` counts
            else:
                raise SessionTerminated("the session ended while this request was at work") from None
    raise StoreUnavailable(f"the session got {MAX_HEIRS} new ids at once")


async def may_migrate(records: Records, old: Token) -> bool:
    """Return whether the session of another library may be migrated (again).

    Requests that overlap with the first one to do so each may, unless the heir has ended meanwhile.
    """
    record, version = await records.look(old)
    if record is None:
        return version is None  # only we have ever had a record there
    if not record.heirs or record.token.issued + OVERLAP_SECONDS <= records.config.now():
        return False
    heir, _ = await records.look(record.heirs[0])
    return heir is None or not heir.ended


def _is_final(config: SessionConfig, error: StoreUnavailable, began: float) -> bool:
    """Return whether there is no use, or no time, to query the store again after a call that failed."""
    return isinstance(error, StoreBusy) or config.driver.clock() - began >= SAVE_SECONDS


# -- saving


class Draft:
    """A session as a request wants it saved, which `save` brings up to date with what was."""

    token: Token  # its identity as last read or saved
    data: dict[Hashable, Any]  # to be saved
    payload: bytes  # what was last read or saved of them
    written: dict[Hashable, int]  # as in CookieSession
    cleared: bool  # as in CookieSession
    version: Version | None  # of the record; None where none is known
    history: History | None  # of the record; None where none is known
    known_at: float  # when that was so, by the driver's clock
    base: History | None  # of what is in its cookie: the revision there, and earlier writes of an outdated record
    attempts: dict[bytes, Token]  # by the ids of writes that may have landed, the tokens that they wrote
    replaced: list[Identity]  # it has given them up; with a version where it goes on from their records, or CONVERTED
    passive: bool  # this request does not count as a use


async def save(config: SessionConfig, draft: Draft, payload: bytes | None, *, persist: bool) -> None:
    """Save a session where it belongs: in its cookie if it fits, else in the store; with `persist` there in any case.

    `payload` are its data as bytes, None if they are not known.

    Raises StoreUnavailable, SessionTooLarge, SessionTerminated, and TypeError or ValueError for data that a session
    cannot hold. After StoreUnavailable it may have been saved or not; to save again is safe.
    """
    await _place(config, draft, payload, persist)
    while draft.replaced and config.records:
        try:
            ended = await _end_replaced(config.records, draft)
        except SessionTerminated:  # under its old id; no client has been sent the new one
            with suppress(StoreUnavailable):
                await config.records.delete(draft.token)
            raise
        if not ended:
            await _place(config, draft, None, persist)
    draft.payload, draft.written, draft.cleared, draft.base = draft.token.payload, {}, False, None
    draft.attempts.clear()


async def _place(config: SessionConfig, draft: Draft, payload: bytes | None, persist: bool) -> None:
    """Save the session, and make its token what its cookie must say."""
    payload = _impl.dumps(draft.data) if payload is None else payload
    if config.fits(payload) and draft.version is None and not persist:
        draft.token = _next(config, draft, payload, 0)
        return
    if config.records is None:
        raise SessionTooLarge(
            f"the session has {len(payload)} bytes, its cookie holds {config.cookie_bytes}, and there is no store="
        )
    began, was_in_cookie = config.driver.clock(), not draft.history
    try:
        async with config.driver.turn(draft.token.sid) as waited:
            # If others have probably written meanwhile, read first: a conflict costs more. And if a write is sent twice
            # on the way, only its id in the record shows that it has landed, and later writes push that out.
            is_late = draft.history and (waited or config.driver.clock() - draft.known_at > RETRY_SECONDS)
            if not (is_late and await _catch_up(config.records, draft)):
                await _write(config.records, draft, None if is_late else payload, began)
    finally:  # it may have landed also if it failed
        if was_in_cookie:  # cookies from before are outdated
            config.forget(draft.token.sid)
    draft.known_at = config.driver.clock()
    if not config.fits(draft.token.payload):
        draft.token = draft.token._replace(flags=draft.token.flags | POINTER)


async def _write(records: Records, draft: Draft, payload: bytes | None, began: float) -> None:
    """Write the session to its record, in spite of other requests and lost replies. The save has `began` then.

    One that moves back into its cookie is written to its record a last time: requests that are on their way with the
    old pointer find the session there, not nothing.
    """
    config, driver = records.config, records.config.driver
    failures = conflicts = 0
    while True:
        payload = _impl.dumps(draft.data) if payload is None else payload
        if len(payload) > MAX_RECORD_BYTES:
            raise SessionTooLarge(f"the session has {len(payload)} bytes, a store takes {MAX_RECORD_BYTES}")
        token = _next(config, draft, payload, RECORDED)
        before = draft.history or draft.base or History(cookie_revision=draft.token.revision)
        history = before.continued(config.now(), token.revision if config.fits(payload) else None)
        write_id, payload = history.latest, None
        try:
            draft.version = await records.write(token, draft.version, history)
            draft.token, draft.history = token, history
            return
        except (KeyExists, Conflict, Gone):  # by another request, or by this one, if it was sent twice on the way
            draft.attempts[write_id] = token
            conflicts += 1
            if conflicts > 1:  # at random, so that not all come back at once
                await driver.sleep(min(conflicts, 8) * BACK_OFF_SECONDS * os.urandom(1)[0] / 255)
            if await _catch_up(records, draft, write_id):
                return
            if driver.clock() - began > SAVE_SECONDS:
                message = f"other requests have written to the session for {SAVE_SECONDS} seconds"
                raise StoreUnavailable(message) from None
        except StoreUnavailable as error:
            draft.attempts[write_id] = token
            failures += 1
            try:
                if _is_final(config, error, began):
                    raise
                if await _catch_up(records, draft, write_id, unknown=True):
                    return
                if failures == MAX_TRIES:
                    raise
            except SessionDataLoss:
                raise
            except StoreUnavailable:
                if not await _degrade(records, draft, token, history):
                    raise
                return


def _next(config: SessionConfig, draft: Draft, payload: bytes, flag: int) -> Token:
    """Return the token that the next write makes."""
    flags, expires, issued, revision, sid, _ = draft.token
    issued = issued if draft.passive else config.now()
    return Token((flags | flag) & ~POINTER, expires, issued, revision + 1, sid, payload)


async def _degrade(records: Records, draft: Draft, token: Token, history: History) -> bool:
    """Save in the cache alone, if that is what the settings say; return whether it was done."""
    if not records.config.degrades or draft.token.revision + 1 != token.revision:
        return False
    version = await records.write_quick(token, draft.version, history)
    if version is None:
        return False
    draft.token, draft.version, draft.history = token, version, history
    _emit(records, draft, "degraded", "saved in the cache alone, as the durable store is down")
    return True


async def _catch_up(records: Records, draft: Draft, write_id: bytes | None = None, *, unknown: bool = False) -> bool:
    """Read the record again, merge it, and return whether it has all of the session already.

    `write_id` is that of the last write, whose outcome may be `unknown`.
    """
    record, known = await records.latest(draft.token), draft.history
    done = _take_up(records, draft, record)
    if unknown or (record and write_id in record.history.writes):
        _emit(records, draft, "outcome_settled", "looked up whether a write has landed", landed=done)
    elif draft.history != known:
        _emit(records, draft, "conflict_merged", "took up the changes of a concurrent request")
    return done


def _take_up(records: Records, draft: Draft, record: Record | None) -> bool:
    if record is None:
        if draft.version is not None and records.may_forget:
            raise SessionTerminated("the session was evicted from its store while this request was at work")
        draft.version = None  # it is added, with all that this request has of it
        return False
    if _is_older(record, draft):
        draft.version = record.version
        if not draft.history:
            draft.base = record.acknowledged(draft.base.cookie_revision if draft.base else draft.token.revision)
            draft.token = draft.token._replace(revision=max(draft.token.revision, record.token.revision))
        return False
    for write_id, attempt in draft.attempts.items():
        if attempt.sid == record.token.sid and _has_landed(write_id, attempt, record):
            if _impl.dumps(draft.data) != attempt.payload:
                break  # changed after it
            draft.token, draft.history = attempt, record.history.up_to(write_id)
            if draft.history == record.history:  # else others have written since, as the next save will find
                draft.version = record.version
            return True
    if draft.history and record.lacks(draft.history.latest, draft.token.revision):
        message = "the store does not have what it had when this request began"
        _emit(records, draft, "data_loss", message)
        raise SessionDataLoss(message)
    rebase(draft, record)
    draft.token = record.token._replace(issued=draft.token.issued)
    draft.version, draft.history = record.version, record.history
    return _impl.dumps(draft.data) == draft.payload


def _is_older(record: Record, draft: Draft) -> bool:
    """Return whether nothing was written since what this request knows, or nothing that its client ever heard of."""
    if draft.history:
        return record.history.latest in draft.history.writes
    return record.history.cookie_revision < (draft.base.cookie_revision if draft.base else draft.token.revision)


def _has_landed(write_id: bytes, attempt: Token, record: Record) -> bool:
    """Return whether the record has an attempt. Raises StoreUnavailable if too much was written since to tell."""
    landed = write_id in record.history.writes
    if not landed and not record.lacks(write_id, attempt.revision):
        raise StoreUnavailable("too much was written since for anybody to tell whether this session was saved")
    return landed


async def _end_replaced(records: Records, draft: Draft) -> bool:
    """End an identity that the session has given up; False if it came with changes that must be saved first."""
    old, version = draft.replaced[0]
    try:
        if version is CONVERTED:
            if not await may_migrate(records, old):
                raise SessionTerminated("the session of another library has ended")
            await hand_on(records, old, None, draft.token)
            draft.token = draft.token._replace(flags=draft.token.flags | RECORDED)  # its end must be stored
        elif version is UNRELATED:
            await end(records, old)
        else:
            await hand_on(records, old, version, draft.token)
    except (Conflict, Gone):
        try:
            record = await records.latest(old)
        except SessionTerminated:
            draft.replaced[0] = old, None  # another request may have handed it on, too
            return await _end_replaced(records, draft)
        if record:
            rebase(draft, record)
        elif version is not None and records.may_forget:
            raise SessionTerminated("the session was evicted from its store while this request was at work") from None
        draft.replaced[0] = old, record.version if record else None
        return False
    draft.replaced.pop(0)
    return True


def _emit(records: Records, draft: Draft, name: str, message: str, **fields: object) -> None:
    token = draft.token
    events.emit(name, message, session=records.config.label(token.sid), revision=token.revision, **fields)


# -- replaying what a request has changed on what another one has saved since


def rebase(draft: Draft, record: Record) -> None:
    """Replay the changes of a session, key by key, on a record that a concurrent request has saved since.

    If an attempt of this request is in the record, only what was changed after it is replayed. Raises StoreUnavailable
    if nobody can tell, or if the record cannot be read here.
    """
    try:
        fresh = _impl.loads(record.token.payload)
    except MalformedToken as error:  # a newer version of the application may hold types there that this has not
        raise StoreUnavailable(f"a concurrent request has written what cannot be read here: {error}") from error
    _settle_attempts(draft, record)
    before = _impl.loads(draft.payload) if draft.payload else {}
    changed = changed_keys(draft.data, before, draft.written)
    data = {} if draft.cleared else fresh
    for key in list(data):
        if key in changed and key not in draft.data:
            del data[key]
        elif key not in changed and key in draft.data and _same(key, draft.data, data):
            data[key] = draft.data[key]  # the application may have it in its hands
    for key in draft.data:
        if key in changed:
            data[key] = _replayed(draft, key, before, data)
    draft.data, draft.payload = data, record.token.payload
    draft.written = {key: ADDED if draft.written.get(key) == ADDED else WRITTEN for key in changed}


def _settle_attempts(draft: Draft, record: Record) -> None:
    """Find out which attempts have landed in this record; of those that have not, none ever will."""
    for write_id, attempt in list(draft.attempts.items()):
        if attempt.sid != record.token.sid:
            continue
        if _has_landed(write_id, attempt, record):
            draft.payload, draft.cleared = attempt.payload, False
            draft.written = {key: how for key, how in draft.written.items() if how == ADDED}
        del draft.attempts[write_id]


def _replayed(draft: Draft, key: Hashable, before: dict[Hashable, Any], fresh: dict[Hashable, Any]) -> Any:
    mine = draft.data[key]
    if draft.written.get(key) != ADDED or type(fresh.get(key, mine)) is not type(mine):
        return mine
    nothing = type(mine)()
    old, new = before.get(key, nothing), fresh.get(key, nothing)
    if type(mine) is int:
        return new + mine - old
    if not _same(key, {key: mine[: len(old)]}, {key: old}):
        return mine  # it was changed in other ways too
    mine[: len(old)] = new  # in place: the application may have it in its hands
    return mine


def changed_keys(data: dict[Hashable, Any], before: dict[Hashable, Any], written: dict[Hashable, int]) -> set[Hashable]:
    """Return the keys that were written, or changed in place, since the data were as `before`."""
    changed = {key for key, how in written.items() if how != ADDED}
    changed |= before.keys() ^ data.keys()
    return changed | {key for key in before.keys() - changed if not _same(key, data, before)}


def _same(key: Hashable, one: dict[Hashable, Any], other: dict[Hashable, Any]) -> bool:
    return _impl.dumps({key: one[key]}) == _impl.dumps({key: other[key]})
