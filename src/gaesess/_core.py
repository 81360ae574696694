"""The core, as a specification: values, tokens, cookies, and the session of one request.

`_speedups.pyx` is the compiled mirror of this module: same names, same order of checks, same results and errors. What
is rare is a call from both into a module that exists once.

A token is, integers big-endian:

    offset  bytes
    0       1      suite: SIGNED or ENCRYPTED
    1       1      id of the key that sealed it
    2       1      flags: POINTER | ZLIB | BROWSER | SECURE | RECORDED
    3       1      how many cookies carry it, 1 to 20; 1 in a stored record
    4       4      expires: Unix seconds, the absolute end of the session
    8       4      issued: Unix seconds at which this token was sealed
    12      4      revision: a record's own; in a pointer the lowest that this client may be shown
    16      16     session id, from the operating system's random source
    SIGNED, 0x21:
    32      n      payload, readable; empty if and only if the token is a pointer
    32+n    32     HMAC-SHA-256 (RFC 2104) over all that is before it
    ENCRYPTED, 0x22:
    32      16     salt, from the operating system's random source
    48      n      payload, encrypted with AES-256-GCM (NIST SP 800-38D)
    48+n    16     the tag of GCM, over all that is before it

In a cookie it is written as base64url without padding (RFC 4648 section 5), in the one canonical spelling.

Every encrypted token has an AES key of its own: HMAC-SHA-256, under the key of the purpose, of its header and salt. GCM
must never see one nonce twice under one key, and with random nonces a key may encrypt 2^32 messages (SP 800-38D section
8.3). Here each key encrypts one token, so the nonce may be constant: two tokens would need the same session id, second,
revision and salt. So there is no limit to how many tokens one `cookie_key` may encrypt.

The payload is MessagePack, in the shortest form of each value. A value that MessagePack lacks is an array: an empty
extension, whose code names the type, and the fields of the value (`values.py`).

Text, bytes and integers of another type than the annotated one, subclasses too, raise TypeError.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gaesess import _headers, events, values
from gaesess.errors import (
    BadSignature,
    ExpiredToken,
    InvalidToken,
    MalformedToken,
    RecordGone,
    SessionClosed,
    StoreUnavailable,
    UnknownKey,
)
from gaesess.pickling import refuse_keys, refuse_session
from gaesess.values import BIG_INT, FROZENSET, PLAIN, REGISTERED, SET, TUPLE, UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNED = 0x21
ENCRYPTED = 0x22
POINTER = 0x01  # the payload is in the store
ZLIB = 0x02  # the payload is compressed
BROWSER = 0x04  # the cookie expires with the browser
SECURE = 0x08  # the session is for TLS only
RECORDED = 0x10  # the store has a record of the session, wherever its data are: one to end with it
KNOWN_FLAGS = POINTER | ZLIB | BROWSER | SECURE | RECORDED
HEADER_BYTES = 32
TAG_BYTES = 32
SALT_BYTES = GCM_TAG_BYTES = 16
SID_BYTES = 16
SHA256_BLOCK_BYTES = 64
MAX_CHUNKS = 20  # browsers keep at least 50 cookies per domain (RFC 6265 section 6.1); others need theirs
MAX_U32 = 0xFFFFFFFF
MAX_DEPTH = 64  # containers within containers
MAX_SKEW_SECONDS = (
    60  # between the clocks of two processes: a session from a clock further ahead would outlive its timeout
)
REFRESHES_PER_IDLE_TIMEOUT = 10  # an active session may expire a tenth early, and sends that few cookies more
MAX_AGE_SECONDS = 400 * 24 * 3600  # browsers keep no cookie for longer (RFC 6265bis section 5.5)

_HEADER = struct.Struct(">BBBBIII16s")
_TO_BASE64URL = bytes.maketrans(b"+/", b"-_")
_FROM_BASE64URL = bytes.maketrans(b"-_+/=", b"+/...")  # "+", "/" and "=" are none of ours, "." none of theirs
_PADDING = (b"", b"===", b"==", b"=")  # of base64, by the length modulo 4
_COUNT_CHARS = 8  # of a token's text: enough to read how many cookies carry it
_CHUNK_SUFFIXES = {f".{number}": number for number in range(1, MAX_CHUNKS)}
_NONCE = bytes(12)
_MARKS = {code: bytes((0xC7, 0, code)) for code in range(BIG_INT, REGISTERED + 1)}  # MessagePack's ext 8, of no bytes
_CODES = {mark: code for code, mark in _MARKS.items()}
_FLOAT = struct.Struct(">d")
_TWO = [f"{number:02}" for number in range(60)]
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _check_type(kind: type, argument: object) -> None:
    if type(argument) is not kind:
        raise TypeError(f"expected {kind.__name__}, not {type(argument).__name__}")


# -- values: session data as bytes


def dumps(data: dict[Hashable, Any]) -> bytes:
    """Return a session's data as bytes; the same data always give the same bytes.

    Raises TypeError with the path of a value of a type that is not supported, ValueError with the key of data that are
    nested deeper than MAX_DEPTH.
    """
    _check_type(dict, data)
    try:
        return _packed(data)
    except (TypeError, ValueError) as error:
        raise values.located(error, data, _packed)  # noqa: B904  # which has its cause


def _packed(value: object, depth: int = MAX_DEPTH) -> bytes:
    packed = bytearray()
    _pack(packed, value, depth)
    return bytes(packed)


def _pack(packed: bytearray, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        try:
            text = value.encode()
        except UnicodeEncodeError:  # a lone surrogate
            text = value.encode("utf-8", "surrogatepass")
        if len(text) < 32:
            packed.append(0xA0 | len(text))
        else:
            _pack_size(packed, len(text), 0, 0, 0xD9, 0xDA)
        packed += text
    elif kind is int:
        _pack_int(packed, value)
    elif value is None or value is False or value is True:
        packed.append(0xC0 if value is None else 0xC3 if value else 0xC2)
    elif kind is float:
        packed.append(0xCB)
        packed += _FLOAT.pack(value)
    elif kind is bytes:
        _pack_size(packed, len(value), 0, 0, 0xC4, 0xC5)
        packed += value
    elif kind is dict or kind is list or kind is tuple or kind is set or kind is frozenset:
        if not depth:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        _pack_container(packed, value, depth - 1)
    else:
        code, fields = values.dump(value)
        if code == REGISTERED and not depth:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        _pack_marked(packed, code, len(fields))
        for field in fields:
            _pack(packed, field, depth - 1)


def _pack_container(packed: bytearray, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is dict:
        items = list(value.items())  # other threads may change it meanwhile
        _pack_size(packed, len(items), 0x80, 16, 0, 0xDE)
        for key, item in items:
            if type(key) is not str:
                values.check_key(key)
            _pack(packed, key, depth)
            _pack(packed, item, depth)
    elif kind is list:
        items = list(value)
        _pack_size(packed, len(items), 0x90, 16, 0, 0xDC)
        for item in items:
            _pack(packed, item, depth)
    elif kind is tuple:
        _pack_marked(packed, TUPLE, len(value))
        for item in value:
            _pack(packed, item, depth)
    else:
        items = sorted([_packed(item, depth) for item in list(value)])  # in an order that does not depend on hashes
        _pack_marked(packed, SET if kind is set else FROZENSET, len(items))
        for item in items:
            packed += item


def _pack_marked(packed: bytearray, code: int, count: int) -> None:
    _pack_size(packed, count + 1, 0x90, 16, 0, 0xDC)
    packed += _MARKS[code]


def _pack_int(packed: bytearray, value: int) -> None:
    if -32 <= value < 0x80:
        packed.append(value & 0xFF)
        return
    signed = value < 0
    bits = (~value).bit_length() + 1 if signed else value.bit_length()
    if bits > 64:
        _pack_marked(packed, BIG_INT, 1)
        _pack(packed, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True), 0)
        return
    power = 0 if bits <= 8 else 1 if bits <= 16 else 2 if bits <= 32 else 3
    packed.append((0xD0 if signed else 0xCC) + power)
    packed += value.to_bytes(1 << power, "big", signed=signed)


def _big_int(packed: bytes) -> int:
    return int.from_bytes(packed, "big", signed=True)


def _pack_size(packed: bytearray, size: int, fixed: int, below: int, one: int, two: int) -> None:
    """Pack a length: in one byte with `fixed`, or after the code `one` (0: there is none), `two`, or the next one."""
    if size < below:
        packed.append(fixed | size)
    elif one and size < 0x100:
        packed += bytes((one, size))
    elif size < 0x10000:
        packed += bytes((two, size >> 8, size & 0xFF))
    else:
        packed += bytes((two + 1,)) + size.to_bytes(4, "big")


def loads(payload: bytes) -> dict[Hashable, Any]:
    """Return the data of `dumps`. Raises MalformedToken for anything else, and for a type not registered any more."""
    _check_type(bytes, payload)
    reader = _Reader(payload)
    try:
        data = reader.read(MAX_DEPTH + 1)  # of a value of `values` at the deepest level
    except MalformedToken:
        raise
    except UNREADABLE as error:
        raise MalformedToken(f"session data cannot be read: {type(error).__name__}") from error
    if type(data) is not dict or reader.at != len(payload):
        raise MalformedToken("session data is not a dict")
    return data


class _Reader:
    """Reads values one after the other."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.end = len(data)

    def take(self, size: int) -> bytes:
        at = self.at
        self.at = end = at + size
        if end > self.end:
            raise MalformedToken("session data cannot be read: cut short")
        return self.data[at:end]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def read(self, depth: int) -> Any:
        data, at = self.data, self.at
        if at >= self.end:
            raise MalformedToken("session data cannot be read: cut short")
        code = data[at]
        if 0xA0 <= code < 0xC0:  # a short text, as most values and keys are
            self.at = end = at + code - 0x9F
            if end > self.end:
                raise MalformedToken("session data cannot be read: cut short")
            return data[at + 1 : end].decode("utf-8", "surrogatepass")
        self.at = at + 1
        if code < 0x80:
            return code
        if code < 0x90:
            return self.map(code & 0x0F, depth)
        if code < 0xA0:
            return self.array(code & 0x0F, depth)
        if code >= 0xE0:
            return code - 0x100
        if 0xD9 <= code <= 0xDB:
            return self.take(self.number(1 << (code - 0xD9))).decode("utf-8", "surrogatepass")
        if 0xCC <= code <= 0xCF:
            return self.number(1 << (code - 0xCC))
        if code == 0xC0:
            return None
        if code in (0xC2, 0xC3):
            return code == 0xC3
        if code in (0xCA, 0xCB):
            return struct.unpack(">f" if code == 0xCA else ">d", self.take(4 if code == 0xCA else 8))[0]
        if 0xC4 <= code <= 0xC6:
            return self.take(self.number(1 << (code - 0xC4)))
        if 0xD0 <= code <= 0xD3:
            return int.from_bytes(self.take(1 << (code - 0xD0)), "big", signed=True)
        if 0xDC <= code <= 0xDF:
            count = self.number(4 if code & 1 else 2)
            return self.array(count, depth) if code < 0xDE else self.map(count, depth)
        raise MalformedToken("session data cannot be read: a value of an unknown type")

    def map(self, count: int, depth: int) -> dict[Hashable, Any]:
        self.check(count, depth)
        data, depth = {}, depth - 1
        for _ in range(count):
            key = self.read(depth)
            data[key] = self.read(depth)
        return data

    def array(self, count: int, depth: int) -> Any:
        self.check(count, depth)
        if not count or self.data[self.at] != 0xC7:
            return [self.read(depth - 1) for _ in range(count)]
        code = _CODES.get(self.take(3), 0)
        fields = [self.read(depth - 1) for _ in range(count - 1)]
        if code == TUPLE:
            return tuple(fields)
        if code in (SET, FROZENSET):
            return set(fields) if code == SET else frozenset(fields)
        if code == BIG_INT:
            return _big_int(*fields)
        return values.load(code, fields)

    def check(self, count: int, depth: int) -> None:
        if not depth:
            raise MalformedToken("session data cannot be read: nested too deeply")
        if count > self.end - self.at:
            raise MalformedToken("session data cannot be read: cut short")


