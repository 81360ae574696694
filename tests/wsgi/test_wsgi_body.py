"""The session is saved when the headers must go: at the first chunk of the body that is not empty, or at its end."""

import io
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from wsgi.client import Client, respond

from gaesess import SessionClosed, get_current_session


def test_a_write_in_a_generator_before_its_first_chunk_is_saved(site):
    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Ada"
        yield b"first"
        yield b"second"

    client = site.serve(app)
    assert client.send().body == b"firstsecond"
    assert site.data(client) == {"name": "Ada"}


def test_a_write_after_empty_chunks_is_saved(site):
    def app(environ, start_response):
        respond(start_response)
        yield b""
        yield b""
        get_current_session()["name"] = "Ada"
        yield b"first"

    client = site.serve(app)
    client.send()
    assert site.data(client) == {"name": "Ada"}


def test_the_headers_go_with_the_first_chunk_and_not_later(site):
    def app(environ, start_response):
        respond(start_response)
        yield b""
        yield b"first"
        yield b""
        yield b"second"

    exchange = site.serve(app).begin().call()
    assert exchange.status is None
    assert exchange.next_chunk() == b"first"
    assert exchange.headers_sent
    assert [exchange.next_chunk() for _ in range(3)] == [b"", b"second", None]
    exchange.close()


def test_a_write_after_the_first_chunk_raises_session_closed_and_is_not_saved(site):
    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Ada"
        yield b"first"
        get_current_session()["name"] = "Grace"
        yield b"second"

    client = site.serve(app)
    exchange = client.begin()
    with pytest.raises(SessionClosed):
        exchange.run()
    assert exchange.body == b"first"
    client.cookies.receive(exchange.headers.get_all("Set-Cookie"))
    assert site.data(client) == {"name": "Ada"}


def test_a_read_after_the_first_chunk_is_allowed(site):
    def app(environ, start_response):
        respond(start_response)
        yield b"first"
        yield get_current_session()["name"].encode()

    assert site.visitor(app, name="Ada").send().body == b"firstAda"


@pytest.mark.parametrize("body", [[], (), [b""], [b"", b""]])
def test_an_empty_body_saves(site, body):
    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Ada"
        return body

    client = site.serve(app)
    assert client.send().body == b""
    assert site.data(client) == {"name": "Ada"}


@pytest.mark.parametrize("chunks", [0, 3])
def test_an_empty_generator_saves_at_its_end(site, chunks):
    def app(environ, start_response):
        respond(start_response)
        for _ in range(chunks):
            yield b""
        get_current_session()["name"] = "Ada"

    client = site.serve(app)
    assert client.send().body == b""
    assert site.data(client) == {"name": "Ada"}


@pytest.mark.parametrize("body", [[b"one", b"two"], (b"one",), []])
def test_a_complete_body_is_returned_as_it_is(site, body):
    """So that servers can tell its length."""

    def app(environ, start_response):
        respond(start_response)
        return body

    exchange = Client(site.middleware(app)).begin().call()
    assert exchange.result is body
    exchange.close()


@pytest.mark.parametrize("body", [[b"one", b"two"], (b"one",), []])
def test_a_complete_body_is_saved_before_it_is_returned(site, body):
    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Ada"
        return body

    exchange = Client(validator(site.middleware(app))).begin().call()
    assert "Set-Cookie" in exchange.headers
    exchange.close()


def test_a_file_wrapper_is_returned_as_it_is(site):
    """So that servers can use sendfile."""
    made = []

    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Ada"
        made.append(environ["wsgi.file_wrapper"](io.BytesIO(b"contents")))
        return made[0]

    client = Client(site.middleware(app))
    exchange = client.begin(**{"wsgi.file_wrapper": FileWrapper}).call()
    assert exchange.result is made[0]
    assert "Set-Cookie" in exchange.headers
    exchange.close()
    assert made[0].filelike.closed


def test_a_file_wrapper_that_is_no_class_is_iterated_over(site):
    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Ada"
        return environ["wsgi.file_wrapper"](io.BytesIO(b"contents"))

    client = site.serve(app)
    exchange = client.send(**{"wsgi.file_wrapper": lambda file: FileWrapper(file)})
    assert exchange.body == b"contents"
    assert site.data(client) == {"name": "Ada"}


def test_write_saves(site):
    def app(environ, start_response):
        write = respond(start_response)
        get_current_session()["name"] = "Ada"
        write(b"written ")
        return [b"returned"]

    client = site.serve(app)
    assert client.send().body == b"written returned"
    assert site.data(client) == {"name": "Ada"}


def test_the_headers_are_out_after_write(site):
    def app(environ, start_response):
        respond(start_response)(b"written")
        get_current_session()["name"] = "Ada"
        return []

    with pytest.raises(SessionClosed):
        site.serve(app).send()


def test_write_of_nothing_lets_the_session_be_changed(site):
    def app(environ, start_response):
        respond(start_response)(b"")
        get_current_session()["name"] = "Ada"
        return [b"returned"]

    client = site.serve(app)
    client.send()
    assert site.data(client) == {"name": "Ada"}


def test_write_and_then_a_generator(site):
    def chunks():
        yield b"one "
        yield b"two"

    def app(environ, start_response):
        write = respond(start_response)
        write(b"written ")
        write(b"twice ")
        return chunks()

    assert site.serve(app).send().body == b"written twice one two"


def test_head_saves_at_the_end_of_its_empty_body(site):
    def app(environ, start_response):
        respond(start_response, ("Content-Length", "8"))
        get_current_session()["name"] = "Ada"
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"contents"]

    client = site.serve(app)
    exchange = client.send("HEAD")
    assert exchange.body == b""
    assert exchange.headers["Content-Length"] == "8"
    assert site.data(client) == {"name": "Ada"}


def test_a_session_of_many_cookies_comes_back_whole(site):
    site.settings |= {"cookie_only_threshold": 30_000}

    def app(environ, start_response):
        session = get_current_session()
        session["numbers"] = [*session.get("numbers", []), *range(4000)]
        respond(start_response)
        return [str(len(session["numbers"])).encode()]

    client = site.serve(app)
    assert client.send().body == b"4000"
    assert len(client.cookies) > 2
    assert client.send().body == b"8000"
