"""Events: each is told to the log and to listeners, and tells nobody enough to take a session over."""

import logging

import pytest
from browser import Browser

from gaesess import SessionDataLoss, SessionManager, SessionTooLarge, StoreUnavailable, events, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000


class Site:
    """A browser, its site, and every event so far."""

    def __init__(self, **settings):
        self.now = 1_800_000_000.0
        self.cache, self.durable = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
        self.durable.may_forget = False
        store = TieredStore(self.cache, self.durable, clock=self.clock)
        self.settings = {"cookie_key": generate_key(), "store": store, "clock": self.clock, **settings}
        self.browser = Browser(SessionManager(**self.settings))
        self.events = []

    def clock(self):
        return self.now

    def names(self):
        return [event.name for event in self.events]

    def store_a_session(self):
        with self.browser.request() as session:
            session["filler"] = BIG
        self.events.clear()


@pytest.fixture
def make_site():
    unsubscribers = []

    def make(**settings):
        site = Site(**settings)
        unsubscribers.append(events.subscribe(site.events.append))
        return site

    yield make
    for unsubscribe in unsubscribers:
        unsubscribe()


@pytest.fixture
def site(make_site):
    return make_site()


def test_a_save_is_an_event(site):
    with site.browser.request() as session:
        session["a"] = 1
    (event,) = site.events
    assert (event.name, event.level) == ("committed", logging.DEBUG)
    assert event.fields.keys() == {"session", "home", "revision", "data_bytes"}
    assert event.fields["home"] == "cookie"


def test_nothing_saved_is_none(site):
    site.browser.data()
    assert site.events == []


def test_a_merge_is_an_event(site):
    site.store_a_session()
    first, second = site.browser.send(), site.browser.send()
    first["a"], second["b"] = 1, 2
    site.browser.receive(first)
    site.browser.receive(second)
    assert site.names() == ["committed", "conflict_merged", "committed"]


def test_a_write_that_was_looked_up_is_an_event(site, monkeypatch):
    site.store_a_session()
    replace = site.durable.replace

    def deaf_once(*arguments, **options):
        monkeypatch.undo()
        replace(*arguments, **options)
        raise StoreUnavailable("the reply is lost")

    monkeypatch.setattr(site.durable, "replace", deaf_once)
    with site.browser.request() as session:
        session["a"] = 1
    assert site.names() == ["store_unavailable", "outcome_settled", "committed"]
    assert site.events[1].fields["landed"] is True


def test_a_write_that_was_sent_twice_is_looked_up_and_no_merge(site):
    site.store_a_session()
    site.durable.resends = True
    with site.browser.request() as session:
        session["a"] = 1
    assert site.names() == ["outcome_settled", "committed"]
    assert site.events[0].fields["landed"] is True


def test_a_terminated_session_is_an_event(site):
    site.store_a_session()
    with site.browser.request() as session:
        session.terminate()
    assert site.names() == ["terminated"]


def test_a_cookie_that_is_not_believed_is_an_event(site):
    site.browser.cookies = {"__Host-gaesess": "IQAAAQ"}
    site.browser.data()
    assert site.names() == ["token_refused"]


def test_a_cookie_whose_time_is_over_is_an_event(site):
    site.store_a_session()
    site.now += 8 * 24 * 3600
    site.browser.data()
    assert site.names() == ["token_expired"]


def test_a_cookie_of_a_terminated_session_is_an_event(site):
    site.store_a_session()
    late = site.browser.send()
    site.browser.send().terminate()
    site.events.clear()
    assert not late.is_active()
    assert site.names() == ["token_expired"]


def test_a_poisoned_record_is_an_event(site):
    site.store_a_session()
    (key,) = site.durable.store._records
    site.cache.store._records.clear()
    site.durable.store.put(key, b"poison", expires_at=2_000_000_000)
    with pytest.raises(SessionDataLoss):
        site.browser.data()
    assert site.names() == ["poisoned_record", "data_loss"]


def test_an_entry_of_the_cache_that_none_of_our_keys_has_signed_is_an_event(site):
    site.store_a_session()
    (key,) = site.cache.store._records
    site.cache.put(key, b"\0" * 28 + b"poison", expires_at=2_000_000_000)
    assert site.browser.data() == {"filler": BIG}
    assert site.names() == ["poisoned_record"]


