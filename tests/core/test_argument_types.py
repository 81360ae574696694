"""The core takes its arguments in exactly the types it names."""

from __future__ import annotations

import pytest
from core_samples import KEY, KEYS, NOW, SID, TOKEN

from gaesess import _core, _impl

SEALED = _core.seal(KEY, TOKEN, 1)


class Text(str):
    """Not exactly a str."""


class Data(bytes):
    """Not exactly bytes."""


class Number(int):
    """Not exactly an int."""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("prepare_key", (True, b"secret")),
        ("prepare_key", (1, bytearray(b"secret"))),
        ("prepare_key", (1, "secret")),
        ("seal", (KEY, tuple(TOKEN), 1)),
        ("seal", (KEY, TOKEN, True)),
        ("seal", (KEY, TOKEN, 1.0)),
        ("seal", (KEY, TOKEN._replace(expires=Number(1)), 1)),
        ("seal", (KEY, TOKEN._replace(sid=Data(SID)), 1)),
        ("seal", (KEY, TOKEN._replace(payload=bytearray(b"x")), 1)),
        ("unseal", (KEYS, Data(SEALED), NOW)),
        ("unseal", (KEYS, bytearray(SEALED), NOW)),
        ("unseal", (KEYS, memoryview(SEALED), NOW)),
        ("unseal", (KEYS, SEALED, float("nan"))),  # which no expiry is before
        ("encode", (Data(b"data"),)),
        ("encode", (bytearray(b"data"),)),
        ("decode", (Text("AAAA"),)),
        ("decode", (b"AAAA",)),
        ("read_cookies", (None, "gaesess")),
        ("read_cookies", (Text("gaesess=x"), "gaesess")),
        ("read_cookies", ("gaesess=x", Text("gaesess"))),
        ("write_cookies", (Text("n"), "text", "", 8)),
        ("write_cookies", ("n", Text("text"), "", 8)),
        ("write_cookies", ("n", "text", Text(""), 8)),
        ("write_cookies", ("n", "text", "", Number(8))),
        ("format_sid", (True, True, SID)),
        ("format_sid", (1.5, True, SID)),
        ("format_sid", (1, True, Data(SID))),
        ("parse_sid", (Text("1800000000_00112233445566778899aabbccddeeff"),)),
    ],
)
def test_only_exact_types_are_taken(name, arguments):
    """So that no method of a subclass has a say in what is verified."""
    with pytest.raises(TypeError):
        getattr(_impl, name)(*arguments)
