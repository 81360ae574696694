"""What becomes of a session that its store has lost: the settings say it, and a new one heals it."""

import pytest
from browser import Browser
from clock import Clock

from gaesess import SessionDataLoss, SessionManager, StoreUnavailable, events, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000


@pytest.fixture
def store():
    store = FaultyStore(MemoryStore())
    store.may_forget = False
    return store


@pytest.fixture
def make_lost(store):
    """Make a browser whose session was in the store, which was emptied since."""

    def make(**settings):
        browser = Browser(SessionManager(generate_key(), store=store, clock=Clock(), **settings))
        with browser.request() as session:
            session.update(filler=BIG, user="ada")
        store.store._records.clear()
        return browser

    return make


@pytest.mark.parametrize("settings", [{}, {"on_data_loss": "raise"}], ids=["by default", "said"])
def test_a_loss_is_raised(make_lost, settings):
    session = make_lost(**settings).send()
    with pytest.raises(SessionDataLoss):
        session.get("user")
    assert session.is_lost()


def test_with_restart_a_lost_session_is_none(make_lost):
    session = make_lost(on_data_loss="restart").send()
    assert (dict(session), session.is_active(), session.is_lost()) == ({}, False, False)


def test_with_restart_the_first_write_starts_another_session(make_lost):
    browser = make_lost(on_data_loss="restart")
    lost = browser.header()
    with browser.request() as session:
        session["cart"] = ["tea"]
    assert browser.data() == {"cart": ["tea"]}
    assert browser.header() != lost


def test_with_restart_a_loss_is_an_event(make_lost):
    browser, names = make_lost(on_data_loss="restart"), []
    unsubscribe = events.subscribe(lambda event: names.append(event.name))
    browser.data()
    unsubscribe()
    assert names == ["data_loss"]


def test_with_restart_an_older_record_is_a_loss_too(store, make_lost):
    browser = make_lost(on_data_loss="restart")
    with browser.request() as session:
        session["filler"] = BIG
    old = dict(store.store._records)
    with browser.request() as session:
        session["more"] = 1
    store.store._records = old
    assert browser.data() == {}


def test_with_restart_an_outage_is_no_loss(store, make_lost):
    browser = make_lost(on_data_loss="restart")
    store.down = True
    with pytest.raises(StoreUnavailable):
        browser.data()


@pytest.mark.parametrize("on_data_loss", ["raise", "restart"])
def test_a_new_id_for_a_lost_session_is_a_new_session_where_one_is_asked_for(make_lost, on_data_loss):
    browser = make_lost(on_data_loss=on_data_loss)
    with browser.request() as session:
        session.regenerate_id(session.manager.now() + 60)
        session["user"] = "grace"
    assert browser.data() == {"user": "grace"}


def test_a_new_id_heals_a_lost_session(make_lost):
    browser = make_lost()
    with browser.request() as session:
        session.regenerate_id()
        session["user"] = "grace"
    assert browser.data() == {"user": "grace"}


def test_a_new_session_in_the_place_of_a_lost_one_ends_that(make_lost):
    browser = make_lost()
    copy = browser.copy()
    with browser.request() as session:
        session.start()
    assert copy.data() == {}
