"""From a session of 1.07 to one of ours: once, with a new id, and the old one is worth nothing from then on."""

from datetime import datetime, timezone

import pytest
from browser import Browser
from gae_sessions_1_07 import NOW, cookie_value, cookies, dump, make_sid, session_cookies, session_pickle

from gaesess import Home, SessionManager, SessionTerminated, SessionTooLarge, StoreUnavailable, generate_key, legacy
from gaesess.stores.base import CLOCK_MARGIN, record_key
from gaesess.stores.sqlite import SQLiteStore

SID = make_sid(NOW + 86_400)


@pytest.fixture
def browser(manager, visitor):
    return visitor(manager)


@pytest.fixture
def copy(browser):
    """What a thief has: the old cookies, in a browser of his own."""
    return browser.copy()


def change(browser, **data):
    with browser.request() as session:
        session.update(data)


# What the client sees


def test_a_request_that_does_not_use_its_session_changes_nothing_and_asks_nobody(browser, store):
    store.down = True
    before = dict(browser.cookies)
    with browser.request():
        pass
    assert browser.received == []
    assert browser.cookies == before


def test_the_first_use_brings_our_cookie_and_deletes_all_of_the_old(manager, visitor):
    browser = visitor(manager, {b"text": b"x" * 8000})
    assert set(browser.cookies) == {"DgU00", "DgU01", "DgU02"}
    assert browser.data() == {"text": "x" * 8000}
    assert set(browser.cookies) == {manager.cookie.name}
    deletions = browser.received[1:]
    assert len(deletions) == 3
    assert all("Path=/;" in line and "Max-Age=0" in line and "Domain" not in line for line in deletions)


def test_the_session_has_a_new_id(browser):
    session = browser.send()
    assert session.is_active()
    assert session.sid[:11] == SID[:11]
    assert session.sid != SID


def test_the_session_goes_on_as_any_other(browser):
    change(browser, colour="blue")
    change(browser, colour="green")
    assert browser.data() == {"user": 7, "colour": "green"}


def test_a_session_that_outgrows_its_cookie_is_stored(browser):
    with browser.request() as session:
        session["text"] = "x" * 9000
    assert browser.send().home is Home.STORE
    assert browser.data() == {"user": 7, "text": "x" * 9000}


@pytest.mark.parametrize("secure", [True, False])
def test_deletions_are_secure_where_our_cookies_are(make_manager, visitor, secure):
    browser = visitor(make_manager(cookie_secure=secure))
    browser.data()
    assert ["; Secure" in line for line in browser.received] == [secure, secure]


def test_a_response_that_is_abandoned_leaves_the_old_cookies(browser):
    session = browser.send()
    assert session["user"] == 7
    assert session.abandon() == []
    assert browser.data() == {"user": 7}


def test_an_abandoned_response_to_what_was_saved_deletes_the_old_cookies(browser):
    session = browser.send()
    session.save()
    browser.take(session.abandon())
    assert set(browser.cookies) == {browser.manager.cookie.name}
    assert browser.data() == {"user": 7}


def test_old_cookies_beside_ours_are_deleted_when_ours_changes(browser):
    old = dict(browser.cookies)
    browser.data()
    browser.cookies.update(old)
    change(browser, n=1)
    assert set(browser.cookies) == {browser.manager.cookie.name}
    assert browser.data() == {"user": 7, "n": 1}


# The old id


def test_the_old_cookie_is_barred_a_minute_later(browser, copy, clock):
    browser.data()
    clock.time += 60
    assert copy.data() == {}
    assert browser.data() == {"user": 7}


def test_requests_that_overlap_with_the_first_are_all_answered(browser, clock):
    first, second = browser.send(), browser.send()
    assert first["user"] == second["user"] == 7
    browser.receive(first)
    clock.time += 59
    browser.receive(second)
    third = Browser(browser.manager)
    third.cookies = session_cookies({b"user": 7}, SID)
    assert third.data() == {"user": 7}
    assert browser.data() == {"user": 7}


@pytest.mark.parametrize("settings", [{"cookie_only_threshold": 0}, {"revocable": True}], ids=["store", "revocable"])
def test_a_sign_out_with_the_old_cookie_ends_what_every_overlapping_request_has_begun(make_manager, visitor, settings):
    browser = visitor(make_manager(**settings))
    thief, copies = browser.copy(), [browser.copy() for _ in range(3)]
    requests = [copy.send() for copy in copies]
    for copy, session in zip(copies, requests, strict=True):
        session["text"] = "changed"
        copy.receive(session)
    assert len({copy.send().sid for copy in copies}) == 3
    with thief.request() as session:
        session.terminate()
    assert [copy.data() for copy in copies] == [{}, {}, {}]


def test_a_second_that_is_too_late_is_refused_when_it_saves(browser, clock):
    first, second = browser.send(), browser.send()
    assert first["user"] == second["user"] == 7
    browser.receive(first)
    clock.time += 60
    with pytest.raises(SessionTerminated):
        second.commit()
    assert second.abandon() == []


