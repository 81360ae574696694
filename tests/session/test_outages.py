"""The fault table: what each call does while the cache, the durable store, or both are away."""

import logging
from functools import partial

import pytest
from browser import Browser, with_session

from gaesess import Conflict, SessionDataLoss, SessionTerminated, StoreBusy, StoreUnavailable
from gaesess.drivers import RETRY_SECONDS
from gaesess.ending import CLOCKS_DIFFER_SECONDS
from gaesess.records import BURST_WRITES
from gaesess.stores.tiered import CACHE_SECONDS
from gaesess.users import CHECKED_SECONDS

BIG = "x" * 5000


@pytest.fixture
def browser(make_manager, engines):
    """A browser whose session lives in the store."""
    return with_session(make_manager(store=engines.store), filler=BIG)


@pytest.fixture
def elsewhere(browser, make_manager, engines):
    """The same browser in front of another process."""
    return browser.copy(make_manager(store=engines.store))


def test_cache_down_and_nothing_is_lost(browser, engines):
    engines.cache.down = True
    with browser.request() as session:
        assert session["filler"] == BIG
        session["a"] = 1
    assert browser.data() == {"filler": BIG, "a": 1}


def test_cache_that_comes_back_with_old_data_is_not_believed(browser, engines, clock):
    engines.cache.down = True
    with browser.request() as session:
        session["a"] = 1
    engines.cache.down = False
    clock.time += 10
    assert browser.data() == {"filler": BIG, "a": 1}


def test_old_record_in_the_cache_is_below_the_floor_of_the_cookie(browser, engines):
    """As when the machine that wrote the newer one could not reach the cache."""
    old_entries = dict(engines.cache.store._records)
    with browser.request() as session:
        session["a"] = 1
    engines.cache.store._records.update(old_entries)
    assert browser.data() == {"filler": BIG, "a": 1}


def test_quick_write_while_the_cache_is_down_is_made_durable(browser, engines):
    engines.cache.down = True
    with browser.request() as session:
        session.set_quick("flash", "hello")
    assert browser.data() == {"filler": BIG, "flash": "hello"}


@pytest.mark.parametrize(("revocable", "seconds"), [(False, CACHE_SECONDS), (True, CHECKED_SECONDS)])
def test_session_that_was_terminated_while_the_cache_was_down_is_over_within_the_stated_time(
    make_manager, engines, clock, revocable, seconds
):
    browser = with_session(make_manager(store=engines.store, revocable=revocable), filler=BIG)
    thief = browser.copy()
    engines.cache.down = True
    with browser.request() as session:
        session.terminate()
    engines.cache.down = False
    clock.time += seconds
    assert thief.data() == {}


def test_a_session_shown_after_it_got_a_new_id_is_given_no_other_one(browser, elsewhere, engines, clock):
    engines.cache.down = True
    with browser.request() as session:
        session.regenerate_id()
    engines.cache.down = False
    clock.time += CLOCKS_DIFFER_SECONDS + 1
    session = elsewhere.send()
    session.regenerate_id()
    with pytest.raises(SessionTerminated):
        elsewhere.receive(session)
    assert len(engines.durable.store._records) == 2  # of the old id, and of the new one


def test_emptied_cache_is_filled_again(browser, engines):
    engines.forget()
    assert browser.data() == {"filler": BIG}
    engines.durable.down = True
    assert browser.data() == {"filler": BIG}


def test_durable_store_down_and_the_cache_still_reads(browser, engines):
    engines.durable.down = True
    assert browser.data() == {"filler": BIG}


def test_durable_store_down_and_a_miss_is_an_outage_not_a_sign_out(browser, engines):
    engines.durable.down = True
    engines.forget()
    session = browser.send()
    with pytest.raises(StoreUnavailable):
        session.get("filler")
    engines.durable.down = False
    assert session["filler"] == BIG


def test_durable_store_down_and_a_save_is_not_reported_as_done(browser, engines):
    engines.durable.down = True
    session = browser.send()
    session["a"] = 1
    with pytest.raises(StoreUnavailable):
        session.commit()
    engines.durable.down = False
    assert browser.data() == {"filler": BIG}


def test_durable_store_down_and_a_quick_write_is_kept_in_the_cache(browser, engines):
    engines.durable.down = True
    with browser.request() as session:
        session.set_quick("flash", "hello")
    assert browser.data() == {"filler": BIG, "flash": "hello"}