# -- tokens


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


class Key(NamedTuple):
    """A key of one suite, prepared once: the id that tokens name it by, and the two padded blocks of RFC 2104.

    It verifies until that time in Unix seconds.
    """

    suite: int
    id: int
    until: float
    inner: bytes
    outer: bytes

    def __repr__(self) -> str:
        return f"<Key {self.id}>"  # no secret: representations end up in logs

    def __reduce__(self) -> NoReturn:
        refuse_keys(self)


def prepare_key(suite: int, key_id: int, secret: bytes, until: float = inf) -> Key:
    """Prepare a key of at most 64 bytes. Raises ModuleNotFoundError where nothing can encrypt with it."""
    _check_type(int, suite)
    _check_type(int, key_id)
    _check_type(bytes, secret)
    _check_type(float, until)
    if suite not in (SIGNED, ENCRYPTED):
        raise ValueError(f"suite must be {SIGNED:#x} or {ENCRYPTED:#x}, got {suite:#x}")
    if not 0 <= key_id <= 255:
        raise ValueError(f"key_id must be one byte, got {key_id}")
    if len(secret) > SHA256_BLOCK_BYTES:
        raise ValueError(f"secret must have at most {SHA256_BLOCK_BYTES} bytes, got {len(secret)}")
    if not -inf <= until <= inf:
        raise ValueError(f"until must be a time in Unix seconds, got {until}")
    block = secret.ljust(SHA256_BLOCK_BYTES, b"\0")
    key = Key(suite, key_id, until, bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block))
    if suite == ENCRYPTED:
        _cipher(key, b"")
    return key


