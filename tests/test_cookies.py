"""How cookies are written: their attributes, which settings are refused, and that none is too long."""

from __future__ import annotations

from email.utils import formatdate
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaesess import SessionManager, _impl, generate_key
from gaesess._core import HEADER_BYTES, MAX_CHUNKS, SIGNED, TAG_BYTES, CookieAttributes, Token
from gaesess.config import _warn_insecure
from gaesess.cookies import cookie_attributes

KEY = _impl.prepare_key(SIGNED, 1, bytes(range(32)))
TOKEN = Token(flags=0, expires=2**32 - 1, issued=0, revision=1, sid=bytes(16), payload=b"data")

names = st.text("!#$%&'*+.^_`|~09azAZ-", min_size=1, max_size=300).filter(lambda name: not name[-1].isdigit())
paths = st.text("/az~!%=,", max_size=1000).map("/".__add__)
domains = st.one_of(
    st.none(), st.lists(st.text("az09-", min_size=1, max_size=63), min_size=1, max_size=3).map(".".join)
)


def write(cookie: CookieAttributes, payload_bytes: int, **options: Any) -> list[str]:
    """Return the Set-Cookie values of a session of that many bytes, as a session has them made."""
    chunks = cookie.chunks_for(payload_bytes)
    text = _impl.encode(_impl.seal(KEY, TOKEN._replace(payload=bytes(payload_bytes)), chunks))
    return cookie.write(text, **{"now": 0, "expires": 2**32 - 1, "secure": True, "taken": 0, **options})


# -- attributes


NOW = 1_800_000_000
WHEN = "Expires=Fri, 15 Jan 2027 08:01:00 GMT; Max-Age=60"
GONE = "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
LAX = "Secure; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ({}, {"expires": NOW + 60}, f"__Host-gaesess=text; Path=/; {WHEN}; {LAX}"),
        ({}, {}, f"__Host-gaesess=text; Path=/; {LAX}"),
        ({"path": "/shop"}, {}, f"__Secure-gaesess=text; Path=/shop; {LAX}"),
        ({"domain": "example.com"}, {}, f"__Secure-gaesess=text; Path=/; Domain=example.com; {LAX}"),
        ({"secure": False}, {}, "gaesess=text; Path=/; HttpOnly; SameSite=Lax"),
        ({"secure": False}, {"secure": True}, f"gaesess=text; Path=/; {LAX}"),
        ({"name": "s", "samesite": "Strict"}, {}, "s=text; Path=/; Secure; HttpOnly; SameSite=Strict"),
        ({"name": "s", "samesite": "None"}, {}, "s=text; Path=/; Secure; HttpOnly; SameSite=None"),
        ({"name": "s", "partitioned": True}, {}, f"s=text; Path=/; {LAX}; Partitioned"),
        (
            {"name": "s", "path": "/shop", "domain": "example.com"},
            {"expires": NOW + 60},
            f"s=text; Path=/shop; Domain=example.com; {WHEN}; {LAX}",
        ),
        ({"name": "__Host-s"}, {}, f"__Host-s=text; Path=/; {LAX}"),
    ],
)
def test_the_cookie_as_it_is_written(settings: Any, options: Any, expected: str) -> None:
    cookie = cookie_attributes(**settings)
    assert cookie.write("text", **{"now": NOW, "expires": None, "secure": False, "taken": 0, **options}) == [expected]


@given(st.integers(0, 2**32 - 1), st.integers(0, 400 * 86400))
def test_both_attributes_name_the_same_second(now: int, seconds: int) -> None:
    (line,) = cookie_attributes().write("text", now=now, expires=now + seconds, secure=True, taken=0)
    attributes = dict(attribute.partition("=")[::2] for attribute in line.split("; "))
    assert attributes["Expires"] == formatdate(now + seconds, usegmt=True)
    assert attributes["Max-Age"] == str(seconds)


