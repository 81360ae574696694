"""The end of a session is final: a tombstone is in its place until the session would have expired."""

import pytest
from browser import with_session

from gaesess import SessionTerminated, StoreUnavailable, delete_expired_sessions, generate_key
from gaesess.stores.base import CLOCK_MARGIN

KEY = generate_key()
BIG = "x" * 5000
DAY = 24 * 3600


@pytest.fixture
def browser(make_manager, engines):
    """A browser whose session lives in the store."""
    return with_session(make_manager(store=engines.store), filler=BIG)


@pytest.fixture
def moved_back(browser):
    """Its session lives in the cookie again, and has a record."""
    with browser.request() as session:
        del session["filler"]
    return browser


def sign_out(browser):
    with browser.request() as session:
        session.terminate()


def test_a_request_at_work_does_not_bring_a_terminated_session_back_into_the_store(moved_back):
    """Its session lives in the cookie, and now outgrows it."""
    session = moved_back.send()
    session["filler"] = BIG
    sign_out(moved_back.copy())
    with pytest.raises(SessionTerminated):
        session.commit()


def test_nor_an_old_id_after_regenerate_id(moved_back):
    session = moved_back.send()
    session["filler"] = BIG
    with moved_back.copy().request() as login:
        login.regenerate_id()
    with pytest.raises(SessionTerminated):
        session.commit()


@pytest.mark.parametrize("read_before", [True, False])
def test_an_old_pointer_is_worth_nothing(browser, read_before, engines):
    thief = browser.copy()
    with browser.request() as session:
        if read_before:
            session.ensure_data_loaded()
        session.terminate()
    assert not thief.send().is_active()
    engines.forget()
    assert not thief.send().is_active()


def test_what_is_left_holds_no_data(browser, engines):
    sign_out(browser)
    left = [*engines.durable.store._records.values(), *engines.cache.store._records.values()]
    assert left
    assert max(len(record.data) for record in left) < 200


def test_what_is_left_goes_when_the_session_would_have_expired(browser, engines, clock):
    sign_out(browser)
    clock.time += 7 * DAY + CLOCK_MARGIN
    delete_expired_sessions(engines.store, clock=clock)
    assert engines.durable.store._records == {}


def test_a_session_terminated_while_it_is_given_a_new_id_ends_under_both(browser):
    login, logout = browser.send(), browser.send()
    login.regenerate_id()
    browser.receive(login)
    logout.terminate()
    assert not browser.send().is_active()


def test_it_ends_under_every_id_it_had_meanwhile(browser):
    logout = browser.send()
    for _ in range(3):
        with browser.request() as login:
            login.regenerate_id()
    logout.terminate()
    assert not browser.send().is_active()


def test_a_late_request_with_the_old_id_that_starts_a_session_leaves_the_new_id_alone(browser):
    """As one does that arrives after the sign-in with the cookie from before it, and puts a token into its session."""
    late = browser.copy().send()
    with browser.request() as login:
        login.regenerate_id()
    late["token"] = 1
    late.commit()
    assert browser.send().is_active()


def test_a_late_request_with_the_old_id_that_starts_a_session_and_terminates_ends_the_new_id_too(browser):
    header = browser.header()
    with browser.request() as session:
        session.regenerate_id()
    late = browser.manager.open(header)
    late["a"] = 1
    late.terminate()
    assert browser.data() == {}


def test_terminating_again_is_no_error(browser):
    first, second = browser.send(), browser.send()
    first.terminate()
    second.terminate()
    assert not browser.send().is_active()


def test_a_write_that_wins_against_the_end_ends_with_it(browser):
    logout = browser.send()
    logout.ensure_data_loaded()
    with browser.request() as session:
        session["n"] = 1
    logout.terminate()
    assert not browser.send().is_active()


