"""Compressed sessions: more fits into the cookie, everything comes back, and nothing unpacks without end."""

import os
import zlib

import pytest
from browser import Browser
from hypothesis import given
from hypothesis import strategies as st

from gaesess import Home, SessionTooLarge, _impl, generate_key
from gaesess._core import ZLIB, Token, compressed, expanded
from gaesess.compression import MAX_EXPANDED_BYTES, expand
from gaesess.errors import MalformedToken

KEY = generate_key()
PROSE = "It was the best of times, it was the worst of times. " * 200  # 10 KB
NOISE = os.urandom(5000)
TOKEN = Token(0, 2_000_000_000, 0, 1, bytes(16), b"data")


def deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.fixture
def browser(make_manager):
    return Browser(make_manager(cookie_key=KEY, compress=True))


@given(st.binary(min_size=1, max_size=300) | st.text(min_size=1).map(lambda text: text.encode("utf-8", "replace") * 50))
def test_what_is_shrunk_comes_back_and_is_never_longer(payload):
    token = TOKEN._replace(payload=payload)
    shrunk = compressed(token)
    assert expanded(shrunk) == token
    assert (len(shrunk.payload) < len(payload)) == bool(shrunk.flags & ZLIB)
    assert len(shrunk.payload) <= len(payload)


def test_what_it_does_not_make_smaller_is_left_as_it_is(browser):
    with browser.request() as session:
        session["noise"] = NOISE[:1000]
    assert not _impl.decode(browser.cookies["__Host-gaesess"])[2] & ZLIB
    assert browser.data() == {"noise": NOISE[:1000]}


def test_a_session_that_fits_its_cookie_when_compressed_lives_there(browser):
    with browser.request() as session:
        session["text"] = PROSE
    with browser.request() as session:
        assert (session["text"], session.home) == (PROSE, Home.COOKIE)
    assert list(browser.cookies) == ["__Host-gaesess"]
    assert len(browser.cookies["__Host-gaesess"]) < 500


def test_a_record_is_compressed_too(browser, store):
    with browser.request() as session:
        session.update(text=PROSE, noise=NOISE)
    with browser.request() as session:
        assert (session["text"], session["noise"], session.home) == (PROSE, NOISE, Home.STORE)
    (record,) = store.store._records.values()
    assert len(record[0]) < len(NOISE) + 500


def test_sessions_are_read_and_go_on_when_it_is_switched_off(browser, make_manager):
    with browser.request() as session:
        session["text"] = PROSE[:2000]
    browser.manager = make_manager(cookie_key=KEY)
    with browser.request() as session:
        assert session["text"] == PROSE[:2000]
        session["more"] = 1
    assert not _impl.decode(browser.cookies["__Host-gaesess"])[2] & ZLIB
    assert browser.data() == {"text": PROSE[:2000], "more": 1}


def test_what_does_not_fit_even_so_is_too_large_without_a_store(make_manager):
    browser = Browser(make_manager(compress=True, store=None))
    session = browser.send()
    session["noise"] = NOISE
    with pytest.raises(SessionTooLarge):
        session.commit()


def test_the_event_loop_does_not_wait_for_what_fits_when_compressed(browser):
    session = browser.send()
    session["text"] = PROSE
    assert session.close() is False


def test_compression_and_encryption_together_are_refused(make_manager):
    with pytest.raises(ValueError, match=r"^compress=True would let the length of an encrypted session tell"):
        make_manager(compress=True, encrypt=True)


@pytest.mark.parametrize(
    "payload",
    [
        b"not deflated",
        deflate(b"data")[:-1],
        deflate(b"data") + b"x",
        deflate(bytes(MAX_EXPANDED_BYTES + 1)),
        deflate(bytes(100 * MAX_EXPANDED_BYTES)),
    ],
    ids=["no deflate", "cut short", "something after it", "too much by a byte", "a bomb"],
)
def test_a_genuine_token_that_does_not_decompress_is_refused(payload):
    with pytest.raises(MalformedToken, match="decompress"):
        expanded(TOKEN._replace(flags=ZLIB, payload=payload))


def test_as_much_as_is_ever_written_decompresses():
    data = bytes(MAX_EXPANDED_BYTES)
    assert expand(deflate(data)) == data


@pytest.mark.parametrize("with_store", [True, False])
def test_what_is_too_large_to_be_decompressed_is_never_put_into_a_cookie(make_manager, store, with_store):
    session = make_manager(compress=True, store=store if with_store else None).open(None)
    session["filler"] = "x" * (MAX_EXPANDED_BYTES + 1)
    with pytest.raises(SessionTooLarge):
        session.commit()
