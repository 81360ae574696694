"""`python -m fuzz.seeds`: writes the corpus that the fuzzer starts from, of what the library itself makes."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from fuzz.middleware import COMPRESS, ENCRYPT, GAE_SESSIONS, HEADER, NO_EXPIRY, OURS, STORE
from fuzz.targets import KEY_ID, NAMES, NOW, SECRET, TOKEN
from gaesess import _core
from gaesess._core import BROWSER, POINTER, SECURE, SIGNED, ZLIB
from gaesess.records import History, frame, tombstone
from gaesess.users import USER_KEY

CORPUS = Path(__file__).parent / "corpus"
PYTHON2_PICKLES = Path(__file__).parents[1] / "tests" / "legacy" / "python2_pickles.json"
KEY = _core.prepare_key(SIGNED, KEY_ID, SECRET)
MOMENT = datetime(2026, 10, 25, 2, 30, 0, 123456)
VALUES = {
    "plain": [None, True, 1, -1.5, "text", b"bytes"],
    "containers": {"list": [1, [2]], "tuple": (1, (2, ())), 3: {"deeper": {}}},
    "sets": [{1, "1", (1,)}, frozenset({frozenset({1})})],
    "big-integers": [2**64, -(2**70)],
    "numbers": [Decimal("1.10"), Decimal("NaN"), complex(1, -0.0), float("nan")],
    "dates": [MOMENT, MOMENT.date(), time(1, 2, 3, fold=1), timedelta(days=-1, microseconds=1), date.max],
    "zones": [MOMENT.replace(tzinfo=zone) for zone in (timezone.utc, timezone(timedelta(hours=1), "CET"))],
    "zone-by-name": MOMENT.replace(tzinfo=ZoneInfo("Europe/Paris")),
    "uuid": UUID(int=2**127),
    "surrogate": "\ud800",
}


def header() -> Iterator[tuple[str, bytes]]:
    for name in NAMES:
        yield f"whole-{name}", cookies(name, 1, 1)
        yield f"chunks-{name}", cookies(name, 3, 3)
        yield f"left-over-{name}", cookies(name, 2, 3)
        yield f"lacks-one-{name}", cookies(name, 3, 2)
    yield "twice", b"s=IQcAAQ; s=IQcAAQ"
    yield "other-names", b"theme=dark; xs=1; s.20=1; s.01=1; s.x=1; s"


def cookies(name: str, chunks: int, written: int) -> bytes:
    """Return a Cookie header with a token that says it is in `chunks`, and is written in another number of them."""
    text = _core.encode(_core.seal(KEY, TOKEN._replace(payload=bytes(12)), chunks))
    return "; ".join(["a=b", *_core.write_cookies(name, text, "", -(-len(text) // written))]).encode()


def token() -> Iterator[tuple[str, bytes]]:
    yield "whole", _core.seal(KEY, TOKEN, 1)
    for name, sealed in {
        "inline": TOKEN,
        "pointer": TOKEN._replace(flags=POINTER, payload=b""),
        "all-flags": TOKEN._replace(flags=ZLIB | BROWSER | SECURE),
        "expired": TOKEN._replace(expires=NOW),
    }.items():
        yield f"fields-{name}", _core.seal(KEY, sealed, 20)[2:-32]


def sid() -> Iterator[tuple[str, bytes]]:
    yield "any-connection", _core.format_sid(NOW, False, bytes(range(16))).encode()
    yield "tls-only", _core.format_sid(1, True, bytes(16)).encode()
    yield "other-digits", "١٨٠٠٠٠٠٠٠٠_00112233445566778899aabbccddeeff".encode()
    yield "not-canonical", b"1_80000000S00 112233445566778899AABBCCDDEEF"


def record() -> Iterator[tuple[str, bytes]]:
    data = _core.dumps({"key": "value"})
    written = frame(data, History(bytes(16), 1))
    yield "written-twice", bytes([0, 2]) + written
    yield "older-than-the-cookie", bytes([0, 0]) + written
    packer = zlib.compressobj(wbits=-15)
    yield "compressed", bytes([ZLIB, 2]) + packer.compress(written) + packer.flush()
    yield "ended", bytes([0, 2]) + tombstone()
    heirs = [TOKEN._replace(sid=bytes(range(first, first + 16))) for first in range(2)]
    yield "ended-with-an-heir", bytes([0, 2]) + tombstone(heirs[0])
    yield "ended-with-two-heirs", bytes([0, 2]) + tombstone(*heirs)
    yield "more-writes-than-bytes", bytes([0, 2]) + struct.pack("!BI", 255, 0) + data
    yield "no-frame", bytes([0, 2, 0])
    yield "no-payload", bytes([POINTER, 2])
    yield "no-heir", bytes([0, 2]) + tombstone() + b"heir"
    yield "its-own-heir", bytes([0, 2]) + tombstone(TOKEN)


def values() -> Iterator[tuple[str, bytes]]:
    for name, value in VALUES.items():
        yield name, _core.dumps({name: value})
    in_paris = _core.dumps({"zone": VALUES["zone-by-name"]})
    yield "zone-that-is-a-folder", in_paris.replace(b"\xacEurope/Paris", b"\xa6Europe")


def gae_sessions() -> Iterator[tuple[str, bytes]]:
    for case in json.loads(PYTHON2_PICKLES.read_text()):
        pickled = base64.b64decode(case["pickle"])
        if len(pickled) <= 200:  # what is longer has more of the same
            yield case["name"].replace(" ", "-"), pickled


def middleware() -> Iterator[tuple[str, bytes]]:
    data, pickled = _core.dumps({"key": "value"}), dict(gae_sessions())["uuid"]
    yield "no-cookie", bytes([HEADER])
    yield "strange-cookies", bytes([HEADER]) + b"s=IQcAAQ; DgU00=x; s.1=; theme=dark"
    yield "in-its-cookie", bytes([OURS, 0, 0]) + data
    yield "in-the-store", bytes([OURS | STORE, 0, 0]) + data
    yield "pointer", bytes([OURS, POINTER, 0])
    yield "encrypted", bytes([OURS | ENCRYPT, SECURE, 0]) + data
    yield "compressed", bytes([OURS | COMPRESS, BROWSER, 0]) + _core.dumps({"key": "value" * 40})
    yield "soon-idle", bytes([OURS, 0, 59]) + data
    yield "of-a-user", bytes([OURS, 0, 0]) + _core.dumps({USER_KEY: ("ada", 0)})
    yield "of-a-user-that-cannot-be", bytes([OURS, 0, 0]) + _core.dumps({USER_KEY: ("ada", "0")})
    yield "gae-sessions", bytes([GAE_SESSIONS]) + pickled
    yield "gae-sessions-without-expiry", bytes([GAE_SESSIONS | NO_EXPIRY]) + pickled


def requests() -> Iterator[tuple[str, bytes]]:
    for number in range(8):
        yield f"program-{number}", b"".join(sha256(bytes([number, part])).digest() for part in range(8))


SEEDS = {
    "header": header,
    "token": token,
    "sid": sid,
    "record": record,
    "values": values,
    "gae_sessions": gae_sessions,
    "middleware": middleware,
    "requests": requests,
}


def write(folder: Path) -> None:
    """Write each target's seeds to a folder of its own."""
    for target, seeds in SEEDS.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / target / name).write_bytes(data)


if __name__ == "__main__":
    write(CORPUS)
