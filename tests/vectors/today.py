"""The only module of the vectors that uses gaesess's internals.

When the internals change, rewrite this module. The JSON files and `test_vectors.py` stay as they are: what was written
before the change must be readable after it.
"""

from __future__ import annotations

import hmac
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from gaesess import Session, SessionManager, _core, _impl, events
from gaesess._core import Token, expanded
from gaesess.keys import Keys, derive
from gaesess.records import History, Records, frame, tombstone, unframe
from gaesess.stores import tiered
from gaesess.stores._entries import data_of, value_of, version_of
from gaesess.stores.memory import MemoryStore

Ring = dict[str, Any]  # cookie_key, retired_keys, cookie_name, encrypt
Fields = dict[str, Any]  # flags (their names), expires, issued, revision, sid and payload (bytes)
FLAGS = ("POINTER", "ZLIB", "BROWSER", "SECURE", "RECORDED")

# -- the world around


@contextmanager
def random_source(source: Callable[[int], bytes]) -> Iterator[None]:
    """Take the random bytes of session ids, salts and write ids from `source`."""
    with patch.object(os, "urandom", source):
        yield


@contextmanager
def refusals() -> Iterator[list[list[str | None]]]:
    """Collect events, without repetitions: the name, and the error's class and text, else the event's message."""
    found: list[list[str | None]] = []

    def listen(event: events.Event) -> None:
        error = sys.exc_info()[1]  # events are emitted where the error is handled
        reason = event.fields.get("reason")
        reported: list[Any] = [event.name, *(refused(error) if error else [reason, event.message])]
        if reason and not error:
            reported[2] = event.message.partition(": ")[2]
        if reported not in found:
            found.append(reported)

    unsubscribe = events.subscribe(listen)
    try:
        yield found
    finally:
        unsubscribe()


def refused(error: BaseException) -> list[str]:
    """Return the class and the text of an error."""
    return [type(error).__name__, str(error)]


# -- keys


def derived_keys(ring: Ring, purpose: str) -> list[tuple[int, bytes]]:
    """Return the id and the key that each secret gives for a purpose: "cookie", "record" or "user"."""
    return [(key.id, _unpadded(key.inner)) for key in getattr(_keys(ring), purpose).values()]


def derived_secrets(ring: Ring) -> dict[str, list[bytes]]:
    """Return what each secret gives for the ids of users' records, and for the entries of a cache."""
    keys = _keys(ring)
    return {"handle": [key for key, _ in keys.handles], "cache": keys.cache}


def _keys(ring: Ring) -> Keys:
    return derive(**ring)


def _unpadded(inner_block: bytes) -> bytes:
    return bytes(byte ^ 0x36 for byte in inner_block[:32])


def label(ring: Ring, sid: bytes) -> str:
    """Return the label of a session in logs."""
    return hmac.digest(_keys(ring).label, sid, "sha256")[:4].hex()


# -- session ids


def format_sid(expires: int, secure: bool, sid: bytes) -> str:
    return _impl.format_sid(expires, secure, sid)


def parse_sid(text: str) -> tuple[int, bool, bytes]:
    return _impl.parse_sid(text)


# -- tokens


def seal_token(ring: Ring, purpose: str, fields: Fields, chunks: int, salt: bytes) -> bytes:
    """Return a token with these fields. With the flag ZLIB the payload is compressed already."""
    with random_source(lambda size: salt[:size]):
        return _impl.seal(next(iter(getattr(_keys(ring), purpose).values())), _token(fields), chunks)


def open_token(ring: Ring, purpose: str, data: bytes, now: int) -> tuple[Fields, bool]:
    """Return the fields of a token, decompressed, and whether a retired key sealed it."""
    keys = getattr(_keys(ring), purpose)
    return _fields(expanded(_impl.unseal(keys, data, now))), data[1] != next(iter(keys))


