"""A request leaves no reference cycles behind: its memory is free at once, without the garbage collector."""

import gc
import io
import sys
from contextlib import suppress
from wsgiref.util import FileWrapper

import pytest
from wsgi.client import Client, respond

from gaesess import StoreUnavailable, get_current_session

BIG = "x" * 5000


@pytest.fixture
def collector():
    """The garbage collector, to be started by hand only."""
    gc.collect()
    gc.disable()
    yield gc
    gc.enable()


def visit():
    session = get_current_session()
    session["visits"] = session.get("visits", 0) + 1


def a_list(environ, start_response):
    respond(start_response)
    visit()
    return [b"body"]


def a_generator(environ, start_response):
    respond(start_response)
    visit()
    yield b"one"
    yield b"two"


def with_write(environ, start_response):
    write = respond(start_response)
    visit()
    write(b"one")
    return [b"two"]


def a_file(environ, start_response):
    respond(start_response)
    visit()
    return FileWrapper(io.BytesIO(b"contents"))


class AnObject:
    """An application that is its own body, as in PEP 3333: it holds start_response, which holds the response."""

    def __init__(self, environ, start_response):
        self.start_response = start_response
        self.chunks = [b"two", b"one"]

    def __iter__(self):
        visit()
        respond(self.start_response)
        return self

    def __next__(self):
        if not self.chunks:
            raise StopIteration
        return self.chunks.pop()


def with_exc_info(environ, start_response):
    respond(start_response)
    yield b"one"
    try:
        raise RuntimeError("application")
    except RuntimeError:
        start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())


def failing(environ, start_response):
    respond(start_response)
    raise RuntimeError("application")


def saving_too_late(environ, start_response):
    respond(start_response)
    yield b"one"
    visit()


APPS = [a_list, a_generator, with_write, a_file, AnObject, with_exc_info, failing, saving_too_late]


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("down", [False, True])
def test_a_request_leaves_no_garbage(site, collector, app, down):
    client = site.visitor(app, big=BIG)
    client.app = site.middleware(app)
    site.store.down = down
    request(client)  # whatever is made once and kept is there after this one
    collector.collect()
    request(client)
    assert collector.collect() == 0


def reading_too_late(environ, start_response):
    respond(start_response)
    yield b"one"
    get_current_session()["big"]


def test_an_outage_that_propagates_leaves_no_garbage(site, collector):
    client = site.visitor(reading_too_late, big=BIG)
    client.app = site.middleware(reading_too_late)
    site.store.down = True
    with pytest.raises(StoreUnavailable):
        client.send()
    collector.collect()
    request(client)
    assert collector.collect() == 0


@pytest.mark.parametrize("server_stops_after", [0, 1])
def test_a_response_that_is_not_taken_leaves_no_garbage(site, collector, server_stops_after):
    client = Client(site.middleware(AnObject))
    exchange = client.begin().call()
    for _ in range(server_stops_after):
        exchange.next_chunk()
    exchange.close()
    del exchange
    assert collector.collect() == 0


def request(client):
    with suppress(Exception):
        client.begin(**{"wsgi.file_wrapper": FileWrapper}).run()
