"""The core's functions as calls to be measured, for the compiled core and for its pure twin alike."""

from __future__ import annotations

import random
from functools import partial
from types import ModuleType

from bench.cases import OTHERS, SESSION, cookie_header
from bench.interleaved import Call
from gaesess import _core
from gaesess._core import ENCRYPTED, HEADER_BYTES, SIGNED, TAG_BYTES, WSGI, Token

try:
    import gaesess._speedups as _speedups
except ModuleNotFoundError:  # the pure wheel
    _speedups = None

TWINS: dict[str, ModuleType] = {"compiled": _speedups, "pure": _core} if _speedups else {"pure": _core}
PAYLOAD_BYTES = {"100 B": 100, "2 KB": 2_000, "8 KB": 8_000}
MAC_KEY = bytes(range(32))
NOW, EXPIRES = 1_800_000_000, 1_800_600_000
CHUNK_CHARS = 3_900
ATTRIBUTES = "; Path=/; Max-Age=604800; Secure; HttpOnly; SameSite=Lax"


def token(payload_bytes: int) -> Token:
    noise = random.Random(payload_bytes)
    return Token(0, EXPIRES, NOW, 1, noise.randbytes(16), noise.randbytes(payload_bytes))


def calls(core: ModuleType, payload_bytes: int) -> dict[str, Call]:
    """Return a call of each function that the core has. A new function gets a line here, with its arguments."""
    key, cipher_key = (core.prepare_key(suite, 1, MAC_KEY) for suite in (SIGNED, ENCRYPTED))
    whole = token(payload_bytes)
    data = {**SESSION, "text": "x" * payload_bytes}
    text_chars = ((HEADER_BYTES + payload_bytes + TAG_BYTES) * 4 + 2) // 3
    chunks = -(-text_chars // CHUNK_CHARS)
    sealed = core.seal(key, whole, chunks)
    text = core.encode(sealed)
    written = core.write_cookies("gaesess", text, ATTRIBUTES, CHUNK_CHARS)
    header = cookie_header([value.partition(";")[0] for value in written], OTHERS)
    sid_text = core.format_sid(EXPIRES, False, whole.sid)
    arguments = {
        "dumps": (data,),
        "loads": (core.dumps(data),),
        "unseal": ({1: key}, sealed, NOW),
        "seal": (key, whole, chunks),
        "unseal encrypted": ({1: cipher_key}, core.seal(cipher_key, whole, chunks), NOW),
        "seal encrypted": (cipher_key, whole, chunks),
        "decode": (text,),
        "encode": (sealed,),
        "read_cookies": (header, "gaesess"),
        "unseal_cookies": ({1: key}, header, "gaesess", NOW),
        "write_cookies": ("gaesess", text, ATTRIBUTES, CHUNK_CHARS),
        "format_sid": (EXPIRES, False, whole.sid),
        "parse_sid": (sid_text,),
        "with_session": ([("Content-Type", "text/html")], written, WSGI),
    }
    return {name: partial(getattr(core, name.partition(" ")[0]), *values) for name, values in arguments.items()}


def ways(core: ModuleType, payload_bytes: int) -> dict[str, Call]:
    """Return the core's part of a request: from a cookie's text to the payload, and back."""
    key = core.prepare_key(SIGNED, 1, MAC_KEY)
    keys = {key.id: key}
    whole = token(payload_bytes)
    text = core.encode(core.seal(key, whole, 1))
    return {
        "read": lambda: core.unseal(keys, core.decode(text), NOW),
        "write": lambda: core.encode(core.seal(key, whole, 1)),
    }