@pytest.mark.parametrize("cache_down", [False, True])
def test_durable_store_down_and_sign_out_raises_but_expires_the_cookie(browser, engines, cache_down):
    engines.durable.down, engines.cache.down = True, cache_down
    session = browser.send()
    with pytest.raises(StoreUnavailable):
        session.terminate()
    browser.receive(session)
    assert browser.cookies == {}


def test_durable_store_down_and_a_new_id_is_not_given(browser, engines):
    engines.durable.down = True
    session = browser.send()
    session.regenerate_id()
    with pytest.raises(StoreUnavailable):
        session.commit()
    engines.durable.down = False
    assert browser.data() == {"filler": BIG}


def test_both_down_and_cookie_sessions_work(make_manager, engines):
    engines.cache.down = engines.durable.down = True
    browser = Browser(make_manager(store=engines.store))
    with browser.request() as session:
        session["user"] = "ada"
    with browser.request() as session:
        assert session["user"] == "ada"
        session.regenerate_id()
    with browser.request() as session:
        session.terminate()
    assert browser.cookies == {}


def test_both_down_and_store_sessions_raise(browser, engines):
    engines.cache.down = engines.durable.down = True
    with pytest.raises(StoreUnavailable):
        browser.send().get("filler")


def test_both_down_and_a_session_that_outgrows_its_cookie_raises(make_manager, engines):
    browser = Browser(make_manager(store=engines.store))
    with browser.request() as session:
        session["a"] = 1
    engines.cache.down = engines.durable.down = True
    session = browser.send()
    session["filler"] = BIG
    with pytest.raises(StoreUnavailable):
        session.commit()
    assert browser.data() == {"a": 1}


def test_write_whose_reply_is_lost_is_found_in_the_record(browser, engines, monkeypatch):
    lose_replies(engines.durable, monkeypatch, count=1)
    with browser.request() as session:
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 1}


def test_write_that_is_lost_on_its_way_is_made_again(browser, engines, monkeypatch):
    lose_replies(engines.durable, monkeypatch, count=1, landed=False)
    with browser.request() as session:
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 1}


def test_write_is_made_three_times_at_most(browser, engines, monkeypatch):
    tries = lose_replies(engines.durable, monkeypatch, count=10, landed=False)
    session = browser.send()
    session.increment("n")
    with pytest.raises(StoreUnavailable):
        session.commit()
    assert len(tries) == 3


def test_write_whose_reply_is_lost_is_found_under_what_another_has_written_on_it(
    browser, elsewhere, engines, monkeypatch
):
    def other_request():
        with elsewhere.request() as session:
            session.increment("n", 10)

    lose_replies(engines.durable, monkeypatch, count=1, then=other_request)
    with browser.request() as session:
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 11}


@pytest.mark.parametrize("part", ["durable", "cache"])
def test_write_that_is_sent_twice_is_made_once(browser, engines, part):
    getattr(engines, part).resends = True
    for _ in range(3):
        with browser.request() as session:
            session.increment("n")
            session.append("items", "tea")
    assert browser.data() == {"filler": BIG, "n": 3, "items": ["tea"] * 3}


def test_second_save_after_a_write_that_was_sent_twice_is_made_once(browser, engines):
    engines.durable.resends = True
    with browser.request() as session:
        session.increment("n")
        session.save()
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 2}


def test_write_that_moves_the_session_into_the_store_and_is_sent_twice_is_made_once(make_manager, engines):
    browser = Browser(make_manager(store=engines.store))
    engines.durable.resends = True
    with browser.request() as session:
        session["filler"] = BIG
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 1}


def test_write_that_is_sent_twice_is_found_under_what_another_has_written_on_it(
    browser, elsewhere, engines, monkeypatch
):
    replace = engines.durable.replace

    def sent_twice(*arguments, **options):
        monkeypatch.undo()
        replace(*arguments, **options)
        with elsewhere.request() as other:
            other.increment("n", 10)
        return replace(*arguments, **options)

    monkeypatch.setattr(engines.durable, "replace", sent_twice)
    with browser.request() as session:
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 11}


