"""Cookies as people paste them: out of a browser, of curl, of a log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from gaesess.cookies import MAX_COOKIE_BYTES

OUR_NAMES = ("__Host-gaesess", "__Secure-gaesess", "gaesess")

_HEADER = re.compile(r"[<>\s]*(set-cookie|cookie)\s*:\s*", re.IGNORECASE)  # curl -v writes "< " before a line
_OTHER_HEADER = re.compile(r"[<>\s]*([\w-]+:|HTTP/)")
_NAME = re.compile(r"[\x21-\x7E]+")  # others would be printed on a terminal, which takes some for commands
_CHUNK_NUMBER = re.compile(r"\.[0-9]+\Z")


class Cookie(NamedTuple):
    """A cookie: its name and value, and, of a Set-Cookie, its attributes by their names in lower case."""

    name: str
    value: str
    attributes: dict[str, str] | None

    @property
    def bytes(self) -> int:
        """How much of it counts against a browser's limit: name, value and attributes (RFC 6265 section 6.1)."""
        attributes = (f"; {name}={value}" if value else f"; {name}" for name, value in (self.attributes or {}).items())
        return len(f"{self.name}={self.value}") + sum(map(len, attributes))


def parse(text: str) -> list[Cookie]:
    """Return the cookies in a Cookie header, in any number of Set-Cookie headers, or in the values of either.

    A value alone, without a name, is that of our cookie. Where there is one of these headers, no other line is looked
    at: it may be of the body.
    """
    lines = text.splitlines()
    headers = [header for line in lines if (header := _HEADER.match(line))]
    if headers:
        found = [_parse_value(header.string[header.end() :], header[1].lower() == "set-cookie") for header in headers]
    else:
        found = [_parse_value(line.strip(), None) for line in lines if not _OTHER_HEADER.match(line)]
    return [cookie for cookies in found for cookie in cookies if _NAME.fullmatch(cookie.name)]


def _parse_value(value: str, is_set: bool | None) -> Iterator[Cookie]:
    parts = [part.strip().partition("=") for part in value.strip().split(";") if part.strip()]
    if not parts:
        return
    if is_set is None:
        is_set = any(name.lower() in ("path", "httponly", "max-age") for name, _, _ in parts[1:])
    if len(parts) == 1 and not parts[0][1]:
        yield Cookie(OUR_NAMES[0], parts[0][0], None)
    elif is_set:
        (name, _, its), *attributes = parts
        yield Cookie(name, its, {attribute.lower(): given for attribute, _, given in attributes})
    else:
        yield from (Cookie(name, its, None) for name, _, its in parts)


def choose(cookies: list[Cookie], name: str | None) -> tuple[str, list[Cookie]]:
    """Return the name of the session's cookie and its chunks. Raises ValueError if it cannot be told."""
    present: dict[str, list[Cookie]] = {}
    for cookie in cookies:
        present.setdefault(_CHUNK_NUMBER.sub("", cookie.name), []).append(cookie)
    ours = [name] if name else [each for each in OUR_NAMES if each in present] or list(present)
    if len(ours) == 1 and ours[0] in present:
        return ours[0], present[ours[0]]
    if not present:
        raise ValueError("there is no cookie in that: paste a Cookie or Set-Cookie header")
    raise ValueError(f"which cookie? There are {', '.join(present)}; say --cookie-name")


def objections(cookie: Cookie) -> Iterator[str]:
    """Yield what is wrong with a cookie: what makes browsers drop it, or less safe than it could be."""
    if cookie.bytes > MAX_COOKIE_BYTES:
        yield f"has {cookie.bytes:,} bytes: browsers keep no more than 4,096"
    if cookie.attributes is None:
        return
    attributes, prefix = cookie.attributes, cookie.name.lower()
    if "secure" not in attributes:
        yield "is not Secure: it goes over plain HTTP too, for whoever listens there"
        if prefix.startswith(("__host-", "__secure-")):
            yield "has a name whose prefix needs Secure: browsers drop it"
        if attributes.get("samesite", "").lower() == "none":
            yield "is SameSite=None without Secure: browsers drop it"
    if prefix.startswith("__host-") and ("domain" in attributes or attributes.get("path") != "/"):
        yield "has a name whose prefix needs Path=/ and no Domain: browsers drop it"
    if "httponly" not in attributes:
        yield "is not HttpOnly: a script that is injected into a page can take it"
    if "samesite" not in attributes:
        yield "has no SameSite: browsers decide what other sites may do with it"
