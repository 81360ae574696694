"""The session manager: what the settings come to, and the way from a cookie to a session and back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from gaesess import _impl, events
from gaesess._core import BROWSER, MAX_CHUNKS, MAX_U32, POINTER, RECORDED, SECURE, SID_BYTES, Token
from gaesess.active import ActiveSession
from gaesess.authenticator import Authenticator
from gaesess.cookies import CookiePolicy, HeaderFields
from gaesess.errors import InvalidToken, SessionTooLarge
from gaesess.keys import Keyring, RetiredKey
from gaesess.pickling import refuse_keys
from gaesess.placement import Placement
from gaesess.recorder import Recorder
from gaesess.records import Records
from gaesess.revocation import Revocation
from gaesess.session import Session
from gaesess.stores.base import MAX_RECORD_BYTES, Store, Version
from gaesess.threads import StoreThreads
from gaesess.timeouts import DEFAULT_LIFETIME, Timeouts
from gaesess.users import USER_KEY, UserId, Users, UserSession, binding_of

if TYPE_CHECKING:
    from gaesess.legacy.reader import Reader
    from gaesess.legacy.takeover import Takeover


class SessionManager:
    """Everything a session middleware needs; one per application, shared by all its threads.

    - `cookie_key`: the secret, of at least 32 bytes, that sessions are sealed with.
    - `retired_keys`: earlier ones, still good for reading, each by itself or as a pair with the datetime until which it
      is good. What a retired key has sealed is sealed anew with the next response to a request that uses it.
    - `encrypt`: have cookies and records encrypted with AES-256-GCM, not only signed; what is not is refused then.
    - `compress`: have cookies and records compressed where that makes them smaller. Their length then tells of what is
      in them, so never where somebody who sees the length can have texts of his own put beside a secret (as BREACH
      does).
    - `revocable`: have a session that lives in its cookie end for good when it ends, wherever copies of the cookie are:
      the store is asked, at most every 5 seconds per session and process; and `bind_user`, `revoke_user`,
      `list_sessions`.
    - `lifetime`: how long a session lasts from its start; zero lets its cookie end with the browser.
    - `idle_timeout`: how long it lasts from its last use, if that is less; a request to one of `passive_paths`, or
      below one, is not a use: for pages that ask by themselves, again and again, whether there is anything new.
    - `store`: where sessions live that outgrow the cookie; without one they raise SessionTooLarge.
    - `no_datastore`: use only the cache of a TieredStore.
    - `outage`: what a save comes to while the durable store of a TieredStore is down: "raise" StoreUnavailable, or
      "degrade", which saves in the cache alone until the next save that the durable store takes.
    - `store_threads`: how many threads of a process may call the store where an event loop must not wait for it, under
      ASGI and in Django's coroutines.
    - `cookie_only_threshold`: how many bytes of session data stay in the cookie, by default as many as one cookie
      holds.
    - `cookie_name` and the others of the cookie: see CookiePolicy.
    - `legacy`: what reads the sessions of another library that are to be taken over, one or several: see
      `gaesess.legacy`.

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
        store_threads: int = 64,
        retired_keys: Iterable[RetiredKey] = (),
        encrypt: bool = False,
        compress: bool = False,
        revocable: bool = False,
        idle_timeout: timedelta | None = None,
        passive_paths: Iterable[str] = (),
        cookie_name: str | None = None,
        cookie_path: str = "/",
        cookie_domain: str | None = None,
        cookie_secure: bool = True,
        cookie_samesite: str = "Lax",
        cookie_partitioned: bool = False,
        legacy: Reader | Iterable[Reader] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if encrypt and compress:
            raise ValueError("compress=True would let the length of an encrypted session tell of what is in it")
        if outage not in ("raise", "degrade"):
            raise ValueError(f'outage is "raise" or "degrade", not {outage!r}')
        self.store_threads = StoreThreads(store_threads)
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
            store = _cache_of(store)
        self._label = keyring.label
        degrades = outage == "degrade"
        self._records = Records(store, keyring.record, self._label, self.now) if store is not None else None
        recorder = Recorder(self._records, self._label, degrades=degrades) if self._records else None
        self._users: Users | None = None
        self._revocation: Revocation | None = None
        if revocable:
            if store is None or self._records is None:
                raise ValueError("revocable=True needs a store=, to note there which sessions have ended")
            users = Records(store, keyring.user, self._label, self.now)
            self._users = Users(users, self._records, self.now)
            self._revocation = Revocation(self._records, self._users, self.now, degrades=degrades)
        cookie_bytes = self.cookie.payload_limit(1)
        if cookie_only_threshold is not None:
            cookie_bytes = min(cookie_only_threshold, self.cookie.payload_limit(MAX_CHUNKS))
        self.authenticator = Authenticator(
            self.cookie.name, self._sealer, self.timeouts, self._records, self._revocation, self.now
        )
        self._placement = Placement(
            self._records, recorder, cookie_bytes, self._sealer, self.now, revocation=self._revocation
        )
        self.legacy: Takeover | None = None
        if legacy:
            from gaesess.legacy.takeover import Takeover  # not in every process

            max_bytes = cookie_bytes if self._records is None else MAX_RECORD_BYTES
            newborn = partial(self.new_token, None)
            self.legacy = Takeover(legacy, self.cookie, self._records, newborn, self.now, max_bytes)

    __reduce__ = refuse_keys

    @property
    def has_store(self) -> bool:
        """Return whether sessions may live elsewhere than in our cookies, where to ask may take its time."""
        return self._records is not None or self.legacy is not None

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

        Of a session that lives in its cookie this is a copy, as of when it was last saved in the store. Only its cookie
        tells when a session was last used, so `idle_timeout` has no part in this. Raises StoreUnavailable.
        """
        session = Session(self, None)
        try:
            expires, secure, raw_sid = _impl.parse_sid(sid)
        except InvalidToken:
            return session
        flags = POINTER | RECORDED | (SECURE if secure else 0)
        active = self.authenticator.activate(Token(flags, expires, self.now(), 0, raw_sid, b""))
        if active:
            session.resume(active)
        return session

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
        if active.binding is not None and self._users is not None:
            user_id, earlier = active.binding
            active.contents.write(USER_KEY, (user_id, self._users.bind(user_id, active.token, earlier)))
            active.binding = None
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
        return active.binding is not None or self._placement.waits(active)

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

    # -- signing out elsewhere

    def revoke_session(self, sid: str) -> None:
        """End the session of that id, wherever it lives. Raises StoreUnavailable, and ValueError for what is no id."""
        self.require_revocable()
        expires, _, raw_sid = _impl.parse_sid(sid)
        if expires > self.now():
            self.terminate([(Token(RECORDED, expires, 0, 0, raw_sid, b""), None)])

    def revoke_user(self, user_id: UserId, except_: Session | None = None) -> None:
        """Sign out every session that was bound to this user, but the one given. Raises StoreUnavailable."""
        users, revocation = self.require_revocable()
        kept = except_._load() if except_ is not None else None
        generation = users.revoke(user_id, kept.token.sid if kept else None)
        revocation.forget_all()
        binding = binding_of(kept) if kept else None
        if kept and binding and binding[0] == user_id:
            kept.binding = user_id, (generation, kept.token.sid)

    def list_sessions(self, user_id: UserId) -> list[UserSession]:
        """Return the sessions that were bound to this user and have not ended, the latest last.

        Each of them is looked up. Of more than a thousand only the latest are known. Raises StoreUnavailable.
        """
        users, _ = self.require_revocable()
        return users.sessions(user_id)

    def require_revocable(self) -> tuple[Users, Revocation]:
        """Return what there is with the setting `revocable`; raise RuntimeError without it."""
        if self._users is None or self._revocation is None:
            raise RuntimeError("to sign sessions out elsewhere, set revocable=True, and a store=")
        return self._users, self._revocation


def _cache_of(store: Store) -> Store:
    from gaesess.stores.tiered import TieredStore  # not in every process

    if not isinstance(store, TieredStore):
        raise ValueError("no_datastore=True is for a TieredStore, whose cache it uses; pass the store you want")
    return store.cache


@cache  # once in a process is enough
def _tell_insecure() -> None:
    message = (
        "session cookies go over plain HTTP too, for whoever listens there: cookie_secure=False is for development"
    )
    events.emit("insecure_cookie", message)
