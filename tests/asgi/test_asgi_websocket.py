"""Sessions of websockets: their cookies go out with the answer to the handshake, and later changes are refused."""

import pytest
from asgi.client import BIG, Site

from gaesess import SessionClosed, StoreUnavailable

ACCEPT = {"type": "websocket.accept", "headers": [(b"x-app", b"1")]}
CLOSE = {"type": "websocket.close", "code": 1008}


def answering(*messages, **changes):
    """Return an application that changes its session and answers so."""

    async def app(scope, receive, send):
        await receive()
        scope["session"].update(changes)
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize("filler", ["small", BIG])
def test_the_cookie_goes_out_with_the_acceptance(site, filler):
    client = site.serve(answering(ACCEPT, {"type": "websocket.send", "text": "hello"}, filler=filler))
    exchange = client.connect()
    assert exchange.types == ["websocket.accept", "websocket.send"]
    assert exchange.all("x-app") == ["1"]
    assert site.data(client) == {"filler": filler}


def test_the_session_is_there_before_the_acceptance(site):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept", "subprotocol": scope["session"]["name"]})

    assert site.visitor(app, name="ada", filler=BIG).connect().started["subprotocol"] == "ada"


def test_a_session_that_is_not_used_leaves_the_acceptance_as_it_is(site):
    async def app(scope, receive, send):
        await send(ACCEPT)

    assert site.serve(app).connect().sent[0] is ACCEPT


@pytest.mark.parametrize("filler", ["small", BIG])
def test_a_change_after_the_acceptance_raises_and_reading_goes_on(site, filler):
    async def app(scope, receive, send):
        await send(ACCEPT)
        with pytest.raises(SessionClosed):
            scope["session"]["late"] = True
        await send({"type": "websocket.send", "text": scope["session"]["filler"]})

    assert site.visitor(app, filler=filler).connect().sent[-1]["text"] == filler


def test_a_denial_brings_the_cookie(site):
    client = site.serve(
        answering(
            {"type": "websocket.http.response.start", "status": 401, "headers": []},
            {"type": "websocket.http.response.body", "body": b"", "more_body": True},
            {"type": "websocket.http.response.body", "body": b"sign in"},
            n=1,
        )
    )
    exchange = client.connect()
    assert (exchange.status, exchange.body) == (401, b"sign in")
    assert site.data(client) == {"n": 1}


def test_a_close_before_the_acceptance_becomes_the_403_that_servers_make_of_it_to_bring_the_cookie(site):
    client = site.serve(answering(CLOSE, n=1))
    exchange = client.connect()
    assert (exchange.types, exchange.status) == (
        ["websocket.http.response.start", "websocket.http.response.body"],
        403,
    )
    assert site.data(client) == {"n": 1}


def test_a_close_before_the_acceptance_passes_if_there_is_no_cookie_to_bring(site):
    assert site.serve(answering(CLOSE)).connect().sent == [CLOSE]


def test_a_close_before_the_acceptance_passes_and_saves_where_the_server_cannot_bring_cookies(site):
    client = site.visitor(answering(CLOSE, n=1), filler=BIG)
    assert client.connect(deniable=False).sent == [CLOSE]
    assert site.data(client) == {"n": 1, "filler": BIG}


def test_a_close_after_the_acceptance_passes(site):
    exchange = site.serve(answering(ACCEPT, CLOSE, n=1)).connect()
    assert exchange.sent[1] is CLOSE


@pytest.mark.parametrize(("deniable", "types"), [(True, ["start", "body"]), (False, ["close"])])
def test_an_outage_refuses_the_handshake(site, deniable, types):
    client = site.visitor(answering(ACCEPT, n=1), filler=BIG)
    site.store.down = True
    exchange = client.connect(deniable=deniable)
    assert [kind.rpartition(".")[2] for kind in exchange.types] == types
    assert all(message.get("status", 503) == 503 for message in exchange.sent)


def test_an_outage_after_the_acceptance_is_raised(site):
    async def app(scope, receive, send):
        await send(ACCEPT)
        scope["session"].get("n")

    client = site.visitor(app, filler=BIG)
    site.store.down = True
    exchange = client.begin_websocket()
    with pytest.raises(StoreUnavailable):
        exchange.run()
    assert exchange.types == ["websocket.accept"]


def test_a_websocket_that_uses_only_its_cookie_waits_for_nothing():
    client = Site().visitor(answering(ACCEPT, n=1), filler="small")
    assert client.begin_websocket().drive().types == ["websocket.accept"]
