"""When the session is saved, what goes out with the headers, and that everything else passes as it was."""

import asyncio

import pytest
from asgi.client import BIG, BODY, START, Site, respond

from gaesess import SessionClosed


async def visits(scope, receive, send):
    session = scope["session"]
    session["visits"] = session.get("visits", 0) + 1
    await respond(send, b"%d" % session["visits"])


async def untouched(scope, receive, send):
    await respond(send)


async def reading(scope, receive, send):
    scope["session"].get("name")
    await respond(send)


def test_a_session_goes_on_from_request_to_request(site):
    client = site.serve(visits)
    assert [client.send().body for _ in range(3)] == [b"1", b"2", b"3"]


def test_what_is_no_request_passes_as_it_is():
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    middleware = Site().serve(app).app
    arguments = ({"type": "lifespan"}, object(), object())
    steps = middleware(*arguments)
    with pytest.raises(StopIteration):
        steps.send(None)
    assert seen == [arguments]
    assert "session" not in arguments[0]


def test_a_request_that_does_not_use_its_session_has_its_messages_passed_as_they_are(site):
    exchange = site.serve(untouched).send()
    assert exchange.sent[0] is START


def test_without_a_store_the_headers_are_not_looked_at_before_the_session_is_used():
    class Unread(list):
        def __iter__(self):
            raise AssertionError("looked at")

    exchange = Site(store=None).serve(untouched).send(headers=Unread([(b"cookie", b"__Host-gaesess=x")]))
    assert exchange.status == 200


def test_a_cookie_that_is_not_to_be_believed_is_as_good_as_none(site):
    client = site.serve(visits)
    client.cookies["__Host-gaesess"] = "garbage"
    assert client.send().body == b"1"


def test_a_cookie_header_in_parts_is_one(site):
    client = Site(cookie_only_threshold=20_000).visitor(visits, filler="x" * 5000, visits=7)
    parts = [(b"cookie", f"{name}={value}".encode()) for name, value in client.cookies.items()]
    assert len(parts) > 1
    assert client.send(headers=[(b"cookie", b"other=1"), *parts]).body == b"8"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["Cookie"]),
        (["Accept"], ["Accept, Cookie"]),
        (["Accept", "Origin"], ["Accept, Origin, Cookie"]),
        (["accept, cookie"], ["accept, cookie"]),
        (["*"], ["*"]),
    ],
)
def test_a_response_varies_by_the_cookie_if_the_session_was_used(site, before, after):
    async def app(scope, receive, send):
        scope["session"].get("name")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Vary", v.encode()) for v in before]})
        await send(BODY)

    assert site.serve(app).send().all("vary") == after


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ([], ["private, no-store"]),
        ([b"private, max-age=60"], ["private, max-age=60"]),
        ([b"public", b"max-age=60"], ["max-age=60, private"]),
    ],
)
def test_a_response_with_a_cookie_is_kept_by_no_shared_cache(site, own, sent):
    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        headers = [(b"Cache-Control", value) for value in own]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(BODY)

    assert site.serve(app).send().all("cache-control") == sent


def test_a_response_without_a_cookie_says_nothing_to_caches_but_vary(site):
    exchange = site.visitor(reading, name="Ada").send()
    assert (exchange.all("cache-control"), exchange.all("vary")) == ([], ["Cookie"])


def test_the_applications_own_message_is_left_as_it_was(site):
    exchange = site.serve(visits).send()
    assert exchange.all("set-cookie")
    assert START["headers"] == [(b"content-type", b"text/plain")]


def test_a_start_without_headers_gets_them(site):
    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    client = site.serve(app)
    client.send()
    assert site.data(client) == {"name": "Ada"}


def test_headers_may_come_as_any_iterable(site):
    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        await send({"type": "http.response.start", "status": 200, "headers": iter(START["headers"])})
        await send(BODY)

    exchange = site.serve(app).send()
    assert exchange.all("content-type") == ["text/plain"]
    assert len(exchange.all("set-cookie")) == 1