def mac(key: Key, message: bytes) -> bytes:
    """Return the HMAC-SHA-256 of a message (RFC 2104)."""
    return sha256(key.outer + sha256(key.inner + message).digest()).digest()


def _cipher(key: Key, start: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(mac(key, start))


def seal(key: Key, token: Token, chunks: int = 1) -> bytes:
    """Return the bytes of a token, to be carried by that many cookies.

    Raises ValueError for a token that `unseal` would never give back.
    """
    _check_type(Key, key)
    _check_type(Token, token)
    flags, expires, issued, revision, sid, payload = token
    for number in (flags, expires, issued, revision, chunks):
        _check_type(int, number)
    _check_type(bytes, sid)
    _check_type(bytes, payload)
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
    if (not flags & POINTER) == (not payload):
        raise ValueError("a pointer has no payload, and any other token has one")
    start = _HEADER.pack(key.suite, key.id, flags, chunks, expires, issued, revision, sid)
    if key.suite == SIGNED:
        message = start + payload
        return message + mac(key, message)
    start += os.urandom(SALT_BYTES)
    encrypted: bytes = _cipher(key, start).encrypt(_NONCE, payload, start)
    return start + encrypted


def unseal(keys: Mapping[int, Key], untrusted: bytes, now: int) -> Token:
    """Verify a token against the one key that it names, and return what it says. The keys are of one suite.

    Raises MalformedToken, UnknownKey, BadSignature or, for a genuine one that has expired, ExpiredToken.
    """
    _check_type(dict, keys)
    _check_type(bytes, untrusted)
    _check_type(int, now)
    if len(untrusted) < HEADER_BYTES + TAG_BYTES:
        raise MalformedToken("token is cut short")
    suite, key_id, flags, chunks, expires, issued, revision, sid = _HEADER.unpack_from(untrusted)
    is_known = False
    for key in keys.values():
        _check_type(Key, key)
        is_known = is_known or suite == key.suite
    if not is_known:
        raise MalformedToken("token is of an unknown suite")
    if flags & ~KNOWN_FLAGS:
        raise MalformedToken("token has unknown flags")
    if not 1 <= chunks <= MAX_CHUNKS:
        raise MalformedToken("token has an impossible number of chunks")
    found = keys.get(key_id)
    if found is None or found.until <= now:
        raise UnknownKey("token names a key that is not in the keyring")
    payload = _verified_payload(found, untrusted)
    if expires <= now:
        raise ExpiredToken("token has expired")
    if (not flags & POINTER) == (not payload):
        raise MalformedToken("token is neither a pointer nor has it a payload, or both")
    return tuple.__new__(Token, (flags, expires, issued, revision, sid, payload))  # Token(...), in less time


def _verified_payload(key: Key, untrusted: bytes) -> bytes:
    if key.suite == SIGNED:
        message = untrusted[:-TAG_BYTES]
        if not compare_digest(mac(key, message), untrusted[-TAG_BYTES:]):
            raise BadSignature("token has a tag that does not fit")
        return message[HEADER_BYTES:]
    from cryptography.exceptions import InvalidTag

    start = untrusted[: HEADER_BYTES + SALT_BYTES]
    try:
        payload: bytes = _cipher(key, start).decrypt(_NONCE, untrusted[len(start) :], start)
    except InvalidTag:
        raise BadSignature("token has a tag that does not fit") from None
    return payload


def compressed(token: Token) -> Token:
    """Return the token with its payload compressed, or as it is if that saves nothing."""
    from gaesess import compression

    payload = compression.compress(token.payload)
    return token if payload is token.payload else token._replace(flags=token.flags | ZLIB, payload=payload)


def expanded(token: Token) -> Token:
    """Return a verified token with its payload expanded. Raises MalformedToken if it is damaged, or too large."""
    if not token.flags & ZLIB:
        return token
    from gaesess import compression

    return token._replace(flags=token.flags & ~ZLIB, payload=compression.expand(token.payload))


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    _check_type(bytes, data)
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_BASE64URL).decode("ascii")


