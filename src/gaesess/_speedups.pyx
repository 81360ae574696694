# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: nonecheck=True, annotation_typing=False, freethreading_compatible=True
"""The compiled mirror of `_core.py`: same names, same order of checks, same results and errors. Read that one first.

Only the text of a TypeError for an argument may differ. `str` and `bytes` in a signature take exactly that type.

What the twin does under a session's lock is done here without it where no other thread can come in between: where there
is a GIL, nobody has needed the lock yet, and no Python code is called on the way.
"""

import os
import sys
import threading
import time
from hmac import compare_digest
from math import inf

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_Next, PyDict_SetItem, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from gaesess import _core, _headers, events, values
from gaesess._core import Token, WSGI, compressed, expanded, header_text, names_taken
from gaesess.errors import BadSignature, ExpiredToken, InvalidToken, MalformedToken, SessionClosed, StoreUnavailable, UnknownKey
from gaesess.pickling import refuse_keys

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object text)
    int PyUnicode_KIND(object text)
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_DecodeUTF8(const char *data, Py_ssize_t size, const char *errors)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object value) except? 0
    object PyLong_FromUnsignedLongLong(unsigned long long value)
    object PyLong_FromLongLong(long long value)
    double PyFloat_AS_DOUBLE(object value)
    object PyFloat_FromDouble(double value)
    ctypedef struct PyTypeObject:
        object (*tp_new)(PyTypeObject *, object, void *)
    PyTypeObject PyTuple_Type

