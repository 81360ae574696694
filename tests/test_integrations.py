"""A session is one and the same, whatever framework it is used through."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from uuid import UUID

import asgi.client
import flask
import pytest
import wsgi.client
from django.conf import settings as django_conf
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import gaesess.asgi
from gaesess import Home, SessionManager, SessionMiddleware, generate_key, get_current_session
from gaesess.flask import GaeSess
from gaesess.stores.sqlite import SQLiteStore

if not django_conf.configured:  # by other tests
    django_conf.configure()

# -- each integration: returns a client of an application with these settings, whose page calls `use` with its session


def with_wsgi(settings, use):
    def app(environ, start_response):
        use(get_current_session())
        wsgi.client.respond(start_response)
        return [b"ok"]

    return wsgi.client.Client(SessionMiddleware(app, **settings))


def with_starlette(settings, use):
    async def page(request):
        use(request.session)
        return PlainTextResponse("ok")

    sessions = Middleware(gaesess.asgi.SessionMiddleware, **settings)
    return asgi.client.Client(Starlette(routes=[Route("/", page)], middleware=[sessions]))


def with_flask(settings, use):
    app = flask.Flask("app")
    app.config.update(GAESESS=settings, PROPAGATE_EXCEPTIONS=True)
    GaeSess(app)
    app.add_url_rule("/", "page", lambda: use(flask.session) or "ok")
    return wsgi.client.Client(app)


def with_django(settings, use, **django_settings):
    def page(request):
        use(request.session)
        return HttpResponse("ok")

    def app(environ, start_response):
        with override_settings(GAESESS=settings, ROOT_URLCONF=(path("", page),), **django_settings):
            return WSGIHandler()(environ, start_response)

    return wsgi.client.Client(app)


def with_django_middleware(settings, use):
    return with_django(settings, use, MIDDLEWARE=["gaesess.django.DjangoSessionMiddleware"])


def with_django_engine(settings, use):
    middleware = ["django.contrib.sessions.middleware.SessionMiddleware"]
    engine = {"SESSION_ENGINE": "gaesess.django", "SESSION_COOKIE_NAME": "__Host-gaesess"}
    return with_django(settings, use, MIDDLEWARE=middleware, **engine)


INTEGRATIONS = [with_wsgi, with_starlette, with_flask, with_django_middleware, with_django_engine]

# -- and each pair of them

VALUES = {
    "int": 2**70,
    "float": 0.1,
    "none": None,
    "text": "Ærøskøbing",
    "bytes": b"\x00\xff",
    "list": [1, (2, 3), {"four": {5}}],
    "decimal": Decimal("1.10"),
    "time": datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2))),
    "id": UUID(int=7),
}
SIZES = {  # bytes of filler, bytes that may stay in cookies, and where that leaves the session, in how many cookies
    "one cookie": (10, 2000, Home.COOKIE, 1),
    "several cookies": (8000, 10_000, Home.COOKIE, 3),
    "store": (8000, 2000, Home.STORE, 1),
}
CASES = [
    case
    for case in product(SIZES, INTEGRATIONS, INTEGRATIONS)
    if case[0] != "several cookies" or with_django_engine not in case  # Django's own middleware has one cookie
]


class Visitor:
    """One browser at a site whose pages are made with several frameworks."""

    def __init__(self, settings):
        self.settings = settings
        self.cookies = wsgi.client.CookieJar()

    def visit(self, integration, use):
        client = integration(self.settings, use)
        client.cookies = self.cookies
        assert str(client.send().status).startswith("200")

    def read(self, integration):
        found = {}
        self.visit(integration, lambda session: found.update(session.items()))
        return found


@pytest.fixture
def visitor(tmp_path, size):
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    yield Visitor({"cookie_key": generate_key(), "store": store, "cookie_only_threshold": SIZES[size][1]})
    store.close()


def typed(value):
    """Return what tells a value from an equal one of another type, inside it too."""
    return type(value), repr(value)


@pytest.mark.parametrize(("size", "writer", "reader"), CASES)
def test_what_one_writes_another_reads_and_changes(visitor, size, writer, reader):
    filler, _, home, cookies = SIZES[size]
    values = {**VALUES, "filler": "x" * filler}
    visitor.visit(writer, lambda session: session.update(values))
    session = SessionManager(**visitor.settings).open(visitor.cookies.header())
    assert (session.home, len(visitor.cookies)) == (home, cookies)

    found = visitor.read(reader)
    assert {key: typed(value) for key, value in found.items()} == {key: typed(value) for key, value in values.items()}

    def change(session):
        session["text"] = "changed"
        session["list"].append("changed")
        del session["none"]

    visitor.visit(reader, change)
    del values["none"]
    assert visitor.read(writer) == {**values, "text": "changed", "list": [*values["list"], "changed"]}


@pytest.mark.parametrize(("size", "writer", "reader"), [*product(["store"], INTEGRATIONS, INTEGRATIONS)])
def test_what_one_ends_is_over_for_another(visitor, size, writer, reader):
    visitor.visit(writer, lambda session: session.update(filler="x" * SIZES[size][0]))
    old = wsgi.client.CookieJar(visitor.cookies)
    visitor.visit(reader, lambda session: session.terminate())
    assert visitor.cookies == {}
    visitor.cookies = old
    assert visitor.read(writer) == {}