def decode(untrusted: str) -> bytes:
    """Return the bytes of base64url without padding, in its one canonical spelling; else raise MalformedToken."""
    _check_type(str, untrusted)
    try:
        text = untrusted.encode("ascii").translate(_FROM_BASE64URL) + _PADDING[len(untrusted) % 4]
        data = a2b_base64(text)
    except ValueError:
        raise MalformedToken("token is not base64url") from None
    if b2a_base64(data, newline=False) != text:  # another character, or bits that no byte takes up
        raise MalformedToken("token is not base64url")
    return data


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


# -- cookies


def read_cookies(untrusted: str, name: str) -> tuple[str, int] | None:
    """Pick the token's text out of a Cookie header: the values of NAME, NAME.1, NAME.2 ..., put together.

    Also return how many cookie names are taken, for those that a shorter token leaves over must be deleted.
    The token itself says how many it needs, under its tag; further ones are leftovers of a longer token that crossed
    this one on the way, and are ignored. None if there is no cookie NAME. Time is linear in the header's length.

    Raises MalformedToken for a name that occurs twice, or one that is missing.
    """
    _check_type(str, untrusted)
    _check_type(str, name)
    found = _chunks(untrusted, name)
    if -1 in found:
        raise MalformedToken("cookie is there twice")
    if 0 not in found:
        return None
    text = found[0]
    for number in range(1, _chunks_needed(text)):
        if number not in found:
            raise MalformedToken("cookie lacks a chunk")
        text += found[number]
    return text, max(found) + 1