def test_no_cookie_is_to_be_kept_for_longer_than_browsers_would() -> None:
    (line,) = cookie_attributes().write("text", now=NOW, expires=2**32 - 1, secure=True, taken=0)
    assert "; Expires=Sat, 19 Feb 2028 08:00:00 GMT; Max-Age=34560000;" in line


def test_a_session_that_has_just_ended_leaves_no_cookie() -> None:
    (line,) = cookie_attributes().write("text", now=NOW, expires=NOW - 5, secure=True, taken=0)
    assert "; Max-Age=0;" in line


def test_names_that_a_longer_token_has_taken_are_deleted_where_they_were_set() -> None:
    cookie = cookie_attributes("s", path="/shop", domain="example.com", samesite="None", partitioned=True)
    place, rules = "Path=/shop; Domain=example.com", "Secure; HttpOnly; SameSite=None; Partitioned"
    assert cookie.write("text", now=NOW, expires=NOW + 60, secure=False, taken=3) == [
        f"s=text; {place}; {WHEN}; {rules}",
        f"s.1=; {place}; {GONE}; {rules}",
        f"s.2=; {place}; {GONE}; {rules}",
    ]


def test_delete_makes_the_browser_drop_every_cookie_of_the_session() -> None:
    assert cookie_attributes("s").delete(0, 2) == [
        f"s=; Path=/; {GONE}; {LAX}",
        f"s.1=; Path=/; {GONE}; {LAX}",
    ]


@given(st.integers(1, MAX_CHUNKS), st.integers(0, MAX_CHUNKS))
def test_every_name_taken_is_either_written_or_deleted(chunks: int, taken: int) -> None:
    cookie = cookie_attributes("s")
    lines = write(cookie, cookie.payload_limit(chunks), taken=taken)
    expected = ["s", *(f"s.{number}" for number in range(1, max(chunks, taken)))]
    assert [line.partition("=")[0] for line in lines] == expected
    assert ["Max-Age=0" in line.split("; ") for line in lines] == [False] * chunks + [True] * max(0, taken - chunks)


# -- settings that are refused


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *[("name", name) for name in ("", "a b", "a=b", "a;b", "a,b", 'a"', "a\r\nSet-Cookie: x", "a\n", "ä", "a/b")],
        *[("path", path) for path in ("", "shop", "/;Domain=evil", "/a\r\nX: y", "/\n", "/\0", "/ä", "/a b")],
        ("path", "/" + "x" * 1024),
        *[("domain", domain) for domain in ("", ".", "a..b", "a;b", "a b", "a\r\nX: y", "a\n", "ä.de", "a/b", "a:80")],
        ("domain", "x" * 255),
        *[("samesite", samesite) for samesite in ("", "lax", "Lax; Domain=evil", "Lax\r\n", None, True)],
    ],
)
def test_a_setting_that_browsers_or_others_would_misread_is_refused_by_its_name(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^cookie_{setting} "):
        cookie_attributes(**{setting: value})


@given(st.sampled_from(["name", "path", "domain"]), st.text())
def test_no_setting_that_is_taken_breaks_out_of_its_place(setting: str, value: str) -> None:
    try:
        cookie = cookie_attributes(**{setting: "/" + value if setting == "path" else value})  # type: ignore[arg-type]
    except ValueError:
        return
    (line,) = cookie.write("text", now=0, expires=None, secure=False, taken=0)
    assert line.isascii()
    assert line.isprintable()
    assert [attribute.partition("=")[0] for attribute in line.split(";")[1:]] == [
        " Path",
        *([" Domain"] if setting == "domain" else []),
        " Secure",
        " HttpOnly",
        " SameSite",
    ]


def test_samesite_none_needs_secure() -> None:
    with pytest.raises(ValueError, match=r'^cookie_samesite="None" needs cookie_secure=True'):
        cookie_attributes(samesite="None", secure=False)


def test_partitioned_needs_secure() -> None:
    with pytest.raises(ValueError, match=r"^cookie_partitioned=True needs cookie_secure=True"):
        cookie_attributes(partitioned=True, secure=False)


def test_that_cookies_go_over_plain_http_is_said_once_in_a_process(caplog: pytest.LogCaptureFixture) -> None:
    _warn_insecure.cache_clear()
    for _ in range(2):
        SessionManager(generate_key(), cookie_secure=False)
    assert [record.gaesess["event"] for record in caplog.records] == ["insecure_cookie"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["__Host-s", "__host-s", "__HOST-s", "__Secure-s", "__secure-s", "__SECURE-s"])
def test_a_prefix_that_promises_secure_needs_it_in_any_case(name: str) -> None:
    with pytest.raises(ValueError, match=f"^a cookie named '{name}' needs cookie_secure=True"):
        cookie_attributes(name, secure=False)


@pytest.mark.parametrize("name", ["__Host-s", "__hOsT-s"])
@pytest.mark.parametrize("place", [{"path": "/shop"}, {"domain": "example.com"}])
def test_a_host_prefix_needs_the_root_path_and_no_domain(name: str, place: Any) -> None:
    with pytest.raises(ValueError, match=f'^a cookie named {name!r} needs cookie_path="/" and no cookie_domain'):
        cookie_attributes(name, **place)


def test_a_secure_prefix_allows_a_path_and_a_domain() -> None:
    assert cookie_attributes("__Secure-s", path="/shop", domain="example.com").name == "__Secure-s"


def test_a_name_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="together leave no room for the session"):
        cookie_attributes("x" * 3100)


