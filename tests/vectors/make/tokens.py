"""Tokens, signed and encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from vectors import answers, today
from vectors.answers import Vector
from vectors.make.forge import FLAG_BITS, SALT, SID, forged
from vectors.notation import hexed, without

EXPIRES = 1_800_000_000
TOKEN: Vector = {
    "cookie_key": "KEY",
    "cookie_name": "__Host-gaesess",
    "purpose": "cookie",
    "flags": "",
    "chunks": 1,
    "expires": EXPIRES,
    "issued": 1_799_990_000,
    "revision": 7,
    "sid": SID,
    "payload": "81a16101",
}
SIGNED: Vector = {}
ENCRYPTED: Vector = {"encrypt": True, "salt": SALT}
SUITES = (SIGNED, ENCRYPTED)
DATA = "81a46e616d65d950" + "6162" * 40
DEFLATED = "6b5c9297989b7a33203189ba1000"  # DATA, by zlib 1.2
STORED = "010400fbff81a16101"  # TOKEN's payload, in a block that is not compressed
ENDLESS = "edc13101000000c2a0f54f6d0d0fa0 00*1065 803b03"  # 1,100,001 bytes of zero
EXTREMES: dict[str, list[Any]] = {
    "expires": [1, 2**31 - 1, 2**31, 2**32 - 1],
    "issued": [0, 1, 2**31, 2**32 - 1],
    "revision": [0, 1, 2**31, 2**32 - 1],
    "sid": ["00*16", "ff*16"],
    "payload": ["00", "ff", *(hexed(b"Z" * size) for size in (2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 500))],
    "chunks": list(range(1, 21)),
    "purpose": ["record", "user"],
    "cookie_name": ["gaesess", "n" * 100],
    "cookie_key": ["OLD_KEY", "bytes(range(200))"],
}
UNWRITABLE: list[Vector] = [
    {"chunks": 0},
    {"chunks": 21},
    {"expires": 0},
    {"expires": 2**32},
    {"expires": -1},
    {"issued": -1},
    {"issued": 2**32},
    {"revision": -1},
    {"revision": 2**32},
    {"sid": ""},
    {"sid": SID[2:]},
    {"sid": f"00{SID}"},
    {"payload": ""},
    {"flags": "POINTER"},
    {"flags": "POINTER SECURE RECORDED"},
]


def content() -> dict[str, Any]:
    return {
        "about": "Tokens and their fields. Fields that are left out are those of `defaults`.",
        "defaults": TOKEN,
        "signed": [without(TOKEN, vector) for vector in written(SIGNED)],
        "encrypted": [without(TOKEN, vector) for vector in written(ENCRYPTED)],
        "refused when read": [without(TOKEN, vector) for suite in SUITES for vector in refused_when_read(suite)],
        "refused when written": [
            without(TOKEN, vector | answers.sealed(vector)) for suite in SUITES for vector in tokens(suite, UNWRITABLE)
        ],
    }


def tokens(suite: Vector, changes: list[Vector]) -> list[Vector]:
    return [suite | TOKEN | change for change in changes]


def written(suite: Vector) -> Iterator[Vector]:
    changes: list[Vector] = [{}]
    for flags in product((False, True), repeat=len(FLAG_BITS)):
        names = [name for name, is_set in zip(FLAG_BITS, flags, strict=True) if is_set]
        change: Vector = {"flags": " ".join(names)}
        if "POINTER" in names:
            change["payload"] = ""
        elif "ZLIB" in names:
            change |= {"payload": DEFLATED, "expanded": DATA}
        changes.append(change)
    changes.append({"flags": "ZLIB", "payload": STORED, "expanded": TOKEN["payload"]})
    changes += [{name: value} for name, values in EXTREMES.items() for value in values]
    for vector in tokens(suite, changes):
        vector["token"] = answers.sealed(vector)
        assert vector["token"] == hexed(forged(vector))
        if vector["flags"].startswith("POINTER ZLIB"):
            vector |= answers.opened(vector, vector["expires"] - 1)
        yield vector


def refused_when_read(suite: Vector) -> Iterator[Vector]:
    now = EXPIRES - 1
    vector = TOKEN | suite
    good = forged(vector)
    pointer = vector | {"flags": "POINTER", "payload": ""}
    (key_id, _), *_ = today.derived_keys(answers.ring_of(vector), "cookie")
    tokens = {
        "empty": b"",
        "the suite alone": good[:1],
        "the header alone": good[:32],
        "cut short by a byte of the smallest": forged(pointer)[:-1],
        "cut short by a byte": good[:-1],
        "a byte too many": good + b"\0",
        "suite 0": forged(vector, suite=0),
        "suite 0x20": forged(vector, suite=0x20),
        "the other suite": forged(vector, suite=0x21 if suite else 0x22),
        "flag 0x20": forged(vector, flags=0x20),
        "flag 0x40": forged(vector, flags=0x40),
        "flag 0x80": forged(vector, flags=0x80),
        "no chunks": forged(vector | {"chunks": 0}),
        "21 chunks": forged(vector | {"chunks": 21}),
        "255 chunks": forged(vector | {"chunks": 255}),
        "another key id": forged(vector, key_id=key_id ^ 1),
        "another key": forged(vector | {"cookie_key": "OLD_KEY"}),
        "another key under this one's id": forged(vector | {"cookie_key": "OLD_KEY"}, key_id=key_id),
        "another purpose": forged(vector | {"purpose": "record"}),
        "another cookie name": forged(vector | {"cookie_name": "gaesess"}),
        "a pointer with a payload": forged(pointer | {"payload": "80"}),
        "neither a pointer nor a payload": forged(vector | {"payload": ""}),
        "compressed, but not by DEFLATE": forged(vector | {"flags": "ZLIB", "payload": "ffff"}),
        "compressed, and cut short": forged(vector | {"flags": "ZLIB", "payload": DEFLATED[:-2]}),
        "compressed, and a byte too many": forged(vector | {"flags": "ZLIB", "payload": f"{DEFLATED}00"}),
        "compressed from too many bytes": forged(vector | {"flags": "ZLIB", "payload": ENDLESS}),
        "expired in this second": forged(vector | {"expires": now}),
        "expired at second 0": forged(vector | {"expires": 0}),
        "expired, and neither a pointer nor a payload": forged(vector | {"expires": now, "payload": ""}),
    }
    for offset in (0, 1, 2, 3, 4, 8, 12, 16, 31, 32, 47, 48, -1):  # a bit of each field
        changed = bytearray(good)
        changed[offset] ^= 2
        tokens[f"a bit of byte {offset} is flipped"] = bytes(changed)
    for what, token in tokens.items():
        refused = {"what": what, **TOKEN, **suite, "token": hexed(token), "now": now}
        yield refused | answers.opened(refused, now)
