"""encrypt=True: neither the client nor a reader of the store sees what a session holds, and only such are read."""

import logging
from base64 import urlsafe_b64decode

import pytest
from browser import Browser

from gaesess import generate_key

KEY = generate_key()
SECRET = "a secret that nobody is to see"
BIG = SECRET * 300
HOMES = pytest.mark.parametrize("value", [SECRET, BIG], ids=["cookie", "store"])


@pytest.fixture
def browser(make_manager):
    return Browser(make_manager(cookie_key=KEY, encrypt=True))


@HOMES
def test_a_session_goes_on_from_request_to_request(browser, value):
    with browser.request() as session:
        session["value"] = value
    with browser.request() as session:
        session.regenerate_id()
        session["more"] = 1
    assert browser.data() == {"value": value, "more": 1}


@HOMES
def test_it_ends(browser, value):
    with browser.request() as session:
        session["value"] = value
    with browser.request() as session:
        session.terminate()
    assert browser.cookies == {}


@HOMES
def test_nothing_of_it_is_to_be_seen_in_the_cookie_or_the_store(browser, store, value):
    with browser.request() as session:
        session["value"] = value
    seen = [urlsafe_b64decode(text + "==") for text in browser.cookies.values()]
    seen += [record.data for record in store.store._records.values()]
    assert len(seen) == (1 if value == SECRET else 2)
    assert not any(SECRET.encode() in data for data in seen)


@HOMES
@pytest.mark.parametrize("encrypt", [True, False], ids=["signed before", "encrypted before"])
def test_what_the_other_suite_has_sealed_is_no_session(make_manager, caplog, value, encrypt):
    """No falling back: whoever could have the weaker one read would have the stronger for nothing (CVE-2026-39324)."""
    browser = Browser(make_manager(cookie_key=KEY, encrypt=not encrypt))
    with browser.request() as session:
        session["value"] = value
    browser.manager = make_manager(cookie_key=KEY, encrypt=encrypt)
    caplog.set_level(logging.WARNING)
    caplog.clear()
    assert browser.data() == {}
    assert [record.getMessage() for record in caplog.records] == [
        "ignored the cookie __Host-gaesess: token is of an unknown suite"
    ]


def test_one_cookie_holds_as_much_as_when_it_is_only_signed(make_manager):
    limit = make_manager().cookie.payload_limit(1)
    browser = Browser(make_manager(cookie_key=KEY, encrypt=True, cookie_only_threshold=limit))
    with browser.request() as session:
        session["value"] = b"x" * (limit - len(b"\x81\xa5value\xc5\x00\x00"))
    (line,) = browser.received
    assert len(browser.cookies) == 1
    assert len(line) <= 4093
