"""A whole site as it is fuzzed: a browser that has cookies of any kind, and the middleware."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from gaesess import SessionMiddleware, _impl, get_current_session, legacy
from gaesess._core import KNOWN_FLAGS, SID_BYTES, Token, expanded
from gaesess.errors import MalformedToken
from gaesess.stores.memory import MemoryStore

NOW = 1_800_000_000
UNTIL = datetime.fromtimestamp(NOW + 3600, timezone.utc)
SECRET = bytes(range(32))
HEADER, OURS, GAE_SESSIONS = range(3)  # what the cookies are, in the two lowest bits of the first byte
ENCRYPT, COMPRESS, STORE, NO_EXPIRY = 4, 8, 16, 32  # and in further ones what is set
CHANGE, LOOK, SIGN_OUT = "PUT", "GET", "DELETE"
NO_DATA = _impl.dumps({})


def middleware(data: bytes) -> None:
    """Come with any cookies; what is answered then is answered again to what came back, until the session ends."""
    if not data:
        return
    site = Site(data[0])
    header = site.cookies(data[1:])
    if header is None:
        return
    told, received = site.visit(CHANGE, header)
    assert site.visit(LOOK, received) == (told, "")
    assert site.visit(SIGN_OUT, received) == (told, "")
    assert site.visit(LOOK, received) == (NO_DATA, "")


class Site:
    """A server with all that a cookie may meet with, and an empty store."""

    def __init__(self, how: int) -> None:
        self._how = how
        encrypt = bool(how & ENCRYPT)
        self._middleware = SessionMiddleware(
            application,
            SECRET,
            cookie_name="s",
            encrypt=encrypt,
            compress=bool(how & COMPRESS) and not encrypt,
            store=MemoryStore(),
            cookie_only_threshold=0 if how & STORE else None,
            revocable=True,
            idle_timeout=timedelta(hours=1),
            legacy=legacy.accept(cookie_key=SECRET, until=UNTIL, accept_browser_sessions=True),
            clock=lambda: NOW,
        )

    def visit(self, method: str, cookies: str) -> tuple[bytes, str]:
        """Return the answer, and the Cookie header of a browser that has got its cookies."""
        environ = {"REQUEST_METHOD": method, "HTTP_COOKIE": cookies, "wsgi.url_scheme": "https", "QUERY_STRING": ""}
        setup_testing_defaults(environ)
        started = []
        body = validator(self._middleware)(environ, lambda *start: started.append(start))  # of PEP 3333
        try:
            answer = b"".join(body)
        finally:
            body.close()
        ((status, headers),) = started
        assert status == "200 OK"
        return answer, cookie_header(value for name, value in headers if name == "Set-Cookie")

    def cookies(self, data: bytes) -> str | None:
        """Return a Cookie header that is this, or has it under a tag that holds; None if there is none."""
        kind = self._how % 4
        if kind == HEADER:
            return data.decode("latin-1")  # as servers do (PEP 3333)
        return self._ours(data) if kind == OURS else self._gae_sessions(data)

    def _ours(self, data: bytes) -> str | None:
        """Return the cookies with a token of these flags, this age in minutes, and this payload."""
        if len(data) < 2:
            return None
        token = Token(data[0] & KNOWN_FLAGS, NOW + 60, NOW - 60 * data[1], 1, bytes(SID_BYTES), data[2:])
        config = self._middleware.manager.config
        cookie = config.cookie
        try:
            if can_be_read_and_not_written(token):
                return None
            text = _impl.encode(_impl.seal(config.key, token, cookie.chunks_for(len(token.payload))))
        except ValueError:  # there is no such token
            return None
        return cookie_header(cookie.write(text, now=NOW, expires=None, secure=False, taken=0))

    def _gae_sessions(self, data: bytes) -> str:
        """Return the cookie of gae-sessions 1.07 with this pickle."""
        sid = f"{0 if self._how & NO_EXPIRY else NOW + 60:010d}_{'0f' * 16}"
        tag = b64encode(hmac.digest(SECRET + sid.encode(), data, "sha256"))
        return f'DgU00="{tag.decode()}{sid}{b64encode(data).decode()}"'


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with the session's data."""
    session = get_current_session()
    if environ["REQUEST_METHOD"] == CHANGE:
        session["changed"] = True
    answer = _impl.dumps(dict(session))
    if environ["REQUEST_METHOD"] == SIGN_OUT:
        session.terminate()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer]


def cookie_header(set_cookie: Iterable[str]) -> str:
    """Return what a browser sends that had no cookies before."""
    lines = [line.split("; ") for line in set_cookie]
    return "; ".join(pair for pair, *attributes in lines if "Max-Age=0" not in attributes)


def can_be_read_and_not_written(token: Token) -> bool:
    """Return whether a payload is nested too deeply for an application to save it."""
    try:
        _impl.dumps(_impl.loads(expanded(token).payload))
    except MalformedToken:
        return False
    except ValueError:
        return True
    return False