@pytest.mark.parametrize("data", [{}, {"name": "Grace"}, {"filler": BIG}], ids=["none", "cookie", "store"])
@pytest.mark.parametrize(
    "use",
    [
        lambda session: None,
        lambda session: session.get("name"),
        lambda session: session.update(name="Ada"),
        lambda session: session.update(filler=BIG),
        lambda session: session.regenerate_id(),
        lambda session: session.terminate(),
    ],
    ids=["untouched", "read", "changed", "grown", "new id", "ended"],
)
def test_the_headers_go_out_with_the_start_however_long_the_first_chunk_takes(site, use, data):
    """As server-sent events and long polling need it."""
    waiting, chunk = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        use(scope["session"])
        await send(START)
        waiting.set()
        await chunk.wait()
        await send(BODY)

    async def run():
        request = asyncio.create_task(exchange())
        await waiting.wait()
        out = exchange.types
        chunk.set()
        await request
        return out

    exchange = (site.visitor(app, **data) if data else site.serve(app)).begin()
    assert asyncio.run(run()) == ["http.response.start"]
    assert exchange.body == b"ok"


def test_a_change_after_the_start_raises_though_no_chunk_is_out(site):
    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        await send(START)
        with pytest.raises(SessionClosed):
            scope["session"]["name"] = "Grace"
        assert scope["session"]["name"] == "Ada"
        await send(BODY)

    client = site.serve(app)
    assert client.send().body == b"ok"
    assert site.data(client) == {"name": "Ada"}


def test_each_message_is_out_before_the_application_goes_on(site):
    out = []

    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        await send(START)
        out.append(len(exchange.sent))
        for chunk in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            out.append(len(exchange.sent))
        await send({"type": "http.response.body"})

    exchange = site.serve(app).begin()
    exchange.run()
    assert out == [1, 2, 3, 4]
    assert [message.get("body") for message in exchange.sent] == [None, b"one", b"", b"two", None]
    assert "more_body" not in exchange.sent[-1]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.zerocopysend", "file": 3, "more_body": True},
        {"type": "http.response.pathsend", "path": "/file"},
        {"type": "http.response.push", "path": "/style.css", "headers": []},
    ],
)
def test_messages_of_extensions_go_in_order_after_the_start(site, message):
    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        await send(START)
        await send(message)
        await send({"type": "http.response.body"})

    exchange = site.serve(app).send()
    assert exchange.types == ["http.response.start", message["type"], "http.response.body"]
    assert exchange.all("set-cookie")


def test_trailers_come_last(site):
    trailers = {"type": "http.response.trailers", "headers": [(b"digest", b"x")]}

    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        await send({**START, "trailers": True})
        await send(BODY)
        await send(trailers)

    exchange = site.serve(app).send()
    assert exchange.sent[2] is trailers
    assert exchange.started["trailers"] is True


def test_what_comes_before_the_start_passes_at_once_and_saves_nothing(site):
    async def app(scope, receive, send):
        await send({"type": "http.response.debug", "info": {}})
        scope["session"]["name"] = "Ada"
        await respond(send)

    client = site.serve(app)
    assert client.send().types == ["http.response.debug", "http.response.start", "http.response.body"]
    assert site.data(client) == {"name": "Ada"}


def test_a_body_without_a_start_is_the_servers_to_refuse(site):
    async def app(scope, receive, send):
        await send(BODY)

    with pytest.raises(RuntimeError, match="before the start"):
        site.serve(app).send()


def test_a_second_start_is_the_servers_to_refuse(site):
    async def app(scope, receive, send):
        await send(START)
        await send({**START, "status": 500})

    with pytest.raises(RuntimeError, match=r"http\.response\.start after"):
        site.serve(app).send()


def test_an_application_that_fails_before_its_start_has_sent_and_saved_nothing(site):
    async def app(scope, receive, send):
        scope["session"]["filler"] = BIG
        raise RuntimeError("application")

    exchange = site.serve(app).begin()
    with pytest.raises(RuntimeError, match="application"):
        exchange.run()
    assert exchange.sent == []
    assert site.store.store._records == {}


def test_an_application_that_fails_after_its_start_has_saved_its_session(site):
    async def app(scope, receive, send):
        scope["session"]["name"] = "Ada"
        await send(START)
        raise RuntimeError("application")

    client = site.serve(app)
    exchange = client.begin()
    with pytest.raises(RuntimeError, match="application"):
        exchange.run()
    client.take(exchange)
    assert exchange.types == ["http.response.start"]
    assert site.data(client) == {"name": "Ada"}


def test_a_value_that_a_session_cannot_hold_is_an_error_and_nothing_goes_out(site):
    async def app(scope, receive, send):
        scope["session"]["bad"] = object()
        await respond(send)

    exchange = site.serve(app).begin()
    with pytest.raises(TypeError, match="bad"):
        exchange.run()
    assert exchange.sent == []
