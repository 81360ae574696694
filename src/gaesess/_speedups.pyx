# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled mirror of `_core.py`: same names, same order of checks, same results and errors. Read that one first.

Only the text of a TypeError may differ. `str` and `bytes` in a signature take exactly that type. The module is not
declared safe without the GIL, so an interpreter that can do without switches it on: all contexts share one scratch.
"""

import sys
from hmac import compare_digest

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from gaesess import _core
from gaesess._core import _COUNT_CHARS, KNOWN_FLAGS, MAX_CHUNKS, MAX_U32, POINTER, SHA256_BLOCK_BYTES, SUITE, Token
from gaesess.errors import BadSignature, ExpiredToken, MalformedToken, UnknownKey
from gaesess.pickling import refuse_keys

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object text)
    int PyUnicode_KIND(object text)
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    ctypedef struct PyTypeObject:
        object (*tp_new)(PyTypeObject *, object, void *)
    PyTypeObject PyTuple_Type

cdef extern from "_libcrypto.h":
    ctypedef struct EVP_MD_CTX:
        pass
    bint libcrypto_load(const char *loaded_by)
    EVP_MD_CTX *hmac_prepare(const uint8_t *block)
    bint hmac_sha256(EVP_MD_CTX *scratch, const EVP_MD_CTX *inner, const EVP_MD_CTX *outer,
                     const uint8_t *message, size_t size, uint8_t *tag)
    EVP_MD_CTX *(*md_ctx_new)()
    void (*md_ctx_free)(EVP_MD_CTX *)
    int (*constant_time_compare)(const void *, const void *, size_t)

cdef enum:
    HEADER_BYTES = 32
    TAG_BYTES = 32
    SID_BYTES = 16
    COUNT_CHARS = 8
    CHUNKS_LIMIT = 20
    SID_TEXT_CHARS = 43  # ten digits of expiry, S or _, 32 of hex
    NO_DIGIT = 1 << 24
    ONE_BYTE_KIND = 1  # PyUnicode_1BYTE_KIND: Latin-1, as all header text is (PEP 3333)

assert COUNT_CHARS == _COUNT_CHARS and CHUNKS_LIMIT == MAX_CHUNKS

cdef int SUITE_BYTE = SUITE
cdef int KNOWN_FLAG_BITS = KNOWN_FLAGS
cdef int POINTER_BIT = POINTER

cdef const char *HEX = b"0123456789abcdef"
cdef const char *DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef uint32_t VALUES[4][256]  # of each character in each place of a group of four: six bits of 24
cdef int _index, _place
for _place in range(4):
    for _index in range(256):
        VALUES[_place][_index] = NO_DIGIT
    for _index in range(64):
        VALUES[_place][<uint8_t> DIGITS[_index]] = _index << (18 - 6 * _place)

# hashlib's half that is made of OpenSSL: not there in every interpreter, and without a file where it is built in.
_hashlib = sys.modules.get("_hashlib")
cdef EVP_MD_CTX *SCRATCH = NULL
if libcrypto_load(str(getattr(_hashlib, "__file__", None)).encode()):
    SCRATCH = md_ctx_new()
HMAC = "hashlib" if SCRATCH is NULL else "libcrypto"


cdef class MacKey:
    cdef readonly int id
    cdef readonly bytes inner, outer
    cdef EVP_MD_CTX *inner_context
    cdef EVP_MD_CTX *outer_context

    def __cinit__(self, int id, bytes inner, bytes outer):
        if inner is None or outer is None or not len(inner) == len(outer) == SHA256_BLOCK_BYTES:
            raise ValueError("a prepared key has two blocks of 64 bytes")
        self.id, self.inner, self.outer = id, inner, outer
        if SCRATCH is not NULL:
            self.inner_context = hmac_prepare(<const uint8_t *> PyBytes_AS_STRING(inner))
            self.outer_context = hmac_prepare(<const uint8_t *> PyBytes_AS_STRING(outer))

    def __dealloc__(self):
        if SCRATCH is not NULL:
            md_ctx_free(self.inner_context)
            md_ctx_free(self.outer_context)

    def __eq__(self, other):
        return type(other) is MacKey and (self.id, self.inner, self.outer) == (other.id, other.inner, other.outer)

    def __repr__(self):
        return f"<MacKey {self.id}>"

    __reduce__ = refuse_keys


def prepare_key(key_id, key):
    return MacKey(*_core.prepare_key(key_id, key))


cdef int write_tag(key, const uint8_t *message, Py_ssize_t size, uint8_t *tag) except -1:
    cdef MacKey prepared
    if type(key) is MacKey:
        prepared = key
        if (prepared.inner_context is not NULL and prepared.outer_context is not NULL
                and hmac_sha256(SCRATCH, prepared.inner_context, prepared.outer_context, message, size, tag)):
            return 0
    cdef bytes digest = _core._mac(key, message[:size])
    memcpy(tag, PyBytes_AS_STRING(digest), TAG_BYTES)
    return 0


cdef bint equal_tags(const uint8_t *one, const uint8_t *other) except -1:
    if SCRATCH is NULL:
        return compare_digest(one[:TAG_BYTES], other[:TAG_BYTES])
    return constant_time_compare(one, other, TAG_BYTES) == 0


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


def seal(key, token, chunks):
    check_type(Token, token)
    flags, expires, issued, revision, sid, payload = <tuple> token
    check_type(int, flags)
    check_type(int, expires)
    check_type(int, issued)
    check_type(int, revision)
    check_type(int, chunks)
    check_type(bytes, sid)
    check_type(bytes, payload)
    if flags & ~KNOWN_FLAG_BITS:
        raise ValueError(f"unknown flags: {flags:#x}")
    if not 1 <= chunks <= CHUNKS_LIMIT:
        raise ValueError(f"a token is carried by 1 to {MAX_CHUNKS} cookies, not {chunks}")
    if not 1 <= expires <= MAX_U32:
        raise ValueError(f"expiry is not a Unix time from 1 to {MAX_U32}: {expires}")
    if not (0 <= issued <= MAX_U32 and 0 <= revision <= MAX_U32):
        raise ValueError("issued and revision are unsigned 32-bit numbers")
    if PyBytes_GET_SIZE(sid) != SID_BYTES:
        raise ValueError(f"a session id has {SID_BYTES} bytes, not {len(sid)}")
    cdef Py_ssize_t payload_bytes = PyBytes_GET_SIZE(payload)
    if bool(flags & POINTER_BIT) == bool(payload_bytes):
        raise ValueError("a pointer has no payload, and any other token has one")
    cdef Py_ssize_t message_bytes = HEADER_BYTES + payload_bytes
    cdef bytes data = PyBytes_FromStringAndSize(NULL, message_bytes + TAG_BYTES)
    cdef uint8_t *at = <uint8_t *> PyBytes_AS_STRING(data)
    at[0] = SUITE_BYTE
    at[1] = key.id
    at[2] = flags
    at[3] = chunks
    write_u32(at + 4, expires)
    write_u32(at + 8, issued)
    write_u32(at + 12, revision)
    memcpy(at + HEADER_BYTES - SID_BYTES, PyBytes_AS_STRING(sid), SID_BYTES)
    memcpy(at + HEADER_BYTES, PyBytes_AS_STRING(payload), payload_bytes)
    write_tag(key, at, message_bytes, at + message_bytes)
    return data


cpdef unseal(keys, bytes untrusted, now):
    if untrusted is None:
        raise TypeError("expected bytes, not None")
    check_type(int, now)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(untrusted)
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(untrusted)
    cdef uint8_t tag[TAG_BYTES]
    if size < HEADER_BYTES + TAG_BYTES:
        raise MalformedToken("token is cut short")
    if at[0] != SUITE_BYTE:
        raise MalformedToken("token is of an unknown suite")
    if at[2] & ~KNOWN_FLAG_BITS:
        raise MalformedToken("token has unknown flags")
    if not 1 <= at[3] <= CHUNKS_LIMIT:
        raise MalformedToken("token has an impossible number of chunks")
    key = (<dict> keys).get(at[1]) if type(keys) is dict else keys.get(at[1])
    if key is None:
        raise UnknownKey("token names a key that is not in the keyring")
    write_tag(key, at, size - TAG_BYTES, tag)
    if not equal_tags(tag, at + size - TAG_BYTES):
        raise BadSignature("token has a tag that does not fit")
    cdef uint32_t expires = read_u32(at + 4)
    if expires <= now:
        raise ExpiredToken("token has expired")
    if bool(at[2] & POINTER_BIT) == (size > HEADER_BYTES + TAG_BYTES):
        raise MalformedToken("token is neither a pointer nor has it a payload, or both")
    sid = PyBytes_FromStringAndSize(<const char *> at + HEADER_BYTES - SID_BYTES, SID_BYTES)
    payload = PyBytes_FromStringAndSize(<const char *> at + HEADER_BYTES, size - HEADER_BYTES - TAG_BYTES)
    fields = (at[2], expires, read_u32(at + 8), read_u32(at + 12), sid, payload)
    return PyTuple_Type.tp_new(<PyTypeObject *> Token, (fields,), NULL)  # as Token._make does, in a third of the time


def encode(bytes data not None):
    cdef Py_ssize_t left = PyBytes_GET_SIZE(data)
    cdef const uint8_t *at = <const uint8_t *> PyBytes_AS_STRING(data)
    cdef const char *digits = DIGITS
    cdef uint32_t group
    text = PyUnicode_New((left * 4 + 2) // 3, 127)
    cdef char *to = <char *> PyUnicode_DATA(text)
    while left >= 3:
        group = (<uint32_t> at[0] << 16) | (<uint32_t> at[1] << 8) | at[2]
        to[0] = digits[group >> 18]
        to[1] = digits[(group >> 12) & 63]
        to[2] = digits[(group >> 6) & 63]
        to[3] = digits[group & 63]
        at += 3
        to += 4
        left -= 3
    if left:
        group = (<uint32_t> at[0] << 16) | (<uint32_t> at[1] << 8 if left == 2 else 0)
        to[0] = digits[group >> 18]
        to[1] = digits[(group >> 12) & 63]
        if left == 2:
            to[2] = digits[(group >> 6) & 63]
    return text


def decode(str untrusted not None):
    if not PyUnicode_IS_ASCII(untrusted):
        raise MalformedToken("token is not base64url")
    return decode_chars(<const uint8_t *> PyUnicode_DATA(untrusted), PyUnicode_GET_LENGTH(untrusted))


cdef bytes decode_chars(const uint8_t *at, Py_ssize_t chars):
    if chars % 4 == 1:
        raise MalformedToken("token is not base64url")
    cdef bytes data = PyBytes_FromStringAndSize(NULL, chars * 3 // 4)
    decode_into(<uint8_t *> PyBytes_AS_STRING(data), at, chars)
    return data


cdef int decode_into(uint8_t *to, const uint8_t *at, Py_ssize_t left) except -1:
    cdef uint32_t group, seen = 0
    while left >= 4:
        group = VALUES[0][at[0]] | VALUES[1][at[1]] | VALUES[2][at[2]] | VALUES[3][at[3]]
        seen |= group
        to[0] = (group >> 16) & 0xFF
        to[1] = (group >> 8) & 0xFF
        to[2] = group & 0xFF
        at += 4
        to += 3
        left -= 4
    if left:
        group = VALUES[0][at[0]] | VALUES[1][at[1]] | (VALUES[2][at[2]] if left == 3 else 0)
        seen |= group
        if group & (0xFF if left == 3 else 0xFFFF):  # bits that no byte takes up: a second spelling of the same bytes
            seen |= NO_DIGIT
        to[0] = (group >> 16) & 0xFF
        if left == 3:
            to[1] = (group >> 8) & 0xFF
    if seen & NO_DIGIT:
        raise MalformedToken("token is not base64url")
    return 0


def read_cookies(str untrusted not None, str name not None):
    cdef Chunks found
    if not is_latin1(untrusted, name):
        return _core.read_cookies(untrusted, name)
    find_chunks(untrusted, name, &found)
    return (join_chunks(untrusted, &found), found.taken) if found.needed else None


def unseal_cookies(keys, str untrusted not None, str name not None, now):
    cdef Chunks found
    cdef Py_ssize_t chars
    if not is_latin1(untrusted, name):
        return _core.unseal_cookies(keys, untrusted, name, now)
    find_chunks(untrusted, name, &found)
    if found.needed == 0:
        return None
    if found.needed == 1:  # straight from the header
        token = unseal(keys, decode_chars(<const uint8_t *> found.starts[0], found.stops[0] - found.starts[0]), now)
    else:
        token = unseal(keys, decode(join_chunks(untrusted, &found)), now)
    return token, found.taken


cdef struct Chunks:
    const char *starts[CHUNKS_LIMIT]
    const char *stops[CHUNKS_LIMIT]
    int taken, needed


cdef bint is_latin1(str header, str name):
    return PyUnicode_KIND(header) == ONE_BYTE_KIND == PyUnicode_KIND(name) and PyUnicode_GET_LENGTH(name) > 0


cdef int find_chunks(str untrusted, str name, Chunks *chunks) except -1:
    cdef Py_ssize_t name_size = PyUnicode_GET_LENGTH(name)
    cdef const char *header = <const char *> PyUnicode_DATA(untrusted)
    cdef const char *wanted = <const char *> PyUnicode_DATA(name)
    cdef const char *end = header + PyUnicode_GET_LENGTH(untrusted)
    cdef const char *at = header
    cdef const char *found
    cdef const char *equals
    cdef int number
    for number in range(CHUNKS_LIMIT):
        chunks.starts[number] = NULL
    chunks.taken = chunks.needed = 0
    while end - at > name_size:
        found = <const char *> memchr(at, wanted[0], end - at - name_size)
        if found is NULL:
            break
        at = found + 1
        if memcmp(found, wanted, name_size) != 0:
            continue
        number = chunk_number(found + name_size, end, &equals)
        if number < 0 or not starts_pair(header, found):
            continue
        if chunks.starts[number] is not NULL:
            raise MalformedToken("cookie is there twice")
        at = find_or_end(equals, c";", end)
        chunks.starts[number], chunks.stops[number] = equals + 1, at
        chunks.taken = max(chunks.taken, number + 1)
    if chunks.starts[0] is NULL:
        return 0
    chunks.needed = chunks_needed(chunks.starts[0], chunks.stops[0])
    for number in range(chunks.needed):
        if chunks.starts[number] is NULL:
            raise MalformedToken("cookie lacks a chunk")
    return 0


cdef str join_chunks(str header, Chunks *chunks):
    cdef const char *base = <const char *> PyUnicode_DATA(header)
    cdef int number
    return "".join(
        [header[chunks.starts[number] - base : chunks.stops[number] - base] for number in range(chunks.needed)]
    )


cdef int chunk_number(const char *at, const char *end, const char **equals) noexcept:
    """Return the number of NAME, NAME.1 ... NAME.19 by what follows NAME, and where its "=" is; -1 for another name."""
    cdef int number = 0
    if at[0] == c".":
        at += 1
        if at == end or at[0] == c"0":
            return -1
        while at < end and c"0" <= at[0] <= c"9" and number < CHUNKS_LIMIT:
            number = 10 * number + at[0] - c"0"
            at += 1
        if number == 0:
            return -1
    equals[0] = at
    return number if at < end and at[0] == c"=" and number < CHUNKS_LIMIT else -1


cdef bint starts_pair(const char *header, const char *at) noexcept:
    while at > header and ((at - 1)[0] == c" " or (at - 1)[0] == c"\t"):
        at -= 1
    return at == header or (at - 1)[0] == c";"


cdef const char *find_or_end(const char *at, char sought, const char *end) noexcept:
    cdef const char *found = <const char *> memchr(at, sought, end - at)
    return end if found is NULL else found


cdef int chunks_needed(const char *start, const char *stop) except -1:
    cdef uint8_t header[COUNT_CHARS]
    cdef Py_ssize_t chars = min(COUNT_CHARS, stop - start)
    if chars % 4 == 1:
        raise MalformedToken("token is not base64url")
    decode_into(header, <const uint8_t *> start, chars)
    if chars * 3 // 4 < 4 or not 1 <= header[3] <= CHUNKS_LIMIT:
        raise MalformedToken("token has an impossible number of chunks")
    return header[3]


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
