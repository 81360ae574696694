"""What was wrong in gae-sessions 1.07, defect by defect, and that it is not so here."""

import os
import pickle
import time

import pytest
from browser import Browser
from wsgi.client import Site as WsgiSite
from wsgi.client import respond

from gaesess import (
    SessionClosed,
    SessionManager,
    SessionTerminated,
    StoreUnavailable,
    _impl,
    generate_key,
    get_current_session,
)
from gaesess._core import MAX_CHUNKS
from gaesess.errors import MalformedToken
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000
WEEK = 7 * 24 * 3600
NOW = 1_800_000_000


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Application:
    """A cache, a durable store and a manager over both, at a time of one's choice."""

    def __init__(self, **settings):
        self.time = NOW
        self.cache, self.durable = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
        self.durable.may_forget = False
        store = TieredStore(self.cache, self.durable, clock=lambda: self.time)
        self.manager = SessionManager(generate_key(), store=store, clock=lambda: self.time, **settings)

    def signed_in(self, **data):
        browser = Browser(self.manager)
        with browser.request() as session:
            session.update({"user": "ada", "filler": BIG, **data})
        return browser

    def evict(self):
        self.cache.store._records.clear()


@pytest.fixture
def application():
    return Application()


@pytest.mark.parametrize("engine", ["cache", "durable"])
def test_a_poisoned_entry_runs_no_code(application, tmp_path, engine):
    browser = application.signed_in()
    records = getattr(application, engine).store._records
    bomb = pickle.dumps(Bomb(tmp_path / "ran"), 2)
    for key, record in list(records.items()):
        records[key] = record._replace(data=record.data[:8] + bomb if engine == "cache" else bomb)
    if engine == "durable":
        application.evict()
    try:
        browser.data()
    except StoreUnavailable:
        assert engine == "durable"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("junk", ["!", "=", " ", "\n", "*", "\xe9", "%3D", '"', "+", "/"])
def test_no_junk_in_the_base64_is_passed_over(application, junk):
    browser = application.signed_in()
    for name, value in list(browser.cookies.items()):
        for position in (0, 10, len(value)):
            browser.cookies[name] = value[:position] + junk + value[position:]
            assert browser.data() == {}


@pytest.mark.parametrize("suffix", ["ser", "99", ".99", ".20", ".01", ".", "0", "00"])
def test_a_cookie_whose_name_only_begins_like_ours_harms_no_session(application, suffix):
    browser = application.signed_in()
    browser.cookies[application.manager.cookie.name + suffix] = "junk"
    assert browser.data()["user"] == "ada"


def test_a_session_in_as_many_cookies_as_there_can_be_is_put_together_in_their_order():
    manager = SessionManager(generate_key(), cookie_only_threshold=10**6)
    browser = Browser(manager)
    data = {"noise": os.urandom(manager.cookie.payload_limit(MAX_CHUNKS) - 100)}
    with browser.request() as session:
        session.update(data)
    assert len(browser.cookies) == MAX_CHUNKS
    browser.cookies = dict(sorted(browser.cookies.items(), reverse=True))
    assert browser.data() == data


def test_a_session_that_ends_with_the_browser_ends_on_the_server_too_and_is_not_cleaned_up_before(application):
    browser = Browser(application.manager)
    with browser.request() as session:
        session.start(expiration_ts=0)
        session["filler"] = BIG
    assert application.durable.delete_expired(now=NOW + WEEK - 1, limit=10) == 0
    application.time += WEEK - 1
    assert browser.data() == {"filler": BIG}
    application.time += 1
    assert browser.data() == {}


@pytest.mark.parametrize(
    "sid", ["", "0", "_", "0000000000_", "junk", "1800000000x" + "0" * 32, "0000000000_" + "0" * 32]
)
def test_a_malformed_session_id_is_none_and_not_one_without_an_end(application, sid):
    with pytest.raises(MalformedToken):
        _impl.parse_sid(sid)
    assert not application.manager.load(sid).is_active()


