"""The middleware under real servers: that of the standard library, and gunicorn."""

import socket
import sys
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import services
from wsgi import server_app
from wsgi.client import CookieJar


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format, *args):
        pass


@contextmanager
def run_wsgiref():
    with make_server("127.0.0.1", 0, server_app.application, handler_class=QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def run_gunicorn(directory):
    port = services.free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "wsgi.server_app:application"]
    with services.running(
        command, directory, lambda: services.accepts(port), PYTHONPATH=services.python_path(), HOME=str(directory)
    ):
        yield port


@pytest.fixture(scope="module")
def wsgiref_port():
    with run_wsgiref() as port:
        yield port


@pytest.fixture(scope="module")
def gunicorn_port(tmp_path_factory):
    with run_gunicorn(tmp_path_factory.mktemp("gunicorn")) as port:
        yield port


@pytest.fixture(params=["wsgiref", "gunicorn"])
def browser(request):
    return Browser(request.getfixturevalue(f"{request.param}_port"))


@pytest.fixture
def gunicorn_browser(gunicorn_port):
    return Browser(gunicorn_port)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Browser:
    """A client that keeps cookies."""

    def __init__(self, port):
        self.port = port
        self.cookies = CookieJar()

    def get(self, path):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers=self.headers())
            response = connection.getresponse()
            self.cookies.receive(response.headers.get_all("Set-Cookie", []))
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def head(self, path):
        """Return what comes back to the last byte; HTTPConnection would not look for a body."""
        lines = [f"HEAD {path} HTTP/1.0", *(f"{name}: {value}" for name, value in self.headers().items()), "", ""]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall("\r\n".join(lines).encode())
            with connection.makefile("rb") as stream:
                head, body = stream.read().split(b"\r\n\r\n", 1)
        status, *fields = head.decode("latin-1").split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        self.cookies.receive(value for name, value in headers.items() if name == "Set-Cookie")
        return Answer(int(status.split()[1]), headers, body)

    def headers(self):
        return {"Host": "localhost", **({"Cookie": self.cookies.header()} if self.cookies else {})}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/complete", b"%d"),
        ("/stream", b"%d and more"),
        ("/written", b"%d and more"),
    ],
)
def test_a_session_goes_on_from_request_to_request(browser, path, body):
    assert [browser.get(path).body for _ in range(3)] == [body % visits for visits in (1, 2, 3)]


def test_a_list_gets_its_content_length_from_the_server(wsgiref_port):
    assert Browser(wsgiref_port).get("/listed").headers["Content-Length"] == "3"


def test_an_empty_body_saves(browser):
    assert browser.get("/empty").body == b""
    assert browser.get("/complete").body == b"2"


def test_a_file_comes_whole_and_with_the_cookie(browser):
    assert browser.get("/file").body == server_app.CONTENTS
    assert browser.get("/complete").body == b"2"


def test_a_file_goes_by_sendfile(gunicorn_browser):
    assert gunicorn_browser.get("/sendfile").body == server_app.CONTENTS
    assert gunicorn_browser.get("/complete").body == b"2"


@pytest.mark.parametrize(("path", "length"), [("/complete", 1), ("/file", len(server_app.CONTENTS))])
def test_head_gets_the_headers_and_the_cookie_and_no_body(browser, path, length):
    answer = browser.head(path)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(length)
    assert browser.get("/complete").body == b"2"


def test_head_of_a_file_under_sendfile(gunicorn_browser):
    assert gunicorn_browser.head("/sendfile").body == b""
    assert gunicorn_browser.get("/complete").body == b"2"


def test_an_outage_is_503(browser):
    answer = browser.get("/outage")
    assert answer.status == 503
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"secret" not in answer.body
    assert browser.cookies == {}


def test_an_outage_is_503_without_a_body_for_head(browser):
    answer = browser.head("/outage")
    assert (answer.status, answer.body) == (503, b"")
    assert browser.cookies == {}


def test_a_value_that_a_session_cannot_hold_is_500(browser):
    answer = browser.get("/mistake")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert browser.cookies == {}
