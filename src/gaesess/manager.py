"""The session manager: sessions without a middleware, by their cookie or their id, and sign-out elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gaesess import _impl
from gaesess._core import POINTER, RECORDED, SECURE, CookieAttributes, Token
from gaesess.config import POSITIONAL, SETTINGS, SessionConfig, near
from gaesess.drivers import Threads
from gaesess.ending import end
from gaesess.errors import InvalidToken
from gaesess.pickling import refuse_keys
from gaesess.session import Session
from gaesess.users import UserId, UserSession

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gaesess.config import Settings

T = TypeVar("T")


class SessionManager:
    """Everything a session middleware needs; one per application, shared by all its threads.

    The settings are those of `gaesess.config.Settings`, by their names; the first four also by position, in the order
    of gae-sessions 1.07: cookie_key, lifetime, no_datastore, cookie_only_threshold. Raises ValueError for settings that
    are missing, unsafe or contradict each other, TypeError for one that does not exist.
    """

    def __init__(self, *positional: Any, **settings: Unpack[Settings]) -> None:
        if len(positional) > len(POSITIONAL):
            raise TypeError(f"by position there are {', '.join(POSITIONAL)}; give the other settings by their names")
        given: dict[str, Any] = dict(zip(POSITIONAL, positional, strict=False))
        for name in given.keys() & settings.keys():
            raise TypeError(f"{name} is given twice, by position and by name")
        self.config = SessionConfig(self, {**given, **settings})

    __reduce__ = refuse_keys

    @property
    def cookie(self) -> CookieAttributes:
        """The name and the attributes of the session cookie."""
        return self.config.cookie

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return self.config.now()

    # -- one session

    def open(self, cookie_header: str | Iterable[tuple[bytes, bytes]] | None) -> Session:
        """Return the session of a request, which parses its Cookie header only if it is used.

        Where a server gives all header fields as bytes, pass them as they are.
        """
        return Session(self.config, cookie_header)

    def load(self, sid: str) -> Session:
        """Return the session of that id from the store; an inactive one if there is none, or it has expired.

        Of a session in its cookie this is a copy, as of when it was last saved in the store. `idle_timeout` does not
        apply here: the last use is recorded only in the cookie. Raises StoreUnavailable.
        """
        session = self._of_id(sid)
        session.ensure_data_loaded()
        return session

    async def aload(self, sid: str) -> Session:
        """`load` for a coroutine."""
        session = self._of_id(sid)
        await session.aload()
        return session

    def _of_id(self, sid: str) -> Session:
        session = Session(self.config, None)
        with suppress(InvalidToken):
            expires, secure, raw_sid = _impl.parse_sid(sid)
            flags = POINTER | RECORDED | (SECURE if secure else 0)
            session.point_to(Token(flags, expires, self.now(), 0, raw_sid, b""))
        return session

    # -- signing out elsewhere

    def revoke_session(self, sid: str) -> None:
        """End the session of that id, in its cookie or in the store.

        Raises StoreUnavailable, and ValueError for what is no id.
        """
        self._run(self._revoke_session(sid))

    async def arevoke_session(self, sid: str) -> None:
        """`revoke_session` for a coroutine."""
        await self._wait_for(self._revoke_session, sid)

    async def _revoke_session(self, sid: str) -> None:
        self.config.require_users()
        expires, _, raw_sid = _impl.parse_sid(sid)
        if expires > self.now() and self.config.records:
            await end(self.config.records, Token(RECORDED, expires, 0, 0, raw_sid, b""))

    def revoke_user(self, user_id: UserId, except_: Session | None = None) -> None:
        """Sign out every session that was bound to this user, but the one given. Raises StoreUnavailable."""
        self._run(self._revoke_user(user_id, except_))

    async def arevoke_user(self, user_id: UserId, except_: Session | None = None) -> None:
        """`revoke_user` for a coroutine."""
        if except_ is not None:
            await except_.aload()
        await self._wait_for(self._revoke_user, user_id, except_)

    async def _revoke_user(self, user_id: UserId, except_: Session | None) -> None:
        kept = except_ if except_ is not None and except_.is_active() else None
        generation = await self.config.require_users().revoke(user_id, kept._sid if kept is not None else None)
        if kept is not None:
            kept.rebind(user_id, generation)

    def list_sessions(self, user_id: UserId) -> list[UserSession]:
        """Return the sessions that were bound to this user and have not ended, the latest last.

        Of more than a hundred only the latest are known. Raises StoreUnavailable.
        """
        return self._run(self.config.require_users().sessions(user_id))

    async def alist_sessions(self, user_id: UserId) -> list[UserSession]:
        """`list_sessions` for a coroutine."""
        return await self._wait_for(self.config.require_users().sessions, user_id)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.config.driver.run(coroutine)

    async def _wait_for(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        driver = self.config.driver
        if isinstance(driver, Threads):
            return await driver.in_thread(lambda: driver.run(function(*arguments)))
        return await function(*arguments)


def manager_from(settings: Mapping[str, Any], origin: str) -> SessionManager:
    """Return a manager with the settings of a dictionary; `origin` is how error messages call that.

    Raises ValueError for settings that are unknown, missing, unsafe or contradict each other.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f'{origin} must be a dictionary, such as {{"cookie_key": ...}}, got {type(settings).__name__}')
    for name in settings:
        if name not in SETTINGS:
            raise ValueError(f"{origin} has no setting {name!r}: {near(name)}")
    try:
        return SessionManager(**settings)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None


def refuse_async(manager: SessionManager) -> SessionManager:
    """Return a manager for a server with threads. Raises ValueError if its store is for coroutines only."""
    if manager.config.driver.is_async:
        raise ValueError(
            "store must be a Store, got an AsyncStore, which only gaesess.asgi and Django's asynchronous views can use"
        )
    return manager


def check_protocol(app: Any, protocol: Literal["WSGI", "ASGI"]) -> None:
    """Raise TypeError, which names the right middleware, for an application of the other protocol, if that shows."""
    inner, first = app, 0  # the first argument after those that are given already
    while isinstance(inner, partial) or hasattr(inner, "__wrapped__"):  # by a decorator
        first += len(getattr(inner, "args", ()))
        inner = inner.func if isinstance(inner, partial) else inner.__wrapped__
    call = inner if hasattr(inner, "__code__") else getattr(inner, "__call__", None)  # noqa: B004  # not whether it is
    code = getattr(call, "__code__", None)
    if code is None:
        return
    first += int(getattr(call, "__self__", None) is not None)
    is_async = bool(code.co_flags & _COROUTINE)
    is_wsgi = code.co_varnames[first : first + 2] == ("environ", "start_response")
    if protocol == "WSGI" and is_async:
        raise TypeError(f"{app!r} is an ASGI application: use gaesess.asgi.SessionMiddleware")
    if protocol == "ASGI" and not is_async:
        takes_two = code.co_argcount - first == 2 and not code.co_flags & _VARIABLE_ARGUMENTS
        if is_wsgi or takes_two:
            raise TypeError(f"{app!r} is a WSGI application: use gaesess.SessionMiddleware, or gaesess.flask.GaeSess")


_VARIABLE_ARGUMENTS, _COROUTINE = 0x04, 0x80  # inspect.CO_VARARGS, inspect.CO_COROUTINE