# -- sizes


@settings(deadline=None)
@given(names, paths, domains, st.floats(0, 1))
def test_no_cookie_is_longer_than_browsers_take(name: str, path: str, domain: str | None, share: float) -> None:
    if name.lower().startswith(("__host-", "__secure-")):
        name = "x" + name
    cookie = cookie_attributes(name, path=path, domain=domain)
    payload_bytes = max(1, int(share * cookie.payload_limit(MAX_CHUNKS)))
    lines = write(cookie, payload_bytes)
    assert max(map(len, lines)) <= 4093
    assert len(lines) == cookie.chunks_for(payload_bytes) <= MAX_CHUNKS


@given(st.integers(1, MAX_CHUNKS))
def test_the_payload_limit_is_what_that_many_cookies_hold_to_the_byte(chunks: int) -> None:
    cookie = cookie_attributes()
    limit = cookie.payload_limit(chunks)
    assert len(write(cookie, limit)) == cookie.chunks_for(limit) == chunks
    assert cookie.chunks_for(limit + 1) == chunks + 1


def test_the_last_of_twenty_full_cookies_is_as_long_as_a_cookie_may_be() -> None:
    cookie = cookie_attributes()
    text = "x" * (MAX_CHUNKS * cookie.chunk_chars)
    lines = cookie.write(text, now=0, expires=2**32 - 1, secure=True, taken=0)
    assert len(lines[-1]) == 4093


def test_one_cookie_holds_nearly_three_kilobytes_by_default() -> None:
    assert 2900 < cookie_attributes().payload_limit(1) < 4093 * 3 // 4 - HEADER_BYTES - TAG_BYTES


@pytest.mark.parametrize("name", ["s.1", "s.19", "s.20"])
def test_name_that_looks_like_a_chunk_of_another_is_refused(name):
    with pytest.raises(ValueError, match="chunk"):
        cookie_attributes(name)


def test_a_name_may_be_the_member_of_an_enum():
    """The core takes exactly str, so every request would raise."""

    class Names(str, Enum):
        SESSION = "sid"

    session = SessionManager(generate_key(), cookie_name=Names.SESSION).open("sid=garbage")
    assert session.get("name") is None
    session["name"] = "Ada"
    assert session.commit()[0].startswith("sid=")
