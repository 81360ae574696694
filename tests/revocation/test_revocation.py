"""revocable=True: what has ended has ended, for every copy of its cookie."""

import os
import threading
from datetime import timedelta

import pytest
from asgi.client import Site as AsgiSite
from asgi.client import respond as asgi_respond
from browser import Browser

from gaesess import SessionManager, StoreUnavailable, events, generate_key
from gaesess._core import Token
from gaesess.drivers import run
from gaesess.stores.base import CLOCK_MARGIN
from gaesess.users import CHECKED_SECONDS, MAX_CHECKED, SHARDS


def sign_out(browser):
    with browser.request() as session:
        session.terminate()


def change_id(browser):
    with browser.request() as session:
        session.regenerate_id()


def start_anew(browser):
    with browser.request() as session:
        session.start()


ENDS = pytest.mark.parametrize("end", [sign_out, change_id, start_anew])


@ENDS
def test_a_copy_of_the_cookie_is_worth_nothing_once_the_session_has_ended(browser, end):
    stolen = browser.copy()
    end(browser)
    assert stolen.data() == {}


@ENDS
def test_nor_if_it_was_in_use_a_moment_ago(browser, end):
    stolen = browser.copy()
    assert stolen.data() == {"name": "Ada"}
    end(browser)
    assert stolen.data() == {}


@ENDS
def test_in_another_process_it_is_worth_nothing_after_the_stated_time(browser, make_manager, clock, end):
    stolen = browser.copy(make_manager())
    assert stolen.data() == {"name": "Ada"}
    end(browser)
    assert stolen.data() == {"name": "Ada"}
    clock.time += CHECKED_SECONDS
    assert stolen.data() == {}


@ENDS
@pytest.mark.parametrize("back", [1, CHECKED_SECONDS, 3600])
def test_in_another_process_whose_clock_is_set_back_it_is_worth_nothing_at_once(
    browser, make_manager, clock, end, back
):
    stolen = browser.copy(make_manager())
    assert stolen.data() == {"name": "Ada"}
    end(browser)
    clock.time -= back
    assert stolen.data() == {}


@ENDS
def test_in_another_process_whose_clock_stands_still_it_is_worth_nothing_after_the_stated_time(
    browser, make_manager, monotonic, end
):
    stolen = browser.copy(make_manager())
    assert stolen.data() == {"name": "Ada"}
    end(browser)
    monotonic.time += CHECKED_SECONDS
    assert stolen.data() == {}


@ENDS
def test_in_another_process_that_has_not_seen_it_it_is_worth_nothing_at_once(browser, make_manager, end):
    stolen = browser.copy(make_manager())
    end(browser)
    assert stolen.data() == {}


def test_without_the_setting_a_copy_stays_good(make_manager):
    browser = Browser(make_manager(revocable=False))
    with browser.request() as session:
        session["name"] = "Ada"
    stolen = browser.copy()
    sign_out(browser)
    assert stolen.data() == {"name": "Ada"}


def test_the_session_with_the_new_id_goes_on(browser):
    change_id(browser)
    assert browser.data() == {"name": "Ada"}


def test_what_a_request_on_its_way_writes_brings_no_session_back(browser, clock):
    late = browser.send()
    late["name"] = "Grace"
    copy = browser.copy()
    sign_out(browser)
    copy.receive(late)
    clock.time += CHECKED_SECONDS
    assert copy.data() == {}


def test_a_check_that_overlaps_with_the_end_is_not_remembered(browser, store):
    stolen = browser.copy()
    session = stolen.send()
    asked = store.store.get_many

    def end_after_the_answer(keys):
        answer = asked(keys)
        store.store.get_many = asked
        sign_out(browser)
        return answer

    store.store.get_many = end_after_the_answer
    assert session.is_active()
    assert stolen.data() == {}


# -- what it costs


def stored_after(browser, store, use):
    before = len(store.store._records)
    use(browser)
    return len(store.store._records) - before


@pytest.mark.parametrize("cookie", [None, "junk", "expired", "foreign"])
def test_signing_out_without_a_session_leaves_no_record(make_manager, store, clock, cookie):
    browser = Browser(make_manager())
    if cookie == "junk":
        browser.cookies = {browser.manager.cookie.name: "junk"}
    elif cookie is not None:
        browser.manager = make_manager(cookie_key=generate_key()) if cookie == "foreign" else browser.manager
        with browser.request() as session:
            session["name"] = "Ada"
        browser.manager = make_manager()
        clock.time += 8 * 24 * 3600 if cookie == "expired" else 0
    assert stored_after(browser, store, sign_out) == 0


