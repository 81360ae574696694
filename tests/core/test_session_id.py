"""format_sid and parse_sid: the session id as text, in its one spelling."""

from __future__ import annotations

import pytest
from core_samples import SID
from hypothesis import given, settings
from hypothesis import strategies as st

from gaesess import _impl
from gaesess.errors import MalformedToken

HEX = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(
    ("expires", "secure", "text"),
    [
        (1_800_000_000, True, f"1800000000S{HEX}"),
        (1_800_000_000, False, f"1800000000_{HEX}"),
        (1, False, f"0000000001_{HEX}"),
        (0xFFFFFFFF, True, f"4294967295S{HEX}"),
    ],
)
def test_the_text_is_expiry_mark_and_hex(expires, secure, text):
    assert _impl.format_sid(expires, secure, SID) == text
    assert _impl.parse_sid(text) == (expires, secure, SID)


@settings(deadline=None)
@given(st.integers(1, 0xFFFFFFFF), st.booleans(), st.binary(min_size=16, max_size=16))
def test_what_is_written_is_read_again(expires, secure, sid):
    text = _impl.format_sid(expires, secure, sid)
    assert len(text) == 43
    assert _impl.parse_sid(text) == (expires, secure, sid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1800000000",
        "1800000000_",
        f"1800000000{HEX}",
        f"1800000000_{HEX[:-1]}",
        f"1800000000_{HEX[:-2]}",
        f"1800000000_{HEX}0",
        f"1800000000_{HEX}00",
        f"1800000000_{HEX}\n",
        f" 1800000000_{HEX}",
        f"1800000000x{HEX}",
        f"1800000000s{HEX}",
        f"1800000000\uff33{HEX}",
        f"180000000_{HEX}",
        f"18000000000_{HEX}",
        f"0000000000_{HEX}",
        f"-000000001_{HEX}",
        f"+000000001_{HEX}",
        f"         1_{HEX}",
        f"1         _{HEX}",
        f"1_70000000_{HEX}",
        f"1_8000_000_{HEX}",
        f"0x00000001_{HEX}",
        f"000000001\n_{HEX}",
        f"4294967296_{HEX}",
        f"9999999999_{HEX}",
        f"18000000\uff10\uff10_{HEX}",
        f"180000000\u0660_{HEX}",
        f"18000000.0_{HEX}",
        f"1800000000_{HEX.upper()}",
        f"1800000000_{HEX[:-1]}F",
        f"1800000000_{HEX[:2]} {HEX[2:]}",  # bytes.fromhex skips spaces
        f"1800000000_ {HEX}",
        f"1800000000_{HEX} ",
        f"1800000000_{HEX[:30]} {HEX[30]}",
        f"1800000000_{HEX[:30]}  ",
        f"1800000000_{HEX[:-1]}g",
        f"1800000000_{HEX[:-1]}\uff10",
        f"1800000000_{HEX[:-1]}\ud800",
        f"180000000\ud800_{HEX}",
        f"180000000\x00_{HEX}",
        f"1800000000_{HEX[:-1]}\x00",
        "x" * 43,
        "1" * 100_000,
    ],
)
def test_any_other_spelling_is_refused(text):
    with pytest.raises(MalformedToken, match="not a session id"):
        _impl.parse_sid(text)


@pytest.mark.parametrize("expires", [0, -1, 0xFFFFFFFF + 1, 2**64])
def test_an_expiry_that_is_no_time_is_not_written(expires):
    with pytest.raises(ValueError, match=f"expiry is not a Unix time from 1 to 4294967295: {expires}"):
        _impl.format_sid(expires, False, SID)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_an_id_of_another_size_is_not_written(size):
    with pytest.raises(ValueError, match=f"has 16 bytes, not {size}"):
        _impl.format_sid(1, False, bytes(size))
