"""outage="degrade": while the durable store is down, what is saved is saved in the cache alone."""

import pytest
from browser import Browser, with_session

from gaesess import SessionDataLoss, StoreUnavailable

BIG = "x" * 5000


@pytest.fixture
def browser(make_manager, engines):
    """A browser whose session lives in the store, and whose site degrades."""
    return with_session(make_manager(store=engines.store, outage="degrade"), filler=BIG, n=1)


def test_a_save_is_read_back_during_the_outage(browser, engines):
    engines.durable.down = True
    with browser.request() as session:
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 2}


def test_a_session_that_outgrows_its_cookie_during_the_outage_is_read_back(make_manager, engines):
    browser = Browser(make_manager(store=engines.store, outage="degrade"))
    engines.durable.down = True
    with browser.request() as session:
        session["filler"] = BIG
    assert browser.data() == {"filler": BIG}


def test_the_next_save_after_the_outage_makes_all_of_it_durable(browser, engines):
    engines.durable.down = True
    for _ in range(3):
        with browser.request() as session:
            session.increment("n")
    engines.durable.down = False
    with browser.request() as session:
        session["after"] = True
    engines.forget()
    assert browser.data() == {"filler": BIG, "n": 4, "after": True}


def test_a_session_that_began_during_the_outage_is_made_durable_too(make_manager, engines):
    browser = Browser(make_manager(store=engines.store, outage="degrade"))
    engines.durable.down = True
    with browser.request() as session:
        session["filler"] = BIG
    engines.durable.down = False
    with browser.request() as session:
        session["after"] = True
    engines.forget()
    assert browser.data() == {"filler": BIG, "after": True}


def test_a_save_that_landed_unacknowledged_and_was_degraded_counts_once(browser, engines):
    engines.durable.deaf = True
    with browser.request() as session:
        session.increment("n")
    engines.durable.deaf = False
    with browser.request() as session:
        session.increment("n")
    engines.forget()
    assert browser.data() == {"filler": BIG, "n": 3}


def test_saves_after_one_that_landed_unacknowledged_are_kept(browser, engines):
    engines.durable.deaf = True
    with browser.request() as session:
        session.increment("n")
    engines.durable.deaf, engines.durable.down = False, True
    with browser.request() as session:
        session.increment("n")
    engines.durable.down = False
    with browser.request() as session:
        session.increment("n")
    engines.forget()
    assert browser.data() == {"filler": BIG, "n": 4}


def test_what_the_cache_loses_before_it_is_durable_is_a_loss_and_reported(browser, engines):
    engines.durable.down = True
    with browser.request() as session:
        session.increment("n")
    engines.durable.down = False
    engines.forget()
    with pytest.raises(SessionDataLoss):
        browser.send().get("n")


def test_what_another_process_wrote_to_the_durable_store_meanwhile_is_not_silently_put_in_its_place(
    browser, engines, clock
):
    """It reached the durable store and not the cache, this one the cache and not the durable store."""
    elsewhere = browser.copy()
    late = elsewhere.send()
    late.increment("n", 10)
    engines.durable.down = True
    with browser.request() as session:
        session.increment("n")
    engines.durable.down, engines.cache.down = False, True
    elsewhere.receive(late)
    engines.cache.down = False
    clock.time += 10
    session = browser.send()
    session.increment("n")
    with pytest.raises(SessionDataLoss):
        session.commit()


def test_with_the_cache_down_too_a_save_raises(browser, engines):
    session = browser.send()
    session.increment("n")
    engines.durable.down = engines.cache.down = True
    with pytest.raises(StoreUnavailable):
        session.commit()


@pytest.mark.parametrize("verb", ["terminate", "regenerate_id"])
def test_the_end_of_an_identity_is_never_said_to_be_done_while_it_is_not(browser, engines, verb):
    engines.durable.down = True
    with pytest.raises(StoreUnavailable), browser.request() as session:
        getattr(session, verb)()


def test_a_store_that_can_be_read_and_not_written_is_down_too(browser, engines, monkeypatch):
    def read_only(*arguments, **options):
        raise StoreUnavailable("read only")

    with monkeypatch.context() as patched:
        patched.setattr(engines.durable, "replace", read_only)
        with browser.request() as session:
            session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 2}


def test_without_a_cache_there_is_nothing_to_degrade_to(make_manager, engines):
    browser = Browser(make_manager(store=engines.durable, outage="degrade", revocable=True))
    engines.durable.down = True
    session = browser.send()
    session["filler"] = BIG
    with pytest.raises(StoreUnavailable):
        session.commit()


def test_without_a_cache_it_is_refused_at_once_unless_revocation_can_degrade(make_manager, engines):
    with pytest.raises(ValueError, match=r'^outage="degrade" is for a TieredStore'):
        make_manager(store=engines.durable, outage="degrade")


def test_any_other_setting_is_refused_at_once(make_manager):
    with pytest.raises(ValueError, match="outage"):
        make_manager(outage="ignore")
