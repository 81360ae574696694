"""Where the session is: what is put in its place in the scope, middleware of the wrong protocol, forgotten requests."""

import asyncio
import functools
import gc
import sys
from unittest.mock import MagicMock

import pytest
from asgi.client import BIG, BODY, START, Client, Site, respond
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from gaesess import SessionMiddleware as WSGIMiddleware
from gaesess import generate_key, get_current_session
from gaesess.asgi import SessionMiddleware
from gaesess.session import current_session

# -- sessions that are not ours


def delete(scope):
    del scope["session"]


PLACES = {
    "deleted": delete,
    "a dictionary": lambda scope: scope.update(session={"other": 1}),
    "None": lambda scope: scope.update(session=None),
    "any object": lambda scope: scope.update(session=object()),
    "another session of ours": lambda scope: scope.update(session=other_session()),
}
every_place = pytest.mark.parametrize("put", PLACES.values(), ids=PLACES)


def other_session():
    return SessionMiddleware(None, generate_key()).manager.open(None)


@every_place
@pytest.mark.parametrize("before", [{}, {"old": 1}, {"old": 1, "filler": BIG}], ids=["new", "cookie", "store"])
@pytest.mark.parametrize("send", ["send", "connect"])
def test_a_session_whose_place_is_taken_is_saved_as_it_is(site, before, put, send):
    async def app(scope, receive, send):
        scope["session"]["a"] = 1
        put(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await respond(send)

    client = site.visitor(app, **before) if before else site.serve(app)
    assert getattr(client, send)().types[0] in ("http.response.start", "websocket.accept")
    assert site.data(client) == {**before, "a": 1}


@every_place
def test_a_session_that_is_not_used_and_whose_place_is_taken_leaves_no_trace(site, put):
    async def app(scope, receive, send):
        put(scope)
        await respond(send)

    assert site.visitor(app, old=1).send().sent[0] is START


@every_place
def test_it_stays_the_current_session(site, put):
    async def app(scope, receive, send):
        put(scope)
        get_current_session()["a"] = 1
        await respond(send)

    client = site.serve(app)
    client.send()
    assert site.data(client) == {"a": 1}


@every_place
def test_starlette_may_put_something_in_its_place(site, put):
    async def endpoint(request):
        request.session["a"] = 1
        put(request.scope)
        return PlainTextResponse("ok")

    client = site.serve(Starlette(routes=[Route("/", endpoint), WebSocketRoute("/ws", endpoint)]))
    assert client.send().body == b"ok"
    assert site.data(client) == {"a": 1}


def test_starlettes_own_middleware_inside_has_the_place_and_ours_is_saved(site):
    async def endpoint(request):
        request.session["b"] = 1
        get_current_session()["a"] = 1
        return PlainTextResponse("ok")

    inner = Middleware(StarlettesOwn, secret_key=generate_key())
    client = site.serve(Starlette(routes=[Route("/", endpoint)], middleware=[inner]))
    assert client.send().body == b"ok"
    assert site.data(client) == {"a": 1}
    assert client.cookies.keys() == {"__Host-gaesess", "session"}


def test_a_session_that_was_put_there_by_an_outer_middleware_is_not_touched():
    outer, inner = Site(cookie_name="outer"), Site(cookie_name="inner")

    async def app(scope, receive, send):
        scope["session"]["who"] = "inner"
        await respond(send)

    client = Client(SessionMiddleware(SessionMiddleware(app, **inner.settings), **outer.settings))
    client.send()
    assert (inner.data(client), list(client.cookies)) == ({"who": "inner"}, ["inner"])


# -- the wrong protocol


async def asgi_function(scope, receive, send):
    await respond(send)


def wsgi_function(environ, start_response):
    start_response("200 OK", [])
    return [b"hi"]


class AsgiObject:
    async def __call__(self, scope, receive, send):
        await respond(send)

    async def method(self, scope, receive, send):
        await respond(send)


class WsgiObject:
    def __call__(self, environ, start_response):
        return wsgi_function(environ, start_response)

    def method(self, environ, start_response):
        return wsgi_function(environ, start_response)


class StaticAsgiObject:
    @staticmethod
    async def __call__(scope, receive, send):
        await respond(send)


class StaticWsgiObject:
    __call__ = staticmethod(wsgi_function)


class AsgiRoundFunction(AsgiObject):
    func = staticmethod(wsgi_function)


class WsgiRoundFunction(WsgiObject):
    func = staticmethod(asgi_function)


def with_a_site(site, environ, start_response):
    return wsgi_function(environ, start_response)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*arguments, **options):
        return function(*arguments, **options)

    return wrapper


class OwnStarlette(Starlette):
    pass


class OwnFlask(Flask):
    pass


class OwnAsgiObject(AsgiObject):
    pass


class OwnWsgiObject(WsgiObject):
    pass


