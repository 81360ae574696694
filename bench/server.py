"""A server in so many words: gives an application one request in this process, by WSGI or by ASGI."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.interleaved import Call, SelfTimed

REQUEST_HEADERS = {
    "host": "shop.example.com",
    "connection": "keep-alive",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-GB,en;q=0.5",
    "accept-encoding": "gzip, deflate, br",
}
RESPONSE_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": "2"}
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/basket",
    "QUERY_STRING": "page=2",
    "SERVER_NAME": "shop.example.com",
    "SERVER_PORT": "443",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.7",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in REQUEST_HEADERS.items()},
}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "https",
    "path": "/basket",
    "raw_path": b"/basket",
    "query_string": b"page=2",
    "root_path": "",
    "client": ("192.0.2.7", 50000),
    "server": ("shop.example.com", 443),
}


class Protocol(NamedTuple):
    """How to make a call of one request from an application and a Cookie header, and which Set-Cookies it answers."""

    request: Callable[..., Call | SelfTimed]
    set_cookies: Callable[[Any, str], list[str]]


def _ignore_start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
    pass


def _wsgi_request(app: Any, cookies: str, start_response: Any = _ignore_start) -> Call:
    environ = ENVIRON | ({"HTTP_COOKIE": cookies} if cookies else {})

    def request() -> None:
        body = app(environ.copy(), start_response)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()

    return request


def _wsgi_set_cookies(app: Any, cookies: str) -> list[str]:
    sent: list[tuple[str, str]] = []
    _wsgi_request(app, cookies, lambda status, headers, exc_info=None: sent.extend(headers))()
    return [value for name, value in sent if name.lower() == "set-cookie"]


async def _ignore_message(message: Any) -> None:
    pass


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _scope(cookies: str) -> dict[str, Any]:
    headers = [(name.encode(), value.encode()) for name, value in REQUEST_HEADERS.items()]
    if cookies:
        headers.append((b"cookie", cookies.encode("latin-1")))
    return SCOPE | {"headers": headers}


def _asgi_request(app: Any, cookies: str, send: Any = _ignore_message) -> Call:
    scope = _scope(cookies)

    def request() -> None:
        try:
            app(scope.copy(), _receive, send).send(None)
        except StopIteration:
            return
        raise RuntimeError("the application waits for something that nobody sends")

    return request


def _set_cookies_of(messages: list[Any]) -> list[str]:
    sent = [header for message in messages for header in message.get("headers", ())]
    return [value.decode("latin-1") for name, value in sent if name.lower() == b"set-cookie"]


def _asgi_set_cookies(app: Any, cookies: str) -> list[str]:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    _asgi_request(app, cookies, send)()
    return _set_cookies_of(messages)


def awaited(loop: asyncio.AbstractEventLoop, make: Callable[[], Any]) -> SelfTimed:
    """Return what times coroutines, one after the other, within an event loop. Each call of `make` gives one."""

    async def run_all(number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            await make()
        return time.perf_counter() - began

    def run(number: int) -> float:
        gc.disable()  # as timeit does
        try:
            return loop.run_until_complete(run_all(number))
        finally:
            gc.enable()

    return SelfTimed(run)


def asgi_in(loop: asyncio.AbstractEventLoop) -> Protocol:
    """Return ASGI as a server speaks it, for applications that wait for a network: each request runs in the loop."""

    def request(app: Any, cookies: str, send: Any = _ignore_message) -> SelfTimed:
        scope = _scope(cookies)
        return awaited(loop, lambda: app(scope.copy(), _receive, send))

    def set_cookies(app: Any, cookies: str) -> list[str]:
        messages: list[Any] = []

        async def send(message: Any) -> None:
            messages.append(message)

        request(app, cookies, send).run(1)
        return _set_cookies_of(messages)

    return Protocol(request, set_cookies)


WSGI = Protocol(_wsgi_request, _wsgi_set_cookies)
ASGI = Protocol(_asgi_request, _asgi_set_cookies)
