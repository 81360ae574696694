"""Keys and tokens that the tests of the core share."""

from __future__ import annotations

from gaesess import _core, _impl
from gaesess._core import ENCRYPTED, SIGNED, WSGI, Token

NOW = 1_799_999_999
EXPIRES = 1_800_000_000
SECRET = bytes(range(32))
KEY = _core.prepare_key(SIGNED, 7, SECRET)
OTHER_KEY = _core.prepare_key(SIGNED, 8, bytes(range(1, 33)))
KEYS = {7: KEY}
CIPHER_KEY = _core.prepare_key(ENCRYPTED, 7, SECRET)
CIPHER_KEYS = {7: CIPHER_KEY}
SID = bytes.fromhex("00112233445566778899aabbccddeeff")
TOKEN = Token(flags=0x0C, expires=EXPIRES, issued=1_799_990_000, revision=0x01020304, sid=SID, payload=b"hello")
POINTER = Token(flags=0x01, expires=0xFFFFFFFF, issued=0, revision=1, sid=SID, payload=b"")


def cookie_text(payload: bytes = b"hello", chunks: int = 1) -> str:
    """Return the text of a token with that payload, which says that so many cookies carry it."""
    return _impl.encode(_impl.seal(KEY, TOKEN._replace(payload=payload), chunks))


def cut(text: str, chunks: int) -> list[str]:
    """Return the text in so many pieces of about one size."""
    size = -(-len(text) // chunks)
    return [text[start : start + size] for start in range(0, len(text), size)]


def changed(message: bytes, offset: int, value: bytes) -> bytes:
    return message[:offset] + value + message[offset + len(value) :]


RIGHT = {  # arguments that every function of the core takes
    "dumps": ({"key": "value"},),
    "loads": (_core.dumps({"key": "value"}),),
    "prepare_key": (SIGNED, 7, b"secret", 1e9),
    "unseal_cookies": (KEYS, f"gaesess={cookie_text()}", "gaesess", NOW),
    "seal": (KEY, TOKEN, 1),
    "unseal": (KEYS, _core.seal(KEY, TOKEN, 1), NOW),
    "encode": (b"data",),
    "decode": ("AAAA",),
    "read_cookies": (f"gaesess={cookie_text()}", "gaesess"),
    "write_cookies": ("n", "text", "; Path=/", 8),
    "format_sid": (1, True, SID),
    "parse_sid": (f"1800000000S{SID.hex()}",),
    "with_session": ([("Vary", "Accept")], ["gaesess=x"], WSGI),
}
