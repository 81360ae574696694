"""Ways in which a session was once lost, kept alive or rolled back: one test each."""

from datetime import timedelta

import pytest
from browser import Browser, with_session

from gaesess import SessionTerminated, StoreUnavailable, _impl, values
from gaesess.errors import MalformedToken
from gaesess.stores.base import record_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000


class PartlyFaultyStore(FaultyStore):
    """Is also down for the methods named in `failing`."""

    def __init__(self, store):
        super().__init__(store)
        self.failing = set()

    def _call(self, method, *arguments, **options):
        if method.__name__ in self.failing:
            raise StoreUnavailable(f"PartlyFaultyStore is down for {method.__name__}")
        return super()._call(method, *arguments, **options)


@pytest.fixture
def durable():
    return PartlyFaultyStore(MemoryStore())


@pytest.fixture
def cache():
    return MemoryStore()


@pytest.fixture
def stored(make_manager, cache, durable):
    """A browser whose session lives in the store."""
    return with_session(make_manager(store=TieredStore(cache, durable)), filler=BIG, cart=[], paid=False)


def refuse(browser, session):
    """End a request as middleware does when the session cannot be saved."""
    with pytest.raises(StoreUnavailable):
        session.commit()
    browser.take(session.abandon())


@pytest.fixture
def half_regenerated(stored, durable):
    """A request whose new record is written, and whose old one could not be closed."""
    session = stored.send()
    session.regenerate_id()
    durable.failing = {"replace"}
    with pytest.raises(StoreUnavailable):
        session.save()
    durable.failing = set()
    return session


def test_new_id_is_given_by_the_second_try(stored, half_regenerated):
    earlier = dict(stored.cookies)
    stored.receive(half_regenerated)
    assert stored.cookies != earlier
    stored.cookies = earlier
    assert stored.data() == {}


def test_quick_write_does_not_hide_that_the_new_id_is_not_finished(stored, half_regenerated):
    earlier = dict(stored.cookies)
    half_regenerated.set_quick("flash", "hello")
    stored.receive(half_regenerated)
    assert stored.cookies != earlier
    stored.cookies = earlier
    assert stored.data() == {}


@pytest.mark.parametrize("read_before", [True, False])
def test_second_try_to_terminate_ends_what_the_first_could_not(stored, cache, durable, read_before):
    earlier = dict(stored.cookies)
    session = stored.send()
    if read_before:
        session.ensure_data_loaded()
    else:
        cache._records.clear()
    durable.down = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            session.terminate()
    durable.down = False
    session.terminate()
    stored.receive(session)
    assert stored.cookies == {}
    stored.cookies = earlier
    assert stored.data() == {}


@pytest.mark.parametrize("filler", ["small", BIG], ids=["cookie", "store"])
def test_terminated_session_does_not_come_back_by_the_cookie_of_a_refused_response(stored, durable, filler):
    """Another request terminates it; this one has given it a new id, and cannot find out."""
    login, logout = stored.send(), stored.send()
    login["filler"] = filler
    login.regenerate_id()
    logout.terminate()
    stored.receive(logout)
    durable.failing = {"replace", "get"}
    refuse(stored, login)
    durable.failing = set()
    assert stored.data() == {}


def test_terminated_session_does_not_come_back_if_its_new_record_cannot_be_deleted(stored, durable):
    login, logout = stored.send(), stored.send()
    login["user"] = "ada"
    login.regenerate_id()
    logout.terminate()
    stored.receive(logout)
    durable.failing = {"delete"}
    with pytest.raises(SessionTerminated):
        login.commit()
    stored.take(login.abandon())
    durable.failing = set()
    assert stored.data() == {}


def test_new_id_is_given_by_the_second_try_even_if_only_the_reply_of_the_first_was_lost(stored, durable, monkeypatch):
    session = stored.send()
    session.regenerate_id()
    with monkeypatch.context() as patch:
        patch.setattr(durable, "replace", lost_reply(durable.replace))
        patch.setattr(durable, "get", lost_reply(durable.get))
        with pytest.raises(StoreUnavailable):
            session.save()
    stored.receive(session)
    assert stored.data() == {"filler": BIG, "cart": [], "paid": False}


def lost_reply(method):
    def lose(*arguments, **options):
        method(*arguments, **options)
        raise StoreUnavailable("the reply is lost")

    return lose


def test_refused_response_carries_what_was_saved_before_a_second_new_id(stored, durable):
    session = stored.send()
    session.regenerate_id()
    session.save()
    session.regenerate_id()
    durable.down = True
    refuse(stored, session)
    durable.down = False
    assert stored.data() == {"filler": BIG, "cart": [], "paid": False}


def test_terminate_without_clear_data_deletes_every_cookie_of_a_session_not_looked_at(make_manager):
    browser = Browser(make_manager(cookie_only_threshold=10_000))
    with browser.request() as session:
        session["filler"] = BIG
    assert len(browser.cookies) > 1
    with browser.request() as session:
        session.terminate(clear_data=False)
        assert session.is_accessed()
    assert browser.cookies == {}