def names_taken(untrusted: str, name: str) -> int:
    """Return how many cookie names must be deleted to get rid of every cookie NAME, NAME.1 ... in a Cookie header."""
    return max(_chunks(untrusted, name), default=-1) + 1


def _chunks(header: str, name: str) -> dict[int, str]:
    """Return the values of NAME, NAME.1 ... in a Cookie header, by their numbers; what is there again is at -1."""
    found: dict[int, str] = {}
    position = 0
    while (start := header.find(name, position)) >= 0:
        end = start + len(name)
        equals = header.find("=", end, end + 4)  # as far as in ".19="
        number = 0 if equals == end else _CHUNK_SUFFIXES.get(header[end:equals]) if equals > 0 else None
        if number is None or not _starts_pair(header, start):
            position = start + 1
            continue
        stop = header.find(";", equals)
        position = len(header) if stop < 0 else stop
        found[-1 if number in found else number] = header[equals + 1 : position]
    return found


def _starts_pair(header: str, position: int) -> bool:
    while position > 0 and header[position - 1] in " \t":
        position -= 1
    return position == 0 or header[position - 1] == ";"


def _chunks_needed(first_value: str) -> int:
    header = decode(first_value[:_COUNT_CHARS])
    if len(header) < 4 or not 1 <= header[3] <= MAX_CHUNKS:
        raise MalformedToken("token has an impossible number of chunks")
    return header[3]


def unseal_cookies(keys: Mapping[int, Key], untrusted: str, name: str, now: int) -> tuple[Token, int, int] | None:
    """Read, decode and unseal the token of a Cookie header; also return how many names it takes, and the id of its key.

    None if there is no cookie NAME. Raises as `read_cookies`, `decode` and `unseal` do.
    """
    _check_type(dict, keys)
    _check_type(int, now)
    found = read_cookies(untrusted, name)
    if found is None:
        return None
    sealed = decode(found[0])
    return unseal(keys, sealed, now), found[1], sealed[1]


def write_cookies(name: str, text: str, attributes: str, chunk_chars: int) -> list[str]:
    """Return the Set-Cookie values that carry a token's text, `chunk_chars` characters to a cookie.

    Raises ValueError for chunks so small that `read_cookies` would not find in the first how many there are.
    """
    for argument in (name, text, attributes):
        _check_type(str, argument)
    _check_type(int, chunk_chars)
    if chunk_chars < _COUNT_CHARS:
        raise ValueError(f"a chunk has at least {_COUNT_CHARS} characters, not {chunk_chars}")
    written = [f"{name}={text[:chunk_chars]}{attributes}"]
    while text := text[chunk_chars:]:
        written.append(f"{name}.{len(written)}={text[:chunk_chars]}{attributes}")
    return written


def header_text(header: str | Iterable[tuple[bytes, bytes]]) -> str:
    """Return a Cookie header as text.

    By ASGI it is one of a request's headers, and over HTTP/2 it may come in parts (RFC 9113 section 8.2.3).
    """
    if isinstance(header, str):
        return str.__str__(header)  # not a subclass
    return b"; ".join([value for name, value in header if name == b"cookie"]).decode("latin-1")


