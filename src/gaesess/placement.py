"""Where a session lives, and how it gets there without losing what concurrent requests have written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from gaesess import codec
from gaesess._core import RECORDED, Token
from gaesess.active import ActiveSession, Home
from gaesess.errors import (
    Conflict,
    Gone,
    InvalidToken,
    KeyExists,
    RecordGone,
    SessionTerminated,
    SessionTooLarge,
    StoreUnavailable,
)
from gaesess.records import Records
from gaesess.stores.base import MAX_RECORD_BYTES

MAX_REPLAYS = 100  # as many requests as an HTTP/2 connection may have at once (RFC 9113 section 6.5.2): each wins once


class Placement:
    """Keeps sessions of up to `cookie_bytes` in their cookie and larger ones in `records`, if there are any."""

    def __init__(self, records: Records | None, cookie_bytes: int, now: Callable[[], int]) -> None:
        self._records = records
        self._cookie_bytes = cookie_bytes
        self._now = now

    def save(self, active: ActiveSession, *, persist: bool = False) -> None:
        """Save a session if it has changed; with `persist` also into the store if it lives in its cookie.

        Raises StoreUnavailable, SessionTooLarge, SessionTerminated, and TypeError or ValueError for a value that a
        session cannot hold. After StoreUnavailable it may have been saved or not; to save again is safe.
        """
        payload = active.contents.changed_payload()
        if payload is None and not active.unsaved and not (persist and active.version is None):
            return
        if payload is not None and self._save_quick(active, payload):
            return
        active.unsaved = True
        try:
            self._save(active, payload, persist)
        except StoreUnavailable:
            active.contents.pin_changes()
            raise
        except SessionTerminated:
            active.cookie = None  # what an earlier save would have sent is over too
            raise
        active.unsaved = False

    def waits(self, active: ActiveSession) -> bool:
        """Return whether `save` would ask the store. Raises TypeError or ValueError as `save` does."""
        if self._records is None:
            return False
        payload = active.contents.changed_payload()
        if payload is None and not active.unsaved:
            return False
        if active.version is not None or any(old.flags & RECORDED for old, _ in active.replaced):
            return True
        return len(payload or active.contents.encode()) > self._cookie_bytes

    def _save(self, active: ActiveSession, payload: bytes | None, persist: bool) -> None:
        self._place(active, payload, persist)
        while active.replaced:
            if not self._retire(active, *active.replaced[0]):
                self._place(active, None, persist)
        active.contents.saved(active.token.payload)
        active.cookie = active.as_cookie()

    def _place(self, active: ActiveSession, payload: bytes | None, persist: bool) -> None:
        """Put the session where it belongs: its cookie if it fits, else the store.

        One that moves back into its cookie is written to its record a last time: requests that are on their way with
        the old pointer find the session there, not nothing. `payload` are its data, None if they are yet to be encoded.
        """
        for _ in range(MAX_REPLAYS):
            payload = payload or active.contents.encode()
            fits = len(payload) <= self._cookie_bytes
            flags, expires, _, revision, sid, _ = active.token
            recorded = not fits or active.version is not None or persist
            token = Token(flags | RECORDED if recorded else flags, expires, self._now(), revision + 1, sid, payload)
            if recorded:
                try:
                    active.version = self._write_record(token, active.version)
                except (KeyExists, Conflict, Gone):
                    self._rebase(active)
                    payload = None
                    continue
            active.token = token
            active.home = Home.COOKIE if fits else Home.STORE
            return
        raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be saved")

    def _write_record(self, record: Token, version: int | None) -> int:
        size = len(record.payload)
        if self._records is None:
            raise SessionTooLarge(
                f"the session has {size} bytes, its cookie holds {self._cookie_bytes}, and there is no store="
            )
        if size > MAX_RECORD_BYTES:
            raise SessionTooLarge(f"the session has {size} bytes, a store takes {MAX_RECORD_BYTES}")
        return self._records.write(record, version)

    def _save_quick(self, active: ActiveSession, payload: bytes) -> bool:
        if self._records is None or active.unsaved or active.home is not Home.STORE or active.version is None:
            return False
        if len(payload) > MAX_RECORD_BYTES or not active.contents.only_quick():
            return False
        if not self._records.write_quick(active.token._replace(payload=payload), active.version):
            return False
        active.contents.saved(payload)
        return True

    def _rebase(self, active: ActiveSession) -> None:
        """Take up the record that a concurrent request has written, and replay this one's changes on it."""
        record, version = self._read_fresh(active.token)
        if active.version is not None or record.revision > active.token.revision:
            active.contents.rebase(record.payload)
            active.token = record._replace(issued=active.token.issued)
        active.version = version  # else the record is from before the session moved into its cookie

    def _retire(self, active: ActiveSession, old: Token, version: int | None) -> bool:
        """Let go of an identity the session has had; False if it came with changes that are to be saved first."""
        try:
            if self._records is None or version is None:
                self.delete_record(old)
            else:
                self._records.retire(old, version, heir=active.token)
            active.replaced.pop(0)
            return True
        except (Conflict, Gone):
            pass
        try:
            record, version = self._read_fresh(old)
        except SessionTerminated:
            with suppress(StoreUnavailable):  # nobody has heard of the new id
                self.delete_record(active.token)
            raise
        active.contents.rebase(record.payload)
        active.replaced[0] = old, version
        return False

    def _read_fresh(self, token: Token) -> tuple[Token, int]:
        assert self._records is not None
        try:
            record, version = self._records.read(token._replace(revision=0), fresh=True)
            codec.loads(record.payload)  # a newer version of the application may hold types there that this one has not
        except RecordGone:
            raise SessionTerminated("the session was terminated while this request was at work") from None
        except InvalidToken as error:
            raise StoreUnavailable(f"a concurrent request has written what cannot be read here: {error}") from error
        return record, version

    def delete_record(self, token: Token) -> None:
        """Delete what the store has under an identity, if it has anything. Raises StoreUnavailable."""
        if self._records and token.flags & RECORDED:
            self._records.delete(token)
