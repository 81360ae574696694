"""Where a session lives, and how it gets there without losing what concurrent requests have written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from gaesess._core import RECORDED, Token
from gaesess.active import CONVERTED, ActiveSession, Home
from gaesess.errors import Conflict, Gone, SessionTerminated, SessionTooLarge, StoreUnavailable
from gaesess.recorder import Recorder
from gaesess.records import MAX_REPLAYS, Records
from gaesess.revocation import Revocation
from gaesess.sealer import Sealer
from gaesess.stores.base import MAX_RECORD_BYTES, Version


class Placement:
    """Keeps sessions of up to `cookie_bytes` in their cookie and larger ones in `records`, if there are any."""

    def __init__(
        self,
        records: Records | None,
        recorder: Recorder | None,
        cookie_bytes: int,
        sealer: Sealer,
        now: Callable[[], int],
        *,
        revocation: Revocation | None,
    ) -> None:
        self._records = records
        self._recorder = recorder
        self._cookie_bytes = cookie_bytes
        self._sealer = sealer
        self._now = now
        self._revocation = revocation

    def save(self, active: ActiveSession, *, persist: bool = False) -> bool:
        """Save a session if it has changed; with `persist` also into the store if it lives in its cookie.

        Return whether there was anything to save.

        Raises StoreUnavailable, SessionTooLarge, SessionTerminated, and TypeError or ValueError for a value that a
        session cannot hold. After StoreUnavailable it may have been saved or not; to save again is safe.
        """
        payload = active.contents.changed_payload()
        if payload is None and not active.unsaved and not (persist and active.version is None):
            return active.retired_key and self._reseal(active)
        if payload is not None and self._save_quick(active, payload):
            return True
        active.unsaved = True
        try:
            self._save(active, payload, persist)
        except SessionTerminated:
            active.cookie = None  # what an earlier save would have sent is over too
            raise
        active.unsaved = False
        return True

    def waits(self, active: ActiveSession) -> bool:
        """Return whether `save` would ask the store. Raises TypeError or ValueError as `save` does."""
        if self._records is None:
            return False
        payload = active.contents.changed_payload()
        if payload is None and not active.unsaved and not active.retired_key:
            return False
        if active.version is not None or any(self._leaves_tombstone(old) for old, _ in active.replaced):
            return True
        return not self._fits(payload or active.contents.encode(), active)

    def _reseal(self, active: ActiveSession) -> bool:
        """Save a session as it is, with today's key; if that cannot be now, a later request will."""
        with suppress(StoreUnavailable, SessionTerminated):
            self._save(active, None, persist=False)
            return True
        return False

    def _save(self, active: ActiveSession, payload: bytes | None, persist: bool) -> None:
        self._place(active, payload, persist)
        while active.replaced:
            if not self._retire(active, *active.replaced[0]):
                self._place(active, None, persist)
        active.contents.saved(active.token.payload)
        active.cookie = active.as_cookie()
        active.retired_key = False

    def _place(self, active: ActiveSession, payload: bytes | None, persist: bool) -> None:
        """Put the session where it belongs: its cookie if it fits, else the store.

        One that moves back into its cookie is written to its record a last time: requests that are on their way with
        the old pointer find the session there, not nothing. `payload` are its data, None if they are yet to be encoded.
        """
        for _ in range(MAX_REPLAYS):
            payload = payload or active.contents.encode()
            fits = self._fits(payload, active)
            flags, expires, issued, revision, sid, _ = active.token
            recorded = not fits or active.version is not None or persist
            if not active.passive:
                issued = self._now()
            token = Token(flags | RECORDED if recorded else flags, expires, issued, revision + 1, sid, payload)
            if not recorded:
                active.token = token
            elif not self._write_record(active, token, fits):
                payload = None
                continue
            active.home = Home.COOKIE if self._fits(active.token.payload, active) else Home.STORE
            return
        raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be saved")

    def _fits(self, payload: bytes, active: ActiveSession) -> bool:
        """Return whether the cookie holds that much, compressed if it is set so."""
        if len(payload) <= self._cookie_bytes:
            return True
        if len(payload) > MAX_RECORD_BYTES:  # however small it is made: more is never decompressed
            return False
        return len(self._sealer.shrink(active.token._replace(payload=payload)).payload) <= self._cookie_bytes

    def _write_record(self, active: ActiveSession, token: Token, fits: bool) -> bool:
        size = len(token.payload)
        if self._recorder is None:
            raise SessionTooLarge(
                f"the session has {size} bytes, its cookie holds {self._cookie_bytes}, and there is no store="
            )
        if size > MAX_RECORD_BYTES:
            raise SessionTooLarge(f"the session has {size} bytes, a store takes {MAX_RECORD_BYTES}")
        return self._recorder.write(active, token, whole_in_cookie=fits)

    def _save_quick(self, active: ActiveSession, payload: bytes) -> bool:
        if self._records is None or active.unsaved or active.home is not Home.STORE:
            return False
        if active.version is None or active.history is None or active.retired_key:
            return False
        if len(payload) > MAX_RECORD_BYTES or not active.contents.only_quick():
            return False
        version = self._records.write_quick(active.token._replace(payload=payload), active.version, active.history)
        if version is None:
            return False
        active.version = version
        active.contents.saved(payload)
        return True

    def _retire(self, active: ActiveSession, old: Token, version: Version | None) -> bool:
        """Let go of an identity the session has had; False if it came with changes that are to be saved first."""
        try:
            if self._records and version is CONVERTED:
                self._records.bar(old, heir=active.token)
                active.token = active.token._replace(flags=active.token.flags | RECORDED)  # the store hears of its end
            elif self._records and version is not None:
                self._records.retire(old, version, heir=active.token)
            elif self._records and self._leaves_tombstone(old):
                self._records.end(old)
            self._forget(old)
            active.replaced.pop(0)
            return True
        except (Conflict, Gone):
            pass
        assert self._records is not None
        try:
            record = self._records.latest(old)
        except SessionTerminated:
            with suppress(StoreUnavailable):
                self._records.delete(active.token)  # nobody has heard of the new id
            raise
        if record:
            active.contents.rebase(record)
        active.replaced[0] = old, record.version if record else None
        return False

    def terminate(self, token: Token, version: Version | None = None) -> None:
        """End what the store has of a session, if it has anything. Raises StoreUnavailable."""
        if self._records and self._leaves_tombstone(token):
            try:
                self._records.terminate(token, None if version is CONVERTED else version)
            finally:  # it may have landed also if it failed
                self._forget(token)

    def _leaves_tombstone(self, token: Token) -> bool:
        """Return whether the store is to hear of the end of a session: not of one that nobody has ever heard of."""
        return bool(token.flags & RECORDED) or (self._revocation is not None and token.revision > 0)

    def _forget(self, token: Token) -> None:
        if self._revocation is not None:
            self._revocation.forget(token.sid)