class CookieAttributes(NamedTuple):
    """How cookies are written: their name, the attributes before and after those of their age, and room for a token.

    `after_age_secure` are those of a session that is for TLS only; `chunk_chars` is how many characters of a token one
    cookie carries.
    """

    name: str
    before_age: str
    after_age: str
    after_age_secure: str
    chunk_chars: int

    def payload_limit(self, chunks: int) -> int:
        """Return how many bytes of session data that many cookies hold."""
        return chunks * self.chunk_chars * 3 // 4 - HEADER_BYTES - TAG_BYTES

    def chunks_for(self, payload_bytes: int) -> int:
        """Return how many cookies that much session data takes."""
        text_chars = ((HEADER_BYTES + payload_bytes + TAG_BYTES) * 4 + 2) // 3
        return -(-text_chars // self.chunk_chars)

    def write(self, text: str, *, now: int, expires: int | None, secure: bool, taken: int) -> list[str]:
        """Return Set-Cookie values for a token's text, and deletions of the further names that an older one has taken.

        The times are in Unix seconds; `expires` None lets the cookie expire with the browser.
        """
        age = "" if expires is None else _age(now, expires)
        attributes = f"{self.before_age}{age}{self.after_age_secure if secure else self.after_age}"
        written = write_cookies(self.name, text, attributes, self.chunk_chars)
        return written + self.delete(len(written), taken) if taken > len(written) else written

    def delete(self, first: int, taken: int) -> list[str]:
        """Return Set-Cookie values that make the browser drop the chunks from `first` to before `taken`."""
        names = [f"{self.name}.{number}" if number else self.name for number in range(first, taken)]
        return [f"{name}={self.before_age}{_age(0, 0)}{self.after_age}" for name in names]


class CookieConfig:
    """What the settings come to for a session that is in its cookie; `config.SessionConfig` adds the rest.

    `key` seals the cookie; `keys` has it and the retired ones, by their ids. Up to `cookie_bytes` of data stay in
    cookies. `idle_seconds` is 0 for no idle timeout. `asks_store` says that a store or another library's cookies are
    read, too. `clock` is None for the system's.
    """

    cookie: CookieAttributes
    key: Key
    keys: dict[int, Key]
    cookie_bytes: int
    idle_seconds: float
    compress: bool
    asks_store: bool
    clock: Callable[[], float] | None

    def __reduce__(self) -> NoReturn:
        refuse_keys(self)

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return int((self.clock or time.time)())

    def fits(self, payload: bytes) -> bool:
        """Return whether the cookie holds that much, compressed if `compress` is set."""
        if len(payload) <= self.cookie_bytes or not self.compress:
            return len(payload) <= self.cookie_bytes
        from gaesess import compression  # not in every process

        return len(compression.compress(payload)) <= self.cookie_bytes

    def wants_refresh(self, issued: int, now: int) -> bool:
        """Return whether a session in use, whose token was issued then, needs a new token to not count as idle."""
        return bool(self.idle_seconds) and now - issued >= self.idle_seconds / REFRESHES_PER_IDLE_TIMEOUT

    def set_cookies(self, token: Token, now: int, taken: int) -> list[str]:
        """Return the Set-Cookie values for a token, and deletions of the names that an older one has taken beyond."""
        if self.compress:
            token = compressed(token)
        text = encode(seal(self.key, token, self.cookie.chunks_for(len(token.payload))))
        expires = None if token.flags & BROWSER else token.expires
        return self.cookie.write(text, now=now, expires=expires, secure=bool(token.flags & SECURE), taken=taken)


def _age(now: int, expires: int) -> str:
    """Return the attributes that end a cookie: a date (RFC 9110 section 5.6.7), and how long it lasts."""
    seconds = min(max(expires - now, 0), MAX_AGE_SECONDS)
    day, second = divmod(now + seconds, 86400)
    clock = f"{_TWO[second // 3600]}:{_TWO[second // 60 % 60]}:{_TWO[second % 60]}"
    return f"; Expires={_date(day)} {clock} GMT; Max-Age={seconds}"


@lru_cache(1000)  # days: more than sessions end on
def _date(day: int) -> str:
    year, month, day_of_month, _, _, _, weekday = time.gmtime(day * 86400)[:7]
    return f"{_DAYS[weekday]}, {_TWO[day_of_month]} {_MONTHS[month - 1]} {year}"


# -- the session of one request

# What a request knows of its session; `session.State` says it to applications.
UNREAD = 0  # nothing: the cookie was not looked at
VERIFIED = 1  # its cookie is genuine; the data were not looked at
INACTIVE = 2
ACTIVE = 3
TERMINATED = 4

# How a key was written since the last save, where that matters if it is replayed on what another request has saved.
QUICK = 1  # only the cache must get it
ADDED = 2  # only added to: the difference is replayed
WRITTEN = 3

NO_STORE = "the session is in a store, and this process has none: give it the setting store= of the others"
TOO_LATE = "the session cannot be changed any more: it is being saved, or the response headers have gone out"
_NO_DATA: dict[Hashable, Any] = {}
_MISSING: Any = object()


class CookieSession:
    """The session of one request, as far as it is in its cookie. `session.Session` adds the verbs and the store.

    The cookie is parsed on first access. Several threads of a request may use its session: the first use and every
    change take place as a whole, one after the other, under the lock. While it is saved a change raises SessionClosed.
    """

    _state = UNREAD
    _flags = 0  # the fields of the token that was last read or saved
    _expires = 0
    _issued = 0
    _revision = 0
    _sid = b""
    _payload = b""  # empty for a new session, which so is saved even if it stays empty
    _data: dict[Hashable, Any] = _NO_DATA
    _written: dict[Hashable, int] | None = None  # how each key was written since the last save
    _cleared = False
    _exposed = False  # the application has a value that can be changed in place: only its bytes can tell
    _unsaved = False  # it is new, has a new id, or a save has failed on the way
    _retired = False  # a retired key has sealed it
    _passive = False  # this request does not count as a use of it
    _elsewhere = False  # the next save must go to the store, or the session is there
    _accessed = False
    _saving = False  # and takes no change meanwhile
    _left = False  # its headers are out, or its request has failed: it takes no change any more
    _taken = 0  # how many cookie names the client has of ours
    _cookies: list[str] | None = None  # the Set-Cookie values to send, as of now

    def __init__(
        self, config: Any, cookie_header: str | Iterable[tuple[bytes, bytes]] | None, passive: bool = False
    ) -> None:
        self._config: Any = config
        self._cookie_header = cookie_header  # until it is looked at
        self._lock = threading.RLock()  # gevent's, where it is patched in
        if passive:
            self._passive = True

    # reading

    def __getitem__(self, key: Hashable) -> Any:
        value = self._view()[key]
        if type(value) not in PLAIN:
            self._exposed = True
        return value

    def get(self, key: Hashable, default: Any = None) -> Any:
        """Return a value, or `default` if the key is missing."""
        value = self._view().get(key, _MISSING)
        if value is _MISSING:
            return default
        if type(value) not in PLAIN:
            self._exposed = True
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._view()

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._view())

    def __reversed__(self) -> Iterator[Hashable]:
        keys: Iterator[Hashable] = reversed(self._view())
        return keys

    def __len__(self) -> int:
        return len(self._view())

    def is_accessed(self) -> bool:
        """Return whether this request has used the session; if so the response depends on the cookie."""
        return self._accessed

    def _view(self) -> dict[Hashable, Any]:
        """Return the data for reading; none if there is no session."""
        self._accessed = True  # even if the store cannot answer: the response then depends on the cookie
        if self._state < INACTIVE:
            self._load()
        return self._data

    def _load(self) -> None:
        """Read the session at its first use."""
        with self._lock:
            if self._state == UNREAD:
                self._verify()
            if self._state != VERIFIED:
                return
            try:
                if self._config.asks_store:
                    self._activate()
                elif self._flags & POINTER:
                    raise StoreUnavailable(NO_STORE)
                else:
                    self._data, self._state = loads(self._payload), ACTIVE
            except InvalidToken as error:
                self._state = INACTIVE
                self._refuse(error)

    def _verify(self) -> None:
        """Look at the Cookie header."""
        config: CookieConfig = self._config
        header, state, refused = self._cookie_header, INACTIVE, None
        if header is not None:
            if type(header) is not str:
                header = header_text(header)
            now = config.now()
            try:
                found = unseal_cookies(config.keys, header, config.cookie.name, now)
                if found:
                    token, self._taken, key_id = found
                    if config.idle_seconds and not -MAX_SKEW_SECONDS <= now - token.issued < config.idle_seconds:
                        raise ExpiredToken("token has been idle for too long, or is of a clock that is ahead")
                    self._set_token(expanded(token))
                    self._retired, state = key_id != config.key.id, VERIFIED
                else:
                    self._taken = names_taken(header, config.cookie.name)  # by what is left of a longer token
            except InvalidToken as error:
                self._taken, refused = names_taken(header, config.cookie.name), error
            if config.asks_store and self._find_old(header):
                state = VERIFIED
        self._cookie_header, self._state = None, state  # from here on other threads see what was found
        if refused is not None:
            self._refuse(refused)

    def _set_token(self, token: Token) -> None:
        self._flags, self._expires, self._issued, self._revision, self._sid, self._payload = token

    def _refuse(self, error: InvalidToken) -> None:
        name = "token_expired" if isinstance(error, ExpiredToken | RecordGone) else "token_refused"
        cookie = self._config.cookie.name
        events.emit(name, f"ignored the cookie {cookie}: {error}", cookie=cookie, reason=type(error).__name__)

    # writing

    def __setitem__(self, key: Hashable, value: Any) -> None:
        with self._changing():
            self._writable()[key] = value
            self._note(key, WRITTEN)
            if type(value) not in PLAIN:
                self._exposed = True

    def __delitem__(self, key: Hashable) -> None:
        if key not in self._view():
            raise KeyError(key)
        with self._changing():
            if key not in self._view():  # another thread has deleted it
                raise KeyError(key)
            del self._writable()[key]
            self._note(key, WRITTEN)

    def _changing(self) -> Any:
        """Return the lock for a change; while another thread saves, raise SessionClosed at once."""
        self._check_open()
        return self._lock

    def _check_open(self) -> None:
        if self._left or self._saving:
            raise SessionClosed(TOO_LATE)

    def _writable(self) -> dict[Hashable, Any]:
        """Return the data for a change, which `_note` must follow; where there is no session, start one."""
        self._check_open()
        self._view()
        if self._state != ACTIVE:
            self.start()
        return self._data

    def _note(self, key: Hashable, how: int) -> None:
        if self._written is None:
            self._written = {}
        self._written[key] = how

    # saving

    def commit(self) -> list[str]:
        """Save what has changed, close the session, and return the Set-Cookie values to send.

        For middleware, when the headers must go out. Raises StoreUnavailable, SessionTooLarge, SessionTerminated, or
        TypeError or ValueError for data that a session cannot hold: then no response may say that they were saved.
        """
        with self._lock:
            self._saving = True
            try:
                if self._state == ACTIVE and self._accessed:
                    self._save()
                return self.abandon()
            finally:
                self._saving = False

    def abandon(self) -> list[str]:
        """Close the session without saving it, and return the Set-Cookie values for what was saved or ended before."""
        self._left = True
        return self._cookies or []

    def _save(self, persist: bool = False) -> None:
        """Save the session if it has changed; with `persist` into the store, even if it fits its cookie."""
        if self._elsewhere or persist:
            self._save_elsewhere(persist)
            return
        payload = self._changed_payload()
        if payload is None:
            if not (self._unsaved or self._retired):
                self._refresh()
                return
            payload = self._payload
        if not self._config.fits(payload):
            self._save_elsewhere(persist, payload)
            return
        now = self._config.now()
        issued = self._issued if self._passive else now
        token = Token(self._flags, self._expires, issued, self._revision + 1, self._sid, payload)
        self._send(token, now)
        self._issued, self._revision, self._payload = issued, token.revision, payload
        self._saved()

    def _saved(self) -> None:
        self._written, self._cleared, self._unsaved, self._retired = None, False, False, False
        if events.wanted("committed"):
            self._tell_saved()

    def _changed_payload(self) -> bytes | None:
        """Return the data as bytes if they differ from what was last read or saved, else None."""
        if self._payload and not (self._written or self._cleared or self._exposed):
            return None
        payload = dumps(self._data)
        return None if payload == self._payload else payload

    def _refresh(self) -> None:
        """Send the token again, so that the session does not count as idle, if it is time to."""
        config: CookieConfig = self._config
        if not config.idle_seconds or self._passive:
            return
        now = config.now()
        if config.wants_refresh(self._issued, now):
            self._issued = now
            self._send(self._as_cookie(), now)

    def _send(self, token: Token, now: int) -> None:
        self._cookies = self._config.set_cookies(token, now, self._taken)
        if self._config.asks_store:
            self._cookies += self._delete_old()

    def _as_cookie(self) -> Token:
        payload = b"" if self._flags & POINTER else self._payload
        return Token(self._flags, self._expires, self._issued, self._revision, self._sid, payload)

    def _exclusive(self) -> Any:
        """Return the lock, for work on more than one part of the session."""
        return self._lock

    if TYPE_CHECKING:  # by `session.Session`

        def start(self) -> None: ...
        def _activate(self) -> None: ...
        def _find_old(self, cookie_header: str) -> bool: ...
        def _delete_old(self) -> list[str]: ...
        def _save_elsewhere(self, persist: bool, payload: bytes | None = None) -> None: ...
        def _tell_saved(self) -> None: ...


