"""How a save copes with a store that refuses it, loses its replies, or is slow: retries, waits, limits and events."""

import pytest
from browser import with_session

from gaesess import SessionTooLarge, StoreUnavailable, _impl, events
from gaesess.records import SAVE_SECONDS
from gaesess.saving import BACK_OFF_SECONDS
from gaesess.stores.base import MAX_RECORD_BYTES

BIG = "x" * 5000


class Driver:
    """The clock and the sleep of a manager's driver: the clock stands until it is set, and nobody sleeps."""

    def __init__(self, manager, monkeypatch):
        self.now, self.slept = 1000.0, []

        async def sleep(seconds):
            self.slept.append(seconds)

        monkeypatch.setattr(manager.config.driver, "clock", lambda: self.now)
        monkeypatch.setattr(manager.config.driver, "sleep", sleep)


@pytest.fixture
def durable(engines):
    return engines.durable


@pytest.fixture
def browser(make_manager, durable):
    """A browser whose session lives in a durable store, without a cache."""
    return with_session(make_manager(store=durable), filler=BIG)


@pytest.fixture
def driver(browser, monkeypatch):
    return Driver(browser.manager, monkeypatch)


@pytest.fixture
def told():
    """Events by now: names and fields."""
    happened = []
    unsubscribe = events.subscribe(happened.append)
    yield lambda name: [event.fields for event in happened if event.name == name]
    unsubscribe()


def on_replace(durable, monkeypatch, *steps):
    """Have each `replace` take the next step, with the real one as its argument; after the last all is as before."""
    real, left = durable.replace, list(steps)

    def replace(*arguments, **options):
        if not left:
            return real(*arguments, **options)
        return left.pop(0)(lambda: real(*arguments, **options))

    monkeypatch.setattr(durable, "replace", replace)
    return left


def lost_on_the_way(write):
    raise StoreUnavailable("no answer")


def lost_reply(write):
    write()
    raise StoreUnavailable("no answer")


class NoTurn:
    """That of a process which does not wait for the requests of another one."""

    async def __aenter__(self):
        return False

    async def __aexit__(self, *_):
        pass


def overtaken(browser, durable, monkeypatch):
    """Return a step in which a request to another process writes first."""
    real = durable.replace

    def step(write):
        other = browser.copy().send()
        other.increment("others")
        with monkeypatch.context() as patched:
            patched.setattr(durable, "replace", real)
            patched.setattr(browser.manager.config.driver, "turn", lambda name: NoTurn())
            other.commit()
        return write()

    return step


class TestRetries:
    @pytest.mark.parametrize(("step", "landed"), [(lost_reply, True), (lost_on_the_way, False)])
    def test_that_an_outcome_was_looked_up_is_an_event(self, browser, durable, monkeypatch, told, step, landed):
        on_replace(durable, monkeypatch, step)
        with browser.request() as session:
            session["a"] = 1
        assert [fields["landed"] for fields in told("outcome_settled")] == [landed]

    def test_a_write_that_was_refused_because_it_had_landed_is_an_event(self, browser, durable, monkeypatch, told):
        durable.resends = 1
        with browser.request() as session:
            session["a"] = 1
        assert [fields["landed"] for fields in told("outcome_settled")] == [True]
        assert told("conflict_merged") == []

    def test_a_failure_that_was_quick_is_tried_again(self, browser, durable, driver, monkeypatch):
        def quick(write):
            driver.now += SAVE_SECONDS - 0.01
            raise StoreUnavailable("no answer")

        on_replace(durable, monkeypatch, quick)
        with browser.request() as session:
            session["a"] = 1
        assert browser.data()["a"] == 1

    def test_one_that_took_long_is_not(self, browser, durable, driver, monkeypatch):
        def slow(write):
            driver.now += SAVE_SECONDS
            raise StoreUnavailable("no answer")

        left = on_replace(durable, monkeypatch, slow, lost_on_the_way)
        with pytest.raises(StoreUnavailable), browser.request() as session:
            session["a"] = 1
        assert left == [lost_on_the_way]

    def test_the_store_that_did_not_answer_is_named(self, browser, durable, told):
        session = browser.send()
        session["a"] = 1
        durable.down = True
        with pytest.raises(StoreUnavailable):
            session.save()
        assert told("store_unavailable")[0] == {"store": "FaultyStore"}


