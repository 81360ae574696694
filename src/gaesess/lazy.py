"""What a request knows of its session: nothing, until it is used."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from gaesess._core import Token
from gaesess.active import ActiveSession
from gaesess.errors import SessionClosed, StoreUnavailable
from gaesess.pickling import refuse_session

if TYPE_CHECKING:
    from gaesess.cookies import HeaderFields
    from gaesess.legacy.reader import OldSession
    from gaesess.manager import SessionManager
    from gaesess.stores.base import Version


class State(Enum):
    """What a request knows of its session.

    UNREAD becomes INACTIVE or ACTIVE at the first use. `start`, or the first write, makes any state ACTIVE; `terminate`
    makes any state TERMINATED.
    """

    UNREAD = "unread"
    INACTIVE = "inactive"
    ACTIVE = "active"
    TERMINATED = "terminated"


class LazySession:
    """The part of a session that every request takes: read at the first use, saved when the headers go out."""

    __slots__ = (
        "_accessed",
        "_active",
        "_closed",
        "_cookie_header",
        "_cookies_taken",
        "_ended",
        "_manager",
        "_old",
        "_outage",
        "_passive",
        "_retired_key",
        "_signed_out",
        "_token",
        "_unread",
    )

    def __init__(
        self, manager: SessionManager, cookie_header: str | HeaderFields | None, passive: bool = False
    ) -> None:
        self._manager = manager
        self._passive = passive  # this request does not count as a use of the session
        self._cookie_header = cookie_header  # until it is looked at
        self._cookies_taken = 0
        self._token: Token | None = None  # of the cookie
        self._retired_key = False  # has sealed it
        self._old: OldSession | None = None  # of another library's cookie
        self._unread = True
        self._active: ActiveSession | None = None
        self._outage: StoreUnavailable | None = None  # what `read_ahead` met with
        self._ended: list[tuple[Token, Version | None]] = []  # terminated in this request, and the store not yet told
        self._signed_out = False
        self._accessed = False
        self._closed = False

    __reduce__ = refuse_session

    def __getitem__(self, key: Hashable) -> Any:
        active = self._load()
        if active is None:
            raise KeyError(key)
        return active.contents.read(key)

    def get(self, key: Hashable, default: Any = None) -> Any:
        """Return a value, or `default` if the key is not there."""
        active = self._load()
        if active is None or key not in active.contents.data:
            return default
        return active.contents.read(key)

    def __setitem__(self, key: Hashable, value: Any) -> None:
        self._writable().contents.write(key, value)

    def __delitem__(self, key: Hashable) -> None:
        if key not in self:
            raise KeyError(key)
        self._writable().contents.delete(key)

    def __iter__(self) -> Iterator[Hashable]:
        active = self._load()
        return iter(active.contents.data if active else ())

    def __len__(self) -> int:
        active = self._load()
        return len(active.contents.data) if active else 0

    def __contains__(self, key: object) -> bool:
        active = self._load()
        return active is not None and key in active.contents.data

    @property
    def state(self) -> State:
        """What this request knows of its session by now."""
        if self._unread:
            return State.UNREAD
        if self._active:
            return State.ACTIVE
        return State.TERMINATED if self._signed_out else State.INACTIVE

    def is_accessed(self) -> bool:
        """Return whether anybody has used the session in this request; if so the response depends on the cookie."""
        return self._accessed

    def start(self, expiration_ts: int | None = None, ssl_only: bool = False) -> None:
        """Start a new, empty session with a new id; any earlier one of this client ends.

        `expiration_ts` is its absolute end in Unix seconds, by default the middleware's lifetime from now; 0 lets the
        cookie end with the browser. Raises ValueError for a time that is over.
        """
        self._check_open()
        token = self._manager.new_token(expiration_ts, ssl_only)
        if self._unread or self._active:  # else it has ended before
            self._ended += self._identities()
        self.resume(ActiveSession(token, replaced=[(old, None) for old, _ in self._ended]))
        self._ended = []

    # -- for middleware

    def read_waits(self) -> bool:
        """Return whether the first use would wait for the store."""
        if not self._unread:
            return False
        token = self._authenticate()
        if token is None:
            return self._old is not None
        return self._manager.authenticator.activation_waits(token)

    def read_ahead(self) -> None:
        """Read the session now, in a thread that may wait for the store, so that the first use will not.

        That is no use by itself. The StoreUnavailable that it meets with comes at the first use.
        """
        try:
            self._read()
        except StoreUnavailable as error:
            self._outage = error

    def close(self) -> bool:
        """Take no more changes, and return whether `commit` would wait for the store.

        Where it does, commit in a thread: what other tasks wrote meanwhile would be lost. If that fails the session is
        open again. Raises TypeError or ValueError as `commit` does.
        """
        waits = self._accessed and self._active is not None and self._manager.save_waits(self._active)
        self._closed = True
        return waits

    def resume(self, active: ActiveSession) -> None:
        """Go on with a session read or made elsewhere."""
        self._unread, self._active = False, active

    def commit(self) -> list[str]:
        """Save what has changed and return the Set-Cookie values to send. For middleware, once, before the headers go.

        Raises StoreUnavailable, SessionTooLarge, SessionTerminated, or TypeError for a value a session cannot hold:
        then nothing may go out that says it was saved.
        """
        if self._active is None or not self._accessed:
            return self.abandon()
        try:
            self._manager.save(self._active)
            cookies = self._set_cookies(self._active)
        except BaseException:
            self._closed = False
            raise
        self._closed = True
        return cookies

    def abandon(self) -> list[str]:
        """Close the session without saving it, and return the Set-Cookie values for what was saved or ended before."""
        self._closed = True
        if self._active and self._active.cookie:
            return self._set_cookies(self._active)
        if self._signed_out:
            return self._manager.cookie.delete(0, max(1, self._cookies_taken)) + self._delete_old()
        return []

    def _set_cookies(self, active: ActiveSession) -> list[str]:
        cookies = self._manager.set_cookies(active, self._cookies_taken)
        return cookies + self._delete_old() if cookies else cookies

    def _delete_old(self) -> list[str]:
        """Delete another library's cookies: they must not bring their session back when ours is gone."""
        legacy = self._manager.legacy
        return legacy.delete(self._old) if legacy and self._old else []

    def _authenticate(self) -> Token | None:
        if self._cookie_header is not None:
            found = self._manager.authenticator.authenticate(self._cookie_header)
            self._token, self._cookies_taken, self._retired_key = found
            if self._manager.legacy is not None:
                self._old = self._manager.legacy.find(self._cookie_header)
            self._cookie_header = None
        return self._token

    def _load(self) -> ActiveSession | None:
        self._accessed = True  # even if the store cannot answer: what the application then says depends on the cookie
        if self._unread:
            if self._outage:
                raise self._outage.with_traceback(None)
            self._read()
        return self._active

    def _read(self) -> None:
        token = self._authenticate()
        legacy = self._manager.legacy
        if token:
            self._active = self._manager.authenticator.activate(token, self._retired_key)
        elif legacy and self._old:
            self._active = legacy.adopt(self._old)
        if self._passive and self._active:
            self._active.passive = True
        self._unread = False

    def _identities(self) -> list[tuple[Token, Version | None]]:
        """Return the identities under which the store may have a record, and versions, without asking the store."""
        self._accessed = True
        identities = self._active.identities() if self._active else []
        for token in (self._authenticate(), self._old.identity if self._old else None):
            if token and all(token.sid != other.sid for other, _ in identities):
                identities.append((token, None))
        return identities

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed("the session cannot be changed any more: the response headers have gone out")

    def _writable(self) -> ActiveSession:
        self._check_open()
        if self._load() is None:
            self.start()
        assert self._active is not None
        return self._active
