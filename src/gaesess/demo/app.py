"""The demo's application: the page, its state, and the actions. It runs inside the session middleware."""

from __future__ import annotations

import json
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gaesess import _impl
from gaesess.cookies import cookie_attributes
from gaesess.demo.actions import ACTIONS, BadArguments, contents
from gaesess.errors import MalformedToken
from gaesess.wsgi import ENVIRON_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    Headers = list[tuple[str, str]]

# Not Secure: the demo speaks plain http. Chromium and Firefox would take a Secure cookie from http on a loopback
# address, Safari would drop it, and so would they all with a `--host` that is not one.
COOKIE = cookie_attributes(secure=False)

MAX_BODY_BYTES = 4096
MAX_DRAINED_BYTES = 1_000_000  # of a body that is refused: a client that is cut off while sending reads no answer
TAMPER_AT = 8  # the character with the upper bits of the expiry's third byte: the forger wants the session to last

_JSON = "application/json"
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path d="M7 16h18" stroke="#8a8f8c" stroke-width="3"/>'
    '<circle cx="7" cy="16" r="5" fill="#c17d1b"/><circle cx="25" cy="16" r="5" fill="#12898c"/></svg>'
)
_SECURITY_HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]


class Refused(Exception):
    """A request that is answered with an error status; the message is for the client."""

    def __init__(self, status: HTTPStatus, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or []


class DemoApp:
    """Serves the page at `/`, what the session holds at `/state`, and POST `/actions/NAME` with a JSON object."""

    def __init__(self) -> None:
        folder = files("gaesess.demo")
        self._files = {
            "/": ("text/html; charset=utf-8", folder.joinpath("page.html").read_bytes()),
            "/page.css": ("text/css; charset=utf-8", folder.joinpath("page.css").read_bytes()),
            "/page.js": ("text/javascript; charset=utf-8", folder.joinpath("page.js").read_bytes()),
            "/icon.svg": ("image/svg+xml", _ICON.encode()),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status = HTTPStatus.OK
        try:
            content_type, body, headers = self._answer(environ)
        except Refused as refusal:
            status, content_type, headers = refusal.status, _JSON, refusal.headers
            body = json.dumps({"error": str(refusal)}).encode()
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers, *_SECURITY_HEADERS]
        start_response(f"{status.value} {status.phrase}", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _answer(self, environ: WSGIEnvironment) -> tuple[str, bytes, Headers]:
        path = environ.get("PATH_INFO") or "/"
        if path in self._files:
            _require_method(environ, "GET", "HEAD")
            return (*self._files[path], [])
        if path == "/state":
            _require_method(environ, "GET")
            return _JSON, _state(environ, "read"), []
        if path.startswith("/actions/"):
            return _act(environ, path.removeprefix("/actions/"))
        raise Refused(HTTPStatus.NOT_FOUND, f"there is no page {path}")


def _act(environ: WSGIEnvironment, name: str) -> tuple[str, bytes, Headers]:
    body = _read_body(environ)
    _require_method(environ, "POST")
    _require_same_origin(environ)
    arguments = _parse(environ, body)
    if name == "tamper":
        damaged = _damaged_cookies(environ.get("HTTP_COOKIE", ""))
        return _JSON, _state(environ, name), [("Set-Cookie", value) for value in damaged]
    action = ACTIONS.get(name)
    if action is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"there is no action {name}; there are: {', '.join(ACTIONS)}, tamper")
    home = environ[ENVIRON_KEY].home
    try:
        action(environ[ENVIRON_KEY], arguments)
    except BadArguments as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    return _JSON, _state(environ, name, before=home.value if home else None), []


def _state(environ: WSGIEnvironment, action: str, **more: Any) -> bytes:
    return json.dumps({"action": action, "contents": contents(environ[ENVIRON_KEY]), **more}).encode()


def _require_method(environ: WSGIEnvironment, *allowed: str) -> None:
    method = environ["REQUEST_METHOD"]
    if method not in allowed:
        message = f"{environ.get('PATH_INFO')} takes {' or '.join(allowed)}, not {method}"
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, message, [("Allow", ", ".join(allowed))])


def _require_same_origin(environ: WSGIEnvironment) -> None:
    """Refuse what another site's page makes a browser send; what no browser sends has neither header."""
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site not in (None, "same-origin") or (origin is not None and _host(origin) != environ.get("HTTP_HOST")):
        raise Refused(HTTPStatus.FORBIDDEN, "actions are taken from this site's own page only")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _read_body(environ: WSGIEnvironment) -> bytes:
    given = environ.get("CONTENT_LENGTH") or "0"
    if not (given.isascii() and given.isdigit()):
        raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length has to be a number")
    length = int(given)
    try:
        body: bytes = environ["wsgi.input"].read(min(length, MAX_DRAINED_BYTES))
    except TimeoutError:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive: {length} bytes were announced") from None
    if length > MAX_BODY_BYTES:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MAX_BODY_BYTES} bytes, not {length}")
    return body


def _parse(environ: WSGIEnvironment, body: bytes) -> dict[str, Any]:
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != _JSON:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"actions take Content-Type: {_JSON}")
    try:
        arguments = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(arguments, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body has to be a JSON object")
    return arguments


def _damaged_cookies(cookie_header: str) -> list[str]:
    """Return Set-Cookie values that change one character of the client's token: no script could, it is HttpOnly."""
    try:
        found = _impl.read_cookies(cookie_header, COOKIE.name)
    except MalformedToken:
        found = None
    if found is None or len(found[0]) <= TAMPER_AT:
        raise Refused(HTTPStatus.BAD_REQUEST, "there is no session cookie to damage: start a session first")
    text, taken = found
    other = "A" if text[TAMPER_AT] != "A" else "B"
    return COOKIE.write(
        text[:TAMPER_AT] + other + text[TAMPER_AT + 1 :], now=0, expires=None, secure=False, taken=taken
    )