cdef extern from "_libcrypto.h":
    ctypedef struct EVP_MD_CTX:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    const EVP_CIPHER *aes_256_gcm
    bint libcrypto_load(const char *loaded_by)
    EVP_MD_CTX *hmac_prepare(const uint8_t *block)
    bint hmac_sha256(const EVP_MD_CTX *inner, const EVP_MD_CTX *outer, const uint8_t *message, size_t size, uint8_t *tag)
    void (*md_ctx_free)(EVP_MD_CTX *)
    int (*constant_time_compare)(const void *, const void *, size_t)
    bint gcm_encrypt(const uint8_t *key, const uint8_t *start, int start_size, uint8_t *text, int size)
    int gcm_decrypt(const uint8_t *key, const uint8_t *start, int start_size, uint8_t *text, int size)

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define WITHOUT_GIL 1
    #else
    #define WITHOUT_GIL 0
    #endif
    """
    bint WITHOUT_GIL

cdef enum:
    SUITE_SIGNED = 0x21
    SUITE_ENCRYPTED = 0x22
    POINTER = 0x01
    ZLIB = 0x02
    BROWSER = 0x04
    SECURE = 0x08
    KNOWN_FLAGS = 0x1F
    HEADER_BYTES = 32
    TAG_BYTES = 32
    SALT_BYTES = 16
    GCM_TAG = 16
    SID_BYTES = 16
    BLOCK_BYTES = 64
    MAX_CHUNKS = 20
    COUNT_CHARS = 8
    SID_TEXT_CHARS = 43  # ten digits of expiry, S or _, 32 of hex
    MAX_DEPTH = 64
    MAX_AGE_SECONDS = 400 * 24 * 3600
    BIG_INT = 1
    TUPLE = 2
    SET = 3
    FROZENSET = 4
    REGISTERED = 14
    UNREAD = 0
    VERIFIED = 1
    INACTIVE = 2
    ACTIVE = 3
    TERMINATED = 4
    WRITTEN = 3
    NO_DIGIT = 1 << 24
    ONE_BYTE_KIND = 1  # PyUnicode_1BYTE_KIND: Latin-1, as all header text is (PEP 3333)
    STACK_BYTES = 3072  # what one cookie holds
    AGE_CHARS = 80
    KEY_SLOTS = 512

cdef int64_t MAX_U32 = 0xFFFFFFFF

assert (
    (SUITE_SIGNED, SUITE_ENCRYPTED, POINTER, ZLIB, BROWSER, SECURE, KNOWN_FLAGS, MAX_CHUNKS, COUNT_CHARS, MAX_DEPTH)
    == (_core.SIGNED, _core.ENCRYPTED, _core.POINTER, _core.ZLIB, _core.BROWSER, _core.SECURE, _core.KNOWN_FLAGS,
        _core.MAX_CHUNKS, _core._COUNT_CHARS, _core.MAX_DEPTH)
)
assert (UNREAD, VERIFIED, INACTIVE, ACTIVE, TERMINATED, WRITTEN) == (
    _core.UNREAD, _core.VERIFIED, _core.INACTIVE, _core.ACTIVE, _core.TERMINATED, _core.WRITTEN)

cdef const char *HEX = b"0123456789abcdef"
cdef const char *DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef const char *DAYS = b"ThuFriSatSunMonTueWed"  # from 1970-01-01 on
cdef const char *MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
cdef uint32_t VALUES[4][256]  # of each character in each place of a group of four: six bits of 24
cdef int _index, _place
for _place in range(4):
    for _index in range(256):
        VALUES[_place][_index] = NO_DIGIT
    for _index in range(64):
        VALUES[_place][<uint8_t> DIGITS[_index]] = _index << (18 - 6 * _place)

# hashlib's half that is made of OpenSSL: not there in every interpreter, and without a file where it is built in.
_hashlib = sys.modules.get("_hashlib")
cdef bint BY_LIBCRYPTO = libcrypto_load(os.fsencode(str(getattr(_hashlib, "__file__", None))))
HMAC = "libcrypto" if BY_LIBCRYPTO else "hashlib"

cdef tuple UNREADABLE = values.UNREADABLE
cdef object CHECK_KEY = values.check_key
cdef dict NO_DATA = {}
cdef str TOO_LATE = _core.TOO_LATE
cdef int REFRESHES = _core.REFRESHES_PER_IDLE_TIMEOUT
cdef int64_t SKEW = _core.MAX_SKEW_SECONDS


cdef int check_type(kind, value) except -1:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
    return 0


cdef inline bint is_plain(kind):
    return kind is str or kind is int or kind is bool or kind is type(None) or kind is float or kind is bytes


# -- a buffer that begins on the stack

cdef struct Buffer:
    uint8_t *data
    Py_ssize_t size, room
    uint8_t stack[STACK_BYTES]


cdef inline void buffer_start(Buffer *b) noexcept:
    b.data, b.size, b.room = b.stack, 0, STACK_BYTES


cdef inline void buffer_free(Buffer *b) noexcept:
    if b.data is not b.stack:
        PyMem_Free(b.data)


cdef int buffer_grow(Buffer *b, Py_ssize_t more) except -1:
    cdef Py_ssize_t room = max(2 * b.room, b.size + more)
    cdef uint8_t *data
    if b.data is b.stack:
        data = <uint8_t *> PyMem_Malloc(room)
        if data is not NULL:
            memcpy(data, b.stack, b.size)
    else:
        data = <uint8_t *> PyMem_Realloc(b.data, room)
    if data is NULL:
        raise MemoryError
    b.data, b.room = data, room
    return 0


cdef inline uint8_t *more(Buffer *b, Py_ssize_t size) except NULL:
    """Return the place of the next bytes of the buffer."""
    if b.room - b.size < size:
        buffer_grow(b, size)
    b.size += size
    return b.data + b.size - size


# -- values: session data as bytes

def dumps(data):
    cdef Buffer b
    check_type(dict, data)
    buffer_start(&b)
    try:
        pack(&b, data, MAX_DEPTH)
        return PyBytes_FromStringAndSize(<char *> b.data, b.size)
    except (TypeError, ValueError) as error:
        raise values.located(error, data, packed)
    finally:
        buffer_free(&b)


def packed(value):
    cdef Buffer b
    buffer_start(&b)
    try:
        pack(&b, value, MAX_DEPTH)
        return PyBytes_FromStringAndSize(<char *> b.data, b.size)
    finally:
        buffer_free(&b)


cdef int pack(Buffer *b, value, int depth) except -1:
    cdef double number
    cdef uint64_t bits
    cdef Py_ssize_t size
    kind = type(value)
    if kind is str:
        return pack_str(b, value)
    if kind is int:
        return pack_int(b, value)
    if value is None or value is False or value is True:
        more(b, 1)[0] = 0xC0 if value is None else 0xC3 if value is True else 0xC2
        return 0
    if kind is float:
        number = PyFloat_AS_DOUBLE(value)
        memcpy(&bits, &number, 8)
        return put_number(b, 0xCB, bits, 8)
    if kind is bytes:
        size = PyBytes_GET_SIZE(value)
        put_size(b, size, 0, 0, 0xC4, 0xC5)
        memcpy(more(b, size), PyBytes_AS_STRING(value), size)
        return 0
    if kind is dict or kind is list or kind is tuple or kind is set or kind is frozenset:
        if depth <= 0:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if kind is dict:
            return pack_dict(b, value, depth - 1)
        if kind is list:
            return pack_list(b, value, depth - 1)
        if kind is tuple:
            return pack_tuple(b, value, depth - 1)
        return pack_set(b, value, depth - 1)
    code, fields = values.dump(value)
    if code == REGISTERED and depth <= 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    put_mark(b, code, len(fields))
    for field in fields:
        pack(b, field, depth - 1)
    return 0


cdef int pack_dict(Buffer *b, dict value, int depth) except -1:
    cdef Py_ssize_t start = b.size, size = PyDict_Size(value), seen = 0, position = 0
    cdef PyObject *key
    cdef PyObject *item
    put_size(b, size, 0x80, 16, 0, 0xDE)
    with cython.critical_section(value):
        while PyDict_Next(value, &position, &key, &item):
            name, inner = <object> key, <object> item  # which holds them: a hook of `register` may change the dict
            if type(name) is not str:
                CHECK_KEY(name)
            pack(b, name, depth)
            pack(b, inner, depth)
            seen += 1
    if seen != size:  # changed meanwhile
        b.size = start
        return pack_dict(b, value.copy(), depth)
    return 0


cdef int pack_list(Buffer *b, list value, int depth) except -1:
    cdef Py_ssize_t start = b.size, size = PyList_GET_SIZE(value), position = 0
    put_size(b, size, 0x90, 16, 0, 0xDC)
    with cython.critical_section(value):
        while position < PyList_GET_SIZE(value):
            item = <object> PyList_GET_ITEM(value, position)
            pack(b, item, depth)
            position += 1
    if position != size:  # changed meanwhile
        b.size = start
        return pack_list(b, value.copy(), depth)
    return 0


cdef int pack_tuple(Buffer *b, tuple value, int depth) except -1:
    cdef Py_ssize_t position
    put_mark(b, TUPLE, PyTuple_GET_SIZE(value))
    for position in range(PyTuple_GET_SIZE(value)):
        pack(b, <object> PyTuple_GET_ITEM(value, position), depth)
    return 0


cdef int pack_set(Buffer *b, value, int depth) except -1:
    cdef Py_ssize_t start
    cdef bytes item
    cdef list items = []
    members = list(value)
    put_mark(b, SET if type(value) is set else FROZENSET, len(members))
    start = b.size
    for member in members:
        pack(b, member, depth)
        items.append(PyBytes_FromStringAndSize(<char *> b.data + start, b.size - start))
        b.size = start
    items.sort()  # in an order that does not depend on hashes
    for item in items:
        memcpy(more(b, PyBytes_GET_SIZE(item)), PyBytes_AS_STRING(item), PyBytes_GET_SIZE(item))
    return 0


cdef int pack_str(Buffer *b, value) except -1:
    cdef Py_ssize_t size
    cdef const char *text
    if PyUnicode_IS_ASCII(value):
        size, text = PyUnicode_GET_LENGTH(value), <const char *> PyUnicode_DATA(value)
    else:
        try:
            text = PyUnicode_AsUTF8AndSize(value, &size)
        except UnicodeEncodeError:  # a lone surrogate
            value = value.encode("utf-8", "surrogatepass")
            size, text = PyBytes_GET_SIZE(value), PyBytes_AS_STRING(value)
    put_size(b, size, 0xA0, 32, 0xD9, 0xDA)
    memcpy(more(b, size), text, size)
    return 0


cdef int pack_int(Buffer *b, value) except -1:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        if overflow > 0 and value <= 0xFFFFFFFFFFFFFFFF:
            return put_number(b, 0xCF, PyLong_AsUnsignedLongLong(value), 8)
        put_mark(b, BIG_INT, 1)
        return pack(b, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True), 0)
    if -32 <= number < 0x80:
        more(b, 1)[0] = <uint8_t> number
        return 0
    if number >= 0:
        if number < 0x100:
            return put_number(b, 0xCC, number, 1)
        if number < 0x10000:
            return put_number(b, 0xCD, number, 2)
        return put_number(b, 0xCE, number, 4) if number <= MAX_U32 else put_number(b, 0xCF, number, 8)
    if number >= -0x80:
        return put_number(b, 0xD0, number, 1)
    if number >= -0x8000:
        return put_number(b, 0xD1, number, 2)
    return put_number(b, 0xD2, number, 4) if number >= -0x80000000LL else put_number(b, 0xD3, number, 8)


cdef int put_number(Buffer *b, uint8_t code, uint64_t value, int size) except -1:
    cdef uint8_t *at = more(b, 1 + size)
    at[0] = code
    write_number(at + 1, value, size)
    return 0


cdef int put_size(Buffer *b, Py_ssize_t size, uint8_t fixed, int below, uint8_t one, uint8_t two) except -1:
    """Write a length: in one byte with `fixed`, or after the code `one` (0: there is none), `two`, or the next one."""
    if size < below:
        more(b, 1)[0] = fixed | <uint8_t> size
        return 0
    if one and size < 0x100:
        return put_number(b, one, size, 1)
    if size < 0x10000:
        return put_number(b, two, size, 2)
    return put_number(b, two + 1, size, 4)


cdef int put_mark(Buffer *b, uint8_t code, Py_ssize_t count) except -1:
    """Begin the array of an extension: its mark, MessagePack's ext 8 of no bytes, before so many fields."""
    put_size(b, count + 1, 0x90, 16, 0, 0xDC)
    return put_number(b, 0xC7, code, 2)


