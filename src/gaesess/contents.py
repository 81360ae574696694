"""What a session holds while a request works on it, and what the request has changed in it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from gaesess import codec
from gaesess.codec import PLAIN


class Contents:
    """A session's data, the payload it came from, and the keys written since.

    A value that can be changed in place may have been, once the application has it: then only its bytes can tell.
    """

    __slots__ = ("_cleared", "_exposed", "_written", "data", "payload")

    def __init__(self, payload: bytes = b"") -> None:
        """Start from the payload of a token; a new session starts from none, and so is saved even if it stays empty.

        Raises MalformedToken for a payload that cannot be read.
        """
        self.data: dict[Hashable, Any] = codec.loads(payload) if payload else {}
        self.payload = payload
        self._written: dict[Hashable, bool] = {}  # key to whether it was written quickly only
        self._cleared = False
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
        self._written[key] = quick and self._written.get(key, True)
        if type(value) not in PLAIN:
            self._exposed = True

    def delete(self, key: Hashable, *, quick: bool = False) -> None:
        """Delete a key. Raises KeyError."""
        del self.data[key]
        self._written[key] = quick and self._written.get(key, True)

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
        if self._cleared or not self._written or not all(self._written.values()):
            return False
        return bool(self.payload) and self._changed_keys() == self._written.keys()

    def saved(self, payload: bytes) -> None:
        """Take note of what was saved: the next change counts from there."""
        self.payload = payload
        self._written.clear()
        self._cleared = False

    def pin_changes(self) -> None:
        """Count what has changed as written, even if it is taken back: it may have been saved, the reply being lost."""
        self._written |= dict.fromkeys(self._changed_keys(), False)

    def rebase(self, fresh_payload: bytes) -> None:
        """Replay this request's changes, key by key, on data that a concurrent request has saved since."""
        changed = self._changed_keys()
        data = {} if self._cleared else codec.loads(fresh_payload)
        for key in changed | data.keys():
            if key in self.data and (key in changed or _same(key, self.data, data)):
                data[key] = self.data[key]  # also if it is the same: the application may have it in its hands
            elif key in changed:
                data.pop(key, None)
        self.data, self.payload = data, fresh_payload
        self._written |= dict.fromkeys(changed, False)

    def _changed_keys(self) -> set[Hashable]:
        changed = set(self._written)
        before = codec.loads(self.payload) if self.payload else {}
        for key in self.data.keys() - changed:
            if key not in before or not _same(key, self.data, before):
                changed.add(key)
        return changed


def _same(key: Hashable, one: dict[Hashable, Any], other: dict[Hashable, Any]) -> bool:
    return codec.dumps({key: one[key]}) == codec.dumps({key: other[key]})
