"""The middleware that takes the place of Django's own."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.cookies import Morsel
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

from gaesess._headers import keep_private, refusal
from gaesess.django.managers import manager
from gaesess.django.session import DjangoSession
from gaesess.drivers import Threads
from gaesess.errors import SessionTerminated, StoreUnavailable
from gaesess.pickling import refuse_keys
from gaesess.session import Session, State, current_session, leave

if sys.version_info < (3, 14):  # which knows the attribute itself
    Morsel._reserved.setdefault("partitioned", "Partitioned")  # type: ignore[attr-defined]
    Morsel._flags.add("partitioned")  # type: ignore[attr-defined]

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class Refused(HttpResponse):
    """The response to a request whose session could not be read or saved; to make one is an event."""

    def __init__(self, error: StoreUnavailable | SessionTerminated) -> None:
        answer = refusal(error)
        super().__init__(answer.text, status=answer.status, reason=answer.reason, headers=dict(answer.headers))


class DjangoSessionMiddleware(SessionMiddleware):
    """Gives every request its session: `request.session`, `get_current_session()`. In the place of Django's own.

    The settings are those of SessionManager, in the dictionary GAESESS; Django's own settings of the session are not
    looked at. Raises ImproperlyConfigured if there is anything wrong with them.

    The session is saved when the response comes back here, unless its status is 500 or above. A store that cannot
    answer gives the client 503 Service Unavailable, a session that another request terminated 409 Conflict, unless the
    view handles StoreUnavailable and SessionTerminated itself. Under ASGI the event loop never waits for the store, as
    long as coroutines call `aflush`, `asave` and the like.
    """

    def __init__(self, get_response: GetResponse) -> None:
        MiddlewareMixin.__init__(self, get_response)  # Django's own imports SESSION_ENGINE, of which this has no need
        self.manager = manager()
        self._config = self.manager.config
        self._is_async = iscoroutinefunction(get_response)
        if self._config.driver.is_async and not self._is_async:
            raise ImproperlyConfigured("GAESESS: an AsyncStore needs ASGI, and middleware that is all asynchronous")

    __reduce__ = refuse_keys

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self.__acall__(request)
        self.process_request(request)
        with _current(_session(request)):
            return self.process_response(request, cast(HttpResponse, self.get_response(request)))

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        session = _session(request)
        if self._config.asks_store:
            await session.read_ahead()
        with _current(session):
            response = await cast(Awaitable[HttpResponse], self.get_response(request))
            if session.has_put_off() and isinstance(self._config.driver, Threads):
                return await self._config.driver.in_thread(self.process_response, request, response)
            if not self._config.asks_store or _is_failure(response) or not session.close():
                return self.process_response(request, response)
            try:
                return _finished(session, response, await session.acommit())
            except (StoreUnavailable, SessionTerminated) as error:
                return _finished(session, Refused(error), session.abandon())

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session, which reads its cookie only if it is used."""
        scope = getattr(request, "scope", None)  # in META Django 5.2 has joined a Cookie header's parts by commas
        header = scope["headers"] if scope else request.META.get("HTTP_COOKIE")
        passive = self._config.is_passive(request.path)
        session = DjangoSession(self._config, header, passive)
        request.session = session  # type: ignore[assignment]
        request._gaesess_session = session  # type: ignore[attr-defined]  # the application may put another in its place

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session, and add its headers to the response."""
        session = _session(request)
        if response.status_code == 500 and session.is_accessed() and session.state is State.UNREAD:
            # Django has made a 500 of what was raised in a middleware: only a view's errors come by process_exception.
            response = Refused(StoreUnavailable("the session could not be read"))
        is_failure = _is_failure(response)
        try:
            if session.has_put_off():
                session.settle(save=not is_failure)
            return _finished(session, response, session.abandon() if is_failure else session.commit())
        except (StoreUnavailable, SessionTerminated) as error:
            return _finished(session, Refused(error), session.abandon())

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer in the place of a view that could not read or save the session."""
        return Refused(exception) if isinstance(exception, StoreUnavailable | SessionTerminated) else None


def _session(request: HttpRequest) -> DjangoSession:
    return cast(DjangoSession, request._gaesess_session)  # type: ignore[attr-defined]


def _is_failure(response: HttpResponseBase) -> bool:
    return response.status_code >= 500 or isinstance(response, Refused)


@contextmanager
def _current(session: Session) -> Iterator[None]:
    outer = current_session.set(session)
    try:
        yield
    except BaseException:
        session.abandon()
        raise
    finally:
        leave(outer)


def _finished(session: Session, response: HttpResponse, cookies: list[str]) -> HttpResponse:
    if cookies:
        _add_cookies(response, cookies)
    if session.is_accessed():
        patch_vary_headers(response, ["Cookie"])
    return response


def _add_cookies(response: HttpResponse, cookies: list[str]) -> None:
    # Vary does not keep it from a cache's other clients: they may all send the same cookies, such as "lang=en".
    private = keep_private([response.headers["Cache-Control"]] if "Cache-Control" in response.headers else [])
    if private:
        response.headers["Cache-Control"] = private
    for line in cookies:
        pair, *attributes = line.split("; ")
        name, value = pair.split("=", 1)
        response.cookies[name] = value
        for attribute in attributes:
            key, _, text = attribute.partition("=")
            response.cookies[name][key.lower()] = text or True
