"""Requests of one session that overlap, every interleaving spelled out: `send` begins a request, `receive` ends it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from browser import Browser
from hypothesis import given
from hypothesis import strategies as st

from gaesess import SessionManager, SessionTerminated, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore

BIG = "x" * 5000


@pytest.fixture
def stored(browser):
    """A browser whose session lives in the store."""
    with browser.request() as session:
        session.update(filler=BIG, cart=[], old=1)
    return browser


def test_writes_to_different_keys_are_both_kept(stored):
    first, second = stored.send(), stored.send()
    first["a"], second["b"] = 1, 2
    stored.receive(first)
    stored.receive(second)
    assert stored.data() == {"filler": BIG, "cart": [], "old": 1, "a": 1, "b": 2}


def test_last_writer_of_one_key_wins(stored):
    first, second = stored.send(), stored.send()
    first["a"], second["a"] = 1, 2
    stored.receive(second)
    stored.receive(first)
    assert stored.data()["a"] == 1


def test_nested_change_and_other_key_are_both_kept(stored):
    first, second = stored.send(), stored.send()
    first["cart"].append("tea")
    second["b"] = 2
    stored.receive(second)
    stored.receive(first)
    assert stored.data() == {"filler": BIG, "cart": ["tea"], "old": 1, "b": 2}


def test_increments_add_up(stored):
    first, second, third = stored.send(), stored.send(), stored.send()
    for session, n in ((first, 1), (second, 10), (third, -100)):
        session.increment("n", n)
    for session in (first, second, third):
        stored.receive(session)
    assert stored.data()["n"] == -89


def test_what_is_read_after_a_save_is_exact(stored):
    first, second = stored.send(), stored.send()
    first.increment("n")
    second.increment("n")
    seen = []
    for session in (first, second):
        session.save()
        seen.append(session["n"])
    assert seen == [1, 2]


def test_appended_items_are_all_kept(stored):
    first, second = stored.send(), stored.send()
    first.append("cart", "tea")
    second.append("cart", "milk")
    stored.receive(first)
    stored.receive(second)
    assert stored.data()["cart"] == ["tea", "milk"]


def test_increment_moves_along_to_a_new_id(stored):
    login, other = stored.send(), stored.send()
    login.increment("n")
    login.regenerate_id()
    other.increment("n", 10)
    stored.receive(other)
    stored.receive(login)
    assert stored.data()["n"] == 11


def test_deletion_is_replayed(stored):
    first, second = stored.send(), stored.send()
    del first["old"]
    second["b"] = 2
    stored.receive(second)
    stored.receive(first)
    assert stored.data() == {"filler": BIG, "cart": [], "b": 2}


def test_clear_clears_what_others_added_meanwhile(stored):
    first, second = stored.send(), stored.send()
    first.clear()
    first["filler"] = BIG
    second["b"] = 2
    stored.receive(second)
    stored.receive(first)
    assert stored.data() == {"filler": BIG}


def test_terminated_session_is_not_written_back_to_life(stored):
    slow, logout = stored.send(), stored.send()
    slow["a"] = 1
    logout.terminate()
    stored.receive(logout)
    with pytest.raises(SessionTerminated):
        stored.receive(slow)
    assert stored.data() == {}


def test_session_terminated_between_conflict_and_replay_stays_ended(stored):
    slow, other, logout = stored.send(), stored.send(), stored.send()
    slow["a"], other["b"] = 1, 2
    stored.receive(other)
    logout.terminate()
    stored.receive(logout)
    with pytest.raises(SessionTerminated):
        stored.receive(slow)


def test_old_pointer_of_a_terminated_session_is_worth_nothing(stored):
    cookies = dict(stored.cookies)
    with stored.request() as session:
        session.terminate()
    stored.cookies = cookies
    assert stored.data() == {}


def test_old_pointer_of_a_regenerated_session_is_worth_nothing(stored):
    cookies = dict(stored.cookies)
    with stored.request() as session:
        session.regenerate_id()
    stored.cookies = cookies
    assert stored.data() == {}


def test_write_under_way_while_the_id_is_regenerated_moves_along(stored):
    login, other = stored.send(), stored.send()
    login["user"] = "ada"
    login.regenerate_id()
    other["b"] = 2
    stored.receive(other)
    stored.receive(login)
    assert stored.data() == {"filler": BIG, "cart": [], "old": 1, "user": "ada", "b": 2}


def test_write_to_an_id_that_was_regenerated_is_refused(stored):
    login, other = stored.send(), stored.send()
    login.regenerate_id()
    other["b"] = 2
    stored.receive(login)
    with pytest.raises(SessionTerminated):
        stored.receive(other)
    assert stored.data() == {"filler": BIG, "cart": [], "old": 1}


def test_a_second_new_id_may_come_long_after_the_first_if_its_request_began_before(stored, clock):
    stored.manager.config.driver.clock = clock
    stored.manager.config.driver.clock = clock
    first, second = stored.send(), stored.send()
    assert second["old"] == 1
    first.regenerate_id()
    stored.receive(first)
    clock.time += 30
    second.regenerate_id()
    stored.receive(second)
    assert stored.data() == {"filler": BIG, "cart": [], "old": 1}


def test_id_regenerated_while_the_session_is_terminated_leaves_nothing(stored, store):
    login, logout = stored.send(), stored.send()
    login.regenerate_id()
    logout.terminate()
    with pytest.raises(SessionTerminated):
        stored.receive(login)
    stored.receive(logout)
    assert len(store.store._records) == 1  # the tombstone of the old id
    assert not stored.send().is_active()


def test_two_requests_that_outgrow_the_cookie_at_once_are_both_kept(browser):
    with browser.request() as session:
        session["a"] = 0
    first, second = browser.send(), browser.send()
    first["first"], second["second"] = BIG, BIG
    browser.receive(first)
    browser.receive(second)
    assert browser.data() == {"a": 0, "first": BIG, "second": BIG}


def test_request_under_way_while_the_session_moves_back_still_finds_it(stored):
    back, slow = stored.send(), stored.send()
    back["filler"] = "small"
    stored.receive(back)
    slow["b"] = 2
    stored.receive(slow)
    assert stored.data() == {"filler": "small", "cart": [], "old": 1, "b": 2}


def test_session_that_moves_back_and_outgrows_again_keeps_its_deletions(stored):
    with stored.request() as session:
        session["filler"] = "small"
    with stored.request() as session:
        del session["old"]
    with stored.request() as session:
        session["filler"] = BIG
    assert stored.data() == {"filler": BIG, "cart": []}


def test_answer_overtaken_by_a_newer_one_cannot_roll_a_stored_session_back(stored):
    first = stored.send()
    first["n"] = 1
    stored.receive(first)
    older = dict(stored.cookies)
    with stored.request() as session:
        session["n"] = 2
    stored.cookies = older
    assert stored.data()["n"] == 2


def test_leftover_chunk_of_an_overtaken_answer_does_no_harm(make_manager):
    browser = Browser(make_manager(cookie_only_threshold=10_000))
    with browser.request() as session:
        session["a"] = 1
    small, large = browser.send(), browser.send()
    small["b"] = 2
    large["filler"] = BIG
    browser.receive(large)
    browser.receive(small)
    assert "__Host-gaesess.1" in browser.cookies
    assert browser.data() == {"a": 1, "b": 2}


def test_threads_lose_no_write(tmp_path):
    """8 at once write keys of their own, ten times over, all through one session on SQLite."""
    with closing(SQLiteStore(tmp_path / "sessions.sqlite3")) as store:
        manager = SessionManager(generate_key(), store=store)
        browser = Browser(manager)
        with browser.request() as session:
            session["filler"] = BIG

        def work(thread):
            for step in range(10):
                all_at_once.wait()
                session = manager.open(browser.header())
                session[thread, step] = True
                session.commit()

        all_at_once = threading.Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert browser.data().keys() == {"filler"} | {(thread, step) for thread in range(8) for step in range(10)}


VALUES = st.integers(1, 5)
CHANGES = st.fixed_dictionaries({}, optional={"a": st.none() | VALUES, "b": st.none() | VALUES, "c": VALUES})


def apply(changes, target):
    for key, value in changes.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value


@given(st.lists(CHANGES, min_size=1, max_size=5), st.data())
def test_overlapping_requests_end_as_if_run_one_after_the_other(requests, data):
    """Whatever overlapping requests change, the result is as if each had run alone, in the order in which they end."""
    browser = Browser(SessionManager(generate_key(), store=MemoryStore()))
    model = {"filler": BIG, "a": 0, "b": 0}
    with browser.request() as session:
        session.update(model)
    begun = [(browser.send(), changes) for changes in requests]
    for session, changes in begun:
        apply(changes, session)
    for session, changes in data.draw(st.permutations(begun), label="order in which they end"):
        browser.receive(session)
        apply(changes, model)
    assert browser.data() == model
