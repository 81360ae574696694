"""The session manager: reads sessions, decides where they live, and saves them there."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from gaesess import _impl
from gaesess._core import BROWSER, MAX_CHUNKS, MAX_U32, POINTER, RECORDED, SECURE, SID_BYTES, Token
from gaesess.active import ActiveSession, Home
from gaesess.contents import Contents
from gaesess.cookies import CookiePolicy
from gaesess.errors import (
    Conflict,
    ExpiredToken,
    Gone,
    InvalidToken,
    KeyExists,
    RecordGone,
    SessionTerminated,
    SessionTooLarge,
    StoreUnavailable,
)
from gaesess.keys import Keyring
from gaesess.records import Records
from gaesess.session import Session
from gaesess.stores.base import MAX_RECORD_BYTES, Store
from gaesess.stores.tiered import TieredStore

logger = logging.getLogger("gaesess")

DEFAULT_LIFETIME = timedelta(days=7)
MAX_REPLAYS = (
    100  # as many overlapping requests as an HTTP/2 connection has (RFC 9113 section 6.5.2); each may win once
)
REISSUES_PER_IDLE_TIMEOUT = 10  # an active session may end a tenth early, and sends that few cookies more

TERMINATED_MEANWHILE = "the session was terminated while this request was at work"


class SessionManager:
    """Everything a session middleware needs; one per application, shared by all its threads.

    cookie_key: the secret, of at least 32 bytes, that sessions are sealed with; retired_keys: earlier ones, still good.
    lifetime: how long a session lasts from its start; zero lets its cookie end with the browser.
    idle_timeout: how long it lasts from its last use, if that is less.
    store: where sessions live that outgrow the cookie; without one they raise SessionTooLarge.
    no_datastore: use only the cache of a TieredStore.
    cookie_only_threshold: how many bytes of session data stay in the cookie, by default as many as one cookie holds.
    cookie_...: see CookiePolicy.

    Raises ValueError for settings that are missing, unsafe or contradict each other.
    """

    def __init__(
        self,
        cookie_key: str | bytes | None,
        lifetime: timedelta = DEFAULT_LIFETIME,
        no_datastore: bool = False,
        cookie_only_threshold: int | None = None,
        *,
        store: Store | None = None,
        retired_keys: Iterable[str | bytes] = (),
        idle_timeout: timedelta | None = None,
        cookie_name: str = "gaesess",
        cookie_path: str = "/",
        cookie_domain: str | None = None,
        cookie_secure: bool = True,
        cookie_samesite: str = "Lax",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if lifetime < timedelta(0):
            raise ValueError(f"lifetime is zero or more, not {lifetime}")
        if idle_timeout is not None and idle_timeout < timedelta(minutes=1):
            raise ValueError(f"idle_timeout is None or at least a minute, not {idle_timeout}")
        self.cookie = CookiePolicy(
            cookie_name, path=cookie_path, domain=cookie_domain, secure=cookie_secure, samesite=cookie_samesite
        )
        self._clock = clock
        self._lifetime = lifetime
        self._idle_seconds = idle_timeout.total_seconds() if idle_timeout else math.inf
        self._keyring = Keyring(cookie_key, retired_keys, cookie_name=cookie_name)
        if no_datastore and store is not None:
            if not isinstance(store, TieredStore):
                raise ValueError("no_datastore=True is for a TieredStore, whose cache it uses; pass the store you want")
            store = store.cache
        self._records = Records(store, self._keyring.record, self.now) if store is not None else None
        if cookie_only_threshold is None:
            self._cookie_bytes = self.cookie.payload_limit(1)
        else:
            self._cookie_bytes = min(cookie_only_threshold, self.cookie.payload_limit(MAX_CHUNKS))

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return int(self._clock())

    # -- reading

    def open(self, cookie_header: str | None) -> Session:
        """Return the session of a request, which reads its Cookie header only if it is used."""
        return Session(self, cookie_header)

    def load(self, sid: str) -> Session:
        """Return the session of that id from the store; an inactive one if there is none, or its time is over.

        Raises StoreUnavailable.
        """
        session = Session(self, None)
        try:
            expires, secure, raw_sid = _impl.parse_sid(sid)
            if self._records and expires > self.now():
                wanted = Token(SECURE if secure else 0, expires, self.now(), 0, raw_sid, b"")
                session.resume(self._read_record(wanted))
        except InvalidToken as error:
            logger.warning("loaded no session by id: %s", error)
        return session

    def read(self, cookie_header: str | None) -> tuple[ActiveSession | None, int]:
        """Return the session of a Cookie header, if it has one to be believed, and how many cookie names are taken.

        A cookie that is not to be believed is logged, without its contents, and is as good as none. Raises
        StoreUnavailable.
        """
        taken = 0
        try:
            found = _impl.read_cookies(cookie_header, self.cookie.name) if cookie_header else None
            if found is None:
                return None, 0
            text, taken = found
            token = _impl.unseal(self._keyring.cookie.verifying, _impl.decode(text), self.now())
            if token.issued + self._idle_seconds <= self.now():
                raise ExpiredToken("token has been idle for too long")
            if token.flags & POINTER:
                return self._read_record(token), taken
            return ActiveSession(token, Contents(token.payload)), taken
        except InvalidToken as error:
            level = logging.INFO if isinstance(error, ExpiredToken) else logging.WARNING
            logger.log(level, "ignored the cookie %s: %s", self.cookie.name, error)
            return None, taken

    def _read_record(self, wanted: Token) -> ActiveSession:
        if self._records is None:
            raise RecordGone("token points into a store, and there is none")
        record, version = self._records.read(wanted)
        return ActiveSession(record._replace(issued=wanted.issued), Contents(record.payload), Home.STORE, version)

    # -- starting and ending

    def new_token(self, expiration_ts: int | None, ssl_only: bool, keep: Token | None = None) -> Token:
        """Return a new identity that ends at `expiration_ts` (Unix seconds), or like `keep`, or by the lifetime."""
        now = self.now()
        browser = keep.flags & BROWSER if keep else 0 if self._lifetime else BROWSER
        if expiration_ts is None:
            expires = keep.expires if keep else now + self._lifetime_seconds()
        elif expiration_ts == 0:
            expires, browser = now + self._lifetime_seconds(), BROWSER
        else:
            expires, browser = int(expiration_ts), 0
        if not now < expires <= MAX_U32:
            raise ValueError(f"expiration_ts is 0 or a time to come, in Unix seconds, not {expiration_ts}")
        flags = browser | (SECURE if ssl_only else 0)
        return Token(flags, expires, now, 0, os.urandom(SID_BYTES), b"")

    def _lifetime_seconds(self) -> int:
        return int((self._lifetime or DEFAULT_LIFETIME).total_seconds())

    def delete_records(self, active: ActiveSession) -> None:
        """Delete what the store has of a session. Raises StoreUnavailable."""
        for token in active.all_tokens():
            self._delete_record(token)

    def _delete_record(self, token: Token) -> None:
        if self._records and token.flags & RECORDED:
            self._records.delete(token)

    # -- saving

    def save(self, active: ActiveSession, *, persist: bool = False) -> None:
        """Save a session if it has changed; with `persist` also into the store if it lives in its cookie.

        Raises StoreUnavailable, SessionTooLarge, SessionTerminated, and TypeError or ValueError for a value that a
        session cannot hold.
        """
        payload = active.contents.changed_payload()
        unsaved = not active.token.revision or (persist and active.version is None)
        if payload is None and not unsaved:
            return
        if payload is not None and self._save_quick(active, payload):
            return
        payload = self._place(active, persist)
        while active.replaced:
            if not self._retire(active, *active.replaced[0]):
                payload = self._place(active, persist)
        active.contents.saved(payload)
        active.cookie_due = True

    def _place(self, active: ActiveSession, persist: bool) -> bytes:
        """Put the session where it belongs, its cookie if it fits, else the store, and return its data as bytes.

        One that moves back into its cookie is written to its record a last time: requests that are on their way with
        the old pointer find the session there, not nothing.
        """
        for _ in range(MAX_REPLAYS):
            payload = active.contents.encode()
            fits = len(payload) <= self._cookie_bytes
            token = active.token._replace(revision=active.token.revision + 1, issued=self.now(), payload=payload)
            if not fits or active.version is not None or persist:
                token = token._replace(flags=token.flags | RECORDED)
                try:
                    active.version = self._write_record(token, active.version)
                except (KeyExists, Conflict):
                    self._rebase(active)
                    continue
                except Gone:
                    raise SessionTerminated(TERMINATED_MEANWHILE) from None
            active.token = token
            active.home = Home.COOKIE if fits else Home.STORE
            return payload
        raise StoreUnavailable(f"the session changed {MAX_REPLAYS} times while it was to be saved")

    def _write_record(self, record: Token, version: int | None) -> int:
        size = len(record.payload)
        if self._records is None:
            raise SessionTooLarge(f"the session has {size} bytes, the cookie holds {self._cookie_bytes}: set store=")
        if size > MAX_RECORD_BYTES:
            raise SessionTooLarge(f"the session has {size} bytes, a store takes {MAX_RECORD_BYTES}")
        return self._records.write(record, version)

    def _save_quick(self, active: ActiveSession, payload: bytes) -> bool:
        if self._records is None or active.home is not Home.STORE or active.version is None:
            return False
        if len(payload) > MAX_RECORD_BYTES or not active.contents.only_quick():
            return False
        if not self._records.write_quick(active.token._replace(payload=payload), active.version):
            return False
        active.contents.saved(payload)
        return True

    def _rebase(self, active: ActiveSession) -> None:
        """Take up the record that a concurrent request has written, and replay this one's changes on it."""
        assert self._records is not None
        try:
            record, version = self._records.read(active.token._replace(revision=0), fresh=True)
        except InvalidToken:
            raise SessionTerminated(TERMINATED_MEANWHILE) from None
        if active.version is not None or record.revision > active.token.revision:
            active.contents.rebase(record.payload)
            active.token = record._replace(issued=active.token.issued)
        active.version = version  # else the record is from before the session moved into its cookie

    def _retire(self, active: ActiveSession, old: Token, version: int | None) -> bool:
        """Let go of an identity the session has had; False if it came with changes that are to be saved first."""
        if self._records is None or version is None:
            self._delete_record(old)
            active.replaced.pop(0)
            return True
        try:
            self._records.retire(old, version)
            active.replaced.pop(0)
            return True
        except (Conflict, Gone):
            pass
        try:
            record, version = self._records.read(old, fresh=True)
        except InvalidToken:
            self._delete_record(active.token)
            raise SessionTerminated(TERMINATED_MEANWHILE) from None
        active.contents.rebase(record.payload)
        active.replaced[0] = old, version
        return False

    def cookies_due(self, active: ActiveSession, taken: int) -> list[str]:
        """Return the Set-Cookie values for a saved session, if the client has to hear of it."""
        now = self.now()
        if not active.cookie_due and (now - active.token.issued) * REISSUES_PER_IDLE_TIMEOUT < self._idle_seconds:
            return []
        token = active.token._replace(issued=now, payload=active.contents.payload)
        if active.home is Home.STORE:
            token = token._replace(flags=token.flags | POINTER, payload=b"")
        chunks = self.cookie.chunks_for(len(token.payload))
        text = _impl.encode(_impl.seal(self._keyring.cookie.sealing, token, chunks))
        max_age = None if token.flags & BROWSER else max(0, token.expires - now)
        return self.cookie.write(text, max_age=max_age, secure=bool(token.flags & SECURE), taken=taken)
