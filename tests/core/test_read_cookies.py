"""read_cookies: our cookies, and no others, out of a Cookie header that anybody may have written."""

from __future__ import annotations

import random

import pytest
from core_samples import cookie_text, cut
from steps import executed_lines

from gaesess import _core, _impl
from gaesess.errors import MalformedToken

NAME = "gaesess"
ONE = cookie_text()
TEXT_OF_TWO = cookie_text(b"a payload for two cookies", chunks=2)
TWO = cut(TEXT_OF_TWO, 2)
TEXT_OF_TWENTY = cookie_text(bytes(600), chunks=20)
TWENTY = cut(TEXT_OF_TWENTY, 20)


def pairs(chunks: list[str]) -> list[str]:
    return [f"{NAME}.{number}={chunk}" if number else f"{NAME}={chunk}" for number, chunk in enumerate(chunks)]


@pytest.mark.parametrize(
    "header",
    [
        f"gaesess={ONE}",
        f"gaesess={ONE};",
        f"a=b; gaesess={ONE}",
        f"gaesess={ONE}; a=b",
        f"a=b; gaesess={ONE}; c=d",
        f"a=b;gaesess={ONE};c=d",
        f"a=b;\tgaesess={ONE}",
        f"a=b; \t  gaesess={ONE}",
        f"  gaesess={ONE}",
        f";;; gaesess={ONE};;;",
        f"a; gaesess={ONE}; b",
        f"=; gaesess={ONE}; =b",
        f"a=; gaesess={ONE}",
        f'a="b; gaesess={ONE}',  # a quotation mark has no meaning between cookies: browsers split at each semicolon
        f'a="quoted"; gaesess={ONE}; b={{"json": [1]}}',
        f"a=\xff\u20ac\U0001f36a; gaesess={ONE}",
        f"a=b, c=d; gaesess={ONE}",
    ],
)
def test_the_cookie_is_found_among_others(header):
    assert _impl.read_cookies(header, NAME) == (ONE, 1)


@pytest.mark.parametrize(
    "stranger",
    [
        "Xgaesess=1",
        "gaesessX=1",
        "gaesess.x=1",
        "gaesess.=1",
        "gaesess.0=1",
        "gaesess.01=1",
        "gaesess.001=1",
        "gaesess.20=1",
        "gaesess.21=1",
        "gaesess.99=1",
        "gaesess.100=1",
        "gaesess.1.1=1",
        "gaesess.-1=1",
        "gaesess.+1=1",
        "gaesess.1_=1",
        "gaesess. 1=1",
        "gaesess.\uff11=1",
        "gaesess.\u0661=1",
        "gaesess.\xb2=1",
        "gaesess .1=1",
        "gaesess =1",
        "gaesess\t=1",
        "gaesess.1 =1",
        "gaesess",
        "gaesess.1",
        "GAESESS=1",
        "Gaesess.1=1",
        "gaesess1=1",
        "gaesessgaesess=1",
        "gaesess,gaesess=1",
        "gaesess\x00=1",
        "\x00gaesess=1",
        "\ngaesess=1",
        "\xa0gaesess=1",
        "other=gaesess=1",
        "other= gaesess=1",
        "other=gaesess.1=1",
        "other=x,gaesess=1",
        'other="gaesess=1"',
        "other=a gaesess=1",
    ],
)
def test_a_cookie_of_another_name_is_none_of_ours(stranger):
    assert _impl.read_cookies(stranger, NAME) is None
    assert _impl.read_cookies(f"{stranger}; gaesess={ONE}", NAME) == (ONE, 1)
    assert _impl.read_cookies(f"gaesess={ONE}; {stranger}", NAME) == (ONE, 1)


@pytest.mark.parametrize("header", ["", ";", "=", " ", "a=b", "gaesess.1=abc", "gaesess.1=abc; gaesess.2=def"])
def test_without_the_first_cookie_there_is_none(header):
    assert _impl.read_cookies(header, NAME) is None


@pytest.mark.parametrize("header", ["; ".join(pairs(TWO)), "; ".join(reversed(pairs(TWO))), ";".join(pairs(TWO))])
def test_chunks_are_put_together_by_number_not_by_place(header):
    assert _impl.read_cookies(header, NAME) == (TEXT_OF_TWO, 2)


def test_twenty_chunks_in_any_order_are_put_together():
    shuffled = [*pairs(TWENTY), "a=b", "gaesess.20=x"]
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        assert _impl.read_cookies("; ".join(shuffled), NAME) == (TEXT_OF_TWENTY, 20)


@pytest.mark.parametrize("missing", range(1, 20))
def test_a_missing_chunk_is_reported(missing):
    rest = pairs(TWENTY)
    del rest[missing]
    with pytest.raises(MalformedToken, match="lacks a chunk"):
        _impl.read_cookies("; ".join(rest), NAME)