def test_a_second_that_is_too_late_leaves_no_record(make_manager, visitor, store, clock):
    browser = visitor(make_manager(cookie_only_threshold=0))
    first, second = browser.send(), browser.send()
    assert first["user"] == second["user"] == 7
    browser.receive(first)
    records = set(store.store._records)
    clock.time += 60
    with pytest.raises(SessionTerminated):
        second.commit()
    assert set(store.store._records) == records


@pytest.mark.parametrize("threshold", [None, 0])
def test_the_old_id_is_barred_though_every_write_is_sent_twice(make_manager, visitor, store, clock, threshold):
    browser = visitor(make_manager(cookie_only_threshold=threshold))
    copy = browser.copy()
    store.resends = True
    assert browser.data() == {"user": 7}
    clock.time += 60
    assert (browser.data(), copy.data()) == ({"user": 7}, {})


def test_sign_out_in_the_same_request_bars_the_old_id_at_once(browser, copy):
    with browser.request() as session:
        assert session["user"] == 7
        session.terminate()
    assert browser.cookies == {}
    assert copy.data() == {}


def test_sign_out_works_on_a_store_that_wants_versions_of_its_own(make_manager, visitor, tmp_path):
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    browser = visitor(make_manager(store=store))
    old = dict(browser.cookies)
    with browser.request() as session:
        assert session["user"] == 7
        session.terminate()
    browser.cookies = old
    assert browser.data() == {}
    store.close()


def test_sign_out_without_a_look_at_the_session_does_too(browser, copy):
    with browser.request() as session:
        session.terminate()
    assert browser.cookies == {}
    assert copy.data() == {}


@pytest.mark.parametrize("threshold", [0, None], ids=["stored", "in its cookie"])
def test_sign_out_in_a_later_request_bars_the_old_id_at_once(make_manager, visitor, threshold):
    browser = visitor(make_manager(cookie_only_threshold=threshold))
    old = dict(browser.cookies)
    browser.data()
    with browser.request() as session:
        session.terminate()
    browser.cookies = old
    assert browser.data() == {}


def test_a_request_that_overlaps_with_sign_out_does_not_bring_the_session_back(browser, copy):
    late = copy.send()
    assert late["user"] == 7
    with browser.request() as session:
        session.terminate()
    with pytest.raises(SessionTerminated):
        late.commit()


def test_sign_out_ends_an_old_cookie_beside_ours(browser, copy):
    """As left there by an instance that still runs 1.07."""
    other = session_cookies({b"user": 7}, make_sid(NOW + 86_400, name="f" * 32))
    browser.data()
    browser.cookies.update(other)
    with browser.request() as session:
        session.terminate()
    assert browser.cookies == {}
    browser.cookies = other
    assert browser.data() == {}


def test_a_new_session_in_its_place_bars_the_old_id_at_once(browser, copy):
    with browser.request() as session:
        session.start()
        session["user"] = 8
    assert copy.data() == {}
    assert browser.data() == {"user": 8}


def test_a_new_id_at_sign_in_bars_the_old_one_and_gives_its_holder_nothing(browser, copy, clock):
    with browser.request() as session:
        session["user"] = "signed in"
        session.regenerate_id()
    old = dict(copy.cookies)
    assert copy.data() == {"user": 7}  # for a minute, what it always had
    clock.time += 60
    copy.cookies = old
    assert copy.data() == {}
    assert browser.data() == {"user": "signed in"}


def test_the_tombstone_lasts_as_long_as_the_old_cookie(browser, store):
    browser.data()
    expires = NOW + 86_400 + CLOCK_MARGIN
    assert record_key(expires, bytes.fromhex(SID[11:])) in store.store._records


def test_a_session_without_expiry_is_barred_too(make_manager, accept, visitor, clock):
    browser = visitor(make_manager(legacy=accept(accept_browser_sessions=True)), expires=0)
    thief = browser.copy()
    browser.data()
    clock.time += 60
    assert thief.data() == {}


def test_an_end_beyond_what_our_clock_can_say_is_barred_too(manager, visitor, clock):
    browser = visitor(manager, expires=9_999_999_999)
    thief = browser.copy()
    browser.data()
    clock.time += 60
    assert thief.data() == {}


def test_a_record_in_the_tombstones_place_that_cannot_be_read_bars_too(make_manager, visitor):
    browser = visitor(make_manager())
    old = dict(browser.cookies)
    browser.data()
    stranger = Browser(make_manager())  # with another key
    stranger.cookies = old
    assert stranger.data() == {}


def test_without_a_store_a_copy_stays_good(make_manager, visitor, clock):
    browser = visitor(make_manager(store=None))
    old = dict(browser.cookies)
    assert browser.data() == {"user": 7}
    clock.time += 3600
    browser.cookies = old
    assert browser.data() == {"user": 7}


# Outages are no sign-out


def test_a_store_that_is_down_is_an_outage_and_leaves_the_old_cookies(browser, store):
    store.down = True
    session = browser.send()
    with pytest.raises(StoreUnavailable):
        session.get("user")
    assert session.abandon() == []
    store.down = False
    assert browser.data() == {"user": 7}


