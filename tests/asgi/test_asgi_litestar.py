"""`request.session` in Litestar, as its own middleware gives it."""

from dataclasses import dataclass

import pytest
from asgi.client import BIG, Site
from litestar import Litestar, Request, Response, WebSocket, get, websocket
from litestar.exceptions import LitestarException
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from msgspec import Struct

from gaesess import SessionManager, StoreUnavailable, generate_key, get_current_session
from gaesess.asgi import SessionMiddleware


class LitestarSite(Site):
    """Serves handlers, with the middleware where Litestar has its own."""

    def serve_handlers(self, *handlers, **options):
        client = self.serve(None)
        middleware = [DefineMiddleware(SessionMiddleware, **self.settings), *options.pop("inner", [])]
        client.app = Litestar(handlers, middleware=middleware, openapi_config=None, **options)
        return client

    def visitor_of(self, handler, data, **options):
        client = self.visitor(None, **data)
        client.app = self.serve_handlers(handler, **options).app
        return client


@pytest.fixture
def site():
    return LitestarSite()


@get("/")
async def count(request: Request) -> dict[str, int]:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return dict(request.session)


@get("/", sync_to_thread=True)
def count_in_thread(request: Request) -> dict[str, int]:
    session = get_current_session()
    assert request.session is session
    session["visits"] = session.get("visits", 0) + 1
    return dict(session)


@pytest.mark.parametrize("handler", [count, count_in_thread])
def test_a_session_goes_on_from_request_to_request(site, handler):
    client = site.serve_handlers(handler)
    assert [client.send().body for _ in range(2)] == [b'{"visits":1}', b'{"visits":2}']


def test_a_websocket_has_its_session(site):
    @websocket("/ws")
    async def handler(socket: WebSocket) -> None:
        socket.session["n"] = 1
        await socket.accept()
        await socket.close()

    client = site.serve_handlers(handler)
    assert client.connect("/ws").types == ["websocket.accept", "websocket.close"]
    assert site.data(client) == {"n": 1}


@get("/")
async def set_session(request: Request) -> None:
    request.set_session({"user": "ada"})
    request.session["role"] = "admin"


@get("/")
async def clear_session(request: Request) -> None:
    request.clear_session()


@pytest.mark.parametrize(("handler", "data"), [(set_session, {"user": "ada", "role": "admin"}), (clear_session, {})])
@pytest.mark.parametrize("before", [{}, {"old": 1}, {"old": BIG}])
def test_what_set_session_and_clear_session_put_in_its_place_is_what_it_holds(site, before, handler, data):
    client = site.visitor_of(handler, before)
    client.send()
    assert site.data(client) == data


def test_clear_session_of_a_visitor_without_a_session_sets_no_cookie(site):
    assert site.serve_handlers(clear_session).send().all("set-cookie") == []


def test_set_session_goes_with_a_new_id(site):
    @get("/")
    async def sign_in(request: Request) -> str:
        get_current_session().regenerate_id()
        request.set_session({"user": "ada"})
        return get_current_session().sid

    client = site.visitor_of(sign_in, {"old": 1})
    answered = client.send().body.decode()
    session = SessionManager(**site.settings).open(client.cookies.header())
    assert (session.sid, dict(session)) == (answered, {"user": "ada"})


@dataclass
class User:
    user: str


class Record(Struct):
    user: str


@pytest.mark.parametrize(
    ("held", "data"),
    [(User("ada"), {"user": "ada"}), (Record("ada"), {"user": "ada"}), ("a text", {"old": 1})],
    ids=repr,
)
def test_set_session_takes_the_fields_of_an_object_and_ignores_what_has_none(site, held, data):
    @get("/")
    async def handler(request: Request) -> None:
        request.set_session(held)

    client = site.visitor_of(handler, {"old": 1})
    client.send()
    assert site.data(client) == data


def test_of_two_middlewares_each_has_its_own_session(site):
    inner_site = LitestarSite(cookie_name="inner")
    inner = DefineMiddleware(SessionMiddleware, **inner_site.settings)
    client = site.visitor_of(set_session, {"who": "outer"}, inner=[inner])
    client.send()
    assert site.data(client) == {"who": "outer"}
    assert inner_site.data(client) == {"user": "ada", "role": "admin"}


@pytest.mark.parametrize(
    "put",
    [
        lambda scope: scope.pop("session"),
        lambda scope: scope.update(session=None),
        lambda scope: scope.update(session=SessionManager(generate_key()).open(None)),
    ],
    ids=["nothing", "None", "another session of ours"],
)
def test_what_no_verb_of_litestars_puts_in_its_place_is_left_alone(site, put):
    @get("/")
    async def handler(request: Request) -> str:
        request.session["a"] = 1
        put(request.scope)
        return "ok"

    client = site.visitor_of(handler, {"old": 1})
    assert client.send().body == b"ok"
    assert site.data(client) == {"old": 1, "a": 1}


async def chunks():
    yield b"saved"


@pytest.mark.parametrize("response", [lambda: Response("saved"), lambda: Stream(chunks())], ids=["whole", "stream"])
def test_an_outage_at_the_save_is_503_whatever_litestar_makes_of_the_error(site, response):
    @get("/")
    async def handler(request: Request) -> Response:
        request.session["filler"] = BIG
        site.store.down = True
        return response()

    client = site.serve_handlers(handler)
    exchange = client.begin()
    with pytest.raises(LitestarException, match="after response started"):
        exchange.run()
    assert (exchange.status, exchange.all("set-cookie")) == (503, [])


def test_an_outage_of_its_own_use_is_the_applications_to_answer(site):
    def unavailable(request: Request, error: StoreUnavailable) -> Response:
        return Response("our own", status_code=503)

    client = site.visitor_of(count, {"filler": BIG}, exception_handlers={StoreUnavailable: unavailable})
    site.store.down = True
    exchange = client.send()
    assert (exchange.status, exchange.body) == (503, b"our own")
