"""The core takes its arguments in exactly the types it names."""

from __future__ import annotations

import pytest
from core_samples import CIPHER_KEY, CIPHER_KEYS, KEY, KEYS, NOW, RIGHT, SID, TOKEN

from gaesess import _core, _impl
from gaesess._core import SIGNED, Token

SEALED, ENCRYPTED = _core.seal(KEY, TOKEN, 1), _core.seal(CIPHER_KEY, TOKEN, 1)


class Text(str):
    """Not exactly a str."""


class Data(bytes):
    """Not exactly bytes."""


class Number(int):
    """Not exactly an int."""


class Mapping(dict):
    """Not exactly a dict."""


class OtherToken(Token):
    """Not exactly a Token."""


class NoKey:
    """Has the id of a key and nothing else."""

    id = 7


ANYTHING = {("format_sid", 1), ("with_session", 1)}  # true or false; None is no cookies
PLACES = [(name, index) for name, arguments in RIGHT.items() for index in range(len(arguments))]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("dumps", (Mapping(key="value"),)),
        ("dumps", ([("key", "value")],)),
        ("loads", (Data(_core.dumps({})),)),
        ("loads", (bytearray(_core.dumps({})),)),
        ("prepare_key", (Number(SIGNED), 1, b"secret")),
        ("prepare_key", (SIGNED, True, b"secret")),
        ("prepare_key", (SIGNED, 1, bytearray(b"secret"))),
        ("prepare_key", (SIGNED, 1, "secret")),
        ("prepare_key", (SIGNED, 1, b"secret", 1)),
        ("seal", (KEY, tuple(TOKEN), 1)),
        ("seal", (CIPHER_KEY, tuple(TOKEN), 1)),
        ("seal", (KEY, OtherToken(*TOKEN), 1)),
        ("seal", (KEY, TOKEN, True)),
        ("seal", (KEY, TOKEN, 1.0)),
        ("seal", (KEY, TOKEN._replace(expires=Number(1)), 1)),
        ("seal", (KEY, TOKEN._replace(sid=Data(SID)), 1)),
        ("seal", (KEY, TOKEN._replace(payload=bytearray(b"x")), 1)),
        ("seal", (CIPHER_KEY, TOKEN._replace(payload=bytearray(b"x")), 1)),
        ("unseal", (KEYS, Data(SEALED), NOW)),
        ("unseal", (KEYS, bytearray(SEALED), NOW)),
        ("unseal", (CIPHER_KEYS, bytearray(ENCRYPTED), NOW)),
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


@pytest.mark.parametrize(("name", "index"), [place for place in PLACES if place not in ANYTHING])
def test_none_is_taken_nowhere(name, index):
    arguments = list(RIGHT[name])
    arguments[index] = None
    with pytest.raises(TypeError):
        getattr(_impl, name)(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("seal", (NoKey(), TOKEN, 1)),
        ("unseal", ({7: NoKey()}, SEALED, NOW)),
        ("unseal_cookies", ({7: NoKey()}, *RIGHT["unseal_cookies"][1:])),
    ],
)
def test_another_object_in_the_place_of_a_key_is_an_error(name, arguments):
    with pytest.raises(TypeError):
        getattr(_impl, name)(*arguments)


@pytest.mark.parametrize("fields", [(), TOKEN[:-1], (*TOKEN, b"")])
def test_a_token_of_too_few_or_too_many_fields_is_an_error(fields):
    with pytest.raises(ValueError, match="values to unpack"):
        _impl.seal(KEY, tuple.__new__(Token, fields), 1)


def test_no_key_is_made_without_its_blocks():
    kind = type(_impl.prepare_key(SIGNED, 7, b"secret"))
    with pytest.raises(TypeError):
        kind.__new__(kind)
