"""A session in a store: how it is loaded, saved in spite of other requests and lost replies, and ended.

Plain data in, plain data out: no session of a request comes in here, only what is to be saved of it, as a Draft.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gaesess import _impl, events
from gaesess._core import ADDED, POINTER, RECORDED, SID_BYTES, WRITTEN, Key, Token, compressed, expanded
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
    StoreError,
    StoreUnavailable,
)
from gaesess.stores.base import MAX_RECORD_BYTES, Store, Stored, Version, record_key

if TYPE_CHECKING:
    from gaesess.config import SessionConfig
    from gaesess.stores.tiered import TieredStore

T = TypeVar("T")

WRITE_ID_BYTES = 8
REMEMBERED_WRITES = 16  # more than overlapping requests write in the time of one re-read; 128 bytes
MAX_TRIES = 3  # of a write whose outcome is not known
MAX_REPLAYS = 100  # as many requests as an HTTP/2 connection may have at once (RFC 9113 section 6.5.2): each wins once
MAX_HEIRS = 16  # sign-ins that overlap, each with a new id of its own
OVERLAP_SECONDS = 60  # after a migration from another library, for requests on their way with its old cookie

# In the place of the version of a record that a session has given up:
CONVERTED = object()  # it is of another library, whose session must be blocked
UNRELATED = object()  # nothing of it goes on

Identity = tuple[Token, Version | None]  # what the store may have a record of, and its version if it is known

_FRAME = struct.Struct("!BI")  # number of write ids, cookie revision; the ids and the data follow
_HEIR = struct.Struct(f"!I{SID_BYTES}s")


class History(NamedTuple):
    """How a record came about: the ids of its latest writes, the last one first, and where it branched off its cookie.

    `cookie_revision` is the last revision at which the session was whole in its cookie. A cookie of a higher one was
    answered later: what the record has was never acknowledged to that client.
    """

    write_ids: bytes = b""
    cookie_revision: int = 0

    @property
    def writes(self) -> list[bytes]:
        """The ids one by one."""
        ids = self.write_ids
        return [ids[start : start + WRITE_ID_BYTES] for start in range(0, len(ids), WRITE_ID_BYTES)]

    def continued(self, *, cookie_revision: int | None = None) -> History:
        """Return the history of a record after one more write; with its revision if it stays whole in its cookie."""
        write_ids = (os.urandom(WRITE_ID_BYTES) + self.write_ids)[: REMEMBERED_WRITES * WRITE_ID_BYTES]
        return History(write_ids, self.cookie_revision if cookie_revision is None else cookie_revision)

    def up_to(self, write_id: bytes) -> History:
        """Return the history as it was after a write that it has."""
        return History(self.write_ids[self.writes.index(write_id) * WRITE_ID_BYTES :], self.cookie_revision)


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

    def lacks(self, write_id: bytes, revision: int) -> bool:
        """Return whether a write that made that revision is certainly not in it."""
        writes = self.history.writes
        all_remembered = len(writes) < REMEMBERED_WRITES or self.token.revision - revision < REMEMBERED_WRITES
        return all_remembered and write_id not in writes


def frame(data: bytes, history: History) -> bytes:
    """Return a record's payload."""
    write_ids, cookie_revision = history
    return _FRAME.pack(len(write_ids) // WRITE_ID_BYTES, cookie_revision) + write_ids + data


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
    _, cookie_revision = _FRAME.unpack_from(payload)
    history, data = History(payload[_FRAME.size : end], cookie_revision), payload[end:]
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


class SealedStore:
    """A store whose records are sealed on the way in, and verified on the way out.

    Every method raises StoreUnavailable if the store cannot answer.
    """

    def __init__(self, store: Store, keys: dict[int, Key], config: SessionConfig) -> None:
        self._store = store
        self._keys = keys
        self._key = next(iter(keys.values()))
        self._config = config
        self.may_forget = store.may_forget  # whether a record can vanish that nobody has deleted

    # reading

    def load(self, pointer: Token) -> Record:
        """Return the record that a cookie points to, of at least the cookie's revision.

        What a cache has is looked up past it if it cannot be believed. Raises RecordGone if the session was terminated,
        or the store may forget and has; SessionDataLoss if it must not have.
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

        Unless `fresh` it may be what a cache has, if that can be believed.
        """
        stored = self._get(token, fresh=fresh)
        record = self._verified(token._replace(revision=0), stored)
        if record is None and stored is not None and not fresh:
            return self.look(token)
        return record, stored.version if stored else None

    def has_ended(self, token: Token) -> bool:
        """Return whether the store has a tombstone of a session, or something that cannot be read in its place."""
        stored = self._get(token)
        record = self._verified(token._replace(revision=0), stored)
        return stored is not None and (record is None or record.ended)

    # writing

    def write(self, token: Token, version: Version | None, history: History) -> Version:
        """Add a record, or replace the one at `version`; return the new version.

        Raises KeyExists, Conflict or Gone as the store does.
        """
        return self._put(token, version, frame(token.payload, history))

    def write_quick(self, token: Token, version: Version | None, history: History) -> Version | None:
        """Write to the cache alone, if there is one in front of a durable store; return the version, or None."""
        tiered = as_tiered(self._store)
        if tiered is None or len(token.payload) > MAX_RECORD_BYTES:
            return None
        key, data = record_key(token.expires, token.sid), self._seal(token, frame(token.payload, history))
        return tiered.put_quick(key, data, expires_at=token.expires, version=version)

    def delete(self, token: Token) -> None:
        """Delete a record whose id no client has been sent."""
        self._ask(lambda: self._store.delete(record_key(token.expires, token.sid)))

    # ending

    def terminate(self, token: Token, version: Version | None = None) -> list[Token]:
        """End a session under this identity, and under every one that it was given meanwhile; return all of them.

        `version` is that of its record, if it is known.
        """
        pending: list[Identity] = [(token, version)]
        ended: list[Token] = []
        sids = {token.sid}
        while pending:
            token, version = pending.pop()
            heirs, version = self.end(token, version)
            ended.append(token)
            alive = [heir for heir in heirs if heir.sid not in sids]
            if alive:
                sids.update(heir.sid for heir in alive)
                pending += [(token, None), *((heir, None) for heir in alive)]
            elif heirs:
                try:
                    self._put(token, version, tombstone())  # lest an overlapping request add another heir
                except (Conflict, Gone):
                    pending.append((token, None))
        return ended

    def end(self, token: Token, version: Version | None = None) -> tuple[tuple[Token, ...], Version | None]:
        """Put a tombstone in the place of a record; if there is one, return its heirs and its version.

        If the durable store cannot be reached, the cache gets the tombstone.
        """
        for attempt in range(MAX_REPLAYS):
            try:
                if attempt or (version is None and token.flags & RECORDED):
                    record, version = self.look(token)
                    if record is not None and record.ended:
                        self.invalidate(token)
                        return record.heirs, version
                self._put(token, version, tombstone())
                self.invalidate(token)
                events.emit("terminated", "the record of a session was ended", session=self._config.label(token.sid))
                return (), None
            except (KeyExists, Conflict, Gone):
                pass
            except StoreUnavailable:
                if attempt:
                    if tiered := as_tiered(self._store):
                        tiered.put_cache(record_key(token.expires, token.sid), self._seal(token, tombstone()))
                    raise
        raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be terminated")

    def hand_on(self, old: Token, version: Version | None, heir: Token) -> None:
        """End the record of a session that goes on as `heir`.

        Where another request has done the same meanwhile, the session goes on as both. With a `version` it raises
        Conflict or Gone if the record was changed since; it raises SessionTerminated if the session has ended. To do it
        again, after a reply was lost, is no error.
        """
        read = version
        heirs: tuple[Token, ...] = (heir,)
        for _ in range(MAX_HEIRS):
            try:
                self._put(old, version, tombstone(*heirs))
                self.invalidate(old)
                return
            except StoreError as error:
                record, version = self.look(old)
                if record is None or not record.ended:
                    if read is not None or isinstance(error, StoreUnavailable):
                        raise
                elif any(other.sid == heir.sid for other in record.heirs):
                    self.invalidate(old)
                    return
                elif record.heirs:
                    heirs = (*record.heirs, heir)
                else:
                    raise SessionTerminated("the session ended while this request was at work") from None
        raise StoreUnavailable(f"the session got {MAX_HEIRS} new ids at once")

    def block(self, old: Token, *, heir: Token) -> None:
        """Put a tombstone under the identity of another library's session, which goes on as `heir`.

        Raises Conflict if it is blocked by now. To block it again, for another heir too, is no error otherwise.
        """
        try:
            self._put(old, None, tombstone(heir))
        except KeyExists:
            if self.is_blocked(old):
                raise Conflict("the session of another library has ended") from None
        except StoreUnavailable:
            record, _ = self.look(old)
            if record is None or all(other.sid != heir.sid for other in record.heirs):
                raise

    def is_blocked(self, old: Token) -> bool:
        """Return whether the session of another library must not be migrated (again).

        Requests that overlap with the first one to do so each may, unless the heir has ended meanwhile.
        """
        record, version = self.look(old)
        if record is None:
            return version is not None  # only we have ever had a record there
        if not record.heirs or record.token.issued + OVERLAP_SECONDS <= self._config.now():
            return True
        heir, _ = self.look(record.heirs[0])
        return heir is not None and heir.ended

    def invalidate(self, token: Token) -> None:
        """Mark a cache's entry as old if the last write could not: call it after a sign-out."""
        if tiered := as_tiered(self._store):
            tiered.invalidate(record_key(token.expires, token.sid))

    # helpers

    def _verified(self, wanted: Token, stored: Stored | None) -> Record | None:
        """Return what is stored as a record, or None if there is nothing, or nothing to be believed."""
        if stored is None:
            return None
        now = self._config.now()
        try:
            token = expanded(_impl.unseal(self._keys, stored.data, now))
            if (token.sid, token.expires) != (wanted.sid, wanted.expires):
                raise MalformedToken("record is of another session")
            record = unframe(token, stored.version)._replace(retired=stored.data[1] != self._key.id)
        except InvalidToken as error:
            if isinstance(error, ExpiredToken) and wanted.expires <= now:
                return Record(wanted, stored.version, History())  # as good as terminated
            message = f"ignored a session record: {error}"
            events.emit("poisoned_record", message, session=self._config.label(wanted.sid))
            return None
        if not record.ended and token.revision < wanted.revision:
            message = "ignored a session record: record is older than what the client has seen"
            events.emit("stale_record", message, session=self._config.label(wanted.sid))
            return None
        return record

    def _missing(self, pointer: Token) -> RecordGone | SessionDataLoss:
        if self.may_forget or not pointer.revision:
            return RecordGone("token points to a record that is gone")
        message = "the store does not have what a client was told was saved"
        events.emit("data_loss", message, session=self._config.label(pointer.sid), revision=pointer.revision)
        return SessionDataLoss(f"{message}: was it restored from a backup, or emptied?")

    def _get(self, token: Token, *, fresh: bool = False) -> Stored | None:
        return self._ask(lambda: self._store.get(record_key(token.expires, token.sid), fresh=fresh))

    def _put(self, token: Token, version: Version | None, payload: bytes) -> Version:
        key, data, expires = record_key(token.expires, token.sid), self._seal(token, payload), token.expires
        if version is None:
            return self._ask(lambda: self._store.add(key, data, expires_at=expires))
        return self._ask(lambda: self._store.replace(key, data, expires_at=expires, version=version))

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except StoreUnavailable as error:
            store = type(self._store).__name__
            events.emit("store_unavailable", f"the session store did not answer: {error}", store=store)
            raise

    def _seal(self, token: Token, payload: bytes) -> bytes:
        token = token._replace(flags=token.flags & ~POINTER, payload=payload)
        return _impl.seal(self._key, compressed(token) if self._config.compress else token, 1)


# -- saving


class Attempt(NamedTuple):
    """A write that may be in the record: the token that it wrote, and whether the store has told nothing about it.

    One of a known outcome was refused, unless the store's client has sent it twice: then the first may have landed.
    """

    token: Token
    unknown: bool

    def landed(self, write_id: bytes, record: Record) -> bool:
        """Return whether the record has it. Raises StoreUnavailable if too much was written since to tell."""
        landed = write_id in record.history.writes
        if self.unknown and not landed and not record.lacks(write_id, self.token.revision):
            raise StoreUnavailable("too much was written since for anybody to tell whether this session was saved")
        return landed


class Draft:
    """A session as a request wants it saved, which `save` brings up to date with what was."""

    token: Token  # its identity as last read or saved
    data: dict[Hashable, Any]  # to be saved
    payload: bytes  # what was last read or saved of them
    written: dict[Hashable, int]  # as in CookieSession
    cleared: bool  # as in CookieSession
    version: Version | None  # of the record; None where none is known
    history: History | None  # of the record; None where none is known
    attempts: dict[bytes, Attempt]  # writes of this session that may have landed, by their ids
    replaced: list[Identity]  # it has given them up; with a version where it goes on from their records, or CONVERTED
    passive: bool  # this request does not count as a use


def save(config: SessionConfig, draft: Draft, payload: bytes | None, *, persist: bool) -> None:
    """Save a session where it belongs: in its cookie if it fits, else in the store; with `persist` there in any case.

    `payload` are its data as bytes, None if they are not known.

    Raises StoreUnavailable, SessionTooLarge, SessionTerminated, and TypeError or ValueError for data that a session
    cannot hold. After StoreUnavailable it may have been saved or not; to save again is safe.
    """
    _place(config, draft, payload, persist)
    while draft.replaced and config.records:
        try:
            ended = _end_replaced(config, config.records, draft)
        except SessionTerminated:  # under its old id; no client has been sent the new one
            with suppress(StoreUnavailable):
                config.records.delete(draft.token)
            raise
        if not ended:
            _place(config, draft, None, persist)
    draft.payload, draft.written, draft.cleared = draft.token.payload, {}, False
    draft.attempts.clear()


def _place(config: SessionConfig, draft: Draft, payload: bytes | None, persist: bool) -> None:
    """Save the session, and make its token what its cookie must say.

    One that moves back into its cookie is written to its record a last time: requests that are on their way with the
    old pointer find the session there, not nothing.
    """
    unknown = 0
    for _ in range(MAX_REPLAYS):
        payload = _impl.dumps(draft.data) if payload is None else payload
        flags, expires, issued, revision, sid, _ = draft.token
        fits = config.fits(payload)
        recorded = not fits or draft.version is not None or persist
        flags = (flags | RECORDED if recorded else flags) & ~POINTER
        token = Token(flags, expires, issued if draft.passive else config.now(), revision + 1, sid, payload)
        if not recorded:
            draft.token = token
            return
        records = _recording(config, payload)
        before = draft.history or History(cookie_revision=revision)
        history = before.continued(cookie_revision=token.revision if fits else None)
        try:
            draft.version = records.write(token, draft.version, history)
            draft.token, draft.history, done = token, history, True
        except (KeyExists, Conflict, Gone):  # of another request, or of this one, if the client has sent it twice
            draft.attempts[history.writes[0]] = Attempt(token, unknown=False)
            record = records.latest(draft.token)
            done = _catch_up(config, records, draft, record)
            if record is not None and history.writes[0] in record.history.writes:
                _emit(config, draft, "outcome_settled", "looked up whether a write has landed", landed=done)
            else:
                _emit(config, draft, "conflict_merged", "took up the changes of a concurrent request")
        except StoreUnavailable:
            unknown += 1
            draft.attempts[history.writes[0]] = Attempt(token, unknown=True)
            done = _settle(config, records, draft, token, history, unknown)
        if done:
            if not config.fits(draft.token.payload):
                draft.token = draft.token._replace(flags=draft.token.flags | POINTER)
            return
        payload = None
    raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be saved")


def _recording(config: SessionConfig, payload: bytes) -> SealedStore:
    size = len(payload)
    if config.records is None:
        raise SessionTooLarge(
            f"the session has {size} bytes, its cookie holds {config.cookie_bytes}, and there is no store="
        )
    if size > MAX_RECORD_BYTES:
        raise SessionTooLarge(f"the session has {size} bytes, a store takes {MAX_RECORD_BYTES}")
    return config.records


def _settle(
    config: SessionConfig, records: SealedStore, draft: Draft, token: Token, history: History, unknown: int
) -> bool:
    """Go on after a write whose outcome is not known: the record tells. Return whether all of the session is saved."""
    try:
        done = _catch_up(config, records, draft, records.latest(draft.token))
        _emit(config, draft, "outcome_settled", "looked up whether a write has landed", landed=done)
        if done or unknown < MAX_TRIES:
            return done
        raise StoreUnavailable(f"the session store can be read, and failed to write {unknown} times")
    except SessionDataLoss:
        raise
    except StoreUnavailable:
        if config.degrades and draft.token.revision + 1 == token.revision:
            version = records.write_quick(token, draft.version, history)
            if version is not None:
                draft.token, draft.version, draft.history = token, version, history
                _emit(config, draft, "degraded", "saved in the cache alone, as the durable store is down")
                return True
        raise


def _catch_up(config: SessionConfig, records: SealedStore, draft: Draft, record: Record | None) -> bool:
    """Take up the record as it is by now, and return whether all of the session is in it already."""
    if record is None:
        if draft.version is not None and records.may_forget:
            raise SessionTerminated("the session was evicted from its store while this request was at work")
        draft.version = None  # it is added, with all that this request has of it
        return False
    if _is_older(record, draft):
        draft.version = record.version
        if not draft.history:
            draft.history = History(record.history.write_ids, draft.token.revision)
            revision = max(draft.token.revision, record.token.revision)  # it may have tries that no client heard of
            draft.token = draft.token._replace(revision=revision)
        return False
    for write_id, attempt in draft.attempts.items():
        if attempt.token.sid == record.token.sid and attempt.landed(write_id, record):
            if _impl.dumps(draft.data) != attempt.token.payload:
                break  # changed after it
            draft.token, draft.history = attempt.token, record.history.up_to(write_id)
            if draft.history == record.history:  # else others have written since, as the next save will find
                draft.version = record.version
            return True
    if draft.history and record.lacks(draft.history.writes[0], draft.token.revision):
        message = "the store does not have what it had when this request began"
        _emit(config, draft, "data_loss", message)
        raise SessionDataLoss(message)
    rebase(draft, record)
    draft.token = record.token._replace(issued=draft.token.issued)
    draft.version, draft.history = record.version, record.history
    return _impl.dumps(draft.data) == draft.payload


def _is_older(record: Record, draft: Draft) -> bool:
    """Return whether nothing was written since what this request knows, or nothing that its client ever heard of."""
    if draft.history:
        return record.history.writes[0] in draft.history.writes
    return record.history.cookie_revision < draft.token.revision


def _end_replaced(config: SessionConfig, records: SealedStore, draft: Draft) -> bool:
    """End an identity that the session has given up; False if it came with changes that must be saved first."""
    old, version = draft.replaced[0]
    try:
        if version is CONVERTED:
            records.block(old, heir=draft.token)
            draft.token = draft.token._replace(flags=draft.token.flags | RECORDED)  # its end must be stored
        elif version is UNRELATED:
            records.end(old)
        else:
            records.hand_on(old, version, heir=draft.token)
    except (Conflict, Gone):
        try:
            record = records.latest(old)
        except SessionTerminated:
            if version is CONVERTED:
                raise
            draft.replaced[0] = old, None  # another request may have handed it on, too
            return _end_replaced(config, records, draft)
        if record:
            rebase(draft, record)
        draft.replaced[0] = old, record.version if record else None
        return False
    config.forget(old)
    draft.replaced.pop(0)
    return True


def _emit(config: SessionConfig, draft: Draft, name: str, message: str, **fields: object) -> None:
    token = draft.token
    events.emit(name, message, session=config.label(token.sid), revision=token.revision, **fields)


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
        if attempt.token.sid != record.token.sid:
            continue
        if attempt.landed(write_id, record):
            draft.payload, draft.cleared = attempt.token.payload, False
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
