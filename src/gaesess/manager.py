"""The session manager: what the settings come to, and the way from a cookie to a session and back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import Literal

from gaesess import _impl, events
from gaesess._core import BROWSER, MAX_CHUNKS, MAX_U32, POINTER, RECORDED, SECURE, SID_BYTES, Token
from gaesess.active import ActiveSession, Home
from gaesess.contents import Contents
from gaesess.cookies import MAX_AGE_SECONDS, CookiePolicy, HeaderFields, join_cookie_fields
from gaesess.errors import ExpiredToken, InvalidToken, RecordGone, SessionTooLarge, StoreUnavailable
from gaesess.keys import Keyring
from gaesess.placement import Placement
from gaesess.recorder import Recorder
from gaesess.records import Records
from gaesess.session import Session
from gaesess.stores.base import Store, Version

DEFAULT_LIFETIME = timedelta(days=7)
MAX_LIFETIME = timedelta(seconds=MAX_AGE_SECONDS)
REISSUES_PER_IDLE_TIMEOUT = 10  # an active session may end a tenth early, and sends that few cookies more


class SessionManager:
    """Everything a session middleware needs; one per application, shared by all its threads.

    cookie_key: the secret, of at least 32 bytes, that sessions are sealed with; retired_keys: earlier ones, still good.
    lifetime: how long a session lasts from its start; zero lets its cookie end with the browser.
    idle_timeout: how long it lasts from its last use, if that is less.
    store: where sessions live that outgrow the cookie; without one they raise SessionTooLarge.
    no_datastore: use only the cache of a TieredStore.
    outage: what a save comes to while the durable store of a TieredStore is down: "raise" StoreUnavailable, or
    "degrade", which saves in the cache alone until the next save that the durable store takes.
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
        outage: Literal["raise", "degrade"] = "raise",
        retired_keys: Iterable[str | bytes] = (),
        idle_timeout: timedelta | None = None,
        cookie_name: str | None = None,
        cookie_path: str = "/",
        cookie_domain: str | None = None,
        cookie_secure: bool = True,
        cookie_samesite: str = "Lax",
        cookie_partitioned: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, value in (("lifetime", lifetime), ("idle_timeout", idle_timeout or timedelta())):
            if not isinstance(value, timedelta):
                raise ValueError(f"{name} is a timedelta, such as timedelta(days=7), not {value!r}")
        if lifetime and not timedelta(seconds=1) <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"lifetime is zero, or from a second to {MAX_LIFETIME.days} days, not {lifetime}")
        if idle_timeout is not None and idle_timeout < timedelta(minutes=1):
            raise ValueError(f"idle_timeout is None or at least a minute, not {idle_timeout}")
        if outage not in ("raise", "degrade"):
            raise ValueError(f'outage is "raise" or "degrade", not {outage!r}')
        self.cookie = CookiePolicy(
            cookie_name,
            path=cookie_path,
            domain=cookie_domain,
            secure=cookie_secure,
            samesite=cookie_samesite,
            partitioned=cookie_partitioned,
        )
        if not cookie_secure:
            _tell_insecure()
        self._clock = clock
        self._lifetime = lifetime
        self._idle_seconds = idle_timeout.total_seconds() if idle_timeout else None
        keyring = Keyring(cookie_key, retired_keys, cookie_name=self.cookie.name)
        self._keys = keyring.cookie
        if no_datastore and store is not None:
            from gaesess.stores.tiered import TieredStore  # not in every process

            if not isinstance(store, TieredStore):
                raise ValueError("no_datastore=True is for a TieredStore, whose cache it uses; pass the store you want")
            store = store.cache
        self._label = keyring.label
        self._records = Records(store, keyring, self.now) if store is not None else None
        recorder = Recorder(self._records, self._label, degrades=outage == "degrade") if self._records else None
        cookie_bytes = self.cookie.payload_limit(1)
        if cookie_only_threshold is not None:
            cookie_bytes = min(cookie_only_threshold, self.cookie.payload_limit(MAX_CHUNKS))
        self._placement = Placement(self._records, recorder, cookie_bytes, self.now)

    @property
    def has_store(self) -> bool:
        """Return whether sessions may live elsewhere than in their cookies."""
        return self._records is not None

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return int(self._clock())

    # -- reading

    def open(self, cookie_header: str | HeaderFields | None) -> Session:
        """Return the session of a request, which reads its Cookie header only if it is used.

        Where a server gives all header fields as bytes, pass them as they are.
        """
        return Session(self, cookie_header)

    def load(self, sid: str) -> Session:
        """Return the session of that id from the store; an inactive one if there is none, or its time is over.

        Of a session that lives in its cookie this is a copy, as of when it was last saved in the store.
        Raises StoreUnavailable.
        """
        session = Session(self, None)
        try:
            expires, secure, raw_sid = _impl.parse_sid(sid)
        except InvalidToken:
            return session
        flags = POINTER | RECORDED | (SECURE if secure else 0)
        active = self.activate(Token(flags, expires, self.now(), 0, raw_sid, b""))
        if active:
            session.resume(active)
        return session

    def authenticate(self, cookie_header: str | HeaderFields | None) -> tuple[Token | None, int]:
        """Return the token of a Cookie header, if it has one to be believed, and how many cookie names are taken.

        One that is not to be believed is logged, without its contents, and is as good as none.
        """
        if cookie_header is None:
            return None, 0
        if not isinstance(cookie_header, str):
            cookie_header = join_cookie_fields(cookie_header)
        now = self.now()
        try:
            found = _impl.unseal_cookies(self._keys.verifying, cookie_header, self.cookie.name, now)
            if found is None:
                return None, 0
            if self._idle_seconds is not None and found[0].issued + self._idle_seconds <= now:
                raise ExpiredToken("token has been idle for too long")
            return found
        except InvalidToken as error:
            self._refuse_cookie(error)
            return None, self._cookies_taken(cookie_header)

    def _cookies_taken(self, cookie_header: str) -> int:
        with suppress(InvalidToken):
            found = _impl.read_cookies(cookie_header, self.cookie.name)
            return found[1] if found else 0
        return 0

    def activate(self, token: Token) -> ActiveSession | None:
        """Return the session of a verified token, from the store if the token points there; None if there is none.

        Raises StoreUnavailable.
        """
        try:
            if token.flags & POINTER:
                return self._read_record(token)
            return ActiveSession(token, Contents(token.payload), unsaved=False)
        except InvalidToken as error:
            self._refuse_cookie(error)
            return None

    def _read_record(self, pointer: Token) -> ActiveSession:
        if self._records is None:
            raise RecordGone("token points into a store, and there is none")
        record = self._records.read(pointer)
        try:
            contents = Contents(record.token.payload)
        except InvalidToken as error:  # a newer version of the application may hold types there that this one has not
            raise StoreUnavailable(f"another process has written what cannot be read here: {error}") from error
        token = record.token._replace(issued=pointer.issued)
        return ActiveSession(token, contents, Home.STORE, record.version, history=record.history, unsaved=False)

    def _refuse_cookie(self, error: InvalidToken) -> None:
        name = "token_expired" if isinstance(error, ExpiredToken | RecordGone) else "token_refused"
        events.emit(name, f"ignored the cookie {self.cookie.name}: {error}", cookie=self.cookie.name)

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

    # -- saving

    def save(self, active: ActiveSession, *, persist: bool = False) -> None:
        """Save a session, as `Placement.save` does."""
        try:
            saved = self._placement.save(active, persist=persist)
        except SessionTooLarge as error:
            events.emit("oversize", str(error), session=self._label(active.token.sid))
            raise
        if saved and events.wanted("committed"):
            self._tell_committed(active)

    def _tell_committed(self, active: ActiveSession) -> None:
        _, _, _, revision, sid, payload = active.token
        home = active.home.value
        message = f"saved a session of {len(payload)} bytes in its {home}"
        events.emit(
            "committed", message, session=self._label(sid), home=home, revision=revision, data_bytes=len(payload)
        )

    def save_waits(self, active: ActiveSession) -> bool:
        """Return whether to save the session would wait for the store, as `Placement.waits` does."""
        return self._placement.waits(active)

    def terminate(self, identities: Iterable[tuple[Token, Version | None]]) -> None:
        """End what the store has under these identities. Raises StoreUnavailable."""
        for token, version in identities:
            self._placement.terminate(token, version)

    def set_cookies(self, active: ActiveSession, taken: int) -> list[str]:
        """Return the Set-Cookie values for a session, if its client has to hear of it."""
        token = active.cookie or self._reissued(active)
        if token is None:
            return []
        chunks = self.cookie.chunks_for(len(token.payload))
        text = _impl.encode(_impl.seal(self._keys.sealing, token, chunks))
        expires = None if token.flags & BROWSER else token.expires
        return self.cookie.write(text, now=self.now(), expires=expires, secure=bool(token.flags & SECURE), taken=taken)

    def _reissued(self, active: ActiveSession) -> Token | None:
        """Return the token anew, so that the session does not count as idle, if it is time to."""
        if (
            self._idle_seconds is None
            or self.now() - active.token.issued < self._idle_seconds / REISSUES_PER_IDLE_TIMEOUT
        ):
            return None
        return active.as_cookie()._replace(issued=self.now())


@cache  # once in a process is enough
def _tell_insecure() -> None:
    message = (
        "session cookies go over plain HTTP too, for whoever listens there: cookie_secure=False is for development"
    )
    events.emit("insecure_cookie", message)
