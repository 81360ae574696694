"""What is fuzzed: functions that take any bytes, and raise AssertionError where gaesess does not do as documented."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fuzz.middleware import NOW, SECRET, middleware
from fuzz.twins import CODECS, CORES, SEALERS
from gaesess import _core, encryption
from gaesess._core import HEADER_BYTES, POINTER, SID_BYTES, Token
from gaesess.errors import InvalidToken, MalformedToken, SessionTerminated, StoreUnavailable
from gaesess.legacy.pickles import session_data
from gaesess.records import Records
from gaesess.stores.base import record_key
from gaesess.stores.memory import MemoryStore

KEY_ID = 7
NAMES = ("gaesess", "s")  # the second is found by chance more often
TOKEN = Token(flags=0, expires=NOW + 60, issued=NOW, revision=1, sid=bytes(SID_BYTES), payload=b"payload")

Errors = type[Exception] | tuple[type[Exception], ...]

_KEYS = [{KEY_ID: core.prepare_key(KEY_ID, SECRET)} for core in CORES]
_CIPHER_KEY = encryption.prepare_key(KEY_ID, SECRET)


def header(data: bytes) -> None:
    """Read a Cookie header."""
    text = data.decode("latin-1")  # as servers do (PEP 3333)
    for name in NAMES:
        _agreed(InvalidToken, [partial(core.read_cookies, text, name) for core in CORES])
        unsealing = zip(CORES, _KEYS, strict=True)
        _agreed(InvalidToken, [partial(core.unseal_cookies, keys, text, name, NOW) for core, keys in unsealing])


def token(data: bytes) -> None:
    """Unseal a token of these bytes, and one whose header after the key id, and whose payload, they are."""
    _unsealed(data)
    _answer(InvalidToken, partial(encryption.unseal, {KEY_ID: _CIPHER_KEY}, data, NOW))
    if len(data) < HEADER_BYTES - 2:
        return
    signed, encrypted = genuine(data)
    unsealed = _unsealed(signed)
    decrypted = _answer(InvalidToken, partial(encryption.unseal, {KEY_ID: _CIPHER_KEY}, encrypted, NOW))
    assert _seen(decrypted) == _seen(unsealed)
    if isinstance(unsealed, Token):
        for core, keys in zip(CORES, _KEYS, strict=True):
            assert core.seal(keys[KEY_ID], unsealed, data[1]) == signed


def genuine(fields: bytes) -> tuple[bytes, bytes]:
    """Return a token of these bytes, from the flags on, with a tag that holds: one signed, and one encrypted."""
    header, payload = fields[: HEADER_BYTES - 2], fields[HEADER_BYTES - 2 :]
    message = bytes([_core.SUITE, KEY_ID]) + fields
    start = bytes([encryption.SUITE, KEY_ID]) + header + bytes(encryption.SALT_BYTES)
    cipher = encryption._cipher(_CIPHER_KEY, start)
    return message + _core._mac(_KEYS[0][KEY_ID], message), start + cipher.encrypt(encryption._NONCE, payload, start)


def sid(data: bytes) -> None:
    """Parse a session id's text."""
    text = data.decode("utf-8", "surrogateescape")
    parsed = _agreed(MalformedToken, [partial(core.parse_sid, text) for core in CORES])
    if not isinstance(parsed, MalformedToken):
        assert all(core.format_sid(*parsed) == text for core in CORES)


def record(data: bytes) -> None:
    """Read and end a session whose genuine record has these flags, this revision and this payload."""
    if len(data) < 2:
        return
    flags, revision, payload = data[0] & _core.KNOWN_FLAGS, data[1], data[2:]
    if bool(flags & POINTER) == bool(payload):  # there is no such token
        return
    stored = TOKEN._replace(flags=flags, revision=revision, payload=payload)
    pointer = TOKEN._replace(flags=POINTER, payload=b"")
    both = [_records(core, keys[KEY_ID], sealer, stored) for core, keys, sealer in _twins()]
    _agreed((InvalidToken, StoreUnavailable), [partial(records.read, pointer) for records in both])
    _agreed((SessionTerminated, StoreUnavailable), [partial(records.latest, pointer) for records in both])
    _agreed(StoreUnavailable, [partial(records.terminate, pointer) for records in both])


def codec(data: bytes) -> None:
    """Read session data, write what was read, and read that."""
    loaded = [_answer(MalformedToken, partial(codec.loads, data)) for codec in CODECS]
    if any(isinstance(answer, MalformedToken) for answer in loaded):
        assert len(set(map(repr, loaded))) == 1
        return
    _check_written(loaded, (TypeError, ValueError))  # too deep, or a mark of a type where no type is


def gae_sessions(data: bytes) -> None:
    """Read a pickle of gae-sessions 1.07, and write what was read as session data."""
    read = _answer(MalformedToken, partial(session_data, data))
    if not isinstance(read, MalformedToken):
        _check_written([read] * len(CODECS), ())


TARGETS = (header, token, sid, record, codec, gae_sessions, middleware)


def _agreed(errors: Errors, calls: list[Callable[[], Any]]) -> Any:
    """Return what all the calls answer."""
    first, *others = [_answer(errors, call) for call in calls]
    for other in others:
        assert _seen(other) == _seen(first)
    return first


def _answer(errors: Errors, call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the error if it is one of the documented ones."""
    try:
        return call()
    except errors as error:
        return error
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} is not documented: {error}") from error


def _unsealed(data: bytes) -> Any:
    unsealing = zip(CORES, _KEYS, strict=True)
    return _agreed(InvalidToken, [partial(core.unseal, keys, data, NOW) for core, keys in unsealing])


def _twins() -> Any:
    return zip(CORES, _KEYS, SEALERS, strict=True)


def _check_written(values: list[Any], errors: Errors) -> None:
    """Write one value with each codec, and read it again."""
    packed = _agreed(errors, [partial(codec.dumps, value) for codec, value in zip(CODECS, values, strict=True)])
    if isinstance(packed, bytes):
        again = [codec.loads(packed) for codec in CODECS]
        assert {_seen(value) for value in again} == {_seen(value) for value in values}
        assert all(codec.dumps(value) == packed for codec, value in zip(CODECS, again, strict=True))


def _records(core: Any, key: Any, sealer: Any, stored: Token) -> Records:
    """Return the records of a store that holds one."""
    store, seal = MemoryStore(), sealer.Sealer(core, key, [], compress=False)
    store.put(record_key(stored.expires, stored.sid), seal.seal(stored), expires_at=stored.expires)
    return Records(store, seal, bytes.hex, lambda: NOW)


def _seen(value: Any) -> str:
    """Return all that can be seen of a value: unlike `==` it tells types apart, and NaN is itself."""
    kind = tuple if isinstance(value, tuple) else type(value)  # a Token's repr shows no secrets
    if kind is dict:
        return f"dict({', '.join(f'{_seen(key)}: {_seen(item)}' for key, item in value.items())})"
    if kind in (list, tuple, set, frozenset):
        parts = map(_seen, value)
        return f"{kind.__name__}({', '.join(parts if kind in (list, tuple) else sorted(parts))})"
    return hex(value) if kind is int else repr(value)  # decimal digits have a limit
