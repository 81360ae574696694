"""What the middlewares say in a response, whatever protocol carries it: Vary, Cache-Control, and refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from gaesess import events
from gaesess.errors import SessionDataLoss, SessionTerminated, StoreUnavailable

_DIRECTIVE = re.compile(r'(?:[^,"]|"[^"]*"?)+')  # of Cache-Control: a comma may be in quotes
_SHARES = ("public", "private")
_OF_SHARED_CACHES = ("surrogate-control", "edge-control", "x-accel-expires")  # Fastly and others, Akamai, nginx


class Refusal(NamedTuple):
    """The response in the place of one that cannot go out."""

    status: int
    reason: str
    text: bytes

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return its headers; those of the session come on top."""
        return [("Content-Type", "text/plain"), ("Content-Length", str(len(self.text))), ("Cache-Control", "no-store")]


_UNAVAILABLE = Refusal(503, "Service Unavailable", b"The session store did not answer. Please try again in a moment.\n")
_LOST = Refusal(503, "Service Unavailable", b"The session store has lost your session. Please contact the site.\n")
_TERMINATED = Refusal(409, "Conflict", b"Your session was ended by another request. Please sign in again.\n")


def refusal(error: StoreUnavailable | SessionTerminated) -> Refusal:
    """Return the response to a request whose session could not be read or saved, and log that it was refused."""
    if isinstance(error, SessionDataLoss):
        answer = _LOST
    else:
        answer = _UNAVAILABLE if isinstance(error, StoreUnavailable) else _TERMINATED
    events.emit("response_refused", f"refused a response: {error}", status=answer.status)
    return answer


def vary_by_cookie(values: list[str]) -> str | None:
    """Return the Vary header that names Cookie, too, given what it says (RFC 9110 section 12.5.5); None if it does."""
    if not values:
        return "Cookie"
    if any(field.strip().lower() in ("cookie", "*") for value in values for field in value.split(",")):
        return None
    return ", ".join([*values, "Cookie"])


def keep_private(values: list[str]) -> str | None:
    """Return the Cache-Control header of a response with a session cookie, given what it says; None if that will do.

    A shared cache may store a response with a Set-Cookie like any other (RFC 9111 section 7.3), and hand the session to
    the next visitor.
    """
    if not values:
        return "private, no-store"
    directives = [directive.strip() for value in values for directive in _DIRECTIVE.findall(value)]
    names = {directive.lower() for directive in directives}
    if names & {"private", "no-store"}:
        return None
    # With names of headers, `private="..."` lets shared caches keep the rest.
    return ", ".join([*(each for each in directives if each.lower().partition("=")[0] not in _SHARES), "private"])


def for_one_client(headers: list[Any]) -> list[Any]:
    """Return the headers without those that let a shared cache keep the response, whatever Cache-Control says.

    They are those of RFC 9213, such as CDN-Cache-Control, and those that caches have of their own.
    """
    return [pair for pair in headers if not _is_for_shared(pair[0])]


def _is_for_shared(name: Any) -> bool:
    name = (name if isinstance(name, str) else name.decode("latin-1")).lower()
    return name.endswith("-cache-control") or name in _OF_SHARED_CACHES


def merged(headers: list[Any], header: tuple[Any, Any], merge: Callable[[list[str]], str | None]) -> list[Any]:
    """Return the headers with what `merge` makes of the values of this one, of str as in WSGI or of bytes as in ASGI.

    Where the response has none, `header` is added.
    """
    name = header[0].lower()
    found = [value for other, value in headers if other.lower() == name]
    if not found:
        return [*headers, header]
    is_text = isinstance(name, str)
    value = merge(found if is_text else [value.decode("latin-1") for value in found])
    if value is None:
        return headers
    others = [pair for pair in headers if pair[0].lower() != name]
    return [*others, (header[0], value if is_text else value.encode("latin-1"))]
