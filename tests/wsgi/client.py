"""A WSGI server and its client in one: it keeps to PEP 3333 as a server has to, and keeps cookies as a browser does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.headers import Headers
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from gaesess import SessionManager, SessionMiddleware, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

FILE = b"0123456789" * 50_000  # more than a socket takes at once


def respond(start_response: Any, *headers: tuple[str, str]) -> Any:
    """Be the usual first step of an application."""
    return start_response("200 OK", [("Content-Type", "text/plain"), *headers])


class Site:
    """One set of session settings: serves applications with it, and tells what their sessions hold."""

    def __init__(self, **settings: Any) -> None:
        self.store = self.make_store()
        self.settings = {"cookie_key": generate_key(), "store": self.store, **settings}

    def make_store(self) -> FaultyStore:
        return FaultyStore(MemoryStore())

    def serve(self, app: Any) -> Client:
        """Return a client of the application under session middleware, with PEP 3333 checked on either side of it."""
        return Client(validator(self.middleware(validator(app))))

    def middleware(self, app: Any) -> SessionMiddleware:
        return SessionMiddleware(app, **self.settings)

    def data(self, client: Client) -> dict[Any, Any]:
        """Return what the session holds that the client has a cookie of."""
        return dict(SessionManager(**self.settings).open(client.cookies.header()))

    def visitor(self, app: Any, **data: Any) -> Client:
        """Return a client that has a session with this data already."""
        session = SessionManager(**self.settings).open(None)
        session.update(data)
        client = self.serve(app)
        client.cookies.receive(session.commit())
        return client


class CookieJar(dict[str, str]):
    """The cookies that a browser keeps for one site."""

    def header(self) -> str:
        """Return the Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.items())

    def receive(self, set_cookie: Iterable[str]) -> None:
        """Take the Set-Cookie headers of a response."""
        for line in set_cookie:
            pair, *attributes = line.strip().split("; ")  # spaces around a value are none of it (RFC 9110 section 5.5)
            name, value = pair.split("=", 1)
            if "Max-Age=0" in attributes:
                self.pop(name, None)
            else:
                self[name] = value


class Client:
    """Sends requests to a WSGI application, with the cookies it got."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cookies = CookieJar()

    def begin(self, method: str = "GET", path: str = "/", **environ: Any) -> Exchange:
        """Return a request that is still to be made."""
        request = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": ""}
        request["wsgi.url_scheme"] = "https"
        if self.cookies:
            request["HTTP_COOKIE"] = self.cookies.header()
        request |= environ
        setup_testing_defaults(request)
        return Exchange(self.app, request)

    def send(self, method: str = "GET", path: str = "/", **environ: Any) -> Exchange:
        """Make a whole request and take the cookies of the response."""
        exchange = self.begin(method, path, **environ).run()
        self.cookies.receive(exchange.headers.get_all("Set-Cookie"))
        return exchange


class Exchange:
    """One request and its response, as the server sees them, step by step: call, next_chunk ..., close."""

    def __init__(self, app: Any, environ: dict[str, Any]) -> None:
        self.app = app
        self.environ = environ
        self.status: str | None = None
        self.headers = Headers()
        self.headers_sent = False  # from here on nothing can be taken back
        self.body = b""
        self.result: Any = None
        self._chunks: Iterator[bytes] = iter(())

    def run(self) -> Exchange:
        """Do it all."""
        try:
            self.call()
            while self.next_chunk() is not None:
                pass
        finally:
            self.close()
        return self

    def call(self) -> Exchange:
        self.result = self.app(self.environ, self._start_response)
        self._chunks = iter(self.result)
        return self

    def next_chunk(self) -> bytes | None:
        """Take a chunk from the application and send it; None at the end."""
        chunk = next(self._chunks, None)
        if chunk:
            self._send(chunk)
        elif chunk is None:
            assert self.status is not None, "start_response was never called"
            self.headers_sent = True
        return chunk

    def close(self) -> None:
        result, self.result, self._chunks = self.result, None, iter(())
        if hasattr(result, "close"):
            result.close()

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert exc_info or self.status is None, "start_response was called twice"
        try:
            if exc_info and self.headers_sent:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None  # breaks the reference cycle through the traceback
        self.status = status
        self.headers = Headers(list(headers))
        return self._send

    def _send(self, data: bytes) -> None:
        assert self.status is not None, "start_response was not called before the body"
        self.headers_sent = True
        self.body += data