def test_a_session_that_nobody_has_heard_of_leaves_no_record(make_manager, store):
    def start_and_sign_out(browser):
        with browser.request() as session:
            session["name"] = "Ada"
            session.terminate()

    assert stored_after(Browser(make_manager()), store, start_and_sign_out) == 0


@ENDS
def test_a_session_in_its_cookie_leaves_one_record_that_goes_when_it_would_have_ended(browser, store, clock, end):
    assert stored_after(browser, store, end) == 1
    ends = clock.time + 7 * 24 * 3600 + CLOCK_MARGIN
    assert list(store.delete_expired(now=ends - 1)) == []
    assert sum(store.delete_expired(now=ends)) == 1


def asks(store, use):
    """Return whether `use` asks the store."""
    store.down = True
    try:
        use()
        return False
    except StoreUnavailable:
        return True
    finally:
        store.down = False


def test_the_store_is_asked_once_in_the_stated_time(browser, store, clock):
    assert asks(store, browser.data)
    browser.data()
    clock.time += CHECKED_SECONDS - 1
    assert not asks(store, browser.data)
    clock.time += 1
    assert asks(store, browser.data)


def test_a_session_that_is_not_used_is_not_asked_for(browser, store):
    assert not asks(store, lambda: browser.receive(browser.send()))


def test_what_is_remembered_is_bounded(make_manager):
    users = make_manager().config.users
    for _ in range(2 * SHARDS * MAX_CHECKED):
        token = Token(0, 2**32 - 1, 0, 1, os.urandom(16), b"data")
        run(users.check(token, {}, in_cookie=True))
    remembered = [len(checked) for checked in users._checked]
    assert 0 < max(remembered) <= MAX_CHECKED


# -- outages


def test_a_session_is_not_believed_while_the_store_cannot_say_whether_it_has_ended(browser, store):
    store.down = True
    session = browser.send()
    with pytest.raises(StoreUnavailable):
        session.get("name")
    assert session.abandon() == []


def test_with_degrade_it_is_believed_and_that_is_an_event(make_manager, store):
    browser = Browser(make_manager(outage="degrade"))
    with browser.request() as session:
        session["name"] = "Ada"
    heard = []
    unsubscribe = events.subscribe(lambda event: heard.append(event.name))
    store.down = True
    assert browser.data() == {"name": "Ada"}
    unsubscribe()
    assert "degraded" in heard
    sign_out_later = browser.copy()
    store.down = False
    sign_out(browser)
    assert sign_out_later.data() == {}


def test_a_sign_out_that_the_store_does_not_take_is_an_error_and_ends_the_session_when_it_does(browser, store):
    stolen = browser.copy()
    browser.data()
    session = browser.send()
    store.down = True
    with pytest.raises(StoreUnavailable):
        session.terminate()
    store.down = False
    session.terminate()
    browser.receive(session)
    assert (browser.cookies, stolen.data()) == ({}, {})


def test_what_nobody_can_read_in_a_tombstones_place_keeps_the_session_out(browser, store, clock):
    stolen = browser.copy()
    sign_out(browser)
    records = store.store._records
    for key, record in list(records.items()):
        records[key] = record._replace(data=b"?" * len(record.data))
    clock.time += CHECKED_SECONDS
    assert stolen.data() == {}


# -- settings, and the event loop


def test_it_needs_a_store():
    with pytest.raises(ValueError, match=r"^revocable=True needs a store="):
        SessionManager(generate_key(), revocable=True)


def test_reading_waits_unless_it_was_checked_a_moment_ago(browser):
    assert browser.send().read_waits()
    browser.data()
    assert not browser.send().read_waits()


@pytest.mark.parametrize("change", ["regenerate_id", "start"])
def test_a_save_that_leaves_a_tombstone_waits(browser, change):
    session = browser.send()
    getattr(session, change)()
    assert session.close()


def test_under_asgi_the_event_loop_never_asks_the_store():
    site = AsgiSite(revocable=True, lifetime=timedelta(hours=1))

    async def app(scope, receive, send):
        scope["session"]["visits"] = scope["session"].get("visits", 0) + 1
        if scope["path"] == "/login":
            scope["session"].regenerate_id()
            scope["session"].bind_user("ada")
        await asgi_respond(send, b"%d" % scope["session"]["visits"])

    client = site.serve(app)
    assert [client.send(path=path).body for path in ("/", "/", "/login", "/")] == [b"1", b"2", b"3", b"4"]
    assert site.store.threads
    assert threading.get_ident() not in site.store.threads