def test_a_store_that_goes_down_before_the_save_leaves_the_old_cookies(browser, store):
    session = browser.send()
    assert session["user"] == 7
    store.down = True
    with pytest.raises(StoreUnavailable):
        session.commit()
    assert session.abandon() == []
    store.down = False
    assert browser.data() == {"user": 7}


def test_a_tombstone_whose_reply_was_lost_does_no_harm(browser, store):
    session = browser.send()
    assert session["user"] == 7
    answer = store.store.add

    def lose_the_reply(*arguments, **options):
        answer(*arguments, **options)
        store.store.add = answer
        raise StoreUnavailable("lost")

    store.store.add = lose_the_reply
    browser.receive(session)
    assert browser.data() == {"user": 7}


def test_a_tombstone_that_did_not_land_is_an_outage_and_leaves_the_old_cookies(browser, store, monkeypatch):
    session = browser.send()
    assert session["user"] == 7

    def fail(*arguments, **options):
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(store.store, "add", fail)
        with pytest.raises(StoreUnavailable):
            session.commit()
    assert session.abandon() == []
    assert browser.data() == {"user": 7}


def test_a_sign_out_that_fails_ends_the_cookies_all_the_same(browser, store):
    session = browser.send()
    store.down = True
    with pytest.raises(StoreUnavailable):
        session.terminate()
    browser.take(session.abandon())
    assert browser.cookies == {}


# Data that 1.07 kept elsewhere


def from_store(visitor, manager):
    browser = visitor(manager)
    browser.cookies = cookies(cookie_value(b"", SID))
    return browser


def test_the_first_source_that_has_it_is_read(make_manager, accept, visitor, source):
    sources = [source(), source(**{SID: session_pickle({b"x": 7})}), source(**{SID: session_pickle({b"x": 8})})]
    browser = from_store(visitor, make_manager(legacy=accept(sources=sources)))
    assert browser.data() == {"x": 7}
    assert [each.asked for each in sources] == [1, 1, 0]


def test_a_source_is_not_asked_for_a_session_that_its_cookie_has(make_manager, accept, visitor, source):
    asked = source()
    assert visitor(make_manager(legacy=accept(sources=[asked]))).data() == {"user": 7}
    assert asked.asked == 0


def test_a_source_that_is_down_is_an_outage(make_manager, accept, visitor, source):
    down, other = source(), source(**{SID: session_pickle({b"x": 7})})
    down.down = StoreUnavailable("down")
    browser = from_store(visitor, make_manager(legacy=accept(sources=[down, other])))
    with pytest.raises(StoreUnavailable):
        browser.data()
    down.down = None
    assert browser.data() == {"x": 7}


@pytest.mark.parametrize("pickles", [{}, {SID: b""}, {SID: b"junk"}, {SID: dump(({}, {b"x": 7}))[:-4]}])
def test_data_that_are_lost_or_damaged_are_no_session(make_manager, accept, visitor, source, told, pickles):
    browser = from_store(visitor, make_manager(legacy=accept(sources=[source(**pickles)])))
    assert browser.data() == {}
    assert {event.name for event in told} <= {"token_refused", "token_expired"}
    change(browser, x=1)
    assert set(browser.cookies) == {browser.manager.cookie.name}


# What we cannot hold


def test_more_than_can_be_saved_is_told_and_the_old_cookie_stays(make_manager, visitor, told):
    browser = visitor(make_manager(store=None), {b"text": b"x" * 9000})
    old = dict(browser.cookies)
    assert browser.data() == {}
    assert [event.name for event in told] == ["oversize"]
    assert browser.cookies == old


def test_no_session_that_was_taken_over_is_too_large(make_manager, visitor):
    browser = visitor(make_manager(store=None), {b"text": b"x" * 2000})
    try:
        assert browser.data() == {"text": "x" * 2000}
    except SessionTooLarge:
        pytest.fail("what was taken over has to be saved")


# Settings


def test_readers_are_one_or_several(make_manager, accept, visitor):
    one, other = accept(), accept(cookie_key=b"another" * 8)
    for legacy_setting in (one, [one], (other, one), iter([one])):
        assert visitor(make_manager(legacy=legacy_setting, store=None)).data() == {"user": 7}
    assert visitor(make_manager(legacy=[])).data() == {}


def test_a_reader_of_our_own_cookies_name_is_refused(accept):
    with pytest.raises(ValueError, match="cookie_name is 'DgU00'"):
        SessionManager(generate_key(), cookie_name="DgU00", legacy=accept())


def test_a_cookie_that_cannot_be_deleted_is_refused():
    until = datetime(2030, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(ValueError, match="cookie_domain"):
        SessionManager(generate_key(), legacy=legacy.flask(secret_key="k", until=until, cookie_domain="no domain"))


# What is told


def test_a_session_taken_over_is_an_event_without_its_id(browser, told):
    browser.data()
    assert told[0].name == "session_taken_over"
    assert SID[11:] not in repr(told)


def test_a_barred_cookie_is_an_event(browser, copy, clock, told):
    browser.data()
    clock.time += 60
    told.clear()
    copy.data()
    assert [event.name for event in told] == ["token_expired"]