cdef inline void write_number(uint8_t *at, uint64_t value, int size) noexcept nogil:
    while size:
        size -= 1
        at[size] = value & 0xFF
        value >>= 8


cdef inline uint64_t read_number(const uint8_t *at, int size) noexcept nogil:
    cdef uint64_t value = 0
    cdef int index
    for index in range(size):
        value = value << 8 | at[index]
    return value


cdef struct Reader:
    const uint8_t *at
    const uint8_t *end

# Short keys that were seen before, with their hashes; where threads may be here at the same time, none.
cdef PyObject *KEYS[KEY_SLOTS]
for _index in range(KEY_SLOTS):
    KEYS[_index] = NULL


def loads(payload):
    check_type(bytes, payload)
    return load(payload)


cdef dict load(bytes payload):
    cdef Reader reader
    reader.at = <const uint8_t *> PyBytes_AS_STRING(payload)
    reader.end = reader.at + PyBytes_GET_SIZE(payload)
    try:
        data = read(&reader, MAX_DEPTH + 1)  # of a value of `values` at the deepest level
    except MalformedToken:
        raise
    except UNREADABLE as error:
        raise MalformedToken(f"session data cannot be read: {type(error).__name__}") from error
    if type(data) is not dict or reader.at is not reader.end:
        raise MalformedToken("session data is not a dict")
    return data


cdef const uint8_t *take(Reader *reader, uint64_t size) except NULL:
    cdef const uint8_t *at = reader.at
    if <uint64_t> (reader.end - at) < size:
        raise MalformedToken("session data cannot be read: cut short")
    reader.at += size
    return at


cdef inline uint64_t take_number(Reader *reader, int size) except? 0:
    return read_number(take(reader, size), size)


cdef object read(Reader *reader, int depth):
    cdef uint8_t code = take(reader, 1)[0]
    cdef uint64_t bits
    cdef uint32_t few_bits
    cdef double number
    cdef float short_number
    if code < 0x80:
        return <int> code
    if code < 0x90:
        return read_map(reader, code & 0x0F, depth)
    if code < 0xA0:
        return read_array(reader, code & 0x0F, depth)
    if code < 0xC0:
        return read_str(reader, code & 0x1F)
    if code >= 0xE0:
        return <int> code - 0x100
    if code == 0xC0:
        return None
    if code == 0xC2 or code == 0xC3:
        return code == 0xC3
    if code == 0xCB:
        bits = take_number(reader, 8)
        memcpy(&number, &bits, 8)
        return PyFloat_FromDouble(number)
    if code == 0xCA:
        few_bits = <uint32_t> take_number(reader, 4)
        memcpy(&short_number, &few_bits, 4)
        return PyFloat_FromDouble(short_number)
    if 0xC4 <= code <= 0xC6:
        bits = take_number(reader, 1 << (code - 0xC4))
        return PyBytes_FromStringAndSize(<const char *> take(reader, bits), bits)
    if 0xCC <= code <= 0xCF:
        return PyLong_FromUnsignedLongLong(take_number(reader, 1 << (code - 0xCC)))
    if code == 0xD0:
        return <int> (<signed char> take_number(reader, 1))
    if code == 0xD1:
        return <int> (<short> take_number(reader, 2))
    if code == 0xD2:
        return <int> (<uint32_t> take_number(reader, 4))
    if code == 0xD3:
        return PyLong_FromLongLong(<int64_t> take_number(reader, 8))
    if 0xD9 <= code <= 0xDB:
        return read_str(reader, take_number(reader, 1 << (code - 0xD9)))
    if code == 0xDC or code == 0xDD:
        return read_array(reader, take_number(reader, 2 if code == 0xDC else 4), depth)
    if code == 0xDE or code == 0xDF:
        return read_map(reader, take_number(reader, 2 if code == 0xDE else 4), depth)
    raise MalformedToken("session data cannot be read: a value of an unknown type")


cdef object read_str(Reader *reader, uint64_t size):
    cdef const uint8_t *at = take(reader, size)
    cdef uint8_t seen = 0
    cdef uint64_t index
    for index in range(size):
        seen |= at[index]
    if seen >= 0x80 or size == 0:
        return PyUnicode_DecodeUTF8(<const char *> at, size, b"surrogatepass")
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), at, size)
    return text


cdef dict read_map(Reader *reader, uint64_t count, int depth):
    cdef uint64_t index
    cdef dict data
    check_container(reader, count, depth)
    data = {}
    for index in range(count):
        key = read_key(reader, depth - 1)
        PyDict_SetItem(data, key, read(reader, depth - 1))
    return data


cdef object read_key(Reader *reader, int depth):
    cdef const uint8_t *at = reader.at
    cdef Py_ssize_t size
    cdef int slot
    cdef PyObject *known
    if WITHOUT_GIL or at >= reader.end or at[0] & 0xE0 != 0xA0:
        return read(reader, depth)
    size = at[0] & 0x1F
    if size == 0 or size >= reader.end - at:
        return read(reader, depth)
    slot = (size * 31 + at[1] * 7 + at[size] * 13 + at[(size >> 1) + 1] * 17) % KEY_SLOTS
    known = KEYS[slot]
    if (known is not NULL and PyUnicode_GET_LENGTH(<object> known) == size
            and memcmp(PyUnicode_DATA(<object> known), at + 1, size) == 0):
        reader.at += size + 1
        return <object> known
    key = read(reader, depth)
    if PyUnicode_IS_ASCII(key):
        hash(key)
        keep_key(slot, key)
    return key


cdef list _kept_keys = [None] * KEY_SLOTS


cdef int keep_key(int slot, key) except -1:
    _kept_keys[slot] = key
    KEYS[slot] = <PyObject *> key
    return 0


cdef object read_array(Reader *reader, uint64_t count, int depth):
    cdef uint64_t index
    cdef const uint8_t *mark
    cdef int code
    check_container(reader, count, depth)
    if not count or reader.at[0] != 0xC7:
        return [read(reader, depth - 1) for index in range(count)]
    mark = take(reader, 3)
    code = mark[2] if mark[1] == 0 else 0
    fields = [read(reader, depth - 1) for index in range(count - 1)]
    if code == TUPLE:
        return tuple(fields)
    if code == SET or code == FROZENSET:
        return set(fields) if code == SET else frozenset(fields)
    if code == BIG_INT:
        return _core._big_int(*fields)
    return values.load(code, fields)


cdef int check_container(Reader *reader, uint64_t count, int depth) except -1:
    if depth <= 0:
        raise MalformedToken("session data cannot be read: nested too deeply")
    if count > <uint64_t> (reader.end - reader.at):
        raise MalformedToken("session data cannot be read: cut short")
    return 0