def test_session_that_cannot_be_read_here_can_be_terminated(stored, monkeypatch):
    """As when a newer version of the application has put a type there that this one does not know."""
    stolen = stored.copy()
    with monkeypatch.context() as patched:
        patched.setattr(_impl, "loads", unreadable)
        with stored.request() as session:
            with pytest.raises(StoreUnavailable):
                session.is_active()
            session.terminate()
    assert not stolen.send().is_active()


def unreadable(payload):
    raise MalformedToken("session data hold a type that is not registered")


def test_change_taken_back_after_a_lost_reply_is_taken_back_in_the_store_too(stored, durable):
    session = stored.send()
    session["paid"] = True
    durable.deaf = True
    with pytest.raises(StoreUnavailable):
        session.save()
    durable.deaf = False
    session["paid"] = False
    stored.receive(session)
    assert stored.data()["paid"] is False


def test_nested_change_taken_back_after_a_lost_reply_is_taken_back_in_the_store_too(stored, durable):
    session = stored.send()
    session["cart"].append("tea")
    durable.deaf = True
    with pytest.raises(StoreUnavailable):
        session.save()
    durable.deaf = False
    session["cart"].pop()
    stored.receive(session)
    assert stored.data()["cart"] == []


def test_old_record_that_is_closed_and_cannot_be_deleted_signs_nobody_out(stored, durable):
    earlier = dict(stored.cookies)
    durable.failing = {"delete"}
    with stored.request() as session:
        session.regenerate_id()
    assert stored.data()["filler"] == BIG
    stored.cookies = earlier
    assert stored.data() == {}


@pytest.mark.parametrize("filler", ["small", BIG], ids=["cookie", "store"])
def test_refused_response_carries_what_was_saved_before(stored, durable, filler):
    """The old id is gone by then: without the new one an outage would sign the client out."""
    session = stored.send()
    session["filler"] = filler
    session.regenerate_id()
    session.save()
    session["more"] = BIG
    durable.down = True
    refuse(stored, session)
    durable.down = False
    assert stored.data() == {"filler": filler, "cart": [], "paid": False}


@pytest.mark.parametrize("regenerate", [False, True])
def test_refused_response_does_not_bring_back_what_was_terminated_meanwhile(stored, regenerate):
    session, logout = stored.send(), stored.send()
    session["filler"] = "small"
    if not regenerate:
        session.save()
    logout.terminate()
    stored.receive(logout)
    if regenerate:
        session.regenerate_id()
    session["more"] = 1
    with pytest.raises(SessionTerminated):
        session.commit()
    stored.take(session.abandon())
    assert stored.data() == {}


def test_sign_out_is_not_undone_by_a_new_session_that_cannot_be_saved(make_manager, durable):
    browser = Browser(make_manager(store=durable))
    with browser.request() as session:
        session["user"] = "ada"
    session = browser.send()
    session.terminate()
    session["flash"] = BIG
    durable.down = True
    refuse(browser, session)
    assert browser.cookies == {}


def test_record_of_a_type_not_registered_here_is_an_outage(stored, monkeypatch):
    """As when a new version of the application writes while a request of the old one is at work."""

    class New:
        pass

    monkeypatch.setattr(values, "_TYPES", dict(values._TYPES))
    monkeypatch.setattr(values, "_REGISTERED_LOADERS", {})
    values.register(New, "new", lambda value: None, lambda packed: New())
    slow = stored.send()
    slow["a"] = 1
    with stored.request() as session:
        session["new"] = New()
    values._REGISTERED_LOADERS.clear()
    with pytest.raises(StoreUnavailable, match="cannot be read here"):
        slow.commit()


def test_record_that_comes_late_to_the_cache_does_not_bring_a_terminated_session_back():
    """Between the two steps of `add`, another process deletes the record."""
    cache, durable = MemoryStore(), MemoryStore()
    other = TieredStore(cache, durable)
    key = record_key(2_000_000_000, bytes(16))

    class Overtaken(FaultyStore):
        def add(self, key, data, *, expires_at):
            version = durable.add(key, data, expires_at=expires_at)
            other.delete(key)
            return version

    TieredStore(cache, Overtaken(durable)).add(key, b"record", expires_at=2_000_000_000)
    assert other.get(key) is None


@pytest.mark.parametrize("lifetime", [timedelta(milliseconds=500), timedelta(days=36500)])
def test_lifetime_that_no_session_can_have_is_refused_at_once(make_manager, lifetime):
    with pytest.raises(ValueError, match="lifetime"):
        make_manager(lifetime=lifetime)


@pytest.mark.parametrize("read_before", [True, False])
def test_record_kept_at_sign_out_is_not_deleted_by_the_session_that_follows(stored, read_before):
    sid = stored.send().sid
    with stored.request() as session:
        if read_before:
            session.ensure_data_loaded()
        session.terminate(clear_data=False)
        session["flash"] = "bye"
    assert stored.manager.load(sid)["filler"] == BIG


def test_to_compare_sessions_reads_neither(stored, durable):
    """As asgiref does with whatever is in a ContextVar, to find out whether it is to be set."""
    durable.down = True
    one, other = stored.send(), stored.send()
    assert one == one
    assert one != other
    assert one is not None
    assert not one.is_accessed()
    assert not other.is_accessed()


def test_a_session_is_equal_to_a_dictionary_of_its_data(stored):
    with stored.request() as session:
        assert session == {"filler": BIG, "cart": [], "paid": False}
        assert session != {}