def test_a_session_that_is_loaded_by_its_id_has_its_end_checked(application):
    with application.signed_in().request() as session:
        sid = session.sid
    assert application.manager.load(sid).is_active()
    application.time += WEEK
    assert not application.manager.load(sid).is_active()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be changed here")
def test_a_cookies_date_is_in_gmt_wherever_the_server_is(application, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
    time.tzset()
    try:
        browser = application.signed_in()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "; Expires=Fri, 22 Jan 2027 08:00:00 GMT;" in browser.received[0]


@pytest.mark.parametrize("settings", [{}, {"revocable": True}], ids=["in the store", "in the cookie"])
@pytest.mark.parametrize("end", ["terminate", "regenerate_id"])
def test_an_old_cookie_is_worth_nothing_after_sign_out_and_under_a_new_id(settings, end):
    browser = Application(**settings).signed_in(filler="" if settings else BIG)
    stolen = Browser(browser.manager)
    stolen.cookies = dict(browser.cookies)
    with browser.request() as session:
        getattr(session, end)()
    assert stolen.data() == {}


@pytest.mark.parametrize("late", ["the request", "the cookie"])
def test_a_save_after_sign_out_brings_nothing_back(application, late):
    browser = application.signed_in()
    request = browser.send()
    request["user"] = "back again"
    with browser.request() as session:
        session.terminate()
    with pytest.raises(SessionTerminated):
        request.commit()
    assert not any(b"back again" in record.data for record in application.durable.store._records.values())


def test_overlapping_requests_lose_nothing_of_each_other(application):
    browser = application.signed_in()
    one, other = browser.send(), browser.send()
    one["one"], other["other"] = 1, 2
    browser.receive(one)
    browser.receive(other)
    assert {"one": 1, "other": 2}.items() <= browser.data().items()


def test_nothing_old_is_read_after_a_write_that_the_cache_did_not_take(application):
    browser = application.signed_in()
    application.cache.down = True
    with browser.request() as session:
        session["user"] = "grace"
    application.cache.down = False
    application.time += 60
    assert browser.data()["user"] == "grace"


def test_a_write_that_the_durable_store_did_not_take_is_told_and_does_not_roll_back_later(application):
    browser = application.signed_in()
    session = browser.send()
    session["user"] = "grace"
    application.durable.down = True
    with pytest.raises(StoreUnavailable):
        session.commit()
    application.durable.down = False
    application.evict()
    assert browser.data()["user"] == "ada"


def test_no_cookie_is_sent_for_what_could_be_saved_nowhere(application):
    session = Browser(application.manager).send()
    session["filler"] = BIG
    application.cache.down = application.durable.down = True
    with pytest.raises(StoreUnavailable):
        session.commit()
    assert session.abandon() == []


def test_what_was_popped_does_not_come_back_when_the_cache_forgets(application):
    browser = application.signed_in(once="a token")
    with browser.request() as session:
        assert session.pop("once") == "a token"
    application.evict()
    assert "once" not in browser.data()


@pytest.mark.parametrize("outage", ["evicted", "down"])
def test_without_the_cache_everybody_stays_signed_in(application, outage):
    browser = application.signed_in()
    application.evict()
    application.cache.down = outage == "down"
    assert browser.data()["user"] == "ada"


def test_the_current_session_is_gone_when_its_request_is():
    def app(environ, start_response):
        get_current_session()["user"] = "ada"
        respond(start_response)
        return [b""]

    WsgiSite().serve(app).send()
    with pytest.raises(LookupError):
        get_current_session()


def test_a_change_that_comes_too_late_to_be_saved_is_an_error(application):
    session = Browser(application.manager).send()
    session["user"] = "ada"
    session.commit()
    with pytest.raises(SessionClosed):
        session["user"] = "grace"