def test_a_record_below_the_floor_is_an_event(site):
    site.store_a_session()
    old = dict(site.cache.store._records)
    with site.browser.request() as session:
        session["a"] = 1
    site.events.clear()
    site.cache.store._records = old
    assert site.browser.data() == {"filler": BIG, "a": 1}
    assert site.names() == ["stale_record"]


def test_a_cache_that_fails_and_comes_back_is_two_events(site):
    site.store_a_session()
    site.cache.down = True
    site.browser.data()
    site.cache.down = False
    site.now += 10
    site.browser.data()
    assert [(event.name, event.fields) for event in site.events] == [
        ("store_unavailable", {"store": "cache"}),
        ("store_recovered", {"store": "cache"}),
    ]


def test_a_store_that_does_not_answer_is_an_event(site):
    site.store_a_session()
    site.durable.down = site.cache.down = True
    with pytest.raises(StoreUnavailable):
        site.browser.data()
    assert site.names() == ["store_unavailable", "store_unavailable"]


def test_a_save_in_the_cache_alone_is_an_event(make_site):
    site = make_site(outage="degrade")
    site.store_a_session()
    site.durable.down = True
    with site.browser.request() as session:
        session["a"] = 1
    assert [event.name for event in site.events if event.name != "store_unavailable"] == ["degraded", "committed"]


def test_a_loss_is_an_event(site):
    site.store_a_session()
    site.cache.store._records.clear()
    site.durable.store._records.clear()
    with pytest.raises(StoreUnavailable):
        site.browser.data()
    assert [(event.name, event.level) for event in site.events] == [("data_loss", logging.ERROR)]


def test_a_session_too_large_is_an_event(make_site):
    site = make_site(store=None)
    session = site.browser.send()
    session["filler"] = BIG
    with pytest.raises(SessionTooLarge):
        session.commit()
    assert site.names() == ["oversize"]


def test_every_event_is_logged_with_its_fields(site, caplog):
    caplog.set_level(logging.DEBUG, "gaesess")
    with site.browser.request() as session:
        session["a"] = 1
    (record,), (event,) = caplog.records, site.events
    assert (record.name, record.levelno, record.getMessage()) == ("gaesess", event.level, event.message)
    assert record.gaesess == {"event": event.name, **event.fields}


def test_the_same_session_has_the_same_label_and_another_has_another(site):
    for number in range(2):
        with site.browser.request() as session:
            session["a"] = number
    site.browser.cookies.clear()
    with site.browser.request() as session:
        session["a"] = 1
    first, again, other = [event.fields["session"] for event in site.events]
    assert first == again != other


def test_another_key_gives_another_label():
    labels = {SessionManager(generate_key()).config.label(bytes(16)) for _ in range(2)}
    assert len(labels) == 2


def test_no_event_tells_an_id_or_a_cookie(site):
    site.store_a_session()
    sid, cookie = site.browser.send().sid, site.browser.cookies["__Host-gaesess"]
    (key,) = site.durable.store._records
    for change in (lambda session: session.increment("n"), lambda session: session.terminate()):
        overlapping = site.browser.send()
        overlapping["a"] = 1
        with site.browser.request() as session:
            change(session)
        site.browser.cookies = {"__Host-gaesess": cookie}
    site.browser.cookies = {"__Host-gaesess": cookie[:-1] + "_"}
    site.browser.data()
    told = repr(site.events)
    assert {"committed", "terminated", "token_refused"} <= set(site.names())
    assert not any(secret in told for secret in (sid[11:], cookie, cookie[-20:-1], key[11:]))


def test_a_listener_that_fails_does_no_harm_and_is_logged(site, caplog):
    def broken(event):
        raise ZeroDivisionError

    unsubscribe = events.subscribe(broken)
    try:
        with site.browser.request() as session:
            session["a"] = 1
    finally:
        unsubscribe()
    assert site.browser.data() == {"a": 1}
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_whoever_has_unsubscribed_hears_no_more(site):
    heard = []
    unsubscribe = events.subscribe(heard.append)
    unsubscribe()
    site.store_a_session()
    assert heard == []


def test_every_name_has_a_level(site):
    with pytest.raises(KeyError):
        events.emit("no such event", "")
