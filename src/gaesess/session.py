"""The session an application works with: a mutable mapping, plus the verbs of gae-sessions 1.07."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, MutableMapping
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any

from gaesess import _impl
from gaesess._core import SECURE, Token
from gaesess.active import ActiveSession, Home
from gaesess.errors import SessionClosed

if TYPE_CHECKING:
    from gaesess.manager import SessionManager


class State(Enum):
    """What a request knows of its session.

    UNREAD becomes INACTIVE or ACTIVE at the first use. `start`, or the first write, makes any state ACTIVE; `terminate`
    makes any state TERMINATED.
    """

    UNREAD = "unread"
    INACTIVE = "inactive"
    ACTIVE = "active"
    TERMINATED = "terminated"


class Session(MutableMapping[Hashable, Any]):
    """One request's view of one session. The cookie is not looked at before the first use.

    Changes, those inside nested values too, are saved when the response headers must go out. Any use may raise
    StoreUnavailable, if the session lives in a store that cannot answer; any change raises SessionClosed once the
    headers are out.
    """

    def __init__(self, manager: SessionManager, cookie_header: str | None) -> None:
        self._manager = manager
        self._cookie_header = cookie_header  # until it is looked at
        self._cookies_taken = 0
        self._token: Token | None = None  # of the cookie
        self._state = State.UNREAD
        self._active: ActiveSession | None = None
        self._ended: list[Token] = []  # identities terminated in this request whose records are not yet deleted
        self._signed_out = False
        self._accessed = False
        self._closed = False

    # -- the mapping

    def __getitem__(self, key: Hashable) -> Any:
        active = self._load()
        if active is None:
            raise KeyError(key)
        return active.contents.read(key)

    def __setitem__(self, key: Hashable, value: Any) -> None:
        self._writable().contents.write(key, value)

    def __delitem__(self, key: Hashable) -> None:
        self._existing(key).contents.delete(key)

    def __iter__(self) -> Iterator[Hashable]:
        active = self._load()
        return iter(active.contents.data if active else ())

    def __len__(self) -> int:
        active = self._load()
        return len(active.contents.data) if active else 0

    def __contains__(self, key: object) -> bool:
        active = self._load()
        return active is not None and key in active.contents.data

    def __repr__(self) -> str:
        return f"<Session {self._state.value}>"  # no id and no data: representations end up in logs

    has_key = __contains__

    def clear(self) -> None:
        """Delete every key; the session itself goes on."""
        if self._load():
            self._writable().contents.clear()

    def pop(self, key: Hashable, default: Any = None) -> Any:
        """Delete a key and return its value, or `default` (None, not a KeyError) if it is not there."""
        return self._pop(key, default, quick=False)

    def pop_quick(self, key: Hashable, default: Any = None) -> Any:
        """Like `pop`, but for a session in the store only its cache hears of it until something else is saved.

        Fast, and lost if the cache loses it or an overlapping request saves: the key is then there again. Never use it
        for a token that is good once.
        """
        return self._pop(key, default, quick=True)

    def set_quick(self, key: Hashable, value: Any) -> None:
        """Set a value, but for a session in the store only its cache hears of it until something else is saved.

        Fast, and lost if the cache loses it or an overlapping request saves.
        """
        self._writable().contents.write(key, value, quick=True)

    # -- the verbs

    def start(self, expiration_ts: int | None = None, ssl_only: bool = False) -> None:
        """Start a new, empty session with a new id; any earlier one of this client ends.

        `expiration_ts` is its absolute end in Unix seconds, by default the middleware's lifetime from now; 0 lets the
        cookie end with the browser. Raises ValueError for a time that is over.
        """
        self._check_open()
        token = self._manager.new_token(expiration_ts, ssl_only)
        self._ended += self._identities()
        self.resume(ActiveSession(token, replaced=[(old, None) for old in self._ended]))
        self._ended = []

    def terminate(self, clear_data: bool = True) -> None:
        """End the session: its record is deleted now, its cookie with this response.

        With `clear_data=False` the record stays in the store, for `SessionManager.load`, and so a copy of the cookie
        stays good. After StoreUnavailable the cookie is deleted all the same, and the record by the next call that
        succeeds.
        """
        self._check_open()
        ended = self._identities()
        if clear_data:
            self._ended += ended
        self._state, self._token, self._active, self._signed_out = State.TERMINATED, None, None, True
        self._manager.delete_records(self._ended)
        self._ended = []

    def regenerate_id(self, expiration_ts: int | None = None) -> None:
        """Give the session a new id and keep its data: do it at every login, against session fixation.

        The old record goes once the new one is safe. The expiry stays unless `expiration_ts` (Unix seconds) is given.
        An inactive session is started if it is, and else left alone.
        """
        self._check_open()
        active = self._load()
        if active is None:
            if expiration_ts is not None:
                self.start(expiration_ts)
            return
        token = self._manager.new_token(expiration_ts, self.is_ssl_only(), keep=active.token)
        replaced = [*active.replaced, (active.token, active.version)]
        self.resume(ActiveSession(token, active.contents, replaced=replaced, cookie=active.cookie))

    def save(self, persist_even_if_using_cookie: bool = False) -> None:
        """Save now what is saved anyway when the headers go out: to know early that it was.

        `persist_even_if_using_cookie` also writes a session that lives in its cookie to the store, for
        `SessionManager.load`.
        """
        self._check_open()
        active = self._load()
        if active:
            self._manager.save(active, persist=persist_even_if_using_cookie)

    def ensure_data_loaded(self) -> None:
        """Read the session now."""
        self._load()

    # -- what there is to know

    def is_active(self) -> bool:
        """Return whether there is a session: read, genuine, not expired, and not terminated elsewhere."""
        return self._load() is not None

    def is_accessed(self) -> bool:
        """Return whether anybody has used the session in this request; if so the response depends on the cookie."""
        return self._accessed

    def is_ssl_only(self) -> bool:
        """Return whether the session was started for TLS only."""
        active = self._load()
        return active is not None and bool(active.token.flags & SECURE)

    def get_expiration(self) -> int:
        """Return the absolute end of the session in Unix seconds, 0 if there is none."""
        active = self._load()
        return active.token.expires if active else 0

    @property
    def sid(self) -> str | None:
        """The session id as text: ten digits of expiry, "S" for TLS only or "_", 32 of hex. A secret: do not log it."""
        active = self._load()
        if active is None:
            return None
        return _impl.format_sid(active.token.expires, self.is_ssl_only(), active.token.sid)

    @property
    def home(self) -> Home | None:
        """Where the session lives, as of when it was last read or saved."""
        active = self._load()
        return active.home if active else None

    @property
    def revision(self) -> int:
        """How many times the session was saved since it got its id."""
        active = self._load()
        return active.token.revision if active else 0

    # -- for middleware

    @property
    def state(self) -> State:
        """What this request knows of its session by now."""
        return self._state

    def resume(self, active: ActiveSession) -> None:
        """Go on with a session read or made elsewhere."""
        self._state, self._active = State.ACTIVE, active

    def commit(self) -> list[str]:
        """Save what has changed and return the Set-Cookie values to send. For middleware, once, before the headers go.

        Raises StoreUnavailable, SessionTooLarge, SessionTerminated, or TypeError for a value a session cannot hold:
        then nothing may go out that says it was saved.
        """
        if self._active is None:
            return self.abandon()
        self._manager.save(self._active)
        cookies = self._manager.set_cookies(self._active, self._cookies_taken)
        self._closed = True
        return cookies

    def abandon(self) -> list[str]:
        """Close the session without saving it, and return the Set-Cookie values for what was saved or ended before."""
        self._closed = True
        if self._active and self._active.cookie:
            return self._manager.set_cookies(self._active, self._cookies_taken)
        if self._signed_out:
            return self._manager.cookie.delete(0, max(1, self._cookies_taken))
        return []

    def _identities(self) -> list[Token]:
        """Return the identities under which the store may have a record, without asking the store."""
        self._accessed = True
        if self._active:
            return self._active.all_tokens()
        token = self._authenticate()
        return [token] if token else []

    def _authenticate(self) -> Token | None:
        if self._cookie_header is not None:
            self._token, self._cookies_taken = self._manager.authenticate(self._cookie_header)
            self._cookie_header = None
        return self._token

    def _load(self) -> ActiveSession | None:
        self._accessed = True  # even if the store cannot answer: what the application then says depends on the cookie
        if self._state is State.UNREAD:
            token = self._authenticate()
            self._active = self._manager.activate(token) if token else None
            self._state = State.ACTIVE if self._active else State.INACTIVE
        return self._active

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed("the session cannot be changed any more: the response headers have gone out")

    def _writable(self) -> ActiveSession:
        self._check_open()
        if self._load() is None:
            self.start()
        assert self._active is not None
        return self._active

    def _existing(self, key: Hashable) -> ActiveSession:
        if key not in self:
            raise KeyError(key)
        return self._writable()

    def _pop(self, key: Hashable, default: Any, *, quick: bool) -> Any:
        if key not in self:
            return default
        contents = self._writable().contents
        value = contents.read(key)
        contents.delete(key, quick=quick)
        return value


current_session: ContextVar[Session | None] = ContextVar("gaesess.current_session", default=None)


def get_current_session() -> Session:
    """Return the session of the request that is being answered. Raises LookupError outside of one."""
    session = current_session.get()
    if session is None:
        raise LookupError("there is no current session: this code does not run under a session middleware")
    return session


def set_current_session(session: Session | None) -> None:
    """Make a session the current one of this thread, greenlet or task: for tests, and for middleware."""
    current_session.set(session)
