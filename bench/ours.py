"""What is measured with no other library installed: gaesess itself, and the references beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gaesess.asgi
import gaesess.wsgi
from bench.cases import SESSION, Case, Use, cookie_header, fill
from bench.interleaved import Pair
from bench.references import StdlibLazy, WrapsStartResponse
from bench.server import ASGI, RESPONSE_HEADERS, WSGI, Protocol

KEY = "b0c4ab2d8eb5e6a2f6ac8b6f0b1f1a5d"


class Peer(NamedTuple):
    """A library: the application with it, the same application without, and the protocol both speak."""

    name: str
    app: Callable[[Use | None], Any]
    bare: Any
    protocol: Protocol = WSGI

    def pair(self, case: Case, others: list[str], contents: dict[str, Any] = SESSION) -> Pair:
        own = self.issue(contents) if case.has_session else []
        cookies = cookie_header(own, others)
        request = self.protocol.request
        return Pair(request(self.app(case.use), cookies), request(self.bare, cookies))

    def issue(self, contents: dict[str, Any]) -> list[str]:
        """Return the cookies, as "name=value", of a client with that session."""
        sent = self.protocol.set_cookies(self.app(partial(fill, contents)), "")
        return [value.partition(";")[0] for value in sent]


def wsgi_app(use: Use | None = None, session_name: str = "") -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        if use:
            use(environ[session_name])
        start_response("200 OK", list(RESPONSE_HEADERS.items()))
        return [b"ok"]

    return app


def asgi_app(use: Use | None = None) -> Any:
    headers = [(name.lower().encode(), value.encode()) for name, value in RESPONSE_HEADERS.items()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if use:
            use(scope["session"])
        await send({"type": "http.response.start", "status": 200, "headers": headers.copy()})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def with_gaesess(use: Use | None, **settings: Any) -> Any:
    return gaesess.wsgi.SessionMiddleware(wsgi_app(use, "gaesess.session"), cookie_key=KEY, **settings)


def with_gaesess_asgi(use: Use | None, **settings: Any) -> Any:
    return gaesess.asgi.SessionMiddleware(asgi_app(use), cookie_key=KEY, **settings)


def with_stdlib_lazy(use: Use | None) -> Any:
    return StdlibLazy(wsgi_app(use, "lazy.session"), KEY.encode())


def with_wrapped_start_response(use: Use | None) -> Any:
    return WrapsStartResponse(wsgi_app())


GAESESS = Peer("gaesess (WSGI)", with_gaesess, wsgi_app())
ENCRYPTED = Peer("gaesess (WSGI), encrypted", partial(with_gaesess, encrypt=True), wsgi_app())
GAESESS_ASGI = Peer("gaesess (ASGI)", with_gaesess_asgi, asgi_app(), ASGI)
STDLIB_LAZY = Peer("careful stdlib, lazy", with_stdlib_lazy, wsgi_app())
WRAP = Peer("wraps start_response only", with_wrapped_start_response, wsgi_app())