def open_header(ring: Ring, header: str, now: int) -> tuple[Fields | None, int, bool]:
    """Return the token in a Cookie header, how many cookie names it takes, and whether a retired key sealed it."""
    keys = _keys(ring).cookie
    found = _impl.unseal_cookies(keys, header, ring["cookie_name"], now)
    return (_fields(expanded(found[0])), found[1], found[2] != next(iter(keys))) if found else (None, 0, False)


def text_of_token(data: bytes) -> str:
    return _impl.encode(data)


def bytes_of_token(text: str) -> bytes:
    return _impl.decode(text)


def _token(fields: Fields) -> Token:
    flags = sum(getattr(_core, name) for name in fields["flags"].split())
    return Token(**fields | {"flags": flags})


def _fields(token: Token) -> Fields:
    return token._asdict() | {"flags": " ".join(name for name in FLAGS if token.flags & getattr(_core, name))}


# -- values


def pack(data: dict[Any, Any]) -> bytes:
    return _impl.dumps(data)


def unpack(payload: bytes) -> dict[Any, Any]:
    return _impl.loads(payload)


# -- records


def frame_record(data: bytes, write_ids: bytes, cookie_revision: int) -> bytes:
    """Return the payload of a record: the session's data behind its history."""
    return frame(data, History(write_ids, cookie_revision))


def frame_tombstone(heir: tuple[int, bytes] | None) -> bytes:
    """Return the payload of a tombstone. The heir is the expiry and the id with which the session continues."""
    return tombstone(*([Token(0, heir[0], 0, 0, heir[1], b"")] if heir else []))


def read_frame(sid: bytes, payload: bytes) -> dict[str, Any]:
    """Return the fields of a record's payload."""
    record = unframe(Token(0, 1, 0, 0, sid, payload), version=None)
    return {
        "data": b"" if record.ended else record.token.payload,
        "write_ids": record.history.write_ids,
        "cookie_revision": record.history.cookie_revision,
        "heir": (record.heirs[0].expires, record.heirs[0].sid) if record.heirs else None,
    }


def key_of_record(expires: int, sid: bytes) -> str:
    config: Any = None  # it has no part in this
    return Records(config, MemoryStore(), {0: config}).key(Token(0, expires, 0, 0, sid, b""))


def sid_of_user(ring: Ring, user_id: str | int) -> bytes:
    """Return what a user's record has in place of a session id."""
    return _user(ring, user_id)[1].sid


def key_of_user(ring: Ring, user_id: str | int) -> str:
    records, identity = _user(ring, user_id)
    return records.key(identity)


def _user(ring: Ring, user_id: str | int) -> tuple[Records, Token]:
    users = SessionManager(**ring, store=MemoryStore(), revocable=True).config.require_users()
    return users._records, users._identities(user_id)[0]


def cache_entry(ring: Ring, key: str, now: int, version: int, data: bytes) -> bytes:
    """Return what a cache has of a record that the durable store had at that version and time."""
    (secret, *_), stamp = _keys(ring).cache, tiered._STAMP.pack(now, version)
    tiers = tiered.TieredStore(MemoryStore(), MemoryStore()).tiers([secret], lambda: now, 0)
    return tiers._tag(secret, key, stamp, data) + stamp + data


def memcached_value(version: int, data: bytes) -> bytes:
    """Return what memcached stores for a version of a record."""
    return value_of(version, data)


def read_memcached_value(value: bytes) -> tuple[int, bytes]:
    return version_of(value), data_of(value)


# -- sessions and stores


def set_clock(manager: SessionManager, clock: Callable[[], float]) -> None:
    """Take the time by which a manager decides whether a store hangs from `clock`."""
    manager.config.driver.clock = clock


def seen(session: Session) -> dict[str, Any] | None:
    """Return what a request sees of its session, None without one. Raises StoreUnavailable."""
    if not session.is_active():
        return None
    assert session.home is not None
    return {
        "data": repr(dict(session)),
        "sid": session.sid,
        "storage": session.home.value,
        "revision": session.revision,
    }


def contents(store: MemoryStore) -> dict[str, tuple[int, bytes]]:
    """Return expiry and bytes of the records in a store, by key."""
    return {key: (record.expires_at, record.data) for key, record in store._records.items()}
