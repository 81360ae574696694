"""A sign-out that could not reach the cache: for how long another process may show the session."""

import pytest
from browser import with_session
from revocation.test_users import BIG

from gaesess import SessionTerminated
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import CACHE_SECONDS, TieredStore
from gaesess.testing import FaultyStore
from gaesess.users import CHECKED_SECONDS


@pytest.fixture
def cache():
    return FaultyStore(MemoryStore())


@pytest.fixture
def make_process(make_manager, cache, monotonic):
    durable = MemoryStore()
    durable.may_forget = False

    def make(*, cache_seconds=CACHE_SECONDS, **settings):
        store = TieredStore(cache, durable, cache_seconds=cache_seconds, clock=monotonic)
        return make_manager(store=store, **settings)

    return make


def sign_out_without_the_cache(browser, cache):
    cache.down = True
    with browser.request() as session:
        session.terminate()
    cache.down = False


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, CHECKED_SECONDS),
        ({"cache_seconds": 2}, 2),
        ({"revocable": False}, CACHE_SECONDS),
        ({"revocable": False, "cache_seconds": 2}, 2),
        ({"revocable": False, "cache_seconds": 0}, 0),
    ],
    ids=str,
)
def test_the_session_is_shown_for_the_stated_time_at_most(make_process, cache, clock, settings, seconds):
    browser = with_session(make_process(**settings), filler=BIG)
    copy = browser.copy(make_process(**settings))
    sign_out_without_the_cache(browser, cache)
    if seconds:
        clock.time += seconds - 1
        assert copy.data() == {"filler": BIG}
        clock.time += 1
    assert copy.data() == {}


def test_nothing_that_is_written_meanwhile_brings_it_back(make_process, cache):
    browser = with_session(make_process(), filler=BIG)
    copy = browser.copy(make_process())
    sign_out_without_the_cache(browser, cache)
    session = copy.send()
    session["more"] = 1
    with pytest.raises(SessionTerminated):
        session.commit()
    assert copy.data() == {}


def test_who_has_met_with_its_end_shows_it_no_more(make_process, cache):
    """A refused write has looked past the cache, and mended what is there."""
    browser = with_session(make_process(), filler=BIG)
    one, other = browser.copy(make_process()), browser.copy(make_process())
    sign_out_without_the_cache(browser, cache)
    session = one.send()
    session["more"] = 1
    with pytest.raises(SessionTerminated):
        session.commit()
    assert other.data() == {}


def test_with_the_cache_there_it_is_shown_no_more_at_once(make_process):
    browser = with_session(make_process(), filler=BIG)
    copy = browser.copy(make_process())
    with browser.request() as session:
        session.terminate()
    assert copy.data() == {}


def test_the_cache_is_marked_even_if_it_has_just_failed(make_process, cache):
    """The process may exit before it would try the cache again."""
    browser = with_session(make_process(), filler=BIG)
    copy = browser.copy(make_process())
    cache.down = True
    assert browser.data() == {"filler": BIG}
    cache.down = False
    with browser.request() as session:
        session.terminate()
    assert copy.data() == {}
