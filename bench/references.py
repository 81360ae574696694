"""What peers are measured by besides each other: middleware that does next to nothing, and what one writes by hand."""

from __future__ import annotations

import hmac
import pickle
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

LIFETIME_SECONDS = 7 * 24 * 3600
TAG_BYTES, EXPIRY_BYTES = 32, 8


class WrapsStartResponse:
    """Does what no WSGI middleware that may add a header can do without: hands on a start_response of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, headers, exc_info)

        return self.app(environ, start)


class LazySession(dict[str, Any]):
    """Reads its cookie when it is first used."""

    def __init__(self, cookies: str | None, key: bytes) -> None:
        self.cookies, self.key = cookies, key
        self.used = self.changed = False

    def load(self) -> None:
        self.used = True
        if not self.cookies or (start := f"; {self.cookies}".find("; lazy=")) < 0:
            return
        try:
            token = urlsafe_b64decode(self.cookies[start + len("lazy=") :].partition(";")[0])
        except ValueError:
            return
        signed, tag = token[:-TAG_BYTES], token[-TAG_BYTES:]
        if not hmac.compare_digest(hmac.digest(self.key, signed, "sha256"), tag):
            return
        if int.from_bytes(signed[:EXPIRY_BYTES], "big") > time.time():
            self.update(pickle.loads(signed[EXPIRY_BYTES:]))

    def __getitem__(self, name: str) -> Any:
        if not self.used:
            self.load()
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        if not self.used:
            self.load()
        return super().get(name, default)

    def __setitem__(self, name: str, value: Any) -> None:
        if not self.used:
            self.load()
        self.changed = True
        super().__setitem__(name, value)

    def cookie(self) -> str:
        expires = int(time.time()) + LIFETIME_SECONDS
        signed = expires.to_bytes(EXPIRY_BYTES, "big") + pickle.dumps(dict(self), 5)
        token = urlsafe_b64encode(signed + hmac.digest(self.key, signed, "sha256")).decode()
        return f"lazy={token}; Path=/; Max-Age={LIFETIME_SECONDS}; Secure; HttpOnly; SameSite=Lax"


class StdlibLazy:
    """Sessions as one writes them by hand, with care for speed and nothing else. Never use pickle in earnest."""

    def __init__(self, app: Any, key: bytes) -> None:
        self.app, self.key = app, key

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        session = environ["lazy.session"] = LazySession(environ.get("HTTP_COOKIE"), self.key)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if session.used:
                headers.append(("Vary", "Cookie"))
            if session.changed:
                headers.append(("Set-Cookie", session.cookie()))
            return start_response(status, headers, exc_info)

        return self.app(environ, start)