def test_write_that_is_sent_twice_and_cannot_be_looked_up_is_found_by_the_next_save(browser, engines, monkeypatch):
    session = browser.send()
    session.increment("n")
    engines.durable.resends = True
    with monkeypatch.context() as patched:
        patched.setattr(engines.durable, "get", unavailable)
        with pytest.raises(StoreUnavailable):
            session.save()
    browser.receive(session)
    assert browser.data() == {"filler": BIG, "n": 1}


def unavailable(*arguments, **options):
    raise StoreUnavailable("no answer in time")


def test_writes_of_others_do_not_count_as_tries(browser, elsewhere, engines, monkeypatch):
    """Two tries are lost after three conflicts; a third one is still made."""
    session = browser.send()
    session.increment("n")
    replace, met = engines.durable.replace, []

    def obstructed(*arguments, **options):
        met.append(arguments)
        if len(met) <= 3:
            with monkeypatch.context() as patched:
                patched.setattr(engines.durable, "replace", replace)
                with elsewhere.request() as other:
                    other.increment("n", 10)
        elif len(met) <= 5:
            raise StoreUnavailable("it is lost on its way")
        return replace(*arguments, **options)

    monkeypatch.setattr(engines.durable, "replace", obstructed)
    browser.receive(session)
    assert browser.data() == {"filler": BIG, "n": 31}


def write_often(browser, times):
    for _ in range(times):
        with browser.request() as session:
            session.increment("n")


def test_more_writes_of_others_than_a_record_remembers_are_taken_up(browser, clock, monkeypatch):
    monkeypatch.setattr(browser.manager.config.driver, "clock", clock)
    slow = browser.send()
    slow.increment("n")
    write_often(browser, BURST_WRITES + 1)
    clock.time += RETRY_SECONDS + 1
    browser.receive(slow)
    assert browser.data()["n"] == BURST_WRITES + 2


def test_a_refused_write_that_may_have_landed_before_all_that_the_record_remembers_is_not_made_again(browser):
    """A client library may have sent it twice, and what was refused may be the second."""
    slow = browser.send()
    slow.increment("n")
    write_often(browser, BURST_WRITES + 1)
    with pytest.raises(StoreUnavailable, match="too much was written since"):
        browser.receive(slow)
    assert browser.data()["n"] == BURST_WRITES + 1


def test_write_that_lands_only_after_it_was_given_up_is_not_made_twice(browser, engines, monkeypatch):
    session = browser.send()
    session.increment("n")
    late = []

    def delayed(key, data, *, expires_at, version):
        late.append(lambda: engines.durable.store.replace(key, data, expires_at=expires_at, version=version))
        raise StoreUnavailable("no answer in time")

    monkeypatch.setattr(engines.durable, "replace", delayed)
    with pytest.raises(StoreUnavailable):
        session.save()
    monkeypatch.undo()
    late[0]()
    session.increment("n", 10)
    browser.receive(session)
    assert browser.data() == {"filler": BIG, "n": 11}


def test_write_that_moves_the_session_into_the_store_is_found_there_if_its_reply_is_lost(
    make_manager, engines, monkeypatch
):
    browser = Browser(make_manager(store=engines.store))
    lose_replies(engines.durable, monkeypatch, count=1, method="add")
    with browser.request() as session:
        session["filler"] = BIG
        session.increment("n")
    assert browser.data() == {"filler": BIG, "n": 1}


def test_request_whose_first_try_moved_the_session_into_the_store_keeps_what_others_then_wrote_there(
    make_manager, engines, monkeypatch
):
    browser = Browser(make_manager(store=engines.store))
    with browser.request() as session:
        session["n"] = 1
    elsewhere = browser.copy(make_manager(store=engines.store))
    first, second = browser.send(), elsewhere.send()
    second["filler"] = BIG
    second["n"] = 2
    lose_replies(engines.durable, monkeypatch, count=1, method="add", then=lambda: elsewhere.receive(second))
    first["filler"] = BIG
    first.save()
    first["a"] = 1
    browser.receive(first)
    assert browser.data() == {"filler": BIG, "n": 2, "a": 1}