# -- tokens

cdef class Key:
    cdef readonly int suite, id
    cdef readonly double until
    cdef readonly bytes inner, outer
    cdef EVP_MD_CTX *inner_context
    cdef EVP_MD_CTX *outer_context

    def __cinit__(self, int suite, int id, double until, bytes inner, bytes outer):
        if inner is None or outer is None or not len(inner) == len(outer) == BLOCK_BYTES:
            raise ValueError("a prepared key has two blocks of 64 bytes")
        self.suite, self.id, self.until, self.inner, self.outer = suite, id, until, inner, outer
        if BY_LIBCRYPTO:
            self.inner_context = hmac_prepare(<const uint8_t *> PyBytes_AS_STRING(inner))
            self.outer_context = hmac_prepare(<const uint8_t *> PyBytes_AS_STRING(outer))

    def __dealloc__(self):
        if BY_LIBCRYPTO:
            md_ctx_free(self.inner_context)
            md_ctx_free(self.outer_context)

    cdef tuple _fields(self):
        return self.suite, self.id, self.until, self.inner, self.outer

    def __eq__(self, other):
        return type(other) is Key and self._fields() == (<Key> other)._fields()

    def __hash__(self):
        return hash(self._fields())

    def __repr__(self):
        return f"<Key {self.id}>"

    def __reduce__(self):
        refuse_keys(self)


def prepare_key(suite, key_id, secret, until=inf):
    if suite == SUITE_ENCRYPTED and aes_256_gcm is not NULL:  # it needs no other package
        return Key(*_core.prepare_key(SUITE_SIGNED, key_id, secret, until)._replace(suite=suite))
    return Key(*_core.prepare_key(suite, key_id, secret, until))


cdef Key own_key(key):
    if type(key) is Key:
        return key
    if type(key) is _core.Key:
        return Key(*key)
    raise TypeError(f"expected Key, not {type(key).__name__}")


cdef int write_mac(Key key, const uint8_t *message, Py_ssize_t size, uint8_t *tag) except -1:
    cdef bytes digest
    if (key.inner_context is not NULL and key.outer_context is not NULL
            and hmac_sha256(key.inner_context, key.outer_context, message, size, tag)):
        return 0
    digest = _core.mac(key, message[:size])
    memcpy(tag, PyBytes_AS_STRING(digest), TAG_BYTES)
    return 0


cdef bint equal_tags(const uint8_t *one, const uint8_t *other) except -1:
    if not BY_LIBCRYPTO:
        return compare_digest(one[:TAG_BYTES], other[:TAG_BYTES])
    return constant_time_compare(one, other, TAG_BYTES) == 0


def seal(key, token, chunks=1):
    cdef Buffer b
    check_type(Token, token)
    flags, expires, issued, revision, sid, payload = <tuple> token
    check_type(int, flags)
    check_type(int, expires)
    check_type(int, issued)
    check_type(int, revision)
    check_type(int, chunks)
    check_type(bytes, sid)
    check_type(bytes, payload)
    buffer_start(&b)
    try:
        put_token(&b, own_key(key), flags, expires, issued, revision, sid, payload, chunks)
        return PyBytes_FromStringAndSize(<char *> b.data, b.size)
    except OverflowError:
        return _core.seal(_core.Key._make(own_key(key)._fields()), token, chunks)  # which says what is out of range
    finally:
        buffer_free(&b)


