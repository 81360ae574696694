"""Sessions that are refused, or accepted: their cookies, and the records in the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clock import NOW
from vectors import today
from vectors.answers import Vector, ring_of
from vectors.make.forge import SID, forged
from vectors.make.tokens import DEFLATED, ENDLESS, TOKEN
from vectors.notation import hexed, unhexed
from vectors.stage import refusal

NAME = TOKEN["cookie_name"]
EXPIRES = NOW + 1000
COOKIE = TOKEN | {"expires": EXPIRES, "issued": NOW - 100, "revision": 3}
POINTER = COOKIE | {"flags": "POINTER RECORDED", "payload": ""}
DATA = "81a16101"
RECORD = COOKIE | {"purpose": "record", "flags": "RECORDED", "payload": f"0100000001 {'a1' * 8} {DATA}"}
ENDED = RECORD | {"payload": "0000000000"}
OTHER_SID = "ff*16"
KEPT_UNTIL = EXPIRES + 3600
KEY_OF_RECORD = today.key_of_record(EXPIRES, unhexed(SID))
RING = ring_of(TOKEN)
USER = today.key_of_user(RING, "ada")
BOUND = f"82a16101 ac{b'gaesess.user'.hex()} 93c70002a361646100"  # {"a": 1, "gaesess.user": ("ada", 0)}
BADLY_BOUND = BOUND[:-2] + "c0"  # ("ada", None)
RETIRED = "retired_keys=[(OLD_KEY, datetime.fromtimestamp({}, timezone.utc))]"


def content(folder: Path) -> dict[str, Any]:
    vectors = [*cookies(), *pointers(), *records(), *revocable()]
    return {
        "about": "The session that a request sees, and the events of a refusal: name, class of the error, text.",
        "refusals": [vector | refusal(vector, folder) for vector in vectors],
    }


def header(vector: Vector) -> str:
    return f"{NAME}={today.text_of_token(forged(vector))}"


def vector(what: str, cookie: Vector | str, settings: str = "", store: str = "none", **more: Any) -> Vector:
    text = cookie if isinstance(cookie, str) else header(cookie)
    return {"what": what, "store": store, "settings": f"dict({settings})", "header": text, **more}


def cookies() -> Iterator[Vector]:
    yield vector("none at all", "")
    yield vector("valid", COOKIE)
    yield vector("valid, encrypted", COOKIE | {"encrypt": True}, "encrypt=True")
    yield vector("valid, of a retired key", COOKIE | {"cookie_key": "OLD_KEY"}, "retired_keys=[OLD_KEY]")
    yield vector("valid, of a retired key, for a second", COOKIE | {"cookie_key": "OLD_KEY"}, RETIRED.format(NOW + 1))
    yield vector("of a retired key past its deadline", COOKIE | {"cookie_key": "OLD_KEY"}, RETIRED.format(NOW))
    yield vector("of an unknown key", COOKIE | {"cookie_key": "OLD_KEY"})
    yield vector("of another cookie", COOKIE | {"cookie_name": "gaesess"})
    yield vector("of a record", RECORD)
    yield vector("signed, where it should be encrypted", COOKIE, "encrypt=True")
    yield vector("encrypted, where it should be signed", COOKIE | {"encrypt": True})
    yield vector("empty", f"{NAME}=")
    yield vector("no base64url", f"{NAME}=garbage+garbage")
    yield vector("no token", f"{NAME}=garbage-garbage")
    yield vector("cut short", header(COOKIE)[:80])
    yield vector("twice", f"{header(COOKIE)}; {header(COOKIE)}")
    yield vector("one chunk of two", COOKIE | {"chunks": 2})
    yield vector("expired in this second", COOKIE | {"expires": NOW})
    yield vector("valid, for a second", COOKIE | {"expires": NOW + 1})
    yield vector("idle in this second", COOKIE, "idle_timeout=timedelta(seconds=100)")
    yield vector("valid, and idle in a second", COOKIE, "idle_timeout=timedelta(seconds=101)")
    yield vector("compressed, but not by DEFLATE", COOKIE | {"flags": "ZLIB", "payload": "ffff"})
    yield vector("compressed, and cut short", COOKIE | {"flags": "ZLIB", "payload": DEFLATED[:-2]})
    yield vector("compressed from too many bytes", COOKIE | {"flags": "ZLIB", "payload": ENDLESS})
    yield vector("valid, compressed", COOKIE | {"flags": "ZLIB", "payload": DEFLATED})
    yield vector("not a dict", COOKIE | {"payload": "90"})
    yield vector("of a type that is not registered", COOKIE | {"payload": "81a17693c7000ea4676f6e6501"})
    yield vector("of fields that make no value", COOKIE | {"payload": "81a17692c7000600"})


def pointers() -> Iterator[Vector]:
    yield vector("a pointer without a store", POINTER)
    yield vector("a pointer to nothing", POINTER, store="memory")
    yield vector("a pointer to nothing, never saved", POINTER | {"revision": 0}, store="tiered")
    yield vector("a pointer to nothing, in a store that does not forget", POINTER, store="tiered")
    yield vector("a pointer to nothing, in an SQLite file", POINTER, store="sqlite")


def records() -> Iterator[Vector]:
    data = COOKIE["payload"]
    good, sealed = forged(RECORD), RECORD["payload"]
    stored = {
        "valid": good,
        "valid, newer than the cookie": forged(RECORD | {"revision": 4}),
        "valid, of a retired key": forged(RECORD | {"cookie_key": "OLD_KEY"}),
        "older than the cookie": forged(RECORD | {"revision": 2}),
        "ended": forged(ENDED),
        "ended, and older than the cookie": forged(ENDED | {"revision": 0}),
        "ended, with an heir": forged(ENDED | {"payload": f"0000000000 6b49d200 {OTHER_SID}"}),
        "empty": b"",
        "garbage": b"\xff" * 200,
        "cut short": good[:-1],
        "a bit of its data is flipped": good[:50] + bytes([good[50] ^ 1]) + good[51:],
        "a cookie": forged(COOKIE),
        "a pointer": forged(POINTER | {"purpose": "record"}),
        "of an unknown key": forged(RECORD | {"cookie_key": "bytes(range(32))"}),
        "of another cookie name": forged(RECORD | {"cookie_name": "gaesess"}),
        "encrypted": forged(RECORD | {"encrypt": True}),
        "of another session": forged(RECORD | {"sid": OTHER_SID}),
        "of the same session with another expiry": forged(RECORD | {"expires": EXPIRES + 1}),
        "expired": forged(RECORD | {"expires": NOW}),
        "of a user": forged(RECORD | {"purpose": "user"}),
        "no frame": forged(RECORD | {"payload": "00"}),
        "a frame that is cut short": forged(RECORD | {"payload": f"0200000001 {'a1' * 15}"}),
        "an heir that is cut short": forged(RECORD | {"payload": "0000000000 6b49d200"}),
        "itself as its heir": forged(RECORD | {"payload": f"0000000000 6b49d200 {SID}"}),
        "data that are not a dict": forged(RECORD | {"payload": sealed.replace(data, "90")}),
        "data of a type that is not registered": forged(
            RECORD | {"payload": sealed.replace(data, "81a17693c7000ea4676f6e6501")}
        ),
        "compressed, but not by DEFLATE": forged(RECORD | {"flags": "RECORDED ZLIB"}),
        "no data": forged(RECORD | {"payload": f"0100000001 {'a1' * 8}"}),
    }
    for what, record in stored.items():
        in_store = {KEY_OF_RECORD: [KEPT_UNTIL, hexed(record)]}
        settings = "retired_keys=[OLD_KEY]"
        yield vector(f"a pointer to a record: {what}", POINTER, settings, "memory", records=in_store)
    for what in ("garbage", "older than the cookie"):
        entry = today.cache_entry(RING, KEY_OF_RECORD, NOW, 1, stored[what])
        in_cache = {f"cache {KEY_OF_RECORD}": [KEPT_UNTIL, hexed(entry)]}
        in_both = in_cache | {f"durable {KEY_OF_RECORD}": [KEPT_UNTIL, hexed(good)]}
        yield vector(f"in the cache a record: {what}", POINTER, store="tiered", records=in_cache)
        yield vector(
            f"in the cache a record: {what}; but a good one behind it", POINTER, store="tiered", records=in_both
        )


def revocable() -> Iterator[Vector]:
    settings, user = "revocable=True", user_record(1, None)
    bound = COOKIE | {"payload": BOUND}
    pointed = forged(RECORD | {"payload": RECORD["payload"].replace(DATA, BOUND)})

    def in_store(**records: bytes) -> Vector:
        keys = {"session": (KEY_OF_RECORD, KEPT_UNTIL), "user": (USER, 2**32 - 1)}
        return {keys[name][0]: [keys[name][1], hexed(record)] for name, record in records.items()}

    cases: list[tuple[str, Vector, Vector]] = [
        ("valid", COOKIE, {}),
        ("valid, with a record of its own", COOKIE, in_store(session=forged(RECORD))),
        ("ended", COOKIE, in_store(session=forged(ENDED))),
        ("with garbage in the store", COOKIE, in_store(session=b"garbage")),
        ("of a user, and valid", bound, {}),
        ("of a user, of the latest generation", bound, in_store(user=user_record(0, None))),
        ("of a user who has signed out everywhere", bound, in_store(user=user)),
        ("of a user who has signed out everywhere else", bound, in_store(user=user_record(1, SID))),
        ("of a user with garbage in the store", bound, in_store(user=b"garbage")),
        ("of a user with the record of a session in the store", bound, in_store(user=forged(RECORD))),
        ("of a user, and in the store", POINTER, in_store(session=pointed, user=user)),
        ("of a user who cannot be", COOKIE | {"payload": BADLY_BOUND}, {}),
    ]
    for what, cookie, records in cases:
        yield vector(f"revocable: {what}", cookie, settings, "memory", records=records)
    yield vector("of a user, where nothing is revocable", bound, store="memory", records=in_store(user=user))


def user_record(generation: int, kept: str | None) -> bytes:
    """Return the record of the user "ada", with no sessions."""
    kept_packed = "c0" if kept is None else f"c410{kept}"
    payload = f"0100000000 {'a1' * 8} 81a475736572 94c70002 {generation:02x} {kept_packed} 91c70002"
    sid = today.sid_of_user(RING, "ada").hex()
    return forged(RECORD | {"purpose": "user", "expires": 2**32 - 1, "sid": sid, "payload": payload})
