"""The token, as a specification: pure functions of bytes and integers, no I/O, no clock.

`_speedups.pyx` is the compiled mirror of this module: same names, same order of checks, same results and errors.

A token is, integers big-endian:

    offset  bytes
    0       1      suite: 0x21 is HMAC-SHA-256 over a readable payload, as here; 0x22 is in `encryption.py`
    1       1      id of the key that sealed it
    2       1      flags: POINTER | ZLIB | BROWSER | SECURE | RECORDED
    3       1      how many cookies carry it, 1 to 20; 1 in a stored record
    4       4      expires: Unix seconds, the absolute end of the session
    8       4      issued: Unix seconds at which this token was sealed
    12      4      revision: a record's own; in a pointer the lowest that this client may be shown
    16      16     session id, from the operating system's random source
    32      n      payload; empty if and only if the token is a pointer
    32+n    32     HMAC-SHA-256 (RFC 2104) over all that is before it

In a cookie it is written as base64url without padding (RFC 4648 section 5), in the one canonical spelling.

Text, bytes and integers of another type than the annotated one, subclasses too, raise TypeError.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from gaesess.errors import BadSignature, ExpiredToken, MalformedToken, UnknownKey
from gaesess.pickling import refuse_keys, refuse_session

SUITE = 0x21
POINTER = 0x01  # the payload is in the store
ZLIB = 0x02  # the payload is compressed
BROWSER = 0x04  # the cookie ends with the browser
SECURE = 0x08  # the session is for TLS only
RECORDED = 0x10  # the store has a record of it, be it the session's home or not: one to delete when the session ends
KNOWN_FLAGS = POINTER | ZLIB | BROWSER | SECURE | RECORDED
HEADER_BYTES = 32
TAG_BYTES = 32
SID_BYTES = 16
MAX_CHUNKS = 20  # browsers keep at least 50 cookies per domain (RFC 6265 section 6.1); others need theirs
MAX_U32 = 0xFFFFFFFF
SHA256_BLOCK_BYTES = 64

_HEADER = struct.Struct(">BBBBIII16s")
_TO_BASE64URL = bytes.maketrans(b"+/", b"-_")
_FROM_BASE64URL = bytes.maketrans(b"-_", b"+/")
_COUNT_CHARS = 8  # of a token's text: as much as tells how many cookies carry it
_CHUNK_SUFFIXES = {f".{number}": number for number in range(1, MAX_CHUNKS)}


class Token(NamedTuple):
    """What a verified token says. Times in Unix seconds."""

    flags: int
    expires: int
    issued: int
    revision: int
    sid: bytes
    payload: bytes

    def __repr__(self) -> str:
        return f"<Token revision={self.revision}>"  # no id and no data: representations end up in logs

    def __reduce__(self) -> NoReturn:
        refuse_session(self)


class MacKey(NamedTuple):
    """An HMAC key prepared once: the two padded blocks of RFC 2104, and the id that tokens name it by."""

    id: int
    inner: bytes
    outer: bytes

    def __repr__(self) -> str:
        return f"<MacKey {self.id}>"  # no key: representations end up in logs

    def __reduce__(self) -> NoReturn:
        refuse_keys(self)


class _Key(Protocol):
    @property
    def id(self) -> int: ...


K = TypeVar("K", bound=_Key)


def _check_type(kind: type, *values: object) -> None:
    for value in values:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")


def prepare_key(key_id: int, key: bytes) -> MacKey:
    """Prepare a MAC key of at most 64 bytes."""
    _check_type(int, key_id)
    _check_type(bytes, key)
    if not 0 <= key_id <= 255:
        raise ValueError(f"a key id is one byte, not {key_id}")
    if len(key) > SHA256_BLOCK_BYTES:
        raise ValueError(f"a MAC key has at most {SHA256_BLOCK_BYTES} bytes, not {len(key)}")
    block = key.ljust(SHA256_BLOCK_BYTES, b"\0")
    return MacKey(key_id, bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block))


def _mac(key: MacKey, message: bytes) -> bytes:
    return sha256(key.outer + sha256(key.inner + message).digest()).digest()


def seal(key: MacKey, token: Token, chunks: int) -> bytes:
    """Return the bytes of a token, to be carried by that many cookies.

    Raises ValueError for a token that `unseal` would never give back.
    """
    message = pack_header(SUITE, key, token, chunks) + token.payload
    return message + _mac(key, message)


def pack_header(suite: int, key: _Key, token: Token, chunks: int) -> bytes:
    """Return the header of a token, as `seal` does of the whole."""
    _check_type(Token, token)
    flags, expires, issued, revision, sid, payload = token
    _check_type(int, flags, expires, issued, revision, chunks)
    _check_type(bytes, sid, payload)
    if flags & ~KNOWN_FLAGS:
        raise ValueError(f"unknown flags: {flags:#x}")
    if not 1 <= chunks <= MAX_CHUNKS:
        raise ValueError(f"a token is carried by 1 to {MAX_CHUNKS} cookies, not {chunks}")
    if not 1 <= expires <= MAX_U32:
        raise ValueError(f"expiry is not a Unix time from 1 to {MAX_U32}: {expires}")
    if not (0 <= issued <= MAX_U32 and 0 <= revision <= MAX_U32):
        raise ValueError("issued and revision are unsigned 32-bit numbers")
    if len(sid) != SID_BYTES:
        raise ValueError(f"a session id has {SID_BYTES} bytes, not {len(sid)}")
    if bool(flags & POINTER) == bool(payload):
        raise ValueError("a pointer has no payload, and any other token has one")
    return _HEADER.pack(suite, key.id, flags, chunks, expires, issued, revision, sid)


def unseal(keys: Mapping[int, MacKey], untrusted: bytes, now: int) -> Token:
    """Verify a token against the one key it names, and return what it says.

    Raises MalformedToken, UnknownKey, BadSignature or, for a genuine one whose time is over, ExpiredToken.
    """
    _check_type(bytes, untrusted)
    _check_type(int, now)
    key = find_key(SUITE, keys, untrusted)
    if not compare_digest(_mac(key, untrusted[:-TAG_BYTES]), untrusted[-TAG_BYTES:]):
        raise BadSignature("token has a tag that does not fit")
    return verified(untrusted, untrusted[HEADER_BYTES:-TAG_BYTES], now)


def find_key(suite: int, keys: Mapping[int, K], untrusted: bytes) -> K:
    """Return the key that a token names: all that is looked at before its tag. Raises MalformedToken and UnknownKey."""
    if len(untrusted) < HEADER_BYTES + TAG_BYTES:
        raise MalformedToken("token is cut short")
    if untrusted[0] != suite:
        raise MalformedToken("token is of an unknown suite")
    if untrusted[2] & ~KNOWN_FLAGS:
        raise MalformedToken("token has unknown flags")
    if not 1 <= untrusted[3] <= MAX_CHUNKS:
        raise MalformedToken("token has an impossible number of chunks")
    key = keys.get(untrusted[1])
    if key is None:
        raise UnknownKey("token names a key that is not in the keyring")
    return key


def verified(token: bytes, payload: bytes, now: int) -> Token:
    """Return what a token says whose tag holds. Raises ExpiredToken and MalformedToken."""
    _, _, flags, _, expires, issued, revision, sid = _HEADER.unpack_from(token)
    if expires <= now:
        raise ExpiredToken("token has expired")
    if bool(flags & POINTER) == bool(payload):
        raise MalformedToken("token is neither a pointer nor has it a payload, or both")
    return Token(flags, expires, issued, revision, sid, payload)


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    _check_type(bytes, data)
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_BASE64URL).decode("ascii")


def decode(untrusted: str) -> bytes:
    """Return the bytes of base64url without padding, in its one canonical spelling; else raise MalformedToken."""
    _check_type(str, untrusted)
    try:
        data = a2b_base64(untrusted.encode("ascii").translate(_FROM_BASE64URL) + b"=" * (-len(untrusted) % 4))
    except ValueError:
        raise MalformedToken("token is not base64url") from None
    if encode(data) != untrusted:  # another alphabet, or bits that no byte takes up
        raise MalformedToken("token is not base64url")
    return data


def read_cookies(untrusted: str, name: str) -> tuple[str, int] | None:
    """Pick the token's text out of a Cookie header: the values of NAME, NAME.1, NAME.2 ..., put together.

    Also return how many cookie names are taken, for those that a shorter token leaves over have to be deleted.
    The token itself says how many it needs, under its tag; further ones are leftovers of a longer token that crossed
    this one on the way, and are passed over. None if there is no cookie NAME. Time is linear in the header's length.

    Raises MalformedToken for a name that occurs twice, or one that is missing.
    """
    _check_type(str, untrusted, name)
    values: dict[int, str] = {}
    position = 0
    while (found := untrusted.find(name, position)) >= 0:
        end = found + len(name)
        equals = untrusted.find("=", end, end + len(".19="))
        number = 0 if equals == end else _CHUNK_SUFFIXES.get(untrusted[end:equals]) if equals > 0 else None
        if number is None or not _starts_pair(untrusted, found):
            position = found + 1
            continue
        if number in values:
            raise MalformedToken("cookie is there twice")
        stop = untrusted.find(";", equals)
        position = len(untrusted) if stop < 0 else stop
        values[number] = untrusted[equals + 1 : position]
    if 0 not in values:
        return None
    needed = _chunks_needed(values[0])
    if not all(number in values for number in range(needed)):
        raise MalformedToken("cookie lacks a chunk")
    return "".join(values[number] for number in range(needed)), max(values) + 1


def _starts_pair(header: str, position: int) -> bool:
    while position > 0 and header[position - 1] in " \t":
        position -= 1
    return position == 0 or header[position - 1] == ";"


def _chunks_needed(first_value: str) -> int:
    header = decode(first_value[:_COUNT_CHARS])
    if len(header) < 4 or not 1 <= header[3] <= MAX_CHUNKS:
        raise MalformedToken("token has an impossible number of chunks")
    return header[3]


def unseal_cookies(keys: Mapping[int, MacKey], untrusted: str, name: str, now: int) -> tuple[Token, int] | None:
    """Read, decode and unseal the token of a Cookie header; also return how many cookie names are taken.

    None if there is no cookie NAME. Raises as `read_cookies`, `decode` and `unseal` do.
    """
    found = read_cookies(untrusted, name)
    if found is None:
        return None
    text, taken = found
    return unseal(keys, decode(text), now), taken


def write_cookies(name: str, text: str, attributes: str, chunk_chars: int) -> list[str]:
    """Return the Set-Cookie values that carry a token's text, `chunk_chars` characters to a cookie.

    Raises ValueError for chunks so small that `read_cookies` would not find in the first how many there are.
    """
    _check_type(str, name, text, attributes)
    _check_type(int, chunk_chars)
    if chunk_chars < _COUNT_CHARS:
        raise ValueError(f"a chunk has at least {_COUNT_CHARS} characters, not {chunk_chars}")
    values = [f"{name}={text[:chunk_chars]}{attributes}"]
    for number, start in enumerate(range(chunk_chars, len(text), chunk_chars), 1):
        values.append(f"{name}.{number}={text[start : start + chunk_chars]}{attributes}")
    return values


def format_sid(expires: int, secure: bool, sid: bytes) -> str:
    """Return the session id as text: ten digits of expiry (Unix seconds), "S" if for TLS only else "_", hex."""
    _check_type(int, expires)
    _check_type(bytes, sid)
    if not 1 <= expires <= MAX_U32:
        raise ValueError(f"expiry is not a Unix time from 1 to {MAX_U32}: {expires}")
    if len(sid) != SID_BYTES:
        raise ValueError(f"a session id has {SID_BYTES} bytes, not {len(sid)}")
    return f"{expires:010d}{'S' if secure else '_'}{sid.hex()}"


def parse_sid(untrusted: str) -> tuple[int, bool, bytes]:
    """Return the expiry (Unix seconds), whether for TLS only, and the bytes of a session id's text.

    Only what `format_sid` writes is taken; anything else raises MalformedToken.
    """
    _check_type(str, untrusted)
    try:
        expires, secure, sid = int(untrusted[:10]), untrusted[10:11] == "S", bytes.fromhex(untrusted[11:])
        canonical = format_sid(expires, secure, sid)
    except ValueError:
        raise MalformedToken("not a session id") from None
    if canonical != untrusted:
        raise MalformedToken("not a session id")
    return expires, secure, sid