@pytest.mark.parametrize(
    "header",
    [
        f"gaesess={ONE}; gaesess={ONE}",
        f"gaesess={ONE}; gaesess=other",
        f"gaesess={ONE}; gaesess=",
        f"gaesess=; gaesess={ONE}",
        f"gaesess={ONE}; a=b; gaesess={ONE}",
        f"gaesess={ONE};gaesess={ONE}",
        f"gaesess={ONE}; gaesess.7=a; gaesess.7=a",
        f"gaesess.7=a; gaesess={ONE}; gaesess.7=b",
        "gaesess.1=a; gaesess.1=a",
    ],
)
def test_a_name_that_is_there_twice_is_reported_even_if_both_agree(header):
    with pytest.raises(MalformedToken, match="there twice"):
        _impl.read_cookies(header, NAME)


@pytest.mark.parametrize(
    ("leftovers", "taken"),
    [("gaesess.1=old", 2), ("gaesess.7=old", 8), ("gaesess.19=", 20), ("gaesess.2=x; gaesess.1=y", 3)],
)
def test_leftovers_are_passed_over_and_counted(leftovers, taken):
    assert _impl.read_cookies(f"{leftovers}; gaesess={ONE}", NAME) == (ONE, taken)


def test_leftovers_after_a_gap_are_counted_behind_the_chunks_in_use():
    assert _impl.read_cookies("; ".join([*pairs(TWO), "gaesess.7=old"]), NAME) == (TEXT_OF_TWO, 8)


def test_an_empty_chunk_counts_as_there():
    assert _impl.read_cookies(f"gaesess={TEXT_OF_TWO}; gaesess.1=", NAME) == (TEXT_OF_TWO, 2)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "IQcM",
        "IQcMA",
        "IQcMA\u20ac\u20ac\u20ac",
        "IQcM====",
        f'"{ONE}"',
        f" {ONE}",
        "!!!!!!!!",
        "IQcMAGtJ0gA",  # none at all
        "IQcMFWtJ0gA",  # 21
        "IQcM_2tJ0gA",  # 255
    ],
)
def test_a_value_that_does_not_say_how_many_chunks_there_are_is_refused(value):
    with pytest.raises(MalformedToken):
        _impl.read_cookies(f"gaesess={value}", NAME)


@pytest.mark.parametrize("value", [f"{ONE} ", f"{ONE}=", f"{ONE}\t", f"{ONE},a=b", f"{ONE}\r\n"])
def test_a_value_is_handed_on_as_it_stands(value):
    assert _impl.read_cookies(f"gaesess={value}; a=b", NAME) == (value, 1)


@pytest.mark.parametrize("name", ["a.b", "a+", "a*", "^a", "a|b", "$", "a.1", "__Host-a", "a'b", "~"])
def test_a_name_of_any_token_characters_is_taken_literally(name):
    impostors = "; ".join(f"{other}=x" for other in ["aXb", "a", "aa", "b", "", "a1", "_Host-a"])
    header = f"{impostors}; {name}={TWO[0]}; {impostors}; {name}.1={TWO[1]}; {impostors}"
    assert _impl.read_cookies(header, name) == (TEXT_OF_TWO, 2)


def test_a_name_that_overlaps_itself_is_found():
    assert _impl.read_cookies(f"aaa={ONE}; a={ONE}; aa={ONE}", "aa") == (ONE, 1)


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", 0),
        ("a=b; Xgaesess=1; gaesess.20=x; gaesess.x=1", 0),
        ("gaesess=garbage", 1),
        (f"gaesess={ONE}; gaesess=another", 1),
        ("gaesess.1=without the first", 2),
        (f"a=b; gaesess.19=; gaesess={TWO[0]}", 20),
    ],
)
def test_names_of_cookies_that_are_not_to_be_believed_are_counted_too(header, taken):
    assert _core.names_taken(header, NAME) == taken


NOISE = {
    "our name": "gaesess",
    "our name and a dot": "gaesess.",
    "chunks of wrong numbers": "gaesess.20=x;",
    "equals signs": "=",
    "semicolons": ";",
    "spaces": " ",
    "spaces before our name": "   gaesess",
    "tabs": "\t;",
    "values with our name": "o=gaesess=x;",
    "nearly our name": "gaeses",
    "other cookies": "abcdef=ghijkl; ",
    "not ASCII": "\u20ac=\U0001f36a;",
    "NUL": "\0",
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_in_64_kilobytes_of_noise_the_cookie_is_found(noise):
    noise *= 65536 // len(noise)
    assert _impl.read_cookies(f"{noise}; gaesess={ONE}; {noise}", NAME) == (ONE, 1)


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_the_steps_grow_with_the_header_not_with_its_square(noise):
    """Counted in executed lines, which only the pure twin has."""
    once, twice = (f"{noise * times}; gaesess={ONE}" for times in (200, 400))
    assert _core.read_cookies(twice, NAME) == (ONE, 1)
    small, large = (executed_lines(_core.read_cookies, header, NAME) for header in (once, twice))
    assert large <= 2 * small
