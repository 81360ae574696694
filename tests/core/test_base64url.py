"""encode and decode: base64url, in its one canonical spelling."""

from __future__ import annotations

import base64
import string
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaesess import _impl
from gaesess.errors import MalformedToken

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
        (b"\xfb\xff\xfe", "-__-"),
    ],
)
def test_the_vectors_of_rfc_4648_without_padding(data, text):
    assert (_impl.encode(data), _impl.decode(text)) == (text, data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_it_is_the_standard_library_s_without_padding_and_comes_back(data):
    text = _impl.encode(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert _impl.decode(text) == data


@pytest.mark.parametrize(("free_bits", "length"), [(4, 2), (2, 3), (0, 4)])
def test_of_the_last_characters_only_those_without_trailing_bits_are_taken(free_bits, length):
    for value, character in enumerate(ALPHABET):
        text = "A" * (length - 1) + character
        if value % (1 << free_bits) == 0:
            assert _impl.encode(_impl.decode(text)) == text
        else:
            with pytest.raises(MalformedToken):
                _impl.decode(text)


@pytest.mark.parametrize("length", [1, 5, 9, 101])
def test_a_single_character_over_is_refused(length):
    with pytest.raises(MalformedToken):
        _impl.decode("A" * length)


@pytest.mark.parametrize("text", ["Zg==", "Zm8=", "Zm9v====", "=", "====", "Zg=", "Z=g=", "=Zm8"])
def test_padding_is_refused(text):
    with pytest.raises(MalformedToken):
        _impl.decode(text)


def test_a_foreign_character_at_any_place_is_refused_without_a_warning():
    """The standard library skips most of them, and from 3.15 on warns of "+" and "/"."""
    foreign = [chr(code) for code in range(256) if chr(code) not in ALPHABET]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for character in [*foreign, "\u0100", "\u0141", "\uff21", "\ud800", "\U0001f36a"]:
            for text in ["AAAA", "AAAAAA", "AAAAAAA", "AAAAAAAA"]:
                for place in range(len(text)):
                    with pytest.raises(MalformedToken):
                        _impl.decode(text[:place] + character + text[place + 1 :])


@pytest.mark.parametrize("character", [" ", "\n", "\r\n", "\t", "\0", "+", "/", "=", ".", "\x80"])
def test_a_foreign_character_put_in_is_refused(character):
    for place in range(9):
        with pytest.raises(MalformedToken):
            _impl.decode("AAAAAAAA"[:place] + character + "AAAAAAAA"[place:])


def test_large_data_comes_back():
    data = bytes(range(256)) * 4096
    assert _impl.decode(_impl.encode(data)) == data
