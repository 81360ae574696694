"""The middleware under real servers: by processes, threads and greenlets."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from http.client import HTTPConnection
from string import ascii_lowercase
from typing import NamedTuple

import pytest
import services
from wsgi.client import FILE, CookieJar

OVERLAPPING = 8  # requests at once, as many as the page /overlap waits for
GUNICORN = ["gunicorn", "--bind=127.0.0.1:{port}", "wsgi.server_app:application"]
SERVERS = {
    "wsgiref": ["wsgi.server_app", "{port}"],
    "sync": [*GUNICORN, "--worker-class=sync", "--workers=2"],
    "gthread": [*GUNICORN, "--worker-class=gthread", f"--threads={OVERLAPPING}"],
    "gevent": [*GUNICORN, "--worker-class=gevent"],
    "waitress": ["waitress", "--listen=127.0.0.1:{port}", f"--threads={OVERLAPPING}", "wsgi.server_app:application"],
}


@contextmanager
def run(name, directory):
    port = services.free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[name])]
    with services.running(
        command, directory, lambda: services.accepts(port), PYTHONPATH=services.python_path(), HOME=str(directory)
    ):
        yield port


@pytest.fixture(scope="module")
def port_of(tmp_path_factory):
    """Return the port of a server, which is started at its first use."""
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(run(name, tmp_path_factory.mktemp(name))))


@pytest.fixture(params=SERVERS)
def browser(request, port_of):
    return Browser(port_of(request.param))


def under(*servers):
    """Run a test under these servers only."""
    return pytest.mark.parametrize("browser", servers, indirect=True)


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


@under("wsgiref")
def test_a_list_gets_its_content_length_from_the_server(browser):
    assert browser.get("/listed").headers["Content-Length"] == "3"


def test_a_session_moves_to_the_store(browser):
    assert [browser.get("/grow").body.split()[1:] for _ in range(2)] == [[b"1", b"cookie"], [b"2", b"store"]]
    assert browser.get("/complete").body == b"3"


@under("sync")
def test_a_session_in_the_store_goes_on_in_another_worker(browser):
    with socket.create_connection(("127.0.0.1", browser.port), timeout=30) as connection:
        connection.sendall(b"GET /grow HTTP/1.0\r\n")  # one worker waits for the rest of the request
        one, *_ = browser.get("/grow").body.split()
        connection.sendall(f"Cookie: {browser.cookies.header()}\r\n\r\n".encode())
        with connection.makefile("rb") as stream:
            other, visits, home = stream.read().rpartition(b"\r\n")[2].split()
    assert other != one
    assert (visits, home) == (b"2", b"store")


@under("gthread", "gevent", "waitress")
def test_overlapping_requests_each_have_their_own_session(browser):
    visitors = {name: Browser(browser.port) for name in ascii_lowercase[:OVERLAPPING]}
    with ThreadPoolExecutor(len(visitors)) as pool:
        for query in ("?{}", ""):
            paths = ["/overlap" + query.format(name) for name in visitors]
            answers = list(pool.map(Browser.get, visitors.values(), paths))
            assert [answer.body.decode() for answer in answers] == [name * 3 for name in visitors]


def test_an_empty_body_saves(browser):
    assert browser.get("/empty").body == b""
    assert browser.get("/complete").body == b"2"


def test_a_file_comes_whole_and_with_the_cookie(browser):
    assert browser.get("/file").body == FILE
    assert browser.get("/complete").body == b"2"


@under("sync", "gthread")  # gevent reads files itself
def test_a_file_goes_by_sendfile(browser):
    assert browser.get("/sendfile").body == FILE
    assert browser.get("/complete").body == b"2"


@pytest.mark.parametrize(("path", "length"), [("/complete", 1), ("/file", len(FILE))])
def test_head_gets_the_headers_and_the_cookie_and_no_body(browser, path, length):
    answer = browser.head(path)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(length)
    assert browser.get("/complete").body == b"2"


@under("sync", "gthread")
def test_head_of_a_file_under_sendfile(browser):
    assert browser.head("/sendfile").body == b""
    assert browser.get("/complete").body == b"2"


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
