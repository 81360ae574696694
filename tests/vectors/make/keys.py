"""Keys derived from the application's keys, and session ids as text."""

from __future__ import annotations

from typing import Any

from vectors import answers
from vectors.notation import value_of, without

NAMES = ("__Secure-gaesess", "gaesess", "x", "n" * 200)
SECRETS = [
    "KEY",
    "KEY.encode()",
    "bytes(range(32))",
    "bytes(range(200))",  # longer than a block of SHA-256
    "'schlüssel ' * 4",
    "'\\udcff\\udc80' * 6",  # lone surrogates
]
SID = "00112233445566778899aabbccddeeff"
SIDS = [SID, "ff*16"]
GOOD_SIDS = [
    {"expires": expires, "secure": secure, "sid": sid}
    for expires in (1, 9_999, 1_800_000_000, 2**31 - 1, 2**31, 2**32 - 1)
    for secure in (False, True)
    for sid in SIDS
]
BAD_SIDS = {
    "empty": "",
    "no id": "1800000000_",
    "the id cut short": f"1800000000_{SID[:-1]}",
    "a byte too few": f"1800000000_{SID[:-2]}",
    "a byte too many": f"1800000000_{SID}00",
    "half a byte too many": f"1800000000_{SID}0",
    "upper case": f"1800000000_{SID.upper()}",
    "no hexadecimal": f"1800000000_{SID[:-1]}g",
    "a space in the id": f"1800000000_{SID[:16]} {SID[16:]}",
    "a space at the end": f"1800000000_{SID} ",
    "a line feed at the end": f"1800000000_{SID}\n",
    "NUL at the end": f"1800000000_{SID}\0",
    "lower-case s": f"1800000000s{SID}",
    "another separator": f"1800000000-{SID}",
    "no separator": f"1800000000{SID}",
    "full-width S": f"1800000000\uff33{SID}",
    "nine digits": f"180000000_{SID}",
    "eleven digits": f"18000000000_{SID}",
    "nine digits and a space": f" 180000000_{SID}",
    "a plus sign": f"+180000000_{SID}",
    "a minus sign": f"-180000000_{SID}",
    "an underscore among the digits": f"1_80000000_{SID}",
    "full-width digits": f"\uff11\uff18\uff10\uff10\uff10\uff10\uff10\uff10\uff10\uff10_{SID}",
    "Arabic digits in the id": f"1800000000_{SID[:-2]}\u0660\u0661",
    "expiry 0": f"0000000000_{SID}",
    "expiry beyond 32 bits": f"4294967296_{SID}",
    "a lone surrogate": f"1800000000_{SID[:-1]}\ud800",
}
BAD_FIELDS: list[dict[str, Any]] = [
    {"expires": expires, "secure": False, "sid": sid}
    for expires, sid in [(0, SID), (-1, SID), (2**32, SID), (1, ""), (1, SID[2:]), (1, f"00{SID}")]
]


def keys() -> dict[str, Any]:
    defaults = {"cookie_key": "KEY", "cookie_name": "__Host-gaesess"}
    rings: list[dict[str, Any]] = [{"cookie_key": secret} for secret in SECRETS]
    rings += [{"cookie_name": name} for name in NAMES]
    rings.append({"retired_keys": ["OLD_KEY", "bytes(range(32))"]})
    rings = [defaults | ring | suite for suite in ({}, {"encrypt": True}) for ring in rings]
    labelled = [ring | {"sid": SID} for ring in rings]
    return {
        "about": "For each key, the one in use first: its id, and 32 bytes of HKDF-SHA-256 for a purpose.",
        "names": {name: value_of(name) for name in ("KEY", "OLD_KEY")},
        "defaults": defaults,
        "keys": [without(defaults, ring | {"derived": answers.derived(ring)}) for ring in rings],
        "labels": [without(defaults, vector | {"label": answers.label(vector)}) for vector in labelled],
    }


def session_ids() -> dict[str, Any]:
    return {
        "about": "Session ids: as text, and their fields.",
        "good": [vector | {"text": answers.formatted(vector)} for vector in GOOD_SIDS],
        "refused when read": [{"what": what, "text": text, **answers.parsed(text)} for what, text in BAD_SIDS.items()],
        "refused when written": [vector | answers.formatted(vector) for vector in BAD_FIELDS],
    }
