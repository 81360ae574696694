"""Compressed payloads (RFC 1951), where that makes them smaller."""

from __future__ import annotations

import zlib

from gaesess.errors import MalformedToken

MAX_EXPANDED_BYTES = 1_100_000  # a payload and its record's history, whatever a token says it is
WORTHWHILE_BYTES = 64  # smaller payloads are little else than names and numbers
_RAW = -15  # no header and no checksum: the token has a better one


def compress(payload: bytes) -> bytes:
    """Return a payload compressed, or as it is if that saves nothing, or if `expand` would refuse it."""
    if not WORTHWHILE_BYTES <= len(payload) <= MAX_EXPANDED_BYTES:
        return payload
    packer = zlib.compressobj(wbits=_RAW)
    packed = packer.compress(payload) + packer.flush()
    return packed if len(packed) < len(payload) else payload


def expand(packed: bytes) -> bytes:
    """Return a payload as it was. Raises MalformedToken if it is damaged, or too large."""
    unpacker = zlib.decompressobj(_RAW)
    try:
        payload = unpacker.decompress(packed, MAX_EXPANDED_BYTES)
    except zlib.error:
        raise MalformedToken("token has a payload that cannot be decompressed") from None
    if not unpacker.eof or unpacker.unused_data:
        raise MalformedToken("token has a payload that decompresses to too much, or not to its end")
    return payload
