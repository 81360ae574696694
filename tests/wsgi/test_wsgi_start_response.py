"""start_response: late, twice, and with exc_info before and after the headers are out."""

import sys

import pytest
from wsgi.client import Client, respond

from gaesess import get_current_session

ERROR = ("500 Oops", [("Content-Type", "text/plain")])


def exc_info_of(error):
    try:
        raise error
    except type(error):
        return sys.exc_info()


def test_start_response_may_be_called_in_the_generator(site):
    def app(environ, start_response):
        get_current_session()["name"] = "Ada"
        respond(start_response)
        yield b"body"

    client = site.serve(app)
    assert client.send().body == b"body"
    assert site.data(client) == {"name": "Ada"}


def test_start_response_may_come_after_empty_chunks(site):
    """Less than PEP 3333 asks, which wants it before the first chunk; so not validated."""

    def app(environ, start_response):
        yield b""
        get_current_session()["name"] = "Ada"
        respond(start_response)
        yield b"body"

    client = Client(site.middleware(app))
    assert client.send().body == b"body"
    assert site.data(client) == {"name": "Ada"}


def test_a_first_start_response_may_have_exc_info(site):
    def app(environ, start_response):
        start_response(*ERROR, exc_info_of(RuntimeError("application")))
        return [b"sorry"]

    assert site.serve(app).send().status == "500 Oops"


@pytest.mark.parametrize("data", [b"", b"written"])
def test_a_second_start_response_without_exc_info_is_an_assertion_error(site, data):
    def app(environ, start_response):
        respond(start_response)(data)
        respond(start_response)
        return [b""]

    with pytest.raises(AssertionError, match="second time without exc_info"):
        site.serve(app).send()


def test_exc_info_before_the_headers_are_out_replaces_them(site):
    def app(environ, start_response):
        respond(start_response, ("X-Page", "one"))
        get_current_session()["name"] = "Ada"
        yield b""
        start_response(*ERROR, exc_info_of(RuntimeError("application")))
        yield b"sorry"

    client = site.serve(app)
    exchange = client.send()
    assert (exchange.status, exchange.body) == ("500 Oops", b"sorry")
    assert "X-Page" not in exchange.headers
    assert site.data(client) == {"name": "Ada"}


def test_exc_info_after_the_headers_are_out_raises_the_error_of_the_application(site):
    def app(environ, start_response):
        respond(start_response)
        yield b"first"
        start_response(*ERROR, exc_info_of(RuntimeError("application")))
        yield b"never"

    exchange = site.serve(app).begin()
    with pytest.raises(RuntimeError, match="application"):
        exchange.run()
    assert (exchange.status, exchange.body) == ("200 OK", b"first")


def test_exc_info_after_write_raises_the_error_of_the_application(site):
    def app(environ, start_response):
        respond(start_response)(b"written")
        start_response(*ERROR, exc_info_of(RuntimeError("application")))
        return [b"never"]

    exchange = site.serve(app).begin()
    with pytest.raises(RuntimeError, match="application"):
        exchange.run()
    assert (exchange.status, exchange.body) == ("200 OK", b"written")


@pytest.mark.parametrize("body", [[b"body"], [], iter([b"body"]), iter([])])
def test_no_start_response_at_all_is_an_assertion_error(site, body):
    def app(environ, start_response):
        get_current_session()["name"] = "Ada"
        return body

    exchange = site.serve(app).begin()
    with pytest.raises(AssertionError, match="start_response"):
        exchange.run()
    assert exchange.status is None
