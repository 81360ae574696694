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
from gaesess.cookies import CookiePolicy, HeaderFields, join_cookie_fields
from gaesess.errors import ExpiredToken, InvalidToken, RecordGone, SessionTooLarge, StoreUnavailable
from gaesess.keys import Keyring, RetiredKey
from gaesess.placement import Placement
from gaesess.recorder import Recorder
from gaesess.records import Records
from gaesess.session import Session
from gaesess.stores.base import Store, Version
from gaesess.timeouts import DEFAULT_LIFETIME, Timeouts


class SessionManager:
    """Everything a session middleware needs; one per application, shared by all its threads.

    cookie_key: the secret, of at least 32 bytes, that sessions are sealed with; retired_keys: earlier ones, still good
    for reading, each by itself or as a pair with the datetime until which it is good. What a retired key has sealed is
    sealed anew with the next response to a request that uses it.
    encrypt: have cookies and records encrypted with AES-256-GCM, not only signed; what is not is refused then.
    compress: have cookies and records compressed where that makes them smaller. Their length then tells of what is in
    them, so never where somebody who sees the length can have texts of his own put beside a secret (as BREACH does).
    lifetime: how long a session lasts from its start; zero lets its cookie end with the browser.
    idle_timeout: how long it lasts from its last use, if that is less; a request to one of `passive_paths`, or below
    one, is not a use: for pages that ask by themselves, again and again, whether there is anything new.
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
        retired_keys: Iterable[RetiredKey] = (),
        encrypt: bool = False,
        compress: bool = False,
        idle_timeout: timedelta | None = None,
        passive_paths: Iterable[str] = (),
        cookie_name: str | None = None,
        cookie_path: str = "/",
        cookie_domain: str | None = None,
        cookie_secure: bool = True,
        cookie_samesite: str = "Lax",
        cookie_partitioned: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if encrypt and compress:
            raise ValueError("compress=True would let the length of an encrypted session tell of what is in it")
        if outage not in ("raise", "degrade"):
            raise ValueError(f'outage is "raise" or "degrade", not {outage!r}')
        self.timeouts = Timeouts(lifetime, idle_timeout, passive_paths)
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
        keyring = Keyring(cookie_key, retired_keys, cookie_name=self.cookie.name, encrypt=encrypt, compress=compress)
        self._sealer = keyring.cookie
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
        self._placement = Placement(self._records, recorder, cookie_bytes, self._sealer, self.now)

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

    def authenticate(self, cookie_header: str | HeaderFields | None) -> tuple[Token | None, int, bool]:
        """Return the token of a Cookie header, how many cookie names are taken, and whether a retired key sealed it.

        The token is None if there is none to be believed. One that is not is logged, without its contents.
        """
        if cookie_header is None:
            return None, 0, False
        if not isinstance(cookie_header, str):
            cookie_header = join_cookie_fields(cookie_header)
        now = self.now()
        try:
            found = self._sealer.unseal_cookies(cookie_header, self.cookie.name, now)
            token = found[0]
            if token is not None and self.timeouts.is_idle(token, now):
                raise ExpiredToken("token has been idle for too long")
            return found
        except InvalidToken as error:
            self._refuse_cookie(error)
            return None, self._cookies_taken(cookie_header), False

    def _cookies_taken(self, cookie_header: str) -> int:
        with suppress(InvalidToken):
            found = _impl.read_cookies(cookie_header, self.cookie.name)
            return found[1] if found else 0
        return 0

    def activate(self, token: Token, retired_key: bool = False) -> ActiveSession | None:
        """Return the session of a verified token, from the store if the token points there; None if there is none.

        Raises StoreUnavailable.
        """
        try:
            if token.flags & POINTER:
                return self._read_record(token, retired_key)
            return ActiveSession(token, Contents(token.payload), unsaved=False, retired_key=retired_key)
        except InvalidToken as error:
            self._refuse_cookie(error)
            return None

    def _read_record(self, pointer: Token, retired_key: bool) -> ActiveSession:
        if self._records is None:
            raise RecordGone("token points into a store, and there is none")
        record = self._records.read(pointer)
        try:
            contents = Contents(record.token.payload)
        except InvalidToken as error:  # a newer version of the application may hold types there that this one has not
            raise StoreUnavailable(f"another process has written what cannot be read here: {error}") from error
        token = record.token._replace(issued=pointer.issued)
        return ActiveSession(
            token,
            contents,
            Home.STORE,
            record.version,
            history=record.history,
            unsaved=False,
            retired_key=retired_key or record.retired_key,
        )

    def _refuse_cookie(self, error: InvalidToken) -> None:
        name = "token_expired" if isinstance(error, ExpiredToken | RecordGone) else "token_refused"
        events.emit(name, f"ignored the cookie {self.cookie.name}: {error}", cookie=self.cookie.name)

    # -- starting and ending

    def new_token(self, expiration_ts: int | None, ssl_only: bool, keep: Token | None = None) -> Token:
        """Return a new identity that ends at `expiration_ts` (Unix seconds), or like `keep`, or by the lifetime."""
        now = self.now()
        browser = keep.flags & BROWSER if keep else BROWSER if self.timeouts.with_browser else 0
        if expiration_ts is None:
            expires = keep.expires if keep else now + self.timeouts.lifetime_seconds
        elif expiration_ts == 0:
            expires, browser = now + self.timeouts.lifetime_seconds, BROWSER
        else:
            expires, browser = int(expiration_ts), 0
        if not now < expires <= MAX_U32:
            raise ValueError(f"expiration_ts is 0 or a time to come, in Unix seconds, not {expiration_ts}")
        flags = browser | (SECURE if ssl_only else 0)
        return Token(flags, expires, now, 0, os.urandom(SID_BYTES), b"")

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
        token = self._sealer.shrink(token)
        text = _impl.encode(self._sealer.seal(token, self.cookie.chunks_for(len(token.payload))))
        expires = None if token.flags & BROWSER else token.expires
        return self.cookie.write(text, now=self.now(), expires=expires, secure=bool(token.flags & SECURE), taken=taken)

    def _reissued(self, active: ActiveSession) -> Token | None:
        """Return the token anew, so that the session does not count as idle, if it is time to."""
        if active.passive or not self.timeouts.wants_refresh(active.token, self.now()):
            return None
        return active.as_cookie()._replace(issued=self.now())


@cache  # once in a process is enough
def _tell_insecure() -> None:
    message = (
        "session cookies go over plain HTTP too, for whoever listens there: cookie_secure=False is for development"
    )
    events.emit("insecure_cookie", message)
