"""Django's `request.session`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase

from gaesess._core import BROWSER, Token
from gaesess.cleanup import delete_expired_sessions
from gaesess.django.managers import manager
from gaesess.drivers import Threads
from gaesess.errors import SessionClosed
from gaesess.saving import Identity
from gaesess.session import Session
from gaesess.stores.base import is_async

P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[Any, P], R]
AsyncMethod = Callable[Concatenate["DjangoSession", P], Coroutine[Any, Any, R]]


def _reading(method: Method[P, R]) -> AsyncMethod[P, R]:
    """Make a coroutine function of a method; a session in the store is first read."""

    @wraps(method)
    async def call(self: DjangoSession, /, *args: P.args, **kwargs: P.kwargs) -> R:
        await self.read_ahead()
        result: R = getattr(self, method.__name__)(*args, **kwargs)
        return result

    return call


class DjangoSession(Session):
    """A session as Django has its own: all of SessionBase but `encode`, `decode` and `key_salt`, and all of Session.

    `session_key` is the session's id, the `sid`. Changes inside nested values are seen, so `modified` need not be set,
    and values keep their types: nothing is made into JSON. `set_expiry` gives the session an end that later changes do
    not move; for a time that runs from the last use there is the setting `idle_timeout`.
    """

    dict_pop = True

    TEST_COOKIE_NAME = SessionBase.TEST_COOKIE_NAME
    TEST_COOKIE_VALUE = SessionBase.TEST_COOKIE_VALUE

    # Put off until the view's transaction is over, as a rollback would undo it:
    _to_save: bool | None = None  # what `save` was called for: whether to persist it; None if it was not
    _to_end: tuple[Identity, ...] = ()  # terminated

    def __bool__(self) -> bool:  # since Django 6; before that every session was true
        return not self.is_empty()

    # -- the session as a whole

    @property
    def session_key(self) -> str | None:
        """The session's id, None if there is no session. A secret: do not log it."""
        return self.sid

    def is_empty(self) -> bool:
        """Return whether there is no session; one without data is one."""
        return not self.is_active()

    def __contains__(self, key: object) -> bool:
        # Of a session that the store has lost: `login` asks this, and nothing else does.
        return not (key == SESSION_KEY and self.is_lost()) and super().__contains__(key)

    has_key = __contains__

    def exists(self, session_key: str) -> bool:
        """Return whether that is this session, or one that is in the store. Raises StoreUnavailable."""
        return bool(session_key) and (session_key == self.session_key or self._other(session_key).is_active())

    def load(self) -> dict[Any, Any]:
        """Return a copy of the data."""
        return dict(self)

    def create(self) -> None:
        """Start a session; one that there is gets a new id and keeps its data."""
        if self.is_active():
            self.regenerate_id()
        else:
            self.start()

    def save(  # type: ignore[override]  # the first argument is Django's
        self, must_create: bool = False, *, persist_even_if_using_cookie: bool = False
    ) -> None:
        """Save now what is saved anyway when the response goes out; where there is no session, start one.

        `must_create` gives it a new id, and `persist_even_if_using_cookie` is that of Session.save. In a transaction of
        DjangoStore's database it is saved when that is committed, or else when the response goes out.
        """
        if must_create or not self.is_active():
            self.create()
        if self._puts_off():
            self._to_save = bool(self._to_save or persist_even_if_using_cookie)
        else:
            super().save(persist_even_if_using_cookie)

    def delete(self, session_key: str | None = None) -> None:
        """End this session, with its data; or another, if that is in the store. Raises StoreUnavailable."""
        if session_key is None or session_key == self.session_key:
            self.terminate()
        else:
            self._other(session_key).terminate()

    def flush(self) -> None:
        """End the session: its record now, its cookie with this response. Raises StoreUnavailable."""
        self.terminate()

    def cycle_key(self) -> None:
        """Give the session a new id and keep its data."""
        self.regenerate_id()

    @classmethod
    def clear_expired(cls) -> None:
        """Delete the records of all expired sessions from the store. Raises StoreUnavailable.

        Those in an AsyncStore are deleted by the command `gaesess cleanup` only.
        """
        clock, store = manager().now, settings.GAESESS.get("store")
        if store is not None and not is_async(store):
            delete_expired_sessions(store, clock=clock)

    def _other(self, session_key: str) -> Session:
        return self.manager.load(session_key)

    # -- transactions of the view

    def _in_transaction(self) -> bool:
        driver = self._config.driver
        return isinstance(driver, Threads) and driver.in_transaction()

    def _puts_off(self) -> bool:
        """Return whether a rollback could undo a write; then what is put off is done after the transaction.

        The middleware does it with the response. After a commit it is done at once: under ASGI the client may be gone,
        and the request cancelled, before there is a response.
        """
        driver = self._config.driver
        if not (self._in_transaction() and isinstance(driver, Threads) and driver.on_commit):
            return False
        driver.on_commit(self._committed)
        return True

    def _committed(self) -> None:
        with suppress(SessionClosed):  # a transaction that was longer than the request: the middleware has done it
            self.settle(save=True)

    async def _end(self) -> None:
        if self._puts_off():
            self._to_end, self._ended = (*self._to_end, *(self._ended or ())), None
        else:
            await super()._end()

    def has_put_off(self) -> bool:
        """Return whether `settle` has anything to do."""
        return bool(self._to_end) or self._to_save is not None

    def settle(self, *, save: bool) -> None:
        """Do what was put off until the view's transactions are over. For the middleware; raises what `save` raises.

        What was terminated ends in any case; the session is saved only with `save`. It may be called again after an
        error.
        """
        if self._to_end:
            self._ended, self._to_end = [*(self._ended or ()), *self._to_end], ()
            try:
                self._config.driver.run(super()._end())
            finally:
                self._to_end, self._ended = tuple(self._ended or ()), None
        if save and self._to_save is not None:
            Session.save(self, self._to_save)
            self._to_save = None

    # -- its end

    def set_expiry(self, value: int | timedelta | datetime | None) -> None:
        """Give the session another end, and so another id, as its end is a part of that.

        `value` is that time, or how long it is from now, an int in seconds; None is the lifetime in the settings, 0
        lets the cookie end with the browser. Raises ValueError for a time that is over.
        """
        if isinstance(value, datetime):
            self.regenerate_id(int(value.timestamp()))
        elif value is None:
            default = self._newborn()
            self.regenerate_id(0 if default.flags & BROWSER else default.expires)
        elif value == 0:
            self.regenerate_id(0)
        else:
            seconds = value.total_seconds() if isinstance(value, timedelta) else value
            self.regenerate_id(self._config.now() + int(seconds))

    def get_expiry_date(
        self, *, modification: datetime | None = None, expiry: datetime | int | None = None
    ) -> datetime:
        """Return when the session ends; where there is none, when one would that began now.

        An `expiry` is taken instead: a time, or seconds from `modification`, by default now.
        """
        if isinstance(expiry, datetime):
            return expiry
        if expiry:
            return (modification or _as_datetime(self._config.now())) + timedelta(seconds=expiry)
        return _as_datetime(self.get_expiration() or self._newborn().expires)

    def get_expiry_age(self, *, modification: datetime | None = None, expiry: datetime | int | None = None) -> int:
        """Return how many seconds there are from `modification`, by default now, until `get_expiry_date`."""
        since = modification or _as_datetime(self._config.now())
        return int((self.get_expiry_date(modification=since, expiry=expiry) - since).total_seconds())

    def get_expire_at_browser_close(self) -> bool:
        """Return whether the cookie ends with the browser."""
        return bool((self._flags if self.is_active() else self._newborn().flags) & BROWSER)

    def get_session_cookie_age(self) -> int:
        """Return how many seconds a session lasts that begins now."""
        return self._newborn().expires - self.manager.now()

    def _newborn(self) -> Token:
        return self.manager.config.new_token(None, False)

    # -- whether the browser keeps cookies

    def set_test_cookie(self) -> None:
        """Leave a mark in the session."""
        self[self.TEST_COOKIE_NAME] = self.TEST_COOKIE_VALUE

    def test_cookie_worked(self) -> bool:
        """Return whether the mark has come back."""
        return bool(self.get(self.TEST_COOKIE_NAME) == self.TEST_COOKIE_VALUE)

    def delete_test_cookie(self) -> None:
        """Take the mark out of the session. Raises KeyError if it is not there."""
        del self[self.TEST_COOKIE_NAME]

    # -- the same for coroutines

    aget = _reading(Session.get)
    aset = _reading(Session.__setitem__)
    apop = _reading(Session.pop)
    asetdefault = _reading(Session.setdefault)
    aupdate = _reading(Session.update)
    ahas_key = _reading(Session.has_key)
    akeys = _reading(Session.keys)
    avalues = _reading(Session.values)
    aitems = _reading(Session.items)
    aset_test_cookie = _reading(set_test_cookie)
    atest_cookie_worked = _reading(test_cookie_worked)
    adelete_test_cookie = _reading(delete_test_cookie)
    aset_expiry = _reading(set_expiry)
    aget_expiry_age = _reading(get_expiry_age)
    aget_expiry_date = _reading(get_expiry_date)
    aget_expire_at_browser_close = _reading(get_expire_at_browser_close)
    acycle_key = _reading(cycle_key)
    acreate = _reading(create)

    async def aload(self) -> dict[Any, Any]:  # type: ignore[override]  # Django's returns the data
        await super().aload()
        return dict(self)

    async def aexists(self, session_key: str) -> bool:
        if not session_key:
            return False
        await self.read_ahead()
        return session_key == self.session_key or (await self._aother(session_key)).is_active()

    async def asave(  # type: ignore[override]
        self, must_create: bool = False, *, persist_even_if_using_cookie: bool = False
    ) -> None:
        await self.read_ahead()
        if must_create or not self.is_active():
            self.create()
        await super().asave(persist_even_if_using_cookie)

    async def adelete(self, session_key: str | None = None) -> None:
        await self.read_ahead()
        if session_key is None or session_key == self.session_key:
            await self.aterminate()
        else:
            await (await self._aother(session_key)).aterminate()

    async def aflush(self) -> None:
        await self.aterminate()

    @classmethod
    async def aclear_expired(cls) -> None:
        driver = manager().config.driver
        if isinstance(driver, Threads):
            await driver.in_thread(cls.clear_expired)

    async def _aother(self, session_key: str) -> Session:
        return await self.manager.aload(session_key)


def _as_datetime(seconds: int) -> datetime:
    """Return a time as Django has them: aware where USE_TZ is set, else naive and local."""
    return datetime.fromtimestamp(seconds, timezone.utc if settings.USE_TZ else None)
