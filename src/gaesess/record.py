"""What a store has of one session."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from gaesess._core import SID_BYTES, Token
from gaesess.errors import MalformedToken, StoreUnavailable
from gaesess.stores.base import Version

WRITE_ID_BYTES = 8
REMEMBERED_WRITES = 16  # more than overlapping requests write in the time of one re-read; 128 bytes

_FRAME = struct.Struct("!BI")  # number of write ids, cookie revision; the ids and the data follow


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

    One of a session that has ended, a tombstone, has no writes. Its `heir` is the identity that the session went on
    with, if it was given a new id.
    """

    token: Token
    version: Version
    history: History
    heir: Token | None = None
    retired_key: bool = False  # has sealed it

    @property
    def ended(self) -> bool:
        """Whether it is a tombstone."""
        return not self.history.write_ids

    def includes(self, write_id: bytes, revision: int) -> bool:
        """Return whether a write that would have made that revision is in it. Raises StoreUnavailable if unknown."""
        included = write_id in self.history.writes
        if not included and not self.lacks(write_id, revision):
            raise StoreUnavailable("too much was written since for anybody to tell whether this session was saved")
        return included

    def lacks(self, write_id: bytes, revision: int) -> bool:
        """Return whether a write that made that revision is certainly not in it."""
        writes = self.history.writes
        all_remembered = len(writes) < REMEMBERED_WRITES or self.token.revision - revision < REMEMBERED_WRITES
        return all_remembered and write_id not in writes


def frame(data: bytes, history: History) -> bytes:
    """Return what a record's payload is."""
    write_ids, cookie_revision = history
    return _FRAME.pack(len(write_ids) // WRITE_ID_BYTES, cookie_revision) + write_ids + data


def tombstone(heir: Token | None) -> bytes:
    """Return what the payload of an ended session's record is."""
    return frame(heir.expires.to_bytes(4, "big") + heir.sid if heir else b"", History())


def unframe(token: Token, version: Version) -> Record:
    """Return the record that was stored with this verified token. Raises MalformedToken if its payload is no frame."""
    flags, expires, issued, revision, sid, payload = token
    count = payload[0] if payload else 0
    end = _FRAME.size + count * WRITE_ID_BYTES
    if len(payload) < end:
        raise MalformedToken("record is cut short")
    _, cookie_revision = _FRAME.unpack_from(payload)
    history, data = History(payload[_FRAME.size : end], cookie_revision), payload[end:]
    heir = _heir(token, data) if data and not count else None
    return Record(Token(flags, expires, issued, revision, sid, data), version, history, heir)


def _heir(token: Token, data: bytes) -> Token:
    heir = token._replace(expires=int.from_bytes(data[:4], "big"), sid=data[4:])
    if not heir.expires or len(heir.sid) != SID_BYTES or heir.sid == token.sid:
        raise MalformedToken("record has an heir that cannot be")
    return heir
