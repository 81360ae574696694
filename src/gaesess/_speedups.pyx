# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled mirror of `_core.py`: same names, same order of checks, same results and errors. Read that one first.

Only the text of a TypeError may differ. `str` and `bytes` in a signature take exactly that type.
"""

from hashlib import sha256
from hmac import compare_digest

from libc.stdint cimport uint8_t, uint32_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from gaesess._core import (
    _CHUNK_SUFFIXES, _COUNT_CHARS, KNOWN_FLAGS, MAX_CHUNKS, MAX_U32, POINTER, SUITE, Token, prepare_key
)
from gaesess.errors import BadSignature, ExpiredToken, MalformedToken, UnknownKey

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object text)
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    HEADER_BYTES = 32
    TAG_BYTES = 32
    SID_BYTES = 16
    SID_TEXT_CHARS = 43  # ten digits of expiry, S or _, 32 of hex
    NO_DIGIT = 0x80

cdef int SUITE_BYTE = SUITE
cdef int KNOWN_FLAG_BITS = KNOWN_FLAGS
cdef int POINTER_BIT = POINTER
cdef int CHUNKS_LIMIT = MAX_CHUNKS
cdef dict CHUNK_SUFFIXES = _CHUNK_SUFFIXES
cdef Py_ssize_t COUNT_CHARS = _COUNT_CHARS

cdef const char *DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef const char *HEX = b"0123456789abcdef"
cdef uint8_t VALUES[256]
cdef int _index
for _index in range(256):
    VALUES[_index] = NO_DIGIT
for _index in range(64):
    VALUES[<uint8_t> DIGITS[_index]] = _index


cdef inline uint32_t read_u32(const uint8_t *at) noexcept nogil:
    return (<uint32_t> at[0] << 24) | (<uint32_t> at[1] << 16) | (<uint32_t> at[2] << 8) | at[3]


cdef inline void write_u32(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF


cdef int check_type(kind, value) except -1:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
    return 0


cdef bytes mac(key, bytes message):
    return sha256(key.outer + sha256(key.inner + message).digest()).digest()


def seal(key, token, chunks):
    check_type(Token, token)
    flags, expires, issued, revision, sid, payload = token
    for number in (flags, expires, issued, revision, chunks):
        check_type(int, number)
    check_type(bytes, sid)
    check_type(bytes, payload)
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
    cdef bytes numbers = PyBytes_FromStringAndSize(NULL, HEADER_BYTES - SID_BYTES)
    cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(numbers)
    at[0] = SUITE_BYTE
    at[1] = key.id
    at[2] = flags
    at[3] = chunks
    write_u32(at + 4, expires)
    write_u32(at + 8, issued)
    write_u32(at + 12, revision)
    cdef bytes message = numbers + sid + payload
    return message + mac(key, message)


def unseal(keys, bytes untrusted not None, now):
    check_type(int, now)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(untrusted)
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(untrusted)
    if size < HEADER_BYTES + TAG_BYTES:
        raise MalformedToken("token is cut short")
    if at[0] != SUITE_BYTE:
        raise MalformedToken("token is of an unknown suite")
    if at[2] & ~KNOWN_FLAG_BITS:
        raise MalformedToken("token has unknown flags")
    if not 1 <= at[3] <= CHUNKS_LIMIT:
        raise MalformedToken("token has an impossible number of chunks")
    key = keys.get(at[1])
    if key is None:
        raise UnknownKey("token names a key that is not in the keyring")
    if not compare_digest(mac(key, untrusted[: size - TAG_BYTES]), untrusted[size - TAG_BYTES :]):
        raise BadSignature("token has a tag that does not fit")
    cdef uint32_t expires = read_u32(at + 4)
    if expires <= now:
        raise ExpiredToken("token has expired")
    payload = untrusted[HEADER_BYTES : size - TAG_BYTES]
    if bool(at[2] & POINTER_BIT) == bool(payload):
        raise MalformedToken("token is neither a pointer nor has it a payload, or both")
    sid = untrusted[HEADER_BYTES - SID_BYTES : HEADER_BYTES]
    return Token(at[2], expires, read_u32(at + 8), read_u32(at + 12), sid, payload)


def encode(bytes data not None):
    cdef Py_ssize_t left = PyBytes_GET_SIZE(data)
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(data)
    cdef uint32_t group
    text = PyUnicode_New((left * 4 + 2) // 3, 127)
    cdef char *to = <char *> PyUnicode_DATA(text)
    while left >= 3:
        group = (<uint32_t> at[0] << 16) | (<uint32_t> at[1] << 8) | at[2]
        to[0] = DIGITS[group >> 18]
        to[1] = DIGITS[(group >> 12) & 63]
        to[2] = DIGITS[(group >> 6) & 63]
        to[3] = DIGITS[group & 63]
        at += 3
        to += 4
        left -= 3
    if left:
        group = (<uint32_t> at[0] << 16) | (<uint32_t> at[1] << 8 if left == 2 else 0)
        to[0] = DIGITS[group >> 18]
        to[1] = DIGITS[(group >> 12) & 63]
        if left == 2:
            to[2] = DIGITS[(group >> 6) & 63]
    return text


def decode(str untrusted not None):
    cdef Py_ssize_t left = PyUnicode_GET_LENGTH(untrusted)
    if left % 4 == 1 or not PyUnicode_IS_ASCII(untrusted):
        raise MalformedToken("token is not base64url")
    cdef const uint8_t *at = <const uint8_t *> PyUnicode_DATA(untrusted)
    cdef bytes data = PyBytes_FromStringAndSize(NULL, left * 3 // 4)
    cdef uint8_t *to = <uint8_t *> PyBytes_AS_STRING(data)
    cdef uint32_t a, b, c, d, seen = 0  # unsigned: to shift a negative number is undefined in C
    while left >= 4:
        a, b, c, d = VALUES[at[0]], VALUES[at[1]], VALUES[at[2]], VALUES[at[3]]
        seen |= a | b | c | d
        to[0] = (a << 2 | b >> 4) & 0xFF
        to[1] = (b << 4 | c >> 2) & 0xFF
        to[2] = (c << 6 | d) & 0xFF
        at += 4
        to += 3
        left -= 4
    if left:
        a, b, c = VALUES[at[0]], VALUES[at[1]], VALUES[at[2]] if left == 3 else 0
        seen |= a | b | c
        if (c & 3) if left == 3 else (b & 15):  # bits that no byte takes up: a second spelling of the same bytes
            seen |= NO_DIGIT
        to[0] = (a << 2 | b >> 4) & 0xFF
        if left == 3:
            to[1] = (b << 4 | c >> 2) & 0xFF
    if seen & NO_DIGIT:
        raise MalformedToken("token is not base64url")
    return data


def read_cookies(str untrusted not None, str name not None):
    cdef dict values = {}
    cdef Py_ssize_t position = 0, found, end, equals, stop
    cdef int needed
    while True:
        found = untrusted.find(name, position)
        if found < 0:
            break
        end = found + PyUnicode_GET_LENGTH(name)
        equals = untrusted.find("=", end, end + 4)
        number = 0 if equals == end else CHUNK_SUFFIXES.get(untrusted[end:equals]) if equals > 0 else None
        if number is None or not starts_pair(untrusted, found):
            position = found + 1
            continue
        if number in values:
            raise MalformedToken("cookie is there twice")
        stop = untrusted.find(";", equals)
        position = PyUnicode_GET_LENGTH(untrusted) if stop < 0 else stop
        values[number] = untrusted[equals + 1 : position]
    if 0 not in values:
        return None
    needed = chunks_needed(values[0])
    for number in range(needed):
        if number not in values:
            raise MalformedToken("cookie lacks a chunk")
    if needed == 1:
        return values[0], max(values) + 1
    return "".join([values[number] for number in range(needed)]), max(values) + 1


cdef bint starts_pair(str header, Py_ssize_t position) except -1:
    while position > 0 and header[position - 1] in u" \t":
        position -= 1
    return position == 0 or header[position - 1] == u";"


cdef int chunks_needed(str first_value) except -1:
    cdef bytes header = decode(first_value[:COUNT_CHARS])
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(header)
    if PyBytes_GET_SIZE(header) < 4 or not 1 <= at[3] <= CHUNKS_LIMIT:
        raise MalformedToken("token has an impossible number of chunks")
    return at[3]


def write_cookies(str name not None, str text not None, str attributes not None, chunk_chars):
    check_type(int, chunk_chars)
    if chunk_chars < COUNT_CHARS:
        raise ValueError(f"a chunk has at least {COUNT_CHARS} characters, not {chunk_chars}")
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    if size <= chunk_chars:
        return [name + "=" + text + attributes]
    cdef Py_ssize_t step = chunk_chars, start
    cdef list values = [name + "=" + text[:step] + attributes]
    for start in range(step, size, step):
        values.append(f"{name}.{len(values)}={text[start : start + step]}{attributes}")
    return values


def format_sid(expires, secure, bytes sid not None):
    cdef int position
    check_type(int, expires)
    if not 1 <= expires <= MAX_U32:
        raise ValueError(f"expiry is not a Unix time from 1 to {MAX_U32}: {expires}")
    if PyBytes_GET_SIZE(sid) != SID_BYTES:
        raise ValueError(f"a session id has {SID_BYTES} bytes, not {len(sid)}")
    text = PyUnicode_New(SID_TEXT_CHARS, 127)
    cdef char *to = <char *> PyUnicode_DATA(text)
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(sid)
    cdef uint32_t left = expires
    for position in range(9, -1, -1):
        to[position] = 48 + left % 10
        left //= 10
    to[10] = 83 if secure else 95  # "S" or "_"
    for position in range(SID_BYTES):
        to[11 + 2 * position] = HEX[at[position] >> 4]
        to[12 + 2 * position] = HEX[at[position] & 15]
    return text


def parse_sid(str untrusted not None):
    try:
        expires, secure, sid = int(untrusted[:10]), untrusted[10:11] == "S", bytes.fromhex(untrusted[11:])
        canonical = format_sid(expires, secure, sid)
    except ValueError:
        raise MalformedToken("not a session id") from None
    if canonical != untrusted:
        raise MalformedToken("not a session id")
    return expires, secure, sid
