"""The session an application works with: a mutable mapping, plus the verbs of gae-sessions 1.07."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from gaesess import _impl
from gaesess._core import SECURE
from gaesess.active import ActiveSession, Home
from gaesess.lazy import LazySession
from gaesess.users import binding_of, checked

if TYPE_CHECKING:
    from typing_extensions import Self

    from gaesess.manager import SessionManager

_MISSING = object()


class Session(LazySession, MutableMapping[Hashable, Any]):
    """One request's view of one session. The cookie is not looked at before the first use.

    Changes, those inside nested values too, are saved when the response headers must go out. Any use may raise
    StoreUnavailable, if the session lives in a store that cannot answer; any change raises SessionClosed once the
    headers are out.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Session {self.state.value}>"  # no id and no data: representations end up in logs

    def __eq__(self, other: object) -> bool:
        """Return whether they are one session, which reads neither, or the data are those of another mapping."""
        return self is other if isinstance(other, LazySession) else MutableMapping.__eq__(self, other)

    has_key = LazySession.__contains__

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

    def increment(self, key: Hashable, n: int = 1) -> None:
        """Add `n` to an integer; one that is not there starts at 0.

        Where the session is kept in the store, overlapping requests add up. After `save` the value to be read is exact.
        Raises TypeError if `n`, or what the session has under this key, is not an int.
        """
        if type(n) is not int:
            raise TypeError(f"a session counts in int, not {type(n).__name__}")
        self._writable().contents.add(key, n)

    def append(self, key: Hashable, item: Any) -> None:
        """Add an item to the end of a list; one that is not there starts empty.

        Where the session is kept in the store, items of overlapping requests are all kept. Raises TypeError if what the
        session has under this key is not a list.
        """
        self._writable().contents.add(key, [item])

    # -- the verbs

    def terminate(self, clear_data: bool = True) -> None:
        """End the session: its record now, its cookie with this response.

        A tombstone takes the record's place until the session would have expired, so that no request that is on its way
        brings it back, nor one that gives it a new id meanwhile. With `clear_data=False` the record stays in the store,
        for `SessionManager.load`, and so a copy of the cookie stays good. After StoreUnavailable the cookie is deleted
        all the same, and the record ends with the next call that succeeds.
        """
        self._check_open()
        ended = self._identities()
        if clear_data:
            self._ended += ended
        self._unread, self._token, self._active, self._signed_out = False, None, None, True
        self._manager.terminate(self._ended)
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
        renewed = ActiveSession(token, active.contents, replaced=replaced, cookie=active.cookie)
        renewed.binding = binding_of(active)
        self.resume(renewed)

    def bind_user(self, user_id: str | int) -> None:
        """Say whose session this is: at login, after `regenerate_id`. Then `SessionManager.revoke_user` signs it out.

        It is noted in the store when the session is saved, and in its data under the key "gaesess.user". Raises
        RuntimeError without the setting `revocable`, TypeError for another type of id.
        """
        self._manager.require_revocable()
        self._writable().binding = checked(user_id), None

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

    def is_ssl_only(self) -> bool:
        """Return whether the session was started for TLS only."""
        active = self._load()
        return active is not None and bool(active.token.flags & SECURE)

    def get_expiration(self) -> int:
        """Return the absolute end of the session in Unix seconds, 0 if there is none."""
        active = self._load()
        return active.token.expires if active else 0

    @property
    def manager(self) -> SessionManager:
        """The manager, which has the other sessions too."""
        return self._manager

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

    def _pop(self, key: Hashable, default: Any, *, quick: bool) -> Any:
        if key not in self:
            return default
        contents = self._writable().contents
        value = contents.read(key)
        contents.delete(key, quick=quick)
        return value


class MappingSession(Session):
    """A session as web frameworks have theirs: `pop` is that of a mapping, and there are `modified` and `accessed`."""

    __slots__ = ()

    def pop(self, key: Hashable, default: Any = _MISSING) -> Any:
        """Delete a key and return its value, or `default` if it is not there. Raises KeyError if there is none."""
        if key not in self and default is _MISSING:
            raise KeyError(key)
        return super().pop(key, default)

    @property
    def modified(self) -> bool:
        """Whether there is anything to save, or to tell the client. To set it does nothing: all changes are seen."""
        if self._active is None:
            return self._signed_out
        return self._changed(self._active) or bool(self._manager.set_cookies(self._active, 0))

    @modified.setter
    def modified(self, value: bool) -> None:
        pass

    @property
    def accessed(self) -> bool:
        """Whether anybody has used the session in this request. To set it does nothing: every use is seen."""
        return self.is_accessed()

    @accessed.setter
    def accessed(self, value: bool) -> None:
        pass

    def __ior__(self, other: Mapping[Hashable, Any]) -> Self:
        self.update(other)
        return self

    @staticmethod
    def _changed(active: ActiveSession) -> bool:
        """Return whether this request has changed it, saved or not."""
        return active.unsaved or active.cookie is not None or active.contents.changed_payload() is not None


current_session: ContextVar[Session | None] = ContextVar("gaesess.current_session", default=None)
finders: list[Callable[[], Session | None]] = []  # of frameworks that keep track of the current request themselves


def get_current_session() -> Session:
    """Return the session of the request that is being answered. Raises LookupError outside of one."""
    session = current_session.get()
    if session is None:
        session = next((found for find in finders if (found := find()) is not None), None)
    if session is None:
        raise LookupError("there is no current session: this code does not run under a session middleware")
    return session


def set_current_session(session: Session | None) -> None:
    """Make a session the current one of this thread, greenlet or task: for tests, and for middleware."""
    current_session.set(session)
