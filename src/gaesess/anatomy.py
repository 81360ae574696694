"""A token as it may be shown: byte by byte, without what would let anybody use it."""

from __future__ import annotations

from typing import NamedTuple

from gaesess import _impl
from gaesess._core import (
    BROWSER,
    ENCRYPTED,
    GCM_TAG_BYTES,
    HEADER_BYTES,
    POINTER,
    RECORDED,
    SALT_BYTES,
    SECURE,
    SID_BYTES,
    SIGNED,
    TAG_BYTES,
    ZLIB,
    Token,
)
from gaesess.errors import MalformedToken

SHOWN_SID_BYTES = 2
SHOWN_TAG_BYTES = 2
SHOWN_PAYLOAD_BYTES = 48

_SUITES = {SIGNED: "HMAC-SHA-256", ENCRYPTED: "AES-256-GCM"}
_FLAGS = {POINTER: "POINTER", ZLIB: "ZLIB", BROWSER: "BROWSER", SECURE: "SECURE", RECORDED: "RECORDED"}


class Field(NamedTuple):
    """Some bytes of a token: how many there are, those that may be shown, in hex, and the value they stand for."""

    name: str
    offset: int
    length: int
    shown: str
    value: int | str | list[str] | None


def token_bytes(cookie_header: str, name: str) -> bytes | None:
    """Return the token that a cookie carries, unverified; None if there is none that could be taken apart."""
    try:
        found = _impl.read_cookies(cookie_header, name)
        token = _impl.decode(found[0]) if found else b""
    except MalformedToken:
        return None
    return token if len(token) >= HEADER_BYTES + TAG_BYTES else None


def sid_of(token: bytes) -> bytes:
    """Return the session id in a token."""
    return token[HEADER_BYTES - SID_BYTES : HEADER_BYTES]


def expiry_of(token: bytes) -> int:
    """Return the Unix time in seconds at which a token says that its session ends."""
    return int.from_bytes(token[4:8], "big")


def unverified(token: bytes) -> Token | None:
    """Return what a token says, whoever has written it; None if its payload cannot be read."""
    if token[0] != SIGNED:
        return None
    issued, revision = (int.from_bytes(token[start : start + 4], "big") for start in (8, 12))
    return Token(token[2], expiry_of(token), issued, revision, sid_of(token), token[HEADER_BYTES:-TAG_BYTES])


def describe(token: bytes) -> list[Field]:
    """Return the fields of a token.

    Of the session id and the tag only the beginnings: the cookie is HttpOnly so that no script can take the session
    away, and it would be pointless to hand both out by another way.
    """
    encrypted = token[0] == ENCRYPTED
    payload_start = HEADER_BYTES + (SALT_BYTES if encrypted else 0)
    payload_end = len(token) - (GCM_TAG_BYTES if encrypted else TAG_BYTES)

    def number(name: str, start: int, end: int) -> Field:
        return Field(name, start, end - start, token[start:end].hex(), int.from_bytes(token[start:end], "big"))

    def opaque(name: str, start: int, end: int, shown: int) -> Field:
        return Field(name, start, end - start, token[start : min(end, start + shown)].hex(), None)

    return [
        number("suite", 0, 1)._replace(value=_SUITES.get(token[0], "unknown")),
        number("key", 1, 2)._replace(value=token[1:2].hex()),
        number("flags", 2, 3)._replace(value=[name for bit, name in _FLAGS.items() if token[2] & bit]),
        number("chunks", 3, 4),
        number("expires", 4, 8),
        number("issued", 8, 12),
        number("revision", 12, 16),
        opaque("sid", HEADER_BYTES - SID_BYTES, HEADER_BYTES, SHOWN_SID_BYTES),
        *([opaque("salt", HEADER_BYTES, payload_start, SALT_BYTES)] if encrypted else []),
        opaque("payload", payload_start, payload_end, SHOWN_PAYLOAD_BYTES),
        opaque("tag", payload_end, len(token), SHOWN_TAG_BYTES),
    ]
