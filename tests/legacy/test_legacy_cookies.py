"""Cookies of gae-sessions 1.07: those it made are read, and those it should never have believed are not."""

import base64
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from gae_sessions_1_07 import (
    CHUNK_CHARS,
    COOKIES,
    KEY,
    NOW,
    cookie_value,
    cookies,
    make_sid,
    session_cookies,
    session_pickle,
)

from gaesess import legacy

REAL_KEY = bytes.fromhex(COOKIES["cookie_key_hex"])
CASES = {case["name"]: case for case in COOKIES["cases"]}
LIVE = [case for case in CASES.values() if case["expires"] > NOW]
SID = make_sid(NOW + 1000)
BIG = {b"text": b"x" * 8000}  # three cookies


def decoded(value):
    """Return a value that the real 1.07 was given, in the types of Python 3."""
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    return {
        "str": lambda: text_or_bytes(base64.b64decode(inner)),
        "long": lambda: int(inner),
        "dict": lambda: {decoded(key): decoded(item) for key, item in inner},
        "list": lambda: [decoded(item) for item in inner],
        "tuple": lambda: tuple(decoded(item) for item in inner),
        "set": lambda: {decoded(item) for item in inner},
        "frozenset": lambda: frozenset(decoded(item) for item in inner),
        "date": lambda: date.fromisoformat(inner),
        "datetime": lambda: datetime.fromisoformat(inner),
        "timedelta": lambda: timedelta(seconds=inner),
        "decimal": lambda: Decimal(inner),
        "complex": lambda: complex(*inner),
    }[kind]()


def text_or_bytes(octets):
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


