"""The answers of gaesess to the vectors, in the form in which the JSON files have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vectors import today
from vectors.notation import hexed, unhexed, value_of

Vector = dict[str, Any]

PURPOSES = ("cookie", "record", "user")
NUMBERS = ("expires", "issued", "revision")


def answer(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a call, or the class and the text of its error."""
    try:
        return function(*arguments)
    except (TypeError, ValueError) as error:
        return {"refused": today.refused(error)}


# -- keys


def ring_of(vector: Vector) -> today.Ring:
    """Return the settings from which keys are derived."""
    return {
        "cookie_key": value_of(vector["cookie_key"]),
        "retired_keys": [value_of(secret) for secret in vector.get("retired_keys", ())],
        "cookie_name": vector["cookie_name"],
        "encrypt": vector.get("encrypt", False),
    }


def derived(vector: Vector) -> Vector:
    ring = ring_of(vector)
    keys = {purpose: [[key_id, key.hex()] for key_id, key in today.derived_keys(ring, purpose)] for purpose in PURPOSES}
    return keys | {name: [key.hex() for key in secrets] for name, secrets in today.derived_secrets(ring).items()}


def label(vector: Vector) -> str:
    return today.label(ring_of(vector), unhexed(vector["sid"]))


# -- session ids


def formatted(vector: Vector) -> Any:
    return answer(today.format_sid, vector["expires"], vector["secure"], unhexed(vector["sid"]))


def parsed(text: str) -> Any:
    def parse() -> Vector:
        expires, secure, sid = today.parse_sid(text)
        return {"expires": expires, "secure": secure, "sid": hexed(sid)}

    return answer(parse)


# -- tokens


def sealed(vector: Vector) -> Any:
    """Return the token with the fields of a vector."""
    fields = {name: vector[name] for name in ("flags", *NUMBERS)}
    fields |= {name: unhexed(vector[name]) for name in ("sid", "payload")}
    arguments = ring_of(vector), vector["purpose"], fields, vector["chunks"], unhexed(vector.get("salt", ""))
    return answer(lambda: hexed(today.seal_token(*arguments)))


def opened(vector: Vector, now: int) -> Any:
    """Return the fields of a vector's token, and whether a retired key sealed it."""
    arguments = ring_of(vector), vector["purpose"], unhexed(vector["token"]), now

    def open_token() -> Vector:
        fields, retired = today.open_token(*arguments)
        return {**shown(fields), "retired": retired}

    return answer(open_token)


def found(vector: Vector) -> Any:
    """Return the fields of the token in a vector's Cookie header, and how many names it takes; None without one."""
    arguments = ring_of(vector), vector["header"], vector["now"]

    def open_header() -> Vector | None:
        fields, taken, retired = today.open_header(*arguments)
        return fields and {**shown(fields), "retired": retired, "taken": taken}

    return answer(open_header)


def shown(fields: Vector) -> Vector:
    return {name: hexed(value) if isinstance(value, bytes) else value for name, value in fields.items()}


# -- session data


def packed(data: dict[Any, Any]) -> Any:
    """Return the bytes of a session's data."""
    return answer(lambda: hexed(today.pack(data)))


def unpacked(payload: bytes) -> Any:
    """Return the data of these bytes."""
    return answer(today.unpack, payload)


# -- records


def framed(vector: Vector) -> str:
    """Return the payload of a vector's record."""
    if vector["ended"]:
        heir = vector["heir"]
        return hexed(today.frame_tombstone(heir and (heir["expires"], unhexed(heir["sid"]))))
    return hexed(today.frame_record(unhexed(vector["data"]), unhexed(vector["write_ids"]), vector["cookie_revision"]))


def unframed(vector: Vector) -> Any:
    """Return the fields of the payload of a vector's record."""
    arguments = unhexed(vector["sid"]), unhexed(vector["payload"])

    def read() -> Vector:
        record = today.read_frame(*arguments)
        heir = record.pop("heir")
        return {**shown(record), "heir": heir and {"expires": heir[0], "sid": hexed(heir[1])}}

    return answer(read)


def key_of_user(vector: Vector) -> str:
    return today.key_of_user(ring_of(vector), value_of(vector["user_id"]))
