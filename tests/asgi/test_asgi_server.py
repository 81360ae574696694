"""The middleware under uvicorn, by HTTP and by websocket."""

import sys
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest
import services
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from wsgi.client import CookieJar


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uvicorn")
    port = services.free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "asgi.server_app:application"]
    with services.running(command, directory, lambda: services.accepts(port), PYTHONPATH=services.python_path()):
        yield port


@pytest.fixture
def browser(port):
    return Browser(port)


class Browser:
    """A client that keeps cookies."""

    def __init__(self, port):
        self.port = port
        self.cookies = CookieJar()

    def headers(self):
        return {"Cookie": self.cookies.header()} if self.cookies else {}

    def get(self, path):
        with self.open(path) as response:
            return response.read()

    @contextmanager
    def open(self, path):
        """Make a request, and take the headers of its response, whose body may still be on its way."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers=self.headers())
            response = connection.getresponse()
            assert response.status == 200
            self.cookies.receive(response.headers.get_all("Set-Cookie", []))
            yield response

    def connect(self, path):
        """Open a websocket and return what the server says first."""
        with connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=self.headers()) as websocket:
            self.cookies.receive(websocket.response.headers.get_all("Set-Cookie"))
            return websocket.recv(timeout=30)


def test_a_session_goes_on_by_any_response_and_by_websocket(browser):
    answers = [browser.get("/visit"), browser.get("/stream"), browser.connect("/accept"), browser.get("/visit")]
    assert answers == [b"1", b"2 and more", "3", b"4"]


def test_a_stream_whose_first_chunk_is_not_there_yet_has_brought_its_cookie(browser):
    with browser.open("/slow-stream") as response:
        assert browser.get("/visit") == b"2"
        browser.get("/go-on")
        assert response.read() == b"at last"


def test_a_session_moves_to_the_store_and_ends_there(browser):
    browser.get("/visit")
    browser.get("/grow")
    assert browser.get("/grow") == b"store"
    assert browser.connect("/accept") == "2"
    browser.get("/sign-out")
    assert browser.cookies == {}


def test_a_websocket_that_is_closed_before_it_is_accepted_gets_its_cookie(browser):
    with pytest.raises(InvalidStatus) as caught:
        browser.connect("/reject")
    assert caught.value.response.status_code == 403
    browser.cookies.receive(caught.value.response.headers.get_all("Set-Cookie"))
    assert browser.get("/visit") == b"2"
