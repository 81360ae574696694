"""`request.session` in Starlette, as its own middleware gives it."""

import asyncio

import pytest
from asgi.client import BIG, Site
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.sessions import SessionMiddleware as StarletteSessionMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from gaesess import Session, SessionClosed, StoreUnavailable, generate_key, get_current_session
from gaesess.asgi import SessionMiddleware
from gaesess.stores.sqlite import SQLiteStore


class StarletteSite(Site):
    """Serves one endpoint, with the middleware where `add_middleware` puts it."""

    def serve_endpoint(self, endpoint, *inner, **options):
        client = self.serve(None)
        client.app = Starlette(
            routes=[Route("/", endpoint), WebSocketRoute("/ws", endpoint)],
            middleware=[Middleware(SessionMiddleware, **self.settings), *inner],
            **options,
        )
        return client


@pytest.fixture
def site():
    return StarletteSite()


async def count(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(dict(request.session))


def count_in_thread(request):
    session = get_current_session()
    assert request.session is session
    session["visits"] = session.get("visits", 0) + 1
    return JSONResponse(dict(session))


@pytest.mark.parametrize("endpoint", [count, count_in_thread])
def test_a_session_goes_on_from_request_to_request(site, endpoint):
    client = site.serve_endpoint(endpoint)
    assert [client.send().body for _ in range(2)] == [b'{"visits":1}', b'{"visits":2}']


async def mapping(request):
    session = request.session
    session.update({"a": 1, "b": 2})
    session.setdefault("c", []).append(3)
    del session["a"]
    assert session.pop("b", None) == 2
    assert session.pop("missing", "default") == "default"
    with pytest.raises(KeyError):
        session.pop("missing")
    assert session.get("missing") is None
    assert "c" in session
    assert list(session.items()) == [("c", [3])]
    return PlainTextResponse("ok")


async def clearing(request):
    request.session.clear()
    return PlainTextResponse(repr(dict(request.session)))


def test_a_session_is_used_like_a_dictionary(site):
    client = site.serve_endpoint(mapping)
    assert client.send().body == b"ok"
    assert site.data(client) == {"c": [3]}


def test_a_session_can_be_cleared(site):
    client = site.serve_endpoint(clearing)
    assert client.send().body == b"{}"
    assert site.data(client) == {}


def test_the_threadpool_has_the_current_session(site):
    async def endpoint(request):
        assert await run_in_threadpool(get_current_session) is request.session
        return PlainTextResponse("ok")

    assert site.serve_endpoint(endpoint).send().body == b"ok"


def test_a_middleware_inside_may_change_the_session_after_the_endpoint(site):
    class Last(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            request.session["last"] = response.status_code
            return response

    client = site.serve_endpoint(count, Middleware(Last))
    client.send()
    assert site.data(client) == {"visits": 1, "last": 200}


def test_a_streaming_response_cannot_change_the_session_any_more(site):
    async def endpoint(request):
        async def chunks():
            with pytest.raises(SessionClosed):
                request.session["n"] = 2
            yield "one"
            with pytest.raises(SessionClosed):
                request.session["n"] = 3
            yield "two"

        request.session["n"] = 1
        return StreamingResponse(chunks())

    client = site.serve_endpoint(endpoint)
    assert client.send().body == b"onetwo"
    assert site.data(client) == {"n": 1}


def test_one_response_for_all_brings_nobody_the_cookie_of_another(site):
    shared = PlainTextResponse("ok")

    async def endpoint(request):
        request.session["n"] = 1
        return shared

    client = site.serve_endpoint(endpoint)
    assert [len(client.send().all("set-cookie")) for _ in range(2)] == [1, 0]


def test_an_error_in_the_endpoint_saves_nothing(site):
    async def endpoint(request):
        request.session["n"] = 1
        raise RuntimeError("application")

    exchange = site.serve_endpoint(endpoint).begin()
    with pytest.raises(RuntimeError, match="application"):
        exchange.run()
    assert (exchange.status, exchange.all("set-cookie")) == (500, [])


@pytest.mark.parametrize("endpoint", [count, count_in_thread])
def test_an_outage_is_503(site, endpoint):
    client = site.visitor(None, filler=BIG)
    client.app = site.serve_endpoint(endpoint).app
    site.store.down = True
    assert client.send().status == 503


def test_an_outage_at_the_save_is_503_also_for_a_stream_and_its_background_task_does_not_run(site):
    ran = []

    async def endpoint(request):
        async def chunks():
            yield "saved"

        request.session["filler"] = BIG
        site.store.down = True
        return StreamingResponse(chunks(), background=BackgroundTask(ran.append, "ran"))

    exchange = site.serve_endpoint(endpoint).begin(asgi={"version": "3.0", "spec_version": "2.3"})
    assert exchange.run().status == 503
    assert ran == []


def test_a_client_that_leaves_during_the_save_is_told_nothing_and_the_save_ends(site):
    async def endpoint(request):
        request.session["filler"] = BIG
        return StreamingResponse(iter(["saved"]))

    exchange = site.serve_endpoint(endpoint).begin(asgi={"version": "3.0", "spec_version": "2.3"})

    async def run():
        site.store.gate.clear()
        request = asyncio.create_task(exchange())
        await asyncio.to_thread(site.store.called.wait, 30)
        exchange.left.set()
        await request
        site.store.gate.set()

    asyncio.run(run())
    assert exchange.sent == []
    assert site.store.count_expired(now=2**32 - 1) == 1


def test_an_exception_handler_of_the_application_comes_first(site):
    async def handler(request, error):
        return PlainTextResponse("our own", 503)

    client = site.visitor(None, filler=BIG)
    client.app = site.serve_endpoint(count, exception_handlers={StoreUnavailable: handler}).app
    site.store.down = True
    assert client.send().body == b"our own"


@pytest.mark.parametrize(
    "sessions",
    [
        Middleware(SessionMiddleware, cookie_key=generate_key(), cookie_name="inner"),
        Middleware(StarletteSessionMiddleware, secret_key=generate_key()),
    ],
    ids=["gaesess", "starlette"],
)
def test_a_mounted_application_may_have_sessions_of_its_own(site, sessions):
    client = site.visitor(None, outer=1)
    sub = Starlette(routes=[Route("/", count)], middleware=[sessions])
    client.app = SessionMiddleware(Starlette(routes=[Mount("/sub", sub)]), **site.settings)
    assert [client.send("/sub/").body for _ in range(2)] == [b'{"visits":1}', b'{"visits":2}']
    assert site.data(client) == {"outer": 1}


@pytest.mark.parametrize("filler", ["small", BIG])
def test_two_sign_ins_of_one_browser_that_overlap_both_succeed(site, filler):
    reached = []

    async def endpoint(request):
        assert request.session["filler"] == filler
        reached.append(request)
        while len(reached) < 2:
            await asyncio.sleep(0)
        request.session.regenerate_id()
        request.session["user"] = "ada"
        return PlainTextResponse("signed in")

    async def both():
        await asyncio.gather(*(exchange() for exchange in exchanges))

    client = site.visitor(None, filler=filler)
    client.app = site.serve_endpoint(endpoint).app
    exchanges = [client.begin(), client.begin()]
    asyncio.run(both())
    assert [exchange.status for exchange in exchanges] == [200, 200]
    for exchange in exchanges:
        client.take(exchange)
        assert site.data(client) == {"filler": filler, "user": "ada"}


def test_a_websocket_has_its_session(site):
    async def endpoint(websocket):
        websocket.session["n"] = 1
        await websocket.accept()
        await websocket.close()

    client = site.serve_endpoint(endpoint)
    assert client.connect("/ws").types == ["websocket.accept", "websocket.close"]
    assert site.data(client) == {"n": 1}


def test_a_denial_response_ends_the_session(site):
    async def endpoint(websocket):
        await run_in_threadpool(websocket.session.terminate)
        await websocket.send_denial_response(PlainTextResponse("sign in", 401))

    client = site.visitor(None, filler=BIG)
    client.app = site.serve_endpoint(endpoint).app
    exchange = client.connect("/ws")
    assert (exchange.status, exchange.body, client.cookies) == (401, b"sign in", {})


def test_a_session_outgrows_its_cookie_into_sqlite(tmp_path):
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    try:
        site = StarletteSite(store=store)

        async def endpoint(request):
            assert isinstance(request.session, Session)
            request.session.setdefault("list", []).append("x" * 1500)
            return PlainTextResponse(request.session.home.value)  # as it was read

        client = site.serve_endpoint(endpoint)
        homes = [client.send().body for _ in range(4)]
        assert len(site.data(client)["list"]) == 4
        assert homes == [b"cookie", b"cookie", b"store", b"store"]
    finally:
        store.close()
