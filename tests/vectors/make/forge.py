"""Tokens made without gaesess: with any bytes, and the right tag."""

from __future__ import annotations

import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from vectors import answers, today
from vectors.answers import Vector
from vectors.notation import unhexed

SID = "00112233445566778899aabbccddeeff"
SALT = "5a17" * 8
SIGNED, ENCRYPTED = 0x21, 0x22
FLAG_BITS = {name: 1 << bit for bit, name in enumerate(today.FLAGS)}


def forged(vector: Vector, *, suite: int | None = None, key_id: int | None = None, flags: int | None = None) -> bytes:
    """Return a token with a vector's fields, also with fields that gaesess never writes."""
    own_suite = ENCRYPTED if vector.get("encrypt") else SIGNED
    own_id, key = today.derived_keys(answers.ring_of(vector), vector["purpose"])[0]
    header = struct.pack(
        ">BBBBIII16s",
        own_suite if suite is None else suite,
        own_id if key_id is None else key_id,
        sum(FLAG_BITS[name] for name in vector["flags"].split()) if flags is None else flags,
        vector["chunks"],
        *(vector[name] for name in answers.NUMBERS),
        unhexed(vector["sid"]),
    )
    payload = unhexed(vector["payload"])
    if own_suite == SIGNED:
        return header + payload + hmac.digest(key, header + payload, "sha256")
    start = header + unhexed(SALT)
    return start + AESGCM(hmac.digest(key, start, "sha256")).encrypt(bytes(12), payload, start)
