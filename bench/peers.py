"""The libraries that gaesess is held against, each with the same small session.

To add one: write a function that returns an application which does `use(session)`, and with `use=None` leaves its
session alone; and name it in PEERS, together with the same application without sessions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flask
from beaker.middleware import SessionMiddleware as BeakerMiddleware
from django.conf import settings as django_settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer
from starlette.middleware.sessions import SessionMiddleware as StarletteMiddleware

from bench.cases import SESSION, Case, Use, modify, read, writes
from bench.interleaved import Pair
from bench.ours import ENCRYPTED, GAESESS, GAESESS_ASGI, KEY, STDLIB_LAZY, WRAP, Peer, asgi_app, wsgi_app
from bench.server import ASGI, RESPONSE_HEADERS

with warnings.catch_warnings():  # they import what Python deprecates
    warnings.simplefilter("ignore")
    import pyramid.request
    import pyramid.response
    import webob
    from pyramid.session import SignedCookieSessionFactory
    from webob.cookies import SignedCookieProfile

django_settings.configure(
    SECRET_KEY=KEY,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    INSTALLED_APPS=["django.contrib.sessions"],  # these two for the engine cached_db
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)


# -- applications without sessions


def flask_app() -> Any:
    app = flask.Flask("bench")

    def answer(environ: Any, start_response: Any) -> Any:
        app.request_class(environ)
        return app.response_class(b"ok")(environ, start_response)

    return answer


def django_app(get_response: Any) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        response = get_response(WSGIRequest(environ))
        cookies = [("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()]
        start_response("200 OK", [*response.items(), *cookies])
        return response

    return app


def django_view(use: Use | None = None) -> Any:
    def view(request: Any) -> HttpResponse:
        if use:
            use(request.session)
        return HttpResponse(b"ok", headers=RESPONSE_HEADERS)

    return view


# -- the same with sessions


def with_starlette(use: Use | None) -> Any:
    return StarletteMiddleware(asgi_app(use), secret_key=KEY)


def with_flask(use: Use | None, *, response_class: type[flask.Response] = flask.Response) -> Any:
    app = flask.Flask("bench")
    app.secret_key = KEY
    return flask_sessions(app, SecureCookieSessionInterface(), use, response_class)


def flask_sessions(
    app: flask.Flask, sessions: Any, use: Use | None, response_class: type[flask.Response] = flask.Response
) -> Any:
    """Return an application whose sessions are opened and saved by that SessionInterface of Flask's."""

    def answer(environ: Any, start_response: Any) -> Any:
        session = sessions.open_session(app, app.request_class(environ))
        if use:
            use(session)
        response = response_class(b"ok")
        sessions.save_session(app, session, response)
        return response(environ, start_response)

    return answer


def with_django(use: Use | None) -> Any:
    return django_app(DjangoMiddleware(django_view(use)))


def with_pyramid(use: Use | None) -> Any:
    open_session = SignedCookieSessionFactory(KEY)

    def app(environ: Any, start_response: Any) -> Any:
        request = pyramid.request.Request(environ)
        if use:
            use(open_session(request))  # Pyramid too opens it at its first use
        response = pyramid.response.Response(b"ok")
        request._process_response_callbacks(response)
        return response(environ, start_response)

    return app


def with_webob(use: Use | None) -> Any:
    profile = SignedCookieProfile(KEY, "bench", "session")

    def app(environ: Any, start_response: Any) -> Any:
        request, response = webob.Request(environ), webob.Response(b"ok")
        if use:
            bound = profile.bind(request)
            session = bound.get_value() or {}
            use(session)
            if writes(use):
                response.headerlist.extend(bound.get_headers(session))
        return response(environ, start_response)

    return app


def with_beaker(use: Use | None) -> Any:
    def use_and_save(session: Any) -> None:
        use(session)
        if writes(use):
            session.save()

    app = wsgi_app(use_and_save if use else None, "beaker.session")
    return BeakerMiddleware(app, {"session.type": "cookie", "session.validate_key": KEY})


# -- what is measured


class Codec(NamedTuple):
    """What makes a session a cookie's value and back, without the request around it."""

    name: str
    loads: Callable[[str], Any]
    dumps: Callable[[Any], str]

    def pair(self, case: Case, others: list[str], contents: dict[str, Any] = SESSION) -> Pair | None:
        text = self.dumps(contents)
        if case.use is read:
            return Pair(partial(self.loads, text), _nothing)
        if case.use is modify:
            return Pair(lambda: self.dumps(self.loads(text)), _nothing)
        return None


def _nothing() -> None:
    pass


_serializer = URLSafeTimedSerializer(KEY)

STARLETTE = Peer("Starlette (ASGI)", with_starlette, asgi_app(), ASGI)
FLASK = Peer("Flask", with_flask, flask_app())
DJANGO = Peer("Django, signed_cookies", with_django, django_app(django_view()))

PEERS: list[Peer | Codec] = [
    GAESESS,
    ENCRYPTED,
    GAESESS_ASGI,
    STARLETTE,
    FLASK,
    DJANGO,
    Peer("Pyramid, SignedCookieSession", with_pyramid, with_pyramid(None)),
    Peer("Beaker, cookie", with_beaker, wsgi_app()),
    Peer("WebOb, SignedCookieProfile", with_webob, with_webob(None)),
    Codec("itsdangerous, codec alone", _serializer.loads, _serializer.dumps),
    STDLIB_LAZY,
    WRAP,
]
