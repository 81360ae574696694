"""What every middleware says in a response, whatever protocol carries it."""

from __future__ import annotations

from typing import NamedTuple

from gaesess.errors import SessionDataLoss, SessionTerminated, StoreUnavailable


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
    """Return the response to a request whose session could not be read or saved."""
    if isinstance(error, SessionDataLoss):
        return _LOST
    return _UNAVAILABLE if isinstance(error, StoreUnavailable) else _TERMINATED


def vary_by_cookie(values: list[str]) -> str | None:
    """Return what the Vary header is to say, given what it says, so that caches know of the cookie.

    None if they are told already (RFC 9110 section 12.5.5).
    """
    if not values:
        return "Cookie"
    if any(field.strip().lower() in ("cookie", "*") for value in values for field in value.split(",")):
        return None
    return ", ".join([*values, "Cookie"])


def keep_private(values: list[str]) -> str | None:
    """Return what the Cache-Control header of a response with a session cookie is to say, given what it says.

    A shared cache may store a response with a Set-Cookie as any other (RFC 9111 section 7.3), and hand the session to
    the next visitor. None if it is told already that it must not.
    """
    if not values:
        return "private, no-store"
    directives = [directive.strip() for value in values for directive in value.split(",")]
    names = {directive.partition("=")[0].lower() for directive in directives}
    if names & {"private", "no-store"}:
        return None
    return ", ".join([*(directive for directive in directives if directive.lower() != "public"), "private"])