def test_cookie_that_was_answered_is_worth_more_than_tries_to_outgrow_it_that_were_not(
    make_manager, engines, monkeypatch
):
    """There were two of them, so the record has a higher revision than the cookie, and yet it is older."""
    browser = Browser(make_manager(store=engines.store))
    with browser.request() as session:
        session["n"] = 1
    for method in ("add", "replace"):
        session = browser.send()
        session["filler"] = BIG + method
        go_down = partial(setattr, engines.durable, "down", True)
        lose_replies(engines.durable, monkeypatch, count=1, method=method, then=go_down)
        with pytest.raises(StoreUnavailable):
            session.commit()
        engines.durable.down = False
    with browser.request() as session:
        session["n"] = 2
    with browser.request() as session:
        session["filler"] = BIG
    assert browser.data() == {"filler": BIG, "n": 2}


def test_a_try_to_outgrow_the_cookie_whose_reply_was_lost_is_made_again_after_a_later_cookie_has(make_manager, engines):
    """What it wrote to the record is not there any more: its id must not say that it is."""
    late = with_session(make_manager(store=engines.store), n=0)
    browser = late.copy()
    session = late.send()
    session.increment("n")
    session["filler"] = BIG
    engines.durable.deaf = True
    with pytest.raises(StoreUnavailable):
        session.save()
    engines.durable.deaf = False
    with browser.request() as other:
        other["a"] = 1
    with browser.request() as other:
        other["filler"] = BIG
    late.receive(session)
    assert browser.data() == {"n": 1, "a": 1, "filler": BIG}


def lose_replies(store, monkeypatch, *, count, landed=True, then=lambda: None, method="replace"):
    """Have the next `count` writes look like failed ones, and return the list of these; `then` follows on each."""
    write, lost = getattr(store, method), []

    def deaf(*arguments, **options):
        if len(lost) == count:
            return write(*arguments, **options)
        lost.append(arguments)
        if landed:
            write(*arguments, **options)
        then()
        raise StoreUnavailable("the reply is lost")

    monkeypatch.setattr(store, method, deaf)
    return lost


@pytest.mark.parametrize(
    "damage", [lambda data: data[:40], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b"?"]
)
def test_damaged_record_in_the_cache_is_read_from_the_durable_store(browser, engines, damage, caplog):
    records = engines.cache.store._records
    for key, record in list(records.items()):
        records[key] = record._replace(data=record.data[:28] + damage(record.data[28:]))
    assert browser.data() == {"filler": BIG}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_damaged_record_in_the_durable_store_is_a_loss_and_not_an_empty_session(browser, engines, caplog):
    for engine in (engines.cache, engines.durable):
        for key, record in list(engine.store._records.items()):
            engine.store._records[key] = record._replace(data=record.data[:-1] + bytes([record.data[-1] ^ 1]))
    with pytest.raises(SessionDataLoss):
        browser.send().is_active()
    assert caplog.records[-1].levelno == logging.ERROR


def test_record_of_another_session_is_no_session(make_manager, store):
    """Records are bound to their session: whoever can write to the store cannot hand one client another's."""
    manager = make_manager()
    ada, eve = Browser(manager), Browser(manager)
    for name, browser in (("ada", ada), ("eve", eve)):
        with browser.request() as session:
            session.update(name=name, filler=BIG)
    records = store.store._records
    first, second = records
    records[first], records[second] = records[second], records[first]
    assert ada.data() == {}
    assert eve.data() == {}


@pytest.mark.parametrize("verb", ["increment", "regenerate_id", "terminate"])
def test_a_store_that_others_have_locked_for_as_long_as_it_waits_is_waited_for_once(
    browser, engines, monkeypatch, verb
):
    calls = []

    def busy(*arguments, **options):
        calls.append(arguments)
        raise StoreBusy("the file is locked")

    monkeypatch.setattr(engines.durable, "replace", busy)
    monkeypatch.setattr(engines.durable, "add", busy)
    with pytest.raises(StoreBusy), browser.request() as session:
        getattr(session, verb)(*(["n"] if verb == "increment" else []))
    assert len(calls) == 1


def test_contention_that_does_not_end_is_an_outage(browser, engines, clock, monkeypatch):
    monkeypatch.setattr(browser.manager.config.driver, "clock", clock)

    def beaten(key, data, *, expires_at, version):
        clock.time += 0.5
        raise Conflict("somebody else was first, again")

    monkeypatch.setattr(engines.durable, "replace", beaten)
    session = browser.send()
    session["a"] = 1
    with pytest.raises(StoreUnavailable, match="other requests have written"):
        session.commit()
