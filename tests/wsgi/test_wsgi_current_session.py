"""The current session: set wherever code of the application runs, and put back after."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from wsgi.client import Client, Site, respond

from gaesess import get_current_session, set_current_session
from gaesess.session import current_session


class Body:
    """A body that notes what the current session holds while it is iterated over, and while it is closed."""

    def __init__(self, seen):
        self.seen = seen

    def __iter__(self):
        self.seen.append(("iter", dict(get_current_session())))
        yield b"one"
        self.seen.append(("next", dict(get_current_session())))
        yield b"two"

    def close(self):
        self.seen.append(("close", dict(get_current_session())))


def test_it_is_set_in_the_application_its_generator_and_its_close(site):
    seen = []

    def app(environ, start_response):
        seen.append(("app", dict(get_current_session())))
        respond(start_response)
        return Body(seen)

    site.visitor(app, name="Ada").send()
    assert seen == [(where, {"name": "Ada"}) for where in ("app", "iter", "next", "close")]


def test_it_is_set_in_close_when_the_body_was_never_taken(site):
    seen = []

    def app(environ, start_response):
        respond(start_response)
        return Body(seen)

    exchange = site.visitor(app, name="Ada").begin().call()
    exchange.close()
    assert seen == [("close", {"name": "Ada"})]


def test_outside_of_the_code_of_the_application_there_is_none(site):
    def app(environ, start_response):
        respond(start_response)
        return Body([])

    exchange = site.serve(app).begin()
    between = []
    for step in (exchange.call, exchange.next_chunk, exchange.next_chunk, exchange.next_chunk, exchange.close):
        step()
        between.append(current_session.get())
    assert between == [None] * 5


def failing_app(environ, start_response):
    raise RuntimeError("application")


def failing_generator(environ, start_response):
    respond(start_response)
    raise RuntimeError("application")
    yield


class FailingClose(Body):
    def close(self):
        raise RuntimeError("application")


def failing_close(environ, start_response):
    respond(start_response)
    return FailingClose([])


@pytest.mark.parametrize("app", [failing_app, failing_generator, failing_close])
def test_it_is_put_back_after_an_error(site, app):
    outer = site.middleware(app).manager.open(None)
    set_current_session(outer)
    try:
        with pytest.raises(RuntimeError):
            Client(site.middleware(app)).send()
        assert get_current_session() is outer
    finally:
        set_current_session(None)


def test_nested_middlewares_each_have_their_own():
    inner_site, outer_site = Site(cookie_name="inner"), Site(cookie_name="outer")

    def inner(environ, start_response):
        get_current_session()["who"] = "inner"
        respond(start_response)
        yield b"one"
        assert get_current_session()["who"] == "inner"
        yield b"two"

    inner = inner_site.middleware(inner)

    def outer(environ, start_response):
        get_current_session()["who"] = "outer"
        body = inner(environ, start_response)
        assert get_current_session()["who"] == "outer"
        for chunk in body:
            assert get_current_session()["who"] == "outer"
            yield chunk
        body.close()

    client = outer_site.serve(outer)
    exchange = client.send()
    assert exchange.body == b"onetwo"
    assert exchange.headers.get_all("Vary") == ["Cookie"]
    assert set(client.cookies) == {"inner", "outer"}
    assert inner_site.data(client) == {"who": "inner"}
    assert outer_site.data(client) == {"who": "outer"}


def naming(environ, start_response):
    """Answer with the name in the session, again and again."""
    respond(start_response)
    for _ in range(3):
        yield get_current_session()["name"].encode()


def test_two_interleaved_responses_in_one_thread_each_have_their_own(site):
    exchanges = [site.visitor(naming, name=name).begin() for name in ("Ada", "Grace")]
    for exchange in exchanges:
        exchange.call()
    for _ in range(3):
        assert [exchange.next_chunk() for exchange in exchanges] == [b"Ada", b"Grace"]
    for exchange in exchanges:
        exchange.close()


def test_threads_each_have_their_own(site):
    names = [f"visitor {number}" for number in range(8)]
    in_step = threading.Barrier(len(names))

    def app(environ, start_response):
        respond(start_response)
        for _ in range(3):
            in_step.wait()
            yield get_current_session()["name"].encode() + b";"

    clients = [site.visitor(app, name=name) for name in names]
    with ThreadPoolExecutor(len(names)) as pool:
        bodies = list(pool.map(lambda client: client.send().body, clients))
    assert bodies == [f"{name};".encode() * 3 for name in names]