def typed(value):
    """Return what tells a value from an equal one of another type; of sets and dicts whatever their order."""
    if isinstance(value, dict):
        return {typed(key): typed(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(map(typed, value))
    return type(value), repr(value)


@pytest.fixture
def read(make_manager):
    """Read a session from a Cookie header, or from cookies."""

    def read(header, manager=None):
        if not isinstance(header, str):
            header = "; ".join(f"{name}={value}" for name, value in header.items())
        return dict((manager or make_manager()).open(header))

    return read


# What 1.07 itself has written


@pytest.mark.parametrize("case", LIVE, ids=[case["name"] for case in LIVE])
def test_what_it_wrote_is_read_with_every_type(make_manager, accept, read, case):
    manager = make_manager(legacy=accept(cookie_key=REAL_KEY))
    assert typed(read(case["cookie_header"], manager)) == typed(decoded(case["data"]))


@pytest.mark.parametrize("case", LIVE, ids=[case["name"] for case in LIVE])
def test_what_it_sends_is_read_as_browsers_return_it(make_manager, accept, read, case):
    """With the quotes that are around its values in Set-Cookie."""
    header = ";".join(line.split(";")[0] for line in case["set_cookie"])
    manager = make_manager(legacy=accept(cookie_key=REAL_KEY))
    assert typed(read(header, manager)) == typed(decoded(case["data"]))


@pytest.mark.parametrize("ssl_only", [False, True])
def test_a_session_for_tls_stays_one_and_no_other_becomes_one(manager, visitor, ssl_only):
    session = visitor(manager, ssl_only=ssl_only).send()
    assert session.is_ssl_only() == ssl_only


def test_an_expired_one_is_over(make_manager, accept, read, told):
    manager = make_manager(legacy=accept(cookie_key=REAL_KEY))
    assert read(CASES["expired"]["cookie_header"], manager) == {}
    assert [event.name for event in told] == ["token_expired"]


def test_one_without_expiry_is_refused(make_manager, accept, read):
    manager = make_manager(legacy=accept(cookie_key=REAL_KEY))
    assert read(CASES["browser session (expiry 0)"]["cookie_header"], manager) == {}


def test_one_without_expiry_is_read_where_that_is_asked_for_and_ends_with_the_browser(make_manager, accept):
    manager = make_manager(legacy=accept(cookie_key=REAL_KEY, accept_browser_sessions=True))
    session = manager.open(CASES["browser session (expiry 0)"]["cookie_header"])
    assert dict(session) == {"x": 7}
    assert session.get_expiration() == NOW + 7 * 86_400
    assert "Max-Age" not in session.commit()[0]


def test_one_that_outlasts_the_lifetime_is_cut_to_it(manager, visitor):
    session = visitor(manager, expires=NOW + 365 * 86_400).send()
    assert session.get_expiration() == NOW + 7 * 86_400


def test_one_that_ends_before_the_lifetime_ends_as_it_was_to(manager, visitor):
    assert visitor(manager, expires=NOW + 1000).send().get_expiration() == NOW + 1000


# Until when


def test_nothing_is_read_from_then_on(make_manager, visitor, clock):
    browser = visitor(make_manager(), expires=NOW + 90 * 86_400)
    clock.time += 30 * 86_400 - 1
    assert browser.send().is_active()
    clock.time += 1
    assert not browser.send().is_active()


@pytest.mark.parametrize("until", [datetime(2030, 1, 1), 1_900_000_000, None])
def test_then_is_a_time_with_a_zone(until):
    with pytest.raises(ValueError, match="until is a datetime with a time zone"):
        legacy.accept(cookie_key=KEY, until=until)


def test_the_latest_of_times_will_do(make_manager, accept, visitor):
    until = datetime.max.replace(tzinfo=timezone.utc)
    manager = make_manager(legacy=accept(until=until, accept_browser_sessions=True))
    browser = visitor(manager, expires=0)
    assert browser.data() == {"user": 7}


# The key


@pytest.mark.parametrize("key", ["k" * 31, b"k" * 31, "\xff" * 32, None, 7])
def test_a_key_that_is_none_is_refused_at_start_up(accept, key):
    with pytest.raises(ValueError, match="cookie_key"):
        accept(cookie_key=key)


def test_a_key_of_ascii_may_be_text(make_manager, accept, read):
    key = "0123456789abcdef" * 4
    value = cookie_value(session_pickle({b"x": 7}), SID, key.encode())
    assert read(cookies(value), make_manager(legacy=accept(cookie_key=key))) == {"x": 7}


# Which cookies


@pytest.mark.parametrize("other", ["DgUser=ada", "DgU99=junk", "DgU1=junk", "DgU100=junk", "xDgU00=junk", "DgU=junk"])
@pytest.mark.parametrize("data", [{b"x": 7}, BIG], ids=["one", "three"])
def test_others_that_look_like_them_do_no_harm(read, other, data):
    jar = "; ".join(f"{name}={value}" for name, value in session_cookies(data, SID).items())
    assert read(jar) != {}
    assert read(f"{other}; {jar}") == read(f"{jar}; {other}") == read(jar)


def test_chunks_are_taken_in_their_order_not_the_headers(read):
    jar = session_cookies(BIG, SID)
    assert read(dict(reversed(jar.items()))) == {"text": "x" * 8000}


def test_left_over_chunks_of_a_longer_one_are_passed_over(read):
    assert read({**session_cookies(BIG, SID), **session_cookies({b"x": 7}, SID)}) == {"x": 7}


@pytest.mark.parametrize("missing", ["DgU00", "DgU01", "DgU02"])
def test_one_that_lacks_a_chunk_is_refused(read, missing):
    jar = session_cookies(BIG, SID)
    del jar[missing]
    assert read(jar) == {}


def test_one_that_is_there_twice_is_refused(read):
    (pair,) = (f"{name}={value}" for name, value in session_cookies({b"x": 7}, SID).items())
    assert read(f"{pair}; {pair}") == {}


@pytest.mark.parametrize("ours", ["gaesess=", "gaesess=junk", "gaesess=IfAA; gaesess=IfAA"])
def test_any_cookie_of_ours_and_theirs_is_ignored(manager, read, told, ours):
    jar = "; ".join(f"{name}={value}" for name, value in session_cookies({b"x": 7}, SID).items())
    header = ours.replace("gaesess", manager.cookie.name)
    assert read(f"{header}; {jar}", manager) == read(f"{jar}; {header}", manager) == {}
    assert {event.name for event in told} == {"token_refused"}


# What is in them


VALUE = cookie_value(session_pickle({b"x": 7}), SID)
TAG, PICKLE = VALUE[:44], VALUE[44 + 43 :]


def with_sid(sid):
    """A value that is genuine in all but the form of its id."""
    return cookie_value(session_pickle({b"x": 7}), sid)


def test_the_one_that_the_junk_below_is_made_of_is_read(read):
    assert read(cookies(VALUE)) == {"x": 7}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        VALUE[:-1],
        VALUE[:87],  # its tag is not over an empty pickle
        VALUE[1:],
        VALUE + "=",
        VALUE + "A",
        VALUE.replace(PICKLE, PICKLE[:8] + "!" + PICKLE[8:]),  # lenient base64 drops it
        VALUE.replace(PICKLE, PICKLE[:8] + "\n" + PICKLE[8:]),
        VALUE.replace(TAG, TAG[:43]),
        VALUE.replace(TAG, TAG.swapcase()),
        VALUE.replace(SID, make_sid(NOW + 2000)),
        VALUE.replace(SID, make_sid(NOW + 1000, ssl_only=True)),
        with_sid(SID[:10] + "x" + SID[11:]),
        with_sid(SID.upper()),
        with_sid(" " + SID[1:]),
        with_sid("+" + SID[1:]),
        with_sid("1_7" + SID[3:]),
        with_sid("junk" + SID[4:]),  # which 1.07 takes for no expiry
        with_sid(SID[:-1]),
        with_sid(SID + "0"),
        cookie_value(session_pickle({b"x": 7}), SID, key=b"another" * 8),
        "\xff" * 200,
        "A" * 5000,
    ],
)
def test_what_is_not_genuine_in_every_character_is_refused(read, told, value):
    assert read(cookies(value)) == {}
    assert [event.name for event in told] == (["token_refused"] if value else [])


def test_no_character_can_be_changed(read):
    for index in range(0, len(VALUE), 7):
        other = "A" if VALUE[index] != "A" else "B"
        assert read(cookies(VALUE[:index] + other + VALUE[index + 1 :])) == {}


def test_unused_bits_of_base64_cannot_be_changed(read):
    assert VALUE.endswith("4=")
    other = VALUE[:-2] + "5="
    assert base64.b64decode(other[87:]) == base64.b64decode(PICKLE)
    assert read(cookies(other)) == {}


def test_what_is_refused_is_told_without_what_is_in_it(read, told):
    read(cookies(VALUE.replace(PICKLE, PICKLE[:-1] + "!")))
    assert SID not in repr(told)
    assert PICKLE[:10] not in repr(told)


def test_what_is_no_pickle_is_refused_though_it_is_genuine(read, told):
    assert read(cookies(cookie_value(b"junk", SID))) == {}
    assert [event.name for event in told] == ["token_refused"]


def test_a_full_chunk_is_as_long_as_the_real_one_makes_it():
    first, *_ = CASES["three chunks"]["cookie_header"].split("; ")
    assert len(first) == len("DgU00=") + CHUNK_CHARS
