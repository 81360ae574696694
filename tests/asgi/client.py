"""An ASGI server and its client in one: it refuses what a server has to, and keeps cookies as a browser does."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import wsgi.client
from wsgi.client import CookieJar

from gaesess.asgi import SessionMiddleware
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
BIG = "x" * 5000  # outgrows the cookie
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
BODY = {"type": "http.response.body", "body": b"ok"}


async def respond(send: Any, body: bytes = b"ok") -> None:
    await send(START)
    await send({"type": "http.response.body", "body": body})


class WatchedStore(FaultyStore):
    """Notes which threads call it; every call waits while `gate` is not set, and for the others of a `meeting`."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.threads: list[int] = []
        self.called = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.meeting: threading.Barrier | None = None

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        self.threads.append(threading.get_ident())
        self.called.set()
        assert self.gate.wait(30)
        if self.meeting:
            self.meeting.wait(30)
        return super()._call(method, *arguments, **options)


class Foreign(ThreadPoolExecutor):
    """The event loop's default executor, which belongs to the application."""

    def submit(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("the store was called in a thread of the application")


class Site(wsgi.client.Site):
    """The same as under WSGI, with a store that is watched."""

    def make_store(self) -> WatchedStore:
        return WatchedStore()

    def serve(self, app: Any) -> Client:
        return Client(SessionMiddleware(app, **self.settings))

    def visitor(self, app: Any, **data: Any) -> Client:
        client = super().visitor(app, **data)
        self.store.threads.clear()
        self.store.called.clear()
        return client


class Client:
    """Sends requests to an ASGI application, with the cookies it got."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cookies = CookieJar()

    def begin(self, path: str = "/", **scope: Any) -> Exchange:
        """Return a request that is still to be made."""
        headers = [(b"host", b"localhost")]
        if self.cookies:
            headers.append((b"cookie", self.cookies.header().encode("latin-1")))
        return Exchange(
            self.app,
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "https",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "root_path": "",
                "headers": headers,
                **scope,
            },
        )

    def send(self, path: str = "/", **scope: Any) -> Exchange:
        """Make a whole request and take the cookies of the response."""
        return self.take(self.begin(path, **scope).run())

    def connect(self, path: str = "/", deniable: bool = True, **scope: Any) -> Exchange:
        """Make a whole websocket connection, on which the client says nothing but goodbye."""
        return self.take(self.begin_websocket(path, deniable, **scope).run())

    def begin_websocket(self, path: str = "/", deniable: bool = True, **scope: Any) -> Exchange:
        extensions = {"websocket.http.response": {}} if deniable else {}
        exchange = self.begin(path, type="websocket", scheme="wss", subprotocols=[], extensions=extensions, **scope)
        del exchange.scope["method"]
        return exchange

    def take(self, exchange: Exchange) -> Exchange:
        self.cookies.receive(exchange.all("set-cookie"))
        return exchange


class Exchange:
    """One request or websocket, and what the server was told to send."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        self.app = app
        self.scope = scope
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()  # set it, and the client is gone
        self._incoming = ["http.request"] if scope["type"] == "http" else ["websocket.disconnect", "websocket.connect"]

    def run(self) -> Exchange:
        asyncio.run(self())
        return self

    async def __call__(self) -> Exchange:
        await self.app(self.scope, self.receive, self.send)
        return self

    def drive(self) -> Exchange:
        """Run the request without an event loop: it must not wait for anything."""
        steps = self.app(self.scope, self.receive, self.send)
        try:
            steps.send(None)
        except StopIteration:
            return self
        finally:
            steps.close()
        raise AssertionError("the request waited")

    async def receive(self) -> dict[str, Any]:
        if not self._incoming:
            await self.left.wait()
            return {"type": f"{self.scope['type']}.disconnect"}
        return {"type": self._incoming.pop()}

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind in STARTS and self.started:
            raise RuntimeError(f"{kind} after {self.types}")
        if kind not in (*STARTS, "http.response.debug", "websocket.close") and not self.started:
            raise RuntimeError(f"{kind} before the start")
        self.sent.append(message)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def started(self) -> dict[str, Any] | None:
        """Return the message that carries the headers."""
        return next((message for message in self.sent if message["type"] in STARTS), None)

    @property
    def status(self) -> int:
        return self.started["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        headers = self.started.get("headers", []) if self.started else []
        return [value.decode("latin-1") for field, value in headers if field.lower() == name.encode()]
