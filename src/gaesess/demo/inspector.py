"""Looks at each request from outside the session middleware, and adds to the answer what it saw."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gaesess import IMPLEMENTATION, _impl
from gaesess.anatomy import describe, expiry_of, sid_of, token_bytes
from gaesess.cookies import MAX_COOKIE_BYTES
from gaesess.demo.actions import CATALOGUE, MAX_NAME_CHARS, MAX_PADDING, SECONDS_TO_END
from gaesess.demo.app import COOKIE
from gaesess.demo.recording import Journal, journal
from gaesess.session import Home, Session, State
from gaesess.wsgi import ENVIRON_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BROWSER_LIMIT_BYTES = 4096  # what RFC 6265 section 6.1 asks of browsers, name, value and attributes together


class Inspector:
    """Wraps the session middleware. To the application's JSON it adds the token, the cookie and the commit."""

    def __init__(self, app: WSGIApplication, engines: Sequence[str]) -> None:
        self._app = app
        self._engines = engines

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            answer[:] = status, headers
            return None

        with journal() as kept:
            chunks = self._app(environ, start)
            try:
                body = b"".join(chunks)
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
        status, headers = answer
        if status.startswith("200") and ("Content-Type", "application/json") in headers:
            body = self._report(environ, headers, kept, json.loads(body))
            headers = [(name, value) for name, value in headers if name != "Content-Length"]
            headers.append(("Content-Length", str(len(body))))
        start_response(status, headers)
        return [body]

    def _report(
        self, environ: WSGIEnvironment, headers: list[tuple[str, str]], kept: Journal, state: dict[str, Any]
    ) -> bytes:
        session: Session = environ[ENVIRON_KEY]
        sent = environ.get("HTTP_COOKIE", "")
        lines = [value for name, value in headers if name == "Set-Cookie"]
        pairs = [line.partition(";")[0] for line in lines if "; Max-Age=0" not in line]
        token = token_bytes("; ".join(pairs) if lines else sent, COOKIE.name)
        was = token_bytes(sent, COOKIE.name)
        commit = Commit(state["action"], session, state.get("before"), was, token, lines, kept)
        return json.dumps(
            {
                "contents": state["contents"],
                "home": session.home.value if session.home else None,
                "believed": session.is_active() and state["action"] != "tamper",
                "token": [field._asdict() for field in describe(token)] if token else None,
                "cookie": _cookie_sizes(token) if token else None,
                "expires": session.get_expiration(),
                "revision": session.revision,
                "now": time.time(),
                "commit": {
                    "kind": commit.kind(),
                    "text": commit.text(),
                    "calls": [call._asdict() for call in kept.calls],
                    "set_cookie": [len(line) for line in lines],
                },
                "core": IMPLEMENTATION,
                "engines": self._engines,
                "limits": LIMITS,
            }
        ).encode()


@dataclass(frozen=True)
class Commit:
    """What a request did to a session, in words. `before` is where it lived; `sent` and `token` are unverified."""

    action: str
    session: Session
    before: str | None
    sent: bytes | None
    token: bytes | None
    lines: list[str]
    kept: Journal

    def kind(self) -> str:
        """Return one of: tampered, deleted, refused, none, unchanged, cookie, store."""
        if self.action == "tamper":
            return "tampered"
        if self.session.state is State.TERMINATED:
            return "deleted"
        if self.session.home is None:
            return "refused" if self.sent or self.kept.told else "none"
        return self.session.home.value if self.lines else "unchanged"

    def text(self) -> str:
        """Return it as a sentence."""
        bytes_set = f"{sum(map(len, self.lines)):,} bytes"
        return {
            "tampered": f"Damaged: a Set-Cookie of {bytes_set} with one character of the expiry changed",
            "deleted": "Ended: "
            + ("a tombstone for the record, no cookie" if self._called("replace") else "no cookie"),
            "refused": "Refused: " + (" and ".join(self.kept.told) or "the store has no record of this session"),
            "none": "No session: no cookie came, and none was set",
            "unchanged": "Nothing changed: no Set-Cookie, "
            + ("store only read" if self.kept.calls else "no store access"),
            "cookie": f"{self._new_id()}{self._into_cookie()}, Set-Cookie of {bytes_set}",
            "store": f"{self._new_id()}{self._into_store()}, pointer cookie of {bytes_set}",
        }[self.kind()]

    def _new_id(self) -> str:
        kept_id = self.before and self.sent and self.token and sid_of(self.sent) == sid_of(self.token)
        return "" if kept_id else "New id. " if self.before else "New session. "

    def _into_cookie(self) -> str:
        return "Moved back into the cookie" if self.before == Home.STORE.value else "Sealed into the cookie"

    def _into_store(self) -> str:
        return "Saved in the store" if self.before == Home.STORE.value else "Moved to the store: record written"

    def _called(self, verb: str) -> bool:
        return any(call.verb == verb for call in self.kept.calls)


LIMITS = {
    "cookie": MAX_COOKIE_BYTES,
    "browser": BROWSER_LIMIT_BYTES,
    "data": COOKIE.payload_limit(1),
    "padding": MAX_PADDING,
    "name": MAX_NAME_CHARS,
    "catalogue": CATALOGUE,
    "seconds_to_end": SECONDS_TO_END,
}


def _cookie_sizes(token: bytes) -> dict[str, int]:
    """Return the bytes of the cookie's name and value, and of the whole Set-Cookie line that brings this token now."""
    text = _impl.encode(token)
    lines = COOKIE.write(text, now=int(time.time()), expires=expiry_of(token), secure=False, taken=0)
    return {"pair": sum(len(line.partition(";")[0]) for line in lines), "line": sum(map(len, lines))}