def test_an_end_whose_reply_is_lost_is_looked_up(browser, engines, monkeypatch):
    replace = engines.durable.replace

    def deaf(*arguments, **options):
        replace(*arguments, **options)
        raise StoreUnavailable("the reply is lost")

    thief = browser.copy()
    session = browser.send()
    session.ensure_data_loaded()
    with monkeypatch.context() as patched:
        patched.setattr(engines.durable, "replace", deaf)
        session.terminate()
    assert not thief.send().is_active()


@pytest.mark.parametrize("read_before", [True, False])
@pytest.mark.parametrize("part", ["durable", "cache"])
def test_an_end_that_is_sent_twice_is_no_error(browser, engines, part, read_before):
    thief = browser.copy()
    session = browser.send()
    if read_before:
        session.ensure_data_loaded()
    getattr(engines, part).resends = True
    session.terminate()
    assert not thief.send().is_active()


@pytest.mark.parametrize("part", ["durable", "cache"])
def test_a_new_id_whose_writes_are_sent_twice_is_given(browser, engines, part):
    thief = browser.copy()
    getattr(engines, part).resends = True
    with browser.request() as session:
        session.regenerate_id()
    assert not thief.send().is_active()
    assert browser.data() == {"filler": BIG}


@pytest.mark.parametrize("read_before", [True, False])
def test_while_the_durable_store_cannot_be_told_of_an_end_the_cache_shows_the_session_to_nobody(
    browser, engines, read_before
):
    thief = browser.copy()
    session = browser.send()
    if read_before:
        session.ensure_data_loaded()
    engines.durable.down = True
    with pytest.raises(StoreUnavailable):
        session.terminate()
    with pytest.raises(StoreUnavailable):
        thief.send().is_active()


def test_an_end_that_the_durable_store_was_not_told_can_be_repeated(browser, engines):
    thief = browser.copy()
    engines.durable.down = True
    with pytest.raises(StoreUnavailable):
        browser.copy().send().terminate()
    engines.durable.down = False
    sign_out(browser)
    engines.forget()
    assert not thief.send().is_active()


@pytest.mark.parametrize("read_before", [True, False])
@pytest.mark.parametrize("verb", ["terminate", "regenerate_id"])
def test_an_end_reaches_a_cache_that_has_just_failed(make_manager, engines, verb, read_before):
    """This process may exit before it uses the cache again."""
    browser, thief = in_two_processes(make_manager, engines)
    session = browser.send()
    if read_before:
        session.ensure_data_loaded()
    engines.fail_once()
    getattr(session, verb)()
    session.commit()
    assert not thief.send().is_active()


def test_an_end_that_is_repeated_reaches_a_cache_that_the_first_could_not_reach(make_manager, engines):
    browser, elsewhere = in_two_processes(make_manager, engines)
    engines.cache.down = True
    sign_out(elsewhere.copy())
    engines.fail_once()
    browser.send().terminate()
    assert not browser.copy(make_manager(cookie_key=KEY, store=engines.another_store())).send().is_active()


def test_nor_if_the_cache_has_just_failed(make_manager, engines):
    browser, thief = in_two_processes(make_manager, engines)
    engines.fail_once()
    engines.durable.down = True
    with pytest.raises(StoreUnavailable):
        browser.send().terminate()
    with pytest.raises(StoreUnavailable):
        thief.send().is_active()


def in_two_processes(make_manager, engines):
    """Return two browsers with one session, whose record is in the cache, each in front of a process of its own."""
    browser = with_session(make_manager(cookie_key=KEY, store=engines.store), filler=BIG)
    return browser, browser.copy(make_manager(cookie_key=KEY, store=engines.another_store()))


def test_a_session_whose_time_ends_meanwhile_is_terminated_without_error(browser, clock):
    session = browser.send()
    session.ensure_data_loaded()
    clock.time += 7 * DAY
    session.terminate()
    assert not browser.send().is_active()


def test_a_session_whose_time_ends_before_a_conflict_is_seen_is_over(browser, clock):
    first, second = browser.send(), browser.send()
    first["a"], second["b"] = 1, 2
    browser.receive(first)
    clock.time += 7 * DAY
    with pytest.raises(SessionTerminated):
        second.commit()