class TestConflicts:
    def conflicts(self, browser, durable, monkeypatch, times):
        """Save while another request wins so many times."""

        on_replace(durable, monkeypatch, *[overtaken(browser, durable, monkeypatch)] * times)
        with browser.request() as session:
            session.increment("n")

    def test_after_one_it_tries_again_at_once(self, browser, durable, driver, monkeypatch):
        self.conflicts(browser, durable, monkeypatch, 1)
        assert driver.slept == []

    def test_after_two_it_waits(self, browser, durable, driver, monkeypatch):
        self.conflicts(browser, durable, monkeypatch, 2)
        assert len(driver.slept) == 1

    def test_the_longest_wait_grows_with_each_and_no_more_after_eight(self, browser, durable, driver, monkeypatch):
        self.conflicts(browser, durable, monkeypatch, 12)
        longest = [BACK_OFF_SECONDS * number for number in (2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8)]
        assert len(driver.slept) == len(longest)
        assert all(0 <= slept <= most for slept, most in zip(driver.slept, longest, strict=True))
        assert sum(driver.slept) > 0

    def test_all_that_won_meanwhile_is_there(self, browser, durable, driver, monkeypatch):
        self.conflicts(browser, durable, monkeypatch, 12)
        assert browser.data() == {"filler": BIG, "others": 12, "n": 1}

    @pytest.mark.parametrize(("seconds", "saves"), [(SAVE_SECONDS, True), (SAVE_SECONDS + 0.01, False)])
    def test_it_goes_on_for_so_long(self, browser, durable, driver, monkeypatch, seconds, saves):
        wins = overtaken(browser, durable, monkeypatch)

        def takes_long(write):
            driver.now += seconds
            return wins(write)

        on_replace(durable, monkeypatch, takes_long)
        session = browser.send()
        session["a"] = 1
        if saves:
            session.save()
        else:
            with pytest.raises(StoreUnavailable, match="have written to the session"):
                session.save()


MAX_TEXT = MAX_RECORD_BYTES - len(_impl.dumps({"filler": "x" * MAX_RECORD_BYTES})) + MAX_RECORD_BYTES


class TestSize:
    def test_a_session_of_the_size_that_a_store_takes_is_saved(self, browser):
        text = "x" * MAX_TEXT
        with browser.request() as session:
            session["filler"] = text
        assert browser.data() == {"filler": text}

    def test_one_byte_more_is_too_large(self, browser):
        session = browser.send()
        session["filler"] = "x" * (MAX_TEXT + 1)
        with pytest.raises(SessionTooLarge, match="a store takes"):
            session.save()


class TestCost:
    @pytest.fixture
    def calls(self, browser, durable, monkeypatch):
        """A list that fills with the names of the calls of the store."""
        names = []
        for name in ("get", "get_many", "add", "replace", "delete"):
            real = getattr(durable, name)

            def call(*arguments, real=real, name=name, **options):
                names.append(name)
                return real(*arguments, **options)

            monkeypatch.setattr(durable, name, call)
        return names

    def test_a_change_is_a_read_and_a_write(self, browser, calls):
        with browser.request() as session:
            session["a"] = 1
        assert calls == ["get", "replace"]

    def test_a_new_id_is_a_new_record_and_the_end_of_the_old_one(self, browser, calls):
        with browser.request() as session:
            session.regenerate_id()
        assert calls == ["get", "add", "replace"]

    def test_a_sign_out_is_a_read_and_a_write(self, browser, calls):
        with browser.request() as session:
            session.terminate()
        assert calls == ["get", "replace"]

    def test_a_request_that_only_reads_is_one_read(self, browser, calls):
        assert browser.data() == {"filler": BIG}
        assert calls == ["get"]
