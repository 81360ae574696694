"""Compressed payloads (RFC 1951), where that makes them smaller."""

from __future__ import annotations

import zlib

from gaesess._core import ZLIB, Token
from gaesess.errors import MalformedToken

MAX_EXPANDED_BYTES = 1_100_000  # the largest record that is written, and its history: whatever a token says it is
WORTHWHILE_BYTES = 64  # smaller payloads are little else than names and numbers
_RAW = -15  # no header and no checksum: the token has a better one


def shrink(token: Token) -> Token:
    """Return the token with its payload compressed, or as it is if that saves nothing."""
    if len(token.payload) < WORTHWHILE_BYTES:
        return token
    packer = zlib.compressobj(wbits=_RAW)
    packed = packer.compress(token.payload) + packer.flush()
    if len(packed) >= len(token.payload):
        return token
    return token._replace(flags=token.flags | ZLIB, payload=packed)


def expand(token: Token) -> Token:
    """Return a verified, compressed token as it was. Raises MalformedToken if it is damaged, or too large."""
    unpacker = zlib.decompressobj(_RAW)
    try:
        payload = unpacker.decompress(token.payload, MAX_EXPANDED_BYTES)
    except zlib.error:
        raise MalformedToken("token has a payload that cannot be decompressed") from None
    if not unpacker.eof or unpacker.unused_data:
        raise MalformedToken("token has a payload that decompresses to too much, or not to its end")
    return token._replace(flags=token.flags & ~ZLIB, payload=payload)