cdef int put_token(
    Buffer *b, Key key, int64_t flags, int64_t expires, int64_t issued, int64_t revision, bytes sid, bytes payload,
    int64_t chunks,
) except -1:
    """Write a token to an empty buffer."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef Py_ssize_t start = HEADER_BYTES + (SALT_BYTES if key.suite == SUITE_ENCRYPTED else 0)
    cdef uint8_t *at
    cdef uint8_t secret[TAG_BYTES]
    if flags & ~KNOWN_FLAGS:
        raise ValueError(f"unknown flags: {flags:#x}")
    if not 1 <= chunks <= MAX_CHUNKS:
        raise ValueError(f"a token is carried by 1 to {MAX_CHUNKS} cookies, not {chunks}")
    if not 1 <= expires <= MAX_U32:
        raise ValueError(f"expiry is not a Unix time from 1 to {MAX_U32}: {expires}")
    if not (0 <= issued <= MAX_U32 and 0 <= revision <= MAX_U32):
        raise ValueError("issued and revision are unsigned 32-bit numbers")
    if PyBytes_GET_SIZE(sid) != SID_BYTES:
        raise ValueError(f"a session id has {SID_BYTES} bytes, not {len(sid)}")
    if bool(flags & POINTER) == bool(size):
        raise ValueError("a pointer has no payload, and any other token has one")
    at = more(b, start + size + (GCM_TAG if key.suite == SUITE_ENCRYPTED else TAG_BYTES))
    at[0], at[1], at[2], at[3] = key.suite, key.id, flags, chunks
    write_number(at + 4, expires, 4)
    write_number(at + 8, issued, 4)
    write_number(at + 12, revision, 4)
    memcpy(at + HEADER_BYTES - SID_BYTES, PyBytes_AS_STRING(sid), SID_BYTES)
    memcpy(at + start, PyBytes_AS_STRING(payload), size)
    if key.suite == SUITE_SIGNED:
        return write_mac(key, at, start + size, at + start + size)
    memcpy(at + HEADER_BYTES, PyBytes_AS_STRING(salt()), SALT_BYTES)
    write_mac(key, at, start, secret)
    if aes_256_gcm is NULL or not gcm_encrypt(secret, at, <int> start, at + start, <int> size):
        text = _core._cipher(key, at[:start]).encrypt(_core._NONCE, payload, at[:start])
        memcpy(at + start, PyBytes_AS_STRING(text), size + GCM_TAG)
    return 0


cdef bytes salt():
    cdef bytes made = os.urandom(SALT_BYTES)
    if made is None or PyBytes_GET_SIZE(made) != SALT_BYTES:
        raise ValueError("os.urandom gave less than it was asked for")
    return made


cdef struct Fields:
    int flags, key_id
    int64_t expires, issued, revision


def unseal(keys, untrusted, now):
    cdef Fields fields
    check_type(dict, keys)
    check_type(bytes, untrusted)
    check_type(int, now)
    sid, payload = open_token(
        keys, <const uint8_t *> PyBytes_AS_STRING(untrusted), PyBytes_GET_SIZE(untrusted), bounded(now), &fields)
    return as_token(&fields, sid, payload)


cdef int64_t bounded(now) except? -1:
    """Return a time in a range beyond that of tokens, to compare with theirs."""
    return now if -MAX_U32 <= now <= 2 * MAX_U32 else 2 * MAX_U32 if now > 0 else -MAX_U32


cdef object as_token(Fields *fields, bytes sid, bytes payload):
    parts = (fields.flags, fields.expires, fields.issued, fields.revision, sid, payload)
    return PyTuple_Type.tp_new(<PyTypeObject *> Token, (parts,), NULL)  # as Token._make does, in a third of the time


cdef tuple open_token(dict keys, const uint8_t *at, Py_ssize_t size, int64_t now, Fields *fields):
    """Verify a token; return the session id and the payload, and the rest in `fields`."""
    cdef Key key = None
    cdef bint found = False
    cdef bytes payload
    if size < HEADER_BYTES + TAG_BYTES:
        raise MalformedToken("token is cut short")
    for known in keys.values():
        key = own_key(known)
        found = found or at[0] == key.suite
    if not found:
        raise MalformedToken("token is of an unknown suite")
    if at[2] & ~KNOWN_FLAGS:
        raise MalformedToken("token has unknown flags")
    if not 1 <= at[3] <= MAX_CHUNKS:
        raise MalformedToken("token has an impossible number of chunks")
    if key.id != at[1]:
        known = keys.get(at[1])
        key = None if known is None else own_key(known)
    if key is None or key.until <= now:
        raise UnknownKey("token names a key that is not in the keyring")
    payload = verified_payload(key, at, size)
    fields.flags, fields.key_id = at[2], at[1]
    fields.expires = read_number(at + 4, 4)
    fields.issued = read_number(at + 8, 4)
    fields.revision = read_number(at + 12, 4)
    if fields.expires <= now:
        raise ExpiredToken("token has expired")
    if bool(fields.flags & POINTER) == bool(PyBytes_GET_SIZE(payload)):
        raise MalformedToken("token is neither a pointer nor has it a payload, or both")
    return PyBytes_FromStringAndSize(<const char *> at + HEADER_BYTES - SID_BYTES, SID_BYTES), payload


cdef bytes verified_payload(Key key, const uint8_t *at, Py_ssize_t size):
    cdef uint8_t tag[TAG_BYTES]
    cdef Py_ssize_t start = HEADER_BYTES + SALT_BYTES
    cdef bytes text
    cdef uint8_t *place
    cdef int done = -1
    if key.suite == SUITE_SIGNED:
        write_mac(key, at, size - TAG_BYTES, tag)
        if not equal_tags(tag, at + size - TAG_BYTES):
            raise BadSignature("token has a tag that does not fit")
        return PyBytes_FromStringAndSize(<const char *> at + HEADER_BYTES, size - HEADER_BYTES - TAG_BYTES)
    if aes_256_gcm is NULL:
        return _core._verified_payload(_core.Key._make(key._fields()), at[:size])
    write_mac(key, at, start, tag)
    text = PyBytes_FromStringAndSize(<const char *> at + start, size - start)  # decrypted in place, with its tag
    place = <uint8_t *> PyBytes_AS_STRING(text)
    done = gcm_decrypt(tag, at, <int> start, place, <int> (size - start - GCM_TAG))
    if done < 0:
        raise MemoryError("libcrypto could not decrypt")
    if done == 0:
        raise BadSignature("token has a tag that does not fit")
    return text[: size - start - GCM_TAG]


def encode(bytes data not None):
    text = PyUnicode_New((PyBytes_GET_SIZE(data) * 4 + 2) // 3, 127)
    encode_into(<char *> PyUnicode_DATA(text), <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return text


cdef void encode_into(char *to, const uint8_t *at, Py_ssize_t left) noexcept nogil:
    cdef const char *digits = DIGITS
    cdef uint32_t group
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


def decode(str untrusted not None):
    if not PyUnicode_IS_ASCII(untrusted):
        raise MalformedToken("token is not base64url")
    return decode_chars(<const uint8_t *> PyUnicode_DATA(untrusted), PyUnicode_GET_LENGTH(untrusted))


cdef bytes decode_chars(const uint8_t *at, Py_ssize_t chars):
    cdef bytes data
    if chars % 4 == 1:
        raise MalformedToken("token is not base64url")
    data = PyBytes_FromStringAndSize(NULL, chars * 3 // 4)
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


def format_sid(expires, secure, bytes sid not None):
    cdef int position
    cdef char *to
    cdef const uint8_t *at
    cdef uint32_t left
    check_type(int, expires)
    if not 1 <= expires <= MAX_U32:
        raise ValueError(f"expiry is not a Unix time from 1 to {MAX_U32}: {expires}")
    if PyBytes_GET_SIZE(sid) != SID_BYTES:
        raise ValueError(f"a session id has {SID_BYTES} bytes, not {len(sid)}")
    text = PyUnicode_New(SID_TEXT_CHARS, 127)
    to = <char *> PyUnicode_DATA(text)
    at = <const uint8_t *> PyBytes_AS_STRING(sid)
    left = expires
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


# -- cookies

cdef struct Chunks:
    const char *starts[MAX_CHUNKS]
    const char *stops[MAX_CHUNKS]
    int taken, needed


def read_cookies(str untrusted not None, str name not None):
    cdef Chunks found
    if not is_latin1(untrusted, name):
        return _core.read_cookies(untrusted, name)
    find_chunks(
        <const char *> PyUnicode_DATA(untrusted), PyUnicode_GET_LENGTH(untrusted),
        <const char *> PyUnicode_DATA(name), PyUnicode_GET_LENGTH(name), &found,
    )
    return (join_chunks(&found).decode("latin-1"), found.taken) if found.needed else None


def unseal_cookies(keys, str untrusted not None, str name not None, now):
    cdef Fields fields
    cdef int taken = 0
    check_type(dict, keys)
    check_type(int, now)
    if not is_latin1(untrusted, name):
        found = _core.read_cookies(untrusted, name)
        if found is None:
            return None
        sealed = decode(found[0])
        return unseal(keys, sealed, now), found[1], sealed[1]
    found = open_cookies(
        keys, <const char *> PyUnicode_DATA(untrusted), PyUnicode_GET_LENGTH(untrusted),
        <const char *> PyUnicode_DATA(name), PyUnicode_GET_LENGTH(name), bounded(now), &fields, &taken,
    )
    return None if found is None else (as_token(&fields, found[0], found[1]), taken, fields.key_id)


cdef bint is_latin1(str header, str name):
    return PyUnicode_KIND(header) == ONE_BYTE_KIND == PyUnicode_KIND(name) and PyUnicode_GET_LENGTH(name) > 0


cdef tuple open_cookies(
    dict keys, const char *header, Py_ssize_t size, const char *name, Py_ssize_t name_size, int64_t now, Fields *fields,
    int *taken,
):
    """Find, decode and verify the token of a Cookie header; return as `open_token`, None if there is no cookie NAME."""
    cdef Chunks found
    cdef uint8_t stack[STACK_BYTES]
    cdef Py_ssize_t chars
    cdef bytes data
    find_chunks(header, size, name, name_size, &found)
    taken[0] = found.taken
    if found.needed == 0:
        return None
    chars = found.stops[0] - found.starts[0]
    if found.needed == 1 and chars <= STACK_BYTES * 4 // 3:  # straight from the header
        if chars % 4 == 1:
            raise MalformedToken("token is not base64url")
        decode_into(stack, <const uint8_t *> found.starts[0], chars)
        return open_token(keys, stack, chars * 3 // 4, now, fields)
    data = join_chunks(&found)
    data = decode_chars(<const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return open_token(keys, <const uint8_t *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), now, fields)


cdef int find_chunks(
    const char *header, Py_ssize_t size, const char *name, Py_ssize_t name_size, Chunks *chunks
) except -1:
    cdef const char *end = header + size
    cdef const char *at = header
    cdef const char *found
    cdef const char *equals
    cdef int number
    for number in range(MAX_CHUNKS):
        chunks.starts[number] = NULL
    chunks.taken = chunks.needed = 0
    while end - at > name_size:
        found = <const char *> memchr(at, name[0], end - at - name_size)
        if found is NULL:
            break
        at = found + 1
        if memcmp(found, name, name_size) != 0:
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


cdef bytes join_chunks(Chunks *chunks):
    cdef int number
    cdef const char *start
    cdef list parts = []
    for number in range(chunks.needed):
        start = chunks.starts[number]
        parts.append(PyBytes_FromStringAndSize(start, chunks.stops[number] - start))
    return b"".join(parts)


cdef int chunk_number(const char *at, const char *end, const char **equals) noexcept:
    """Return the number of NAME, NAME.1 ... NAME.19 by what follows NAME, and where its "=" is; -1 for another name."""
    cdef int number = 0
    if at[0] == c".":
        at += 1
        if at == end or at[0] == c"0":
            return -1
        while at < end and c"0" <= at[0] <= c"9" and number < MAX_CHUNKS:
            number = 10 * number + at[0] - c"0"
            at += 1
        if number == 0:
            return -1
    equals[0] = at
    return number if at < end and at[0] == c"=" and number < MAX_CHUNKS else -1


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
    if chars * 3 // 4 < 4 or not 1 <= header[3] <= MAX_CHUNKS:
        raise MalformedToken("token has an impossible number of chunks")
    return header[3]


def write_cookies(str name not None, str text not None, str attributes not None, chunk_chars):
    return _core.write_cookies(name, text, attributes, chunk_chars)  # of what is in several cookies, which is rare


cdef class CookieConfig:
    cdef public object key, keys, clock
    cdef public Py_ssize_t cookie_bytes
    cdef public double idle_seconds
    cdef public bint compress, asks_store
    cdef object _cookie
    cdef bytes _name, _before_age, _after_age, _after_age_secure
    cdef Py_ssize_t _chunk_chars

    @property
    def cookie(self):
        return self._cookie

    @cookie.setter
    def cookie(self, attributes):
        name, before_age, after_age, after_age_secure, chunk_chars = attributes
        self._name, self._before_age = name.encode("ascii"), before_age.encode("ascii")
        self._after_age, self._after_age_secure = after_age.encode("ascii"), after_age_secure.encode("ascii")
        self._chunk_chars, self._cookie = chunk_chars, attributes

    def __reduce__(self):
        refuse_keys(self)

    def now(self):
        return self._now()

    cdef int64_t _now(self) except? -1:
        return int(time.time() if self.clock is None else self.clock())

    def fits(self, bytes payload not None):
        return self._fits(payload)

    cdef bint _fits(self, bytes payload) except -1:
        if PyBytes_GET_SIZE(payload) <= self.cookie_bytes or not self.compress:
            return PyBytes_GET_SIZE(payload) <= self.cookie_bytes
        from gaesess import compression

        return len(compression.compress(payload)) <= self.cookie_bytes

    def wants_refresh(self, int64_t issued, int64_t now):
        return self._wants_refresh(issued, now)

    cdef bint _wants_refresh(self, int64_t issued, int64_t now) noexcept:
        return self.idle_seconds != 0 and now - issued >= self.idle_seconds / REFRESHES

    def set_cookies(self, token, now, taken):
        check_type(Token, token)
        flags, expires, issued, revision, sid, payload = <tuple> token
        return self._set_cookies(flags, expires, issued, revision, sid, payload, now, taken)

    cdef list _set_cookies(
        self, int flags, int64_t expires, int64_t issued, int64_t revision, bytes sid, bytes payload, int64_t now, int taken
    ):
        cdef Buffer b
        cdef Py_ssize_t chunks
        if self.compress:
            token = compressed(Token(flags, expires, issued, revision, sid, payload))
            flags, payload = token.flags, token.payload
        chunks = -(-(((HEADER_BYTES + PyBytes_GET_SIZE(payload) + TAG_BYTES) * 4 + 2) // 3) // self._chunk_chars)
        buffer_start(&b)
        try:
            put_token(&b, own_key(self.key), flags, expires, issued, revision, sid, payload, chunks)
            if chunks == 1 and taken <= 1:
                return [self._set_cookie(b.data, b.size, flags, expires, now)]
            text = encode(PyBytes_FromStringAndSize(<char *> b.data, b.size))
        finally:
            buffer_free(&b)
        ends = None if flags & BROWSER else expires
        return self._cookie.write(text, now=now, expires=ends, secure=bool(flags & SECURE), taken=taken)

    cdef str _set_cookie(self, const uint8_t *data, Py_ssize_t size, int flags, int64_t expires, int64_t now):
        """Return NAME=TOKEN; Path=...; Expires=...; Max-Age=...; Secure; HttpOnly; ... in one piece."""
        cdef bytes rules = self._after_age_secure if flags & SECURE else self._after_age
        cdef char age[AGE_CHARS]
        cdef int age_chars = 0 if flags & BROWSER else write_age(age, now, expires)
        cdef Py_ssize_t chars = (size * 4 + 2) // 3
        cdef char *to
        text = PyUnicode_New(
            PyBytes_GET_SIZE(self._name) + 1 + chars + PyBytes_GET_SIZE(self._before_age) + age_chars + PyBytes_GET_SIZE(rules),
            127,
        )
        to = put_text(<char *> PyUnicode_DATA(text), self._name)
        to[0] = c"="
        encode_into(to + 1, data, size)
        to = put_text(to + 1 + chars, self._before_age)
        memcpy(to, age, age_chars)
        put_text(to + age_chars, rules)
        return text


cdef char *put_text(char *to, bytes text) noexcept:
    memcpy(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return to + PyBytes_GET_SIZE(text)


cdef void put_two(char *to, int value) noexcept:
    to[0] = 48 + value // 10
    to[1] = 48 + value % 10


cdef int write_age(char *to, int64_t now, int64_t expires) noexcept:
    """Write "; Expires=Sun, 06 Dec 2026 10:00:00 GMT; Max-Age=604800", and return how long it is."""
    cdef int64_t seconds = min(max(expires - now, 0), MAX_AGE_SECONDS)
    cdef int64_t day = (now + seconds) // 86400
    cdef int second = (now + seconds) % 86400
    # The date, by the days from 0000-03-01 on, in eras of 400 years and years that begin in March.
    cdef int64_t era = (day + 719468) // 146097
    cdef int day_of_era = <int> (day + 719468 - era * 146097)
    cdef int year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    cdef int day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int month = (5 * day_of_year + 2) // 153
    cdef int day_of_month = day_of_year - (153 * month + 2) // 5 + 1
    cdef int year = <int> (year_of_era + era * 400) + (1 if month >= 10 else 0)
    cdef char digits[12]
    cdef int count = 0, at = 49
    memcpy(to, b"; Expires=", 10)
    memcpy(to + 10, DAYS + 3 * (day % 7), 3)
    memcpy(to + 13, b", ", 2)
    put_two(to + 15, day_of_month)
    to[17] = c" "
    memcpy(to + 18, MONTHS + 3 * ((month + 2) % 12), 3)
    to[21] = c" "
    put_two(to + 22, year // 100)
    put_two(to + 24, year % 100)
    to[26] = c" "
    put_two(to + 27, second // 3600)
    to[29] = c":"
    put_two(to + 30, second // 60 % 60)
    to[32] = c":"
    put_two(to + 33, second % 60)
    memcpy(to + 35, b" GMT; Max-Age=", 14)
    while True:
        digits[count] = 48 + seconds % 10
        seconds //= 10
        count += 1
        if not seconds:
            break
    while count:
        count -= 1
        to[at] = digits[count]
        at += 1
    return at


# -- the session of one request

@cython.freelist(16)
cdef class CookieSession:
    cdef public CookieConfig _config
    cdef public object _cookie_header, _lock
    cdef public dict _data, _written
    cdef public list _cookies
    cdef public bytes _sid, _payload
    cdef public int64_t _expires, _issued, _revision
    cdef public int _state, _flags, _taken
    cdef public bint _saving, _left, _cleared, _exposed, _unsaved, _retired, _passive, _elsewhere, _accessed

    def __cinit__(self):
        self._data, self._sid, self._payload = NO_DATA, b"", b""

    def __init__(self, CookieConfig config not None, cookie_header, passive=False):
        self._config, self._cookie_header = config, cookie_header
        if passive:
            self._passive = True

    # reading

    def __getitem__(self, key):
        cdef dict data = self._seen()
        cdef PyObject *found = PyDict_GetItemWithError(data, key)
        if found is NULL:
            raise KeyError(key)
        return self._shown(<object> found)

    def get(self, key, default=None):
        cdef dict data = self._seen()
        cdef PyObject *found = PyDict_GetItemWithError(data, key)
        return default if found is NULL else self._shown(<object> found)

    cdef inline object _shown(self, value):
        if not is_plain(type(value)):
            self._exposed = True
        return value

    def __contains__(self, key):
        return key in self._seen()

    def __iter__(self):
        return iter(self._seen())

    def __reversed__(self):
        return reversed(self._seen())

    def __len__(self):
        return len(self._seen())

    def is_accessed(self):
        return self._accessed

    def _view(self):
        return self._seen()

    cdef inline dict _seen(self):
        self._accessed = True
        if self._state < INACTIVE:
            self._read()
        return self._data

    def _load(self):
        self._read()

    cdef int _read(self) except -1:
        cdef bint alone = self._lock is None and not self._config.asks_store and not WITHOUT_GIL
        if not (alone and self._read_once(True)):
            with self._exclusive():
                self._read_once(False)
        return 0

    cdef bint _read_once(self, bint alone) except -1:
        """Read the session; return False if another thread needs the lock meanwhile, which only may be if `alone`."""
        cdef dict data = None
        refused = None
        if self._state == UNREAD and not self._look(alone):
            return False
        if self._state != VERIFIED:
            return True
        try:
            if self._config.asks_store:
                self._activate()
                return True
            if self._flags & POINTER:
                raise StoreUnavailable(_core.NO_STORE)
            data = load(self._payload)
        except InvalidToken as error:
            refused = error
        if alone and self._lock is not None:
            return False
        if self._state != VERIFIED:  # another thread has read it meanwhile
            return True
        if refused is None:
            self._data = data
        self._state = ACTIVE if refused is None else INACTIVE
        if refused is not None:
            self._refuse(refused)
        return True

    def _verify(self):
        self._look(False)

    cdef bint _look(self, bint alone) except -1:
        """Look at the Cookie header; return as `_read_once` does."""
        cdef CookieConfig config = self._config
        cdef Fields fields
        cdef int taken = 0
        cdef tuple found = None
        cdef bint has_old = False, retired
        cdef int64_t now
        header, refused = self._cookie_header, None
        if header is not None and type(header) is not str:
            header = cookie_field(header)
        if header is not None:
            now = config._now()
            try:
                found = self._open(header, now, &fields, &taken)
                if found is not None and config.idle_seconds and not -SKEW <= now - fields.issued < config.idle_seconds:
                    found = None
                    raise ExpiredToken("token has been idle for too long, or is of a clock that is ahead")
                if found is not None and fields.flags & ZLIB:
                    token = expanded(as_token(&fields, found[0], found[1]))
                    fields.flags, found = token.flags, (found[0], token.payload)
            except InvalidToken as error:
                found, refused = None, error
                header = as_text(header)
                taken = names_taken(header, config._cookie.name)
            has_old = config.asks_store and self._find_old(as_text(header))
        retired = found is not None and fields.key_id != own_key(config.key).id
        if alone and self._lock is not None:
            return False
        if self._state != UNREAD:  # another thread was here meanwhile
            return True
        if found is not None:
            self._flags = fields.flags
            self._expires, self._issued, self._revision = fields.expires, fields.issued, fields.revision
            self._sid, self._payload = <bytes> found[0], <bytes> found[1]
            self._retired = retired
        self._cookie_header, self._taken = None, taken
        self._state = INACTIVE if found is None and not has_old else VERIFIED
        if refused is not None:
            self._refuse(refused)
        return True

    cdef tuple _open(self, header, int64_t now, Fields *fields, int *taken):
        cdef bytes name = self._config._name
        if name is None:
            raise AttributeError("cookie")  # of a CookieConfig that was not set up
        if type(header) is bytes:
            return open_cookies(
                self._config.keys, PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header),
                PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), now, fields, taken,
            )
        if PyUnicode_KIND(header) == ONE_BYTE_KIND:
            return open_cookies(
                self._config.keys, <const char *> PyUnicode_DATA(header), PyUnicode_GET_LENGTH(header),
                PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), now, fields, taken,
            )
        found = unseal_cookies(self._config.keys, header, self._config._cookie.name, now)
        if found is None:
            taken[0] = names_taken(header, self._config._cookie.name)
            return None
        (fields.flags, fields.expires, fields.issued, fields.revision, sid, payload), taken[0], fields.key_id = found
        return sid, payload

    def _set_token(self, token):
        self._flags, self._expires, self._issued, self._revision, self._sid, self._payload = token

    def _refuse(self, error):
        _core.CookieSession._refuse(self, error)

    # writing

    def __setitem__(self, key, value):
        self._check()
        self._seen()
        if self._is_alone(key):
            self._set(key, value)
        else:
            with self._exclusive():
                self._writable()
                self._set(key, value)

    cdef int _set(self, key, value) except -1:
        cdef dict written = self._notes()
        cdef PyObject *old = PyDict_GetItemWithError(self._data, key)
        replaced = None if old is NULL else <object> old  # kept until the end: it might call Python when it goes
        self._check()
        PyDict_SetItem(self._data, key, value)
        PyDict_SetItem(written, key, WRITTEN)
        if not is_plain(type(value)):
            self._exposed = True
        return 0

    def __delitem__(self, key):
        if key not in self._seen():
            raise KeyError(key)
        self._check()
        if self._is_alone(key):
            self._delete(key)
        else:
            with self._exclusive():
                if key not in self._seen():  # another thread has deleted it
                    raise KeyError(key)
                self._delete(key)

    cdef int _delete(self, key) except -1:
        cdef dict written = self._notes()
        deleted = self._data.get(key)  # kept until the end, as above
        self._check()
        del self._data[key]
        PyDict_SetItem(written, key, WRITTEN)
        return 0

    cdef inline bint _is_alone(self, key) except -1:
        """Return whether a change of this key, if it is made now, needs no lock: it calls no Python code."""
        self._notes()  # before the look at the lock: to make them may let another thread in
        return type(key) is str and self._lock is None and self._state == ACTIVE and not WITHOUT_GIL

    def _changing(self):
        self._check()
        return self._exclusive()

    def _check_open(self):
        self._check()

    cdef inline int _check(self) except -1:
        if self._left or self._saving:
            raise SessionClosed(TOO_LATE)
        return 0

    def _writable(self):
        self._check()
        self._seen()
        if self._state != ACTIVE:
            self.start()
        return self._data

    def _note(self, key, how):
        PyDict_SetItem(self._notes(), key, how)

    cdef dict _notes(self):
        if self._written is None:
            written = {}  # to make it may collect garbage, and so let another thread in
            if self._written is None:
                self._written = written
        return self._written

    # saving

    def commit(self):
        if self._lock is None and not WITHOUT_GIL:
            return self._commit()
        with self._exclusive():
            return self._commit()

    cdef list _commit(self):
        self._saving = True
        try:
            if self._state == ACTIVE and self._accessed:
                self._store(False)
            return self._close()
        finally:
            self._saving = False

    def abandon(self):
        return self._close()

    cdef list _close(self):
        self._left = True
        return self._cookies or []

    def _save(self, persist=False):
        self._store(persist)

    cdef int _store(self, bint persist) except -1:
        cdef CookieConfig config = self._config
        cdef bytes payload
        cdef int64_t now, issued
        if self._elsewhere or persist:
            self._save_elsewhere(persist)
            return 0
        payload = self._encoded()
        if payload is None:
            if not (self._unsaved or self._retired):
                self._reissue()
                return 0
            payload = self._payload
        if not config._fits(payload):
            self._save_elsewhere(persist, payload)
            return 0
        now = config._now()
        issued = self._issued if self._passive else now
        self._cookies = config._set_cookies(
            self._flags, self._expires, issued, self._revision + 1, self._sid, payload, now, self._taken)
        if config.asks_store:
            self._cookies += self._delete_old()
        self._issued, self._payload = issued, payload
        self._revision += 1
        return self._clean()

    def _saved(self):
        self._clean()

    cdef int _clean(self) except -1:
        self._written, self._cleared, self._unsaved, self._retired = None, False, False, False
        if events.wanted("committed"):
            self._tell_saved()
        return 0

    def _changed_payload(self):
        return self._encoded()

    cdef bytes _encoded(self):
        cdef Buffer b
        if PyBytes_GET_SIZE(self._payload) and not (self._written or self._cleared or self._exposed):
            return None
        buffer_start(&b)
        try:
            pack(&b, self._data, MAX_DEPTH)
            if (b.size == PyBytes_GET_SIZE(self._payload)
                    and memcmp(b.data, PyBytes_AS_STRING(self._payload), b.size) == 0):
                return None
            return PyBytes_FromStringAndSize(<char *> b.data, b.size)
        except (TypeError, ValueError) as error:
            raise values.located(error, self._data, packed)
        finally:
            buffer_free(&b)

    def _refresh(self):
        self._reissue()

    cdef int _reissue(self) except -1:
        cdef CookieConfig config = self._config
        cdef int64_t now
        if not config.idle_seconds or self._passive:
            return 0
        now = config._now()
        if config._wants_refresh(self._issued, now):
            self._issued = now
            self._send(self._as_cookie(), now)
        return 0

    def _send(self, token, now):
        self._cookies = self._config.set_cookies(token, now, self._taken)
        if self._config.asks_store:
            self._cookies += self._delete_old()

    def _as_cookie(self):
        payload = b"" if self._flags & POINTER else self._payload
        return Token(self._flags, self._expires, self._issued, self._revision, self._sid, payload)

    def _exclusive(self):
        if self._lock is None:
            lock = threading.RLock()
            with cython.critical_section(self):
                if self._lock is None:
                    self._lock = lock
        return self._lock


cdef object cookie_field(header):
    """Return the Cookie header of a request by ASGI, as bytes; of anything unusual its text, as the twin finds it."""
    cdef bytes found = None
    if type(header) is not list:
        return header_text(header)
    for field in <list> header:
        if type(field) is not tuple or PyTuple_GET_SIZE(field) != 2:
            return header_text(header)
        name, value = <tuple> field
        if type(name) is not bytes or type(value) is not bytes:
            return header_text(header)
        if PyBytes_GET_SIZE(name) == 6 and memcmp(PyBytes_AS_STRING(name), b"cookie", 6) == 0:
            found = <bytes> value if found is None else found + b"; " + <bytes> value
    return b"" if found is None else found


cdef str as_text(header):
    return header if type(header) is str else (<bytes> header).decode("latin-1")


# -- response headers

cdef tuple OTHER_FIRST_LETTERS = _core.OTHER_FIRST_LETTERS


def with_session(headers, list cookies not None, names):
    cdef list result = list(headers)
    cdef bint has_private = False, has_vary = False, may_share = False
    cdef Py_ssize_t size
    set_cookie, private, vary = names
    for pair in result:
        if type(pair) is not tuple or PyTuple_GET_SIZE(pair) != 2:
            return _core.with_session(result, cookies, names)
        size = len((<tuple> pair)[0])
        if size == 4:
            has_vary = True
        elif size == 13:
            has_private = True
        elif size > 14 or (size == 12 and (<tuple> pair)[0][0] in OTHER_FIRST_LETTERS):
            may_share = True
    if cookies:
        if may_share:
            result = _headers.for_one_client(result)
        for cookie in cookies:
            result.append((set_cookie, cookie if names is WSGI else cookie.encode("latin-1")))
        if has_private:
            result = _headers.merged(result, private, _headers.keep_private)
        else:
            result.append(private)
    if has_vary:
        return _headers.merged(result, vary, _headers.vary_by_cookie)
    result.append(vary)
    return result
