"""A new cookie_key: sessions go on, and after their next request nothing is left that needs the old one."""

from datetime import datetime, timezone

import pytest
from browser import NEW_KEY as NEW
from browser import OLD_KEY as OLD
from browser import Browser

from gaesess import Home, StoreUnavailable

BIG = "x" * 5000
HOMES = pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])
BOTH = pytest.mark.parametrize("encrypt", [False, True], ids=["signed", "encrypted"])


@pytest.fixture
def rotate(make_manager, clock):
    """A browser with a session, once the key was changed; what is to be done with the old one is said."""

    def rotate(filler="", **settings):
        kept = {key: settings[key] for key in ("encrypt", "store") if key in settings}
        browser = Browser(make_manager(cookie_key=OLD, **kept))
        with browser.request() as session:
            session.update(name="Ada", filler=filler)
        browser.manager = make_manager(**{"cookie_key": NEW, "retired_keys": [OLD], **settings})
        return browser

    return rotate


def without_the_old_key(browser, make_manager, **settings):
    other = Browser(make_manager(cookie_key=NEW, **settings))
    other.cookies = browser.cookies
    return other.data()


@BOTH
@HOMES
def test_a_session_that_is_read_is_sealed_with_the_new_key(rotate, make_manager, filler, encrypt):
    browser = rotate(filler, encrypt=encrypt)
    assert browser.data() == {"name": "Ada", "filler": filler}
    assert without_the_old_key(browser, make_manager, encrypt=encrypt) == {"name": "Ada", "filler": filler}


@HOMES
def test_it_keeps_its_id_and_its_end(rotate, filler):
    browser = rotate(filler)
    before = browser.send().sid
    browser.data()
    assert browser.send().sid == before


@HOMES
def test_it_is_sealed_anew_once(rotate, filler):
    browser = rotate(filler)
    browser.data()
    assert len(browser.received) == 1
    browser.data()
    assert browser.received == []


@HOMES
def test_a_session_that_is_not_used_is_left_alone(rotate, filler):
    browser = rotate(filler)
    browser.receive(browser.send())
    assert browser.received == []


def test_a_record_sealed_with_the_old_key_is_sealed_anew_though_its_cookie_has_the_new(rotate, make_manager):
    browser = rotate(BIG)
    session = browser.manager.load(browser.send().sid)
    session.save()
    assert session.home is Home.STORE
    assert dict(make_manager(cookie_key=NEW).load(session.sid)) == {"name": "Ada", "filler": BIG}


def test_a_change_is_saved_with_the_new_key(rotate, make_manager):
    browser = rotate(BIG)
    with browser.request() as session:
        session["name"] = "Grace"
    assert without_the_old_key(browser, make_manager)["name"] == "Grace"


def test_a_quick_change_of_a_record_with_the_old_key_is_made_durable(rotate, make_manager, engines):
    browser = rotate(BIG, store=engines.store)
    with browser.request() as session:
        session.set_quick("name", "Grace")
    engines.forget()
    assert without_the_old_key(browser, make_manager, store=engines.store)["name"] == "Grace"


def test_what_is_only_read_does_not_fail_for_a_store_that_takes_no_writes(rotate, make_manager, engines):
    browser = rotate(BIG, store=engines.store)
    engines.durable.down = True
    assert browser.data()["name"] == "Ada"
    assert browser.received == []
    engines.durable.down = False
    browser.data()
    assert without_the_old_key(browser, make_manager, store=engines.store)["name"] == "Ada"


def test_a_change_does_fail_there(rotate, engines):
    browser = rotate(BIG, store=engines.store)
    engines.durable.down = True
    session = browser.send()
    session["name"] = "Grace"
    with pytest.raises(StoreUnavailable):
        session.commit()


@HOMES
def test_the_event_loop_does_not_wait_for_a_record_that_is_sealed_anew(rotate, filler):
    session = rotate(filler).send()
    session.get("name")
    assert session.close() is bool(filler)


@HOMES
def test_with_the_old_key_gone_there_is_no_session(rotate, filler):
    assert rotate(filler, retired_keys=[]).data() == {}


@HOMES
def test_a_retired_key_is_good_until_its_time_is_over(rotate, clock, filler):
    until = datetime.fromtimestamp(clock() + 60, timezone.utc)
    browser = rotate(filler, retired_keys=[(OLD, until)])
    stolen = browser.copy()
    assert browser.data()["name"] == "Ada"
    clock.time += 60
    assert stolen.data() == {}
    assert browser.data()["name"] == "Ada"


def test_a_retired_key_seals_nothing(rotate, make_manager):
    """Flask signed with the oldest of its keys for a while (CVE-2025-47278)."""
    browser = Browser(make_manager(cookie_key=NEW, retired_keys=[OLD]))
    with browser.request() as session:
        session["name"] = "Ada"
    assert without_the_old_key(browser, make_manager) == {"name": "Ada"}


def test_terminate_ends_a_session_of_the_old_key_without_sealing_it_anew(rotate):
    browser = rotate(BIG)
    stolen = dict(browser.cookies)
    with browser.request() as session:
        session.terminate()
    assert browser.cookies == {}
    browser.cookies = stolen
    assert browser.data() == {}


def test_a_session_that_another_request_ends_meanwhile_is_not_sealed_anew_and_no_error(rotate):
    browser = rotate(BIG)
    reader, other = browser.send(), browser.send()
    assert reader["name"] == "Ada"
    other.terminate()
    assert reader.commit() == []
