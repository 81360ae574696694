"""What is fuzzed: functions that take any bytes, and raise AssertionError where gaesess does not do as documented."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fuzz.middleware import NOW, SECRET, middleware
from fuzz.requests import requests
from gaesess import SessionManager, _core, _impl
from gaesess._core import ENCRYPTED, HEADER_BYTES, POINTER, SALT_BYTES, SID_BYTES, SIGNED, Token
from gaesess.drivers import run
from gaesess.ending import end, hand_on
from gaesess.errors import InvalidToken, MalformedToken, SessionTerminated, StoreUnavailable
from gaesess.keys import derive
from gaesess.legacy.pickles import session_data
from gaesess.records import Records
from gaesess.stores.memory import MemoryStore

KEY_ID = 7
NAMES = ("gaesess", "s")  # the second is found by chance more often
TOKEN = Token(flags=0, expires=NOW + 60, issued=NOW, revision=1, sid=bytes(SID_BYTES), payload=b"payload")

CORES: list[Any] = [_core, *([import_module("gaesess._speedups")] if find_spec("gaesess._speedups") else [])]

Errors = type[Exception] | tuple[type[Exception], ...]

_KEYS = {suite: [{KEY_ID: core.prepare_key(suite, KEY_ID, SECRET)} for core in CORES] for suite in (SIGNED, ENCRYPTED)}
_CONFIG = SessionManager(SECRET, cookie_name="s", clock=lambda: NOW).config
_RECORD_KEYS = derive(SECRET, cookie_name="s").record


def header(data: bytes) -> None:
    """Read a Cookie header."""
    text = data.decode("latin-1")  # as servers do (PEP 3333)
    for name in NAMES:
        _agreed(InvalidToken, [partial(core.read_cookies, text, name) for core in CORES])
        for both in _KEYS.values():
            unsealing = zip(CORES, both, strict=True)
            _agreed(InvalidToken, [partial(core.unseal_cookies, keys, text, name, NOW) for core, keys in unsealing])


def token(data: bytes) -> None:
    """Unseal a token of these bytes, and one whose header after the key id, and whose payload, they are."""
    for suite in _KEYS:
        _unsealed(suite, data)
    if len(data) < HEADER_BYTES - 2:
        return
    signed, encrypted = genuine(data)
    unsealed, decrypted = _unsealed(SIGNED, signed), _unsealed(ENCRYPTED, encrypted)
    assert _seen(decrypted) == _seen(unsealed)
    if isinstance(unsealed, Token):
        for core, keys in zip(CORES, _KEYS[SIGNED], strict=True):
            assert core.seal(keys[KEY_ID], unsealed, data[1]) == signed
        for core, keys in zip(CORES, _KEYS[ENCRYPTED], strict=True):
            assert _unsealed(ENCRYPTED, core.seal(keys[KEY_ID], unsealed, data[1])) == unsealed


def genuine(fields: bytes) -> tuple[bytes, bytes]:
    """Return a token of these bytes, from the flags on, with a tag that holds: one signed, and one encrypted."""
    header, payload = fields[: HEADER_BYTES - 2], fields[HEADER_BYTES - 2 :]
    message = bytes([SIGNED, KEY_ID]) + fields
    start = bytes([ENCRYPTED, KEY_ID]) + header + bytes(SALT_BYTES)
    cipher = _core._cipher(_KEYS[ENCRYPTED][0][KEY_ID], start)
    return message + _core.mac(_KEYS[SIGNED][0][KEY_ID], message), start + cipher.encrypt(_core._NONCE, payload, start)


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
    records = _records(stored)
    for read in (records.load, records.latest, records.look):
        _answer((InvalidToken, SessionTerminated, StoreUnavailable), lambda read=read: run(read(pointer)))
    heir = TOKEN._replace(sid=b"heir".ljust(SID_BYTES))
    handed_on = _answer((SessionTerminated, StoreUnavailable), lambda: run(hand_on(records, pointer, None, heir)))
    heirs = getattr(run(records.look(pointer))[0], "heirs", ())
    assert handed_on is not None or heir.sid in {other.sid for other in heirs}
    if _answer(StoreUnavailable, lambda: run(end(records, pointer))) is None:
        for other in (pointer, *heirs):
            found, _ = run(records.look(other))
            assert found is not None
            assert found.ended


def values(data: bytes) -> None:
    """Read session data, write what was read, and read that."""
    loaded = [_answer(MalformedToken, partial(core.loads, data)) for core in CORES]
    if any(isinstance(answer, MalformedToken) for answer in loaded):
        assert len(set(map(repr, loaded))) == 1
        return
    _check_written(loaded, ValueError)  # nested one level deeper than what is written


def gae_sessions(data: bytes) -> None:
    """Read a pickle of gae-sessions 1.07, and write what was read as session data."""
    read = _answer(MalformedToken, partial(session_data, data))
    if not isinstance(read, MalformedToken):
        _check_written([read] * len(CORES), ())


TARGETS = (header, token, sid, record, values, gae_sessions, middleware, requests)


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


def _unsealed(suite: int, data: bytes) -> Any:
    unsealing = zip(CORES, _KEYS[suite], strict=True)
    return _agreed(InvalidToken, [partial(core.unseal, keys, data, NOW) for core, keys in unsealing])


def _check_written(values: list[Any], errors: Errors) -> None:
    """Write one value with each core, and read it again."""
    packed = _agreed(errors, [partial(core.dumps, value) for core, value in zip(CORES, values, strict=True)])
    if isinstance(packed, bytes):
        again = [core.loads(packed) for core in CORES]
        assert {_seen(value) for value in again} == {_seen(value) for value in values}
        assert all(core.dumps(value) == packed for core, value in zip(CORES, again, strict=True))


def _records(stored: Token) -> Records:
    """Return the records of a store that holds one."""
    store = MemoryStore()
    records = Records(_CONFIG, store, _RECORD_KEYS)
    sealed = _impl.seal(next(iter(_RECORD_KEYS.values())), stored, 1)
    store.put(records.key(stored), sealed, expires_at=stored.expires)
    return records


def _seen(value: Any) -> str:
    """Return all that can be seen of a value: unlike `==` it tells types apart, and NaN is itself."""
    kind = tuple if isinstance(value, tuple) else type(value)  # a Token's repr shows no secrets
    if kind is dict:
        return f"dict({', '.join(f'{_seen(key)}: {_seen(item)}' for key, item in value.items())})"
    if kind in (list, tuple, set, frozenset):
        parts = map(_seen, value)
        return f"{kind.__name__}({', '.join(parts if kind in (list, tuple) else sorted(parts))})"
    return hex(value) if kind is int else repr(value)  # decimal digits have a limit
