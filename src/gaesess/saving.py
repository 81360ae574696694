"""How a session is saved, in its cookie or in the store, in spite of other requests and lost replies.

Plain data in, plain data out: no session of a request comes in here, only what must be saved of it, as a Draft.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gaesess import _impl, events
from gaesess._core import POINTER, RECORDED, Token
from gaesess.drivers import RETRY_SECONDS
from gaesess.ending import end, hand_on, may_migrate
from gaesess.errors import (
    Conflict,
    Gone,
    KeyExists,
    SessionDataLoss,
    SessionTerminated,
    SessionTooLarge,
    StoreUnavailable,
)
from gaesess.merging import rebase
from gaesess.records import SAVE_SECONDS, History, Record, Records
from gaesess.stores.base import MAX_RECORD_BYTES, Version

if TYPE_CHECKING:
    from gaesess.config import SessionConfig

MAX_TRIES = 3  # of a write whose outcome is not known
BACK_OFF_SECONDS = 0.002  # at most, for each conflict, up to 16 ms: who waits longer than others write never wins

# Instead of the version of a record that a session has given up:
CONVERTED = object()  # it is of another library, whose session must be blocked
UNRELATED = object()  # nothing of it goes on

Identity = tuple[Token, Version | None]  # what the store may have a record of, and its version if it is known


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
    replaced: list[Identity]  # as `hand_on` takes them, or with CONVERTED or UNRELATED: it has given them up
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
                if records.is_final(error, began):
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
        if attempt.sid == record.token.sid and record.has(write_id, attempt.revision):
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


async def _end_replaced(records: Records, draft: Draft) -> bool:
    """End an identity that the session has given up; False if it came with changes that must be saved first."""
    old, version = draft.replaced[0]
    try:
        if version is CONVERTED:
            if not await may_migrate(records, old):
                raise SessionTerminated("the session of another library has ended")
            await hand_on(records, old._replace(issued=0), None, draft.token)  # in time, as `may_migrate` has said
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
