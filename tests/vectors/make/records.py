"""Records: the payload of their tokens, and the keys under which stores have them."""

from __future__ import annotations

from typing import Any

from vectors import answers, today
from vectors.answers import Vector
from vectors.make.forge import SID
from vectors.notation import hexed, unhexed, value_of, without

HEIR = "ff*16"
WRITTEN: list[Vector] = [
    {"data": "81a16101", "write_ids": "a1" * 8, "cookie_revision": 0},
    {"data": "80", "write_ids": "a1" * 8, "cookie_revision": 1},
    {"data": "80", "write_ids": "a1" * 8, "cookie_revision": 2**32 - 1},
    {"data": "81a16101", "write_ids": "a1" * 8 + "b2" * 8, "cookie_revision": 258},
    {"data": "81a16101", "write_ids": "".join(f"{number:02x}" * 8 for number in range(1, 17)), "cookie_revision": 7},
    {"data": "00*300", "write_ids": "00*128", "cookie_revision": 7},
]
ENDED: list[Any] = [None, *({"expires": expires, "sid": HEIR} for expires in (1, 1_800_000_000, 2**32 - 1))]
BAD_PAYLOADS = {
    "one byte": "01",
    "the count, the cookie revision and the time, cut short": "0000000000 000000",
    "a write id, cut short": "0100000000 6b49d200" + "a1" * 7,
    "two writes, one of them there": "0200000000 6b49d200" + "a1" * 8,
    "255 writes, none of them there": "ff00000000 6b49d200 81a16101",
    "an heir, cut short": "0000000000 6b49d200 6b49d200" + "ff" * 15,
    "an heir, with a byte too many": "0000000000 6b49d200 6b49d200" + "ff" * 17,
    "an heir without a time": "0000000000 6b49d200 00000000" + "ff" * 16,
    "itself as its heir": f"0000000000 6b49d200 6b49d200 {SID}",
    "an heir's expiry alone": "0000000000 6b49d200 6b49d200",
}
RING = {"cookie_key": "KEY", "cookie_name": "__Host-gaesess"}
RINGS = [RING, RING | {"cookie_key": "OLD_KEY"}, RING | {"cookie_name": "gaesess"}, RING | {"encrypt": True}]
RINGS.append(RING | {"retired_keys": ["OLD_KEY"]})
USER_IDS = ["'ada'", "''", "1", "-1", "0", "2**70", "'1'", "'\\ud800'", "'ü' * 100"]


def content() -> dict[str, Any]:
    framed = [{"ended": False, **vector} for vector in WRITTEN] + [{"ended": True, "heir": heir} for heir in ENDED]
    bad = [{"what": what, "sid": SID, "payload": payload} for what, payload in BAD_PAYLOADS.items()]
    keys = [
        {"expires": expires, "sid": sid}
        for expires in (1, 1_800_000_000, 2**32 - 3601, 2**32 - 3600, 2**32 - 1)
        for sid in (SID, HEIR, "00*16")
    ]
    users = [RING | {"user_id": user_id} for user_id in USER_IDS] + [ring | {"user_id": "'ada'"} for ring in RINGS[1:]]
    return {
        "about": "Payloads of the tokens in records; the keys of records; and what memcached stores under such a key.",
        "names": {name: value_of(name) for name in ("KEY", "OLD_KEY")},
        "defaults": RING,
        "payloads": [{"sid": SID, **vector, "payload": answers.framed(vector)} for vector in framed],
        "refused": [vector | answers.unframed(vector) for vector in bad],
        "keys of sessions": [vector | {"key": key_of_session(vector)} for vector in keys],
        "keys of users": [without(RING, vector | {"key": answers.key_of_user(vector)}) for vector in users],
        "in memcached": [
            {"version": version, "data": "5a", "value": hexed(today.memcached_value(version, b"Z"))}
            for version in (0, 1, 2**62 - 1, 2**64 - 1)
        ],
    }


def key_of_session(vector: Vector) -> str:
    return today.key_of_record(vector["expires"], unhexed(vector["sid"]))
