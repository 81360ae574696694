"""write_cookies: a token's text as Set-Cookie values, and back by way of a browser."""

from __future__ import annotations

import pytest
from core_samples import KEY, KEYS, NOW, TOKEN
from hypothesis import given, settings
from hypothesis import strategies as st

from gaesess import _impl

ATTRIBUTES = "; Path=/; HttpOnly"
NAME_CHARACTERS = "!#$%&'*+-.^_`|~0123456789ABCxyz"


def test_a_text_that_fits_is_one_cookie():
    assert _impl.write_cookies("gaesess", "abcdefgh", ATTRIBUTES, 8) == ["gaesess=abcdefgh; Path=/; HttpOnly"]


def test_a_longer_text_is_cut_and_numbered_from_one():
    assert _impl.write_cookies("n", "abcdefghABCDEFGHi", ATTRIBUTES, 8) == [
        "n=abcdefgh; Path=/; HttpOnly",
        "n.1=ABCDEFGH; Path=/; HttpOnly",
        "n.2=i; Path=/; HttpOnly",
    ]


@pytest.mark.parametrize(("length", "cookies"), [(0, 1), (1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3), (200, 20)])
def test_there_are_as_many_cookies_as_are_needed(length, cookies):
    assert len(_impl.write_cookies("n", "x" * length, "", 10)) == cookies


@pytest.mark.parametrize("chunk_chars", [2**31, 2**63 - 1, 2**63, 10**30])
def test_a_chunk_may_be_larger_than_any_text(chunk_chars):
    assert _impl.write_cookies("n", "abc", "", chunk_chars) == ["n=abc"]


@pytest.mark.parametrize("chunk_chars", [7, 1, 0, -1, -(10**30)])
def test_chunks_too_small_to_be_read_again_are_refused(chunk_chars):
    with pytest.raises(ValueError, match=f"at least 8 characters, not {chunk_chars}"):
        _impl.write_cookies("n", "abc", "", chunk_chars)


def as_a_browser_sends(set_cookies: list[str]) -> list[str]:
    return [value.split(";", 1)[0] for value in set_cookies]


@settings(deadline=None)
@given(
    payload=st.binary(min_size=1, max_size=800),
    chunks=st.integers(1, 20),
    name=st.text(NAME_CHARACTERS, min_size=1, max_size=12),
    others=st.lists(
        st.tuples(st.text("abc.1=-", min_size=1, max_size=9), st.text("abc.1= -\t", max_size=9)), max_size=6
    ),
    leftover=st.integers(0, 19),
    separator=st.sampled_from(["; ", ";", ";\t"]),
    rnd=st.randoms(use_true_random=False),
)
def test_what_is_written_comes_back_out_of_the_header_of_a_browser(
    payload, chunks, name, others, leftover, separator, rnd
):
    sealed_bytes = 64 + len(payload)
    chunk_chars = max(8, -(-(sealed_bytes * 4 + 2) // 3 // chunks) + 1)
    chunks = -(-((sealed_bytes * 4 + 2) // 3) // chunk_chars)
    text = _impl.encode(_impl.seal(KEY, TOKEN._replace(payload=payload), chunks))
    crumbs = as_a_browser_sends(_impl.write_cookies(name, text, ATTRIBUTES, chunk_chars))
    assert len(crumbs) == chunks
    if leftover >= chunks:
        crumbs.append(f"{name}.{leftover}=leftover")
    crumbs += [f"{key}={value}" for key, value in others if not f"{key}={value}".startswith(name)]
    rnd.shuffle(crumbs)
    found, taken = _impl.read_cookies(separator.join(crumbs), name)
    assert _impl.unseal(KEYS, _impl.decode(found), NOW).payload == payload
    assert taken == max(chunks, leftover + 1 if leftover >= chunks else 0)