async def hello(request):
    return PlainTextResponse("hi")


ASGI_APPS = {
    "function": asgi_function,
    "object": AsgiObject(),
    "object of a subclass": OwnAsgiObject(),
    "method": AsgiObject().method,
    "partial": functools.partial(asgi_function),
    "static": StaticAsgiObject(),
    "round a function": AsgiRoundFunction(),
    "decorated": decorated(asgi_function),
    "Starlette": Starlette(routes=[Route("/", hello)]),
    "subclass of Starlette": OwnStarlette(routes=[Route("/", hello)]),
    "FastAPI": FastAPI(),
    "Litestar": Litestar([]),
    "our middleware": SessionMiddleware(asgi_function, generate_key()),
}
WSGI_APPS = {
    "function": wsgi_function,
    "object": WsgiObject(),
    "object of a subclass": OwnWsgiObject(),
    "method": WsgiObject().method,
    "partial": functools.partial(wsgi_function),
    "partial with an argument": functools.partial(with_a_site, "site"),
    "static": StaticWsgiObject(),
    "round a function": WsgiRoundFunction(),
    "decorated": decorated(wsgi_function),
    "Flask": Flask("site"),
    "subclass of Flask": OwnFlask("site"),
    "Flask's wsgi_app": Flask("site").wsgi_app,
    "our middleware": WSGIMiddleware(wsgi_function, generate_key()),
}
ASKED = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "localhost", "SERVER_PORT": "443"}


@pytest.mark.parametrize("app", ASGI_APPS.values(), ids=ASGI_APPS)
def test_the_middleware_of_wsgi_round_an_asgi_application_is_an_error_that_names_the_right_one(app):
    with pytest.raises(TypeError, match=r"gaesess\.asgi\.SessionMiddleware"):
        Client(WSGIMiddleware(app, generate_key())).send()


def test_the_middleware_of_wsgi_that_is_added_to_an_asgi_application_is_an_error_that_names_the_right_one():
    app = FastAPI()
    app.add_middleware(WSGIMiddleware, cookie_key=generate_key())
    with pytest.raises(TypeError, match=r"gaesess\.asgi\.SessionMiddleware"):
        Client(app).send()


@pytest.mark.parametrize("app", WSGI_APPS.values(), ids=WSGI_APPS)
def test_the_middleware_of_asgi_round_a_wsgi_application_is_an_error_that_names_the_right_ones(app):
    with pytest.raises(TypeError, match=r"gaesess\.SessionMiddleware.*gaesess\.flask\.GaeSess"):
        list(SessionMiddleware(app, generate_key())(dict(ASKED), lambda *_: None))


@pytest.mark.parametrize("app", ASGI_APPS.values(), ids=ASGI_APPS)
def test_the_middleware_of_asgi_takes_every_asgi_application(app):
    assert SessionMiddleware(app, generate_key()).app is app


@pytest.mark.parametrize("app", WSGI_APPS.values(), ids=WSGI_APPS)
def test_the_middleware_of_wsgi_takes_every_wsgi_application(app):
    assert WSGIMiddleware(app, generate_key()).app is app


@pytest.mark.parametrize(
    "app", [lambda *arguments: None, lambda scope, receive, send: None, print, functools.partial(print), MagicMock()]
)
def test_what_does_not_show_its_protocol_is_taken(app):
    assert SessionMiddleware(app, generate_key()).app is app


# -- requests that are never finished


@pytest.fixture
def unraisable(monkeypatch):
    """What was raised where nobody could hear of it."""
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: errors.append(raised.exc_value))
    return errors


async def waits_before_the_start(scope, receive, send):
    scope["session"]["a"] = 1
    await asyncio.Event().wait()


async def waits_in_the_body(scope, receive, send):
    scope["session"]["a"] = 1
    await send(START)
    await send({**BODY, "more_body": True})
    await asyncio.Event().wait()


async def waits_for_its_client(scope, receive, send):
    scope["session"].get("a")
    await receive()
    await receive()


@pytest.mark.parametrize("app", [waits_before_the_start, waits_in_the_body, waits_for_its_client])
@pytest.mark.parametrize("data", [{"old": 1}, {"filler": BIG}], ids=["cookie", "store"])
def test_a_request_that_is_given_up_with_its_event_loop_is_collected_without_an_error(site, unraisable, app, data):
    """Its context variables cannot be put back: it is collected in another context."""
    exchange = site.visitor(app, **data).begin()
    loop = asyncio.new_event_loop()
    task = loop.create_task(exchange())
    while not (exchange.sent if app is waits_in_the_body else exchange.scope.get("session")):
        loop.run_until_complete(asyncio.sleep(0))
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    assert not task.done()
    loop.close()
    del task, exchange
    gc.collect()
    assert [error for error in unraisable if not isinstance(error, asyncio.CancelledError)] == []
    assert current_session.get() is None
