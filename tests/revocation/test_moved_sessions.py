"""A session that moves between its cookie and the store: a cookie from before the move shows no old state."""

import pytest
from browser import NEW_KEY, OLD_KEY, Browser, with_session
from revocation.test_users import BIG, sign_in, signed_in

from gaesess import Home
from gaesess.users import CHECKED_SECONDS


@pytest.fixture
def visitor(make_manager):
    browser = Browser(make_manager())
    with browser.request() as session:
        session["cart"] = ["tea"]
    return browser


def outgrow(browser):
    with browser.request() as session:
        session["filler"] = BIG


def test_an_old_cookie_shows_what_its_session_has_in_the_store(visitor):
    old = visitor.copy()
    outgrow(visitor)
    assert old.data() == {"cart": ["tea"], "filler": BIG}


def test_also_within_the_seconds_in_which_it_was_checked(visitor):
    """As the cookie is older than what was checked last."""
    old = visitor.copy()
    assert old.data() == {"cart": ["tea"]}
    outgrow(visitor)
    assert visitor.data()["filler"] == BIG
    assert old.data() == {"cart": ["tea"], "filler": BIG}


def test_also_if_another_process_has_moved_it_and_this_one_has_seen_that(visitor, make_manager):
    manager = make_manager()
    old = visitor.copy(manager)
    assert old.data() == {"cart": ["tea"]}
    outgrow(visitor)
    assert visitor.copy(manager).data()["filler"] == BIG
    assert old.data() == {"cart": ["tea"], "filler": BIG}


def test_in_another_process_after_the_stated_time(visitor, make_manager, clock):
    old = visitor.copy(make_manager())
    assert old.data() == {"cart": ["tea"]}
    outgrow(visitor)
    clock.time += CHECKED_SECONDS
    assert old.data() == {"cart": ["tea"], "filler": BIG}


def test_what_an_old_cookie_writes_goes_to_the_store(visitor):
    old = visitor.copy()
    outgrow(visitor)
    with old.request() as session:
        session["cart"].append("milk")
        assert session.home is Home.STORE
    assert visitor.data() == {"cart": ["tea", "milk"], "filler": BIG}


def test_a_cookie_that_is_newer_than_the_record_is_believed(visitor):
    """The session has moved back into its cookie, and was changed there."""
    outgrow(visitor)
    with visitor.request() as session:
        del session["filler"]
    with visitor.request() as session:
        session["cart"].append("milk")
        assert session.home is Home.COOKIE
    assert visitor.copy(visitor.manager).data() == {"cart": ["tea", "milk"]}


def test_a_cookie_from_before_it_came_back_shows_what_the_session_had_then_or_later(visitor):
    old = visitor.copy()
    outgrow(visitor)
    with visitor.request() as session:
        del session["filler"]
        session["cart"].append("milk")
    assert old.data() == {"cart": ["tea", "milk"]}


def test_an_old_cookie_of_a_user_who_was_signed_out_since_shows_nothing(make_manager, clock):
    """Though it is of before the sign-in, and names no user."""
    manager = make_manager()
    browser = Browser(manager)
    with browser.request() as session:
        session["cart"] = ["tea"]
    old = browser.copy()
    with browser.request() as session:
        session.update(filler=BIG, user="ada")
        session.bind_user("ada")
    assert signed_in(old.copy())
    manager.revoke_user("ada")
    assert not old.send().is_active()


def test_an_old_cookie_of_a_session_that_moved_and_ended_shows_nothing(visitor):
    old = visitor.copy()
    outgrow(visitor)
    with visitor.request() as session:
        session.terminate()
    assert old.data() == {}


# -- what a check asks for


@pytest.fixture
def calls(store, monkeypatch):
    """The calls of the store: their names, and of `get_many` how many keys."""
    found = []
    get, get_many = store.get, store.get_many
    monkeypatch.setattr(store, "get", lambda key, **options: found.append("get") or get(key, **options))
    monkeypatch.setattr(store, "get_many", lambda keys: found.append(("get_many", len(keys))) or get_many(keys))
    return found


@pytest.mark.parametrize(
    ("filler", "expected"),
    [("", [("get_many", 2)]), (BIG, ["get", ("get_many", 1)])],
    ids=["cookie", "store"],
)
def test_a_check_is_one_query_for_all_that_it_needs(make_manager, calls, clock, filler, expected):
    browser = sign_in(make_manager(), filler=filler)
    clock.time += CHECKED_SECONDS
    calls.clear()
    assert signed_in(browser)
    assert calls == expected


def test_a_check_of_nobodys_session_in_the_store_asks_for_nothing(make_manager, calls):
    browser = with_session(make_manager(), filler=BIG)
    calls.clear()
    browser.data()
    assert calls == ["get"]


def test_with_a_retired_key_it_is_still_one_query(make_manager, calls, clock):
    browser = sign_in(make_manager(cookie_key=NEW_KEY, retired_keys=[OLD_KEY]))
    clock.time += CHECKED_SECONDS
    calls.clear()
    assert signed_in(browser)
    assert calls == [("get_many", 3)]


def test_a_list_of_sessions_is_two_queries_however_many_there_are(make_manager, calls):
    manager = make_manager()
    for _ in range(20):
        sign_in(manager)
    calls.clear()
    assert len(manager.list_sessions("ada")) == 20
    assert calls == [("get_many", 1), ("get_many", 20)]
