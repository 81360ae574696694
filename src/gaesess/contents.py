"""What a session holds while a request works on it, and what the request has changed in it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from gaesess import codec
from gaesess._core import Token
from gaesess.codec import PLAIN
from gaesess.errors import MalformedToken, StoreUnavailable

if TYPE_CHECKING:
    from gaesess.record import Record

# How a key was written since the last save, where that matters to a replay.
QUICK = 1  # the cache alone is to hear of it
ADDED = 2  # only added to: what is replayed is the difference
SET = 3


class Contents:
    """A session's data, the payload it came from, and the keys written since.

    A value that can be changed in place may have been, once the application has it: then only its bytes can tell.
    """

    __slots__ = ("_attempts", "_cleared", "_exposed", "_written", "data", "payload")

    def __init__(self, payload: bytes = b"") -> None:
        """Start from the payload of a token; a new session starts from none, and so is saved even if it stays empty.

        Raises MalformedToken for a payload that cannot be read.
        """
        self.data: dict[Hashable, Any] = codec.loads(payload) if payload else {}
        self.payload = payload
        self._written: dict[Hashable, int] = {}
        self._cleared = False
        self._attempts: dict[bytes, Token] | None = None  # writes whose outcome is not known, by their ids
        self._exposed = False

    def read(self, key: Hashable) -> Any:
        """Return a value. Raises KeyError."""
        value = self.data[key]
        if type(value) not in PLAIN:
            self._exposed = True
        return value

    def write(self, key: Hashable, value: Any, *, quick: bool = False) -> None:
        """Set a value; a `quick` one may stay in the cache until something else is saved."""
        self.data[key] = value
        self._written[key] = QUICK if quick and self._written.get(key, QUICK) == QUICK else SET
        if type(value) not in PLAIN:
            self._exposed = True

    def delete(self, key: Hashable, *, quick: bool = False) -> None:
        """Delete a key. Raises KeyError."""
        del self.data[key]
        self._written[key] = QUICK if quick and self._written.get(key, QUICK) == QUICK else SET

    def add(self, key: Hashable, amount: Any) -> None:
        """Add an integer to one, or a list to the end of one; a key that is not there starts as 0 or as an empty list.

        Raises TypeError if something else is there.
        """
        value = self.data.get(key, type(amount)())
        if type(value) is not type(amount):
            wanted, found = type(amount).__name__, type(value).__name__
            raise TypeError(f"cannot add to the session's key {key!r}: it has a value of type {found}, not {wanted}")
        value += amount
        self.data[key] = value
        only_added = self._written.get(key, ADDED) == ADDED and not self._cleared
        self._written[key] = ADDED if only_added else SET
        if type(value) not in PLAIN:
            self._exposed = True

    def clear(self) -> None:
        """Delete every key, also those that a concurrent request may have just added."""
        self.data.clear()
        self._cleared = True

    def changed_payload(self) -> bytes | None:
        """Return the data as bytes if they differ from what was loaded or last saved, else None.

        Raises TypeError or ValueError naming the key of a value that a session cannot hold.
        """
        if self.payload and not (self._written or self._cleared or self._exposed):
            return None
        payload = self.encode()
        return None if payload == self.payload else payload

    def encode(self) -> bytes:
        """Return the data as bytes, or raise as `changed_payload` does."""
        return codec.dumps(self.data)

    def only_quick(self) -> bool:
        """Return whether all that has changed was written quickly."""
        if self._cleared or not self._written or any(how != QUICK for how in self._written.values()):
            return False
        return bool(self.payload) and self._changed_keys() == self._written.keys()

    def saved(self, payload: bytes) -> None:
        """Take note of what was saved: the next change counts from there."""
        self.payload = payload
        self._written.clear()
        self._cleared = False
        self._attempts = None

    def attempted(self, write_id: bytes, token: Token) -> int:
        """Take note of a write whose outcome is not known, and return how many of these there are by now."""
        self._attempts = {**(self._attempts or {}), write_id: token}
        return len(self._attempts)

    def landed(self, record: Record) -> tuple[bytes, Token] | None:
        """Return the attempt that is in the record, if nothing was changed after it.

        Raises StoreUnavailable if nobody can tell.
        """
        for write_id, token in (self._attempts or {}).items():
            if token.sid == record.token.sid and record.includes(write_id, token.revision):
                return (write_id, token) if self.encode() == token.payload else None
        return None

    def rebase(self, record: Record) -> None:
        """Replay this request's changes, key by key, on what a concurrent request has saved since.

        If an attempt of this request is in the record, only what was changed after it is replayed. Raises
        StoreUnavailable if nobody can tell, or if the record cannot be read here.
        """
        try:
            fresh_data = codec.loads(record.token.payload)
        except MalformedToken as error:  # a newer version of the application may hold types there that this has not
            raise StoreUnavailable(f"a concurrent request has written what cannot be read here: {error}") from error
        self._settle(record)
        before = codec.loads(self.payload) if self.payload else {}
        changed = self._changed_keys()
        data = {} if self._cleared else fresh_data
        for key in changed | data.keys():
            if key in changed and key in self.data:
                data[key] = self._replayed(key, before, data)
            elif key in changed:
                data.pop(key, None)
            elif key in self.data and _same(key, self.data, data):
                data[key] = self.data[key]  # the application may have it in its hands
        self.data, self.payload = data, record.token.payload
        for key in changed:
            self._written[key] = ADDED if self._written.get(key) == ADDED else SET

    def _settle(self, record: Record) -> None:
        """Find out which attempts have landed in this record; of those that have not, none ever will."""
        for write_id, token in list((self._attempts or {}).items()):
            if token.sid != record.token.sid:
                continue
            if record.includes(write_id, token.revision):
                self.payload, self._cleared = token.payload, False
                self._written = {key: how for key, how in self._written.items() if how == ADDED}
            assert self._attempts is not None
            del self._attempts[write_id]

    def _replayed(self, key: Hashable, before: dict[Hashable, Any], fresh: dict[Hashable, Any]) -> Any:
        mine = self.data[key]
        if self._written.get(key) != ADDED or type(fresh.get(key, mine)) is not type(mine):
            return mine
        nothing = type(mine)()
        old, new = before.get(key, nothing), fresh.get(key, nothing)
        if type(mine) is int:
            return new + mine - old
        if not _same(key, {key: mine[: len(old)]}, {key: old}):
            return mine  # it was changed in other ways too
        mine[: len(old)] = new  # in place: the application may have it in its hands
        return mine

    def _changed_keys(self) -> set[Hashable]:
        changed = {key for key, how in self._written.items() if how != ADDED}
        before = codec.loads(self.payload) if self.payload else {}
        changed |= before.keys() ^ self.data.keys()
        for key in before.keys() - changed:
            if not _same(key, self.data, before):
                changed.add(key)
        return changed


def _same(key: Hashable, one: dict[Hashable, Any], other: dict[Hashable, Any]) -> bool:
    return codec.dumps({key: one[key]}) == codec.dumps({key: other[key]})
