"""What a client was told was saved is there, or reading raises: no session comes back older, or empty."""

import pytest
from browser import Browser, with_session

from gaesess import SessionDataLoss, StoreUnavailable

BIG = "x" * 5000


@pytest.fixture
def browser(make_manager, engines):
    """A browser whose session lives in the store."""
    return with_session(make_manager(store=engines.store), filler=BIG, n=1)


def restore(engines, backup):
    engines.durable.store._records = dict(backup)
    engines.forget()


def backup_of(engines):
    return dict(engines.durable.store._records)


def test_a_durable_store_that_is_older_than_what_the_client_has_seen_is_a_loss(browser, engines):
    backup = backup_of(engines)
    with browser.request() as session:
        session.increment("n")
    restore(engines, backup)
    with pytest.raises(SessionDataLoss):
        browser.send().get("n")


def test_a_durable_store_that_is_empty_is_a_loss_and_not_a_sign_out(browser, engines):
    restore(engines, {})
    with pytest.raises(SessionDataLoss):
        browser.send().is_active()


def test_a_loss_is_an_outage_to_those_who_know_no_better():
    assert issubclass(SessionDataLoss, StoreUnavailable)


@pytest.mark.parametrize("way_out", ["start", "terminate"])
def test_a_client_whose_session_is_lost_can_have_a_new_one(browser, engines, way_out):
    restore(engines, {})
    with browser.request() as session:
        getattr(session, way_out)()
        session["name"] = "ada"
    assert browser.data() == {"name": "ada"}


def test_a_record_that_vanishes_in_mid_request_is_added_anew(browser, engines):
    """The request has all of the session in its hands."""
    session = browser.send()
    session.increment("n")
    restore(engines, {})
    browser.receive(session)
    assert browser.data() == {"filler": BIG, "n": 2}


def test_two_requests_that_find_the_record_vanished_are_both_kept(browser, engines):
    first, second = browser.send(), browser.send()
    first.increment("n")
    second.increment("n")
    restore(engines, {})
    browser.receive(first)
    browser.receive(second)
    assert browser.data() == {"filler": BIG, "n": 3}


def test_a_store_set_back_in_mid_request_is_written_what_the_request_has(browser, engines):
    backup = backup_of(engines)
    with browser.request() as session:
        session.increment("n")
    session = browser.send()
    session.increment("n")
    restore(engines, backup)
    browser.receive(session)
    assert browser.data() == {"filler": BIG, "n": 3}


def test_a_store_set_back_and_written_since_is_a_loss_to_a_request_that_began_before(browser, engines):
    backup, before = backup_of(engines), dict(browser.cookies)
    with browser.request() as session:
        session.increment("n")
    late = browser.send()
    late.increment("n")
    restore(engines, backup)
    elsewhere = Browser(browser.manager)
    elsewhere.cookies = before
    with elsewhere.request() as session:
        session.increment("n", 10)
    with pytest.raises(SessionDataLoss):
        late.commit()


def test_the_lost_session_does_not_come_back_when_its_store_is_repaired(browser, engines):
    backup, lost = backup_of(engines), browser.copy()
    restore(engines, {})
    with browser.request() as session:
        session.regenerate_id()
    engines.durable.store._records.update({**backup, **engines.durable.store._records})
    engines.forget()
    assert lost.data() == {}
