"""How a stored session ends: for good, or to go on under a new id.

A record that has ended is replaced by a tombstone. A session that got a new id has there the name of its heir.
"""

from __future__ import annotations

from gaesess import events
from gaesess._core import RECORDED, Token
from gaesess.errors import Conflict, Gone, KeyExists, SessionTerminated, StoreError, StoreUnavailable
from gaesess.records import MAX_REPLAYS, Records
from gaesess.stores.base import Version

MAX_HEIRS = 16  # sign-ins that overlap, each with a new id of its own
CLOCKS_DIFFER_SECONDS = 5  # at most: to tell whether a request overlaps with one that another server has answered
OVERLAP_SECONDS = 60  # after a migration from another library, for requests on their way with its old cookie


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
            if attempt or records.is_final(error, began):
                raise
    raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be terminated")


async def hand_on(records: Records, old: Token, version: Version | None, heir: Token) -> None:
    """End the record of a session that goes on as `heir`. `old.issued` is when this request has read it, or 0.

    If another request has done the same since, the session goes on as both. With a `version` it raises Conflict or Gone
    if the record was changed since; it raises SessionTerminated if the session had ended. To do it again, after a reply
    was lost, is no error.
    """
    began = records.config.driver.clock()
    read, read_at = version, old.issued
    old = old._replace(issued=records.config.now())  # in the tombstone: since when the session has an heir
    heirs: tuple[Token, ...] = (heir,)
    for _ in range(MAX_HEIRS):
        try:
            await records.bury(old, version, *heirs)
            return
        except StoreError as error:
            if isinstance(error, StoreUnavailable) and records.is_final(error, began):
                raise
            record, version = await records.look(old)
            if record is None or not record.ended:
                if read is not None or isinstance(error, StoreUnavailable):
                    raise
            elif any(other.sid == heir.sid for other in record.heirs):
                await records.mark(old)
                return
            elif record.heirs and read_at <= record.token.issued + CLOCKS_DIFFER_SECONDS:
                heirs = (*record.heirs, heir)
                old = old._replace(issued=record.token.issued)
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