# -- response headers


class HeaderNames(NamedTuple):
    """The headers of a used session, as the servers of one protocol take them."""

    set_cookie: Any
    private: tuple[Any, Any]
    vary: tuple[Any, Any]


WSGI = HeaderNames("Set-Cookie", ("Cache-Control", "private, no-store"), ("Vary", "Cookie"))
OTHER_FIRST_LETTERS = (
    "E",
    "e",
    69,
    101,
)  # than that of Content-Type, which is as long as Edge-Control
ASGI = HeaderNames(b"set-cookie", (b"cache-control", b"private, no-store"), (b"vary", b"Cookie"))


def with_session(headers: Iterable[tuple[Any, Any]], cookies: list[str], names: HeaderNames) -> list[tuple[Any, Any]]:
    """Return the headers of a response with those of a session that was used, by WSGI or ASGI."""
    set_cookie, private, vary = names
    result = list(headers)
    sizes = [len(name) for name, _ in result]
    if cookies:
        if any(len(name) > 14 or (len(name) == 12 and name[0] in OTHER_FIRST_LETTERS) for name, _ in result):
            result = _headers.for_one_client(result)
        result += [(set_cookie, cookie if names is WSGI else cookie.encode("latin-1")) for cookie in cookies]
        if len(private[0]) in sizes:
            result = _headers.merged(result, private, _headers.keep_private)
        else:
            result.append(private)
    if len(vary[0]) in sizes:
        return _headers.merged(result, vary, _headers.vary_by_cookie)
    result.append(vary)
    return result
