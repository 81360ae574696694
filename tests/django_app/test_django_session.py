"""`request.session` answers all that Django's own does, under our middleware and of SessionStore."""

import asyncio
import copy
import inspect
import pickle
import threading
from datetime import datetime, timedelta, timezone

import pytest
from asgi.client import BIG, Foreign
from dictionary import OPERATIONS, POP_OF_A_MISSING_KEY, outcome
from django.contrib.sessions.backends.base import SessionBase
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from gaesess import SessionManager, StoreUnavailable
from gaesess.django import DjangoSession, SessionStore

DAY = 24 * 60 * 60
OF_DJANGOS_OWN_BACKENDS = {"encode", "decode", "key_salt"}


@pytest.fixture
def manager(site):
    return SessionManager(**site.gaesess)


@pytest.fixture
def session(manager):
    return DjangoSession(manager.config, None)


def next_request(session):
    """Save the session and return it as the client's next request finds it."""
    [line] = session.commit()
    return DjangoSession(session.manager.config, line.split(";")[0])


def names(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


def test_nothing_public_is_missing():
    assert names(SessionBase) - names(DjangoSession) == OF_DJANGOS_OWN_BACKENDS


def test_every_method_has_its_coroutine_function():
    for name in names(SessionBase):
        if name.startswith("a") and name[1:] in names(SessionBase):
            assert inspect.iscoroutinefunction(getattr(DjangoSession, name)), name


def test_it_is_a_mapping(session):
    session["n"] = 1
    session.update({"m": 2})
    assert session.setdefault("n", 7) == 1
    assert session.has_key("m")
    assert (list(session.keys()), list(session.values())) == (["n", "m"], [1, 2])
    assert dict(session.items()) == session.load() == {"n": 1, "m": 2}
    assert session.pop("m") == 2
    assert session.pop("m", None) is None
    with pytest.raises(KeyError):
        session.pop("m")


@pytest.mark.parametrize(
    "operation", (OPERATIONS | POP_OF_A_MISSING_KEY).values(), ids=OPERATIONS | POP_OF_A_MISSING_KEY
)
@pytest.mark.parametrize("kind", [DjangoSession, SessionStore])
def test_it_does_what_a_dictionary_does(manager, kind, operation):
    session = SessionStore() if kind is SessionStore else kind(manager.config, None)
    assert outcome(operation, session) == outcome(operation, {})


def test_there_is_no_session_until_something_is_in_it(session):
    assert (bool(session), session.is_empty(), session.session_key) == (False, True, None)
    session["n"] = 1
    assert (bool(session), session.is_empty(), session.session_key) == (True, False, session.sid)


def test_the_test_cookie_comes_back(session):
    session.set_test_cookie()
    session = next_request(session)
    assert session.test_cookie_worked()
    session.delete_test_cookie()
    assert not next_request(session).test_cookie_worked()


# -- the whole session


@pytest.mark.parametrize("make", [DjangoSession.create, DjangoSession.save], ids=["create", "save"])
def test_a_session_is_made_for_its_key(session, make):
    make(session)
    assert session.session_key is not None
    assert next_request(session).session_key == session.session_key


@pytest.mark.parametrize(
    "make",
    [DjangoSession.create, DjangoSession.cycle_key, lambda session: session.save(must_create=True)],
    ids=["create", "cycle_key", "save"],
)
def test_a_new_key_keeps_the_data(session, make):
    session["n"] = 1
    session = next_request(session)
    old = session.session_key
    make(session)
    assert session.session_key != old
    assert next_request(session)["n"] == 1


@pytest.mark.parametrize("end", [DjangoSession.flush, DjangoSession.delete], ids=["flush", "delete"])
def test_an_ended_session_is_gone_with_its_data_and_its_cookie(session, end):
    session["n"] = 1
    session = next_request(session)
    end(session)
    assert (session.is_empty(), dict(session), session.session_key) == (True, {}, None)
    assert "Max-Age=0" in session.commit()[0]


def test_a_session_in_the_store_is_found_and_ended_by_its_key(session, manager):
    session["filler"] = BIG
    session.commit()
    other = DjangoSession(manager.config, None)
    assert other.exists(session.session_key)
    other.delete(session.session_key)
    assert not other.exists(session.session_key)
    assert not other.exists("no such key")


def test_a_session_knows_its_own_key(session):
    session["n"] = 1
    assert session.exists(session.session_key)
    session.delete(session.session_key)
    assert session.is_empty()


@pytest.mark.parametrize("key", [None, ""])
def test_no_key_is_the_key_of_a_session(session, key):
    assert not session.exists(key)
    session["n"] = 1
    assert not session.exists(key)


def test_saving_may_put_a_small_session_in_the_store(session, manager):
    session["n"] = 1
    session.save(persist_even_if_using_cookie=True)
    assert dict(manager.load(session.session_key)) == {"n": 1}


def test_expired_sessions_are_cleared_from_the_store(session, site):
    session["filler"] = BIG
    session.commit()
    for days, left in ((6, 1), (2, 0)):
        site.now += days * DAY
        DjangoSession.clear_expired()
        assert site.store.count_expired(now=site.now + 8 * DAY) == left


# -- accessed and modified


def test_it_is_accessed_once_it_is_used(session):
    assert not session.accessed
    session.get("n")
    assert session.accessed


def test_it_is_modified_while_there_is_something_to_save_or_to_tell(session):
    assert not session.modified
    session["list"] = []
    assert session.modified
    session = next_request(session)
    assert session["list"] == []
    assert not session.modified
    session["list"].append(1)
    assert session.modified
    session.save()
    assert session.modified  # the cookie has yet to go out


def test_a_session_that_has_ended_is_modified(session):
    session["n"] = 1
    session = next_request(session)
    session.flush()
    assert session.modified


def test_an_active_session_is_modified_when_it_is_time_to_tell_that_it_is(site):
    manager = SessionManager(**site.gaesess, idle_timeout=timedelta(minutes=10))
    session = DjangoSession(manager.config, None)
    session["n"] = 1
    session = next_request(session)
    assert (session["n"], session.modified) == (1, False)
    site.now += 60
    assert session.modified


def test_to_set_modified_changes_nothing(session):
    session["n"] = 1
    session = next_request(session)
    session.modified = True
    assert not session.modified
    session["n"] = 2
    session.modified = False
    assert session.modified


# -- its end


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (60, 60),
        (timedelta(minutes=1), 60),
        (datetime.fromtimestamp(1_800_000_060, timezone.utc), 60),
        (datetime.fromtimestamp(1_800_000_060), 60),
        (None, 7 * DAY),
    ],
)
def test_its_end_can_be_set(session, site, value, seconds):
    session["n"] = 1
    session.set_expiry(3 * DAY)
    key = session.session_key
    session.set_expiry(value)
    assert session.session_key != key
    assert session.get_expiry_age() == seconds
    assert session.get_expiry_date() == datetime.fromtimestamp(site.now + seconds, timezone.utc)
    session = next_request(session)
    assert (session["n"], session.get_expiry_age()) == (1, seconds)
    assert not session.get_expire_at_browser_close()
    site.now += 10
    session["n"] = 2
    assert next_request(session).get_expiry_age() == seconds - 10  # no change moves it


def test_zero_lets_the_cookie_end_with_the_browser(session):
    session.set_expiry(0)
    assert session.get_expire_at_browser_close()
    [line] = session.commit()
    assert "Max-Age" not in line


def test_none_is_the_lifetime_of_the_settings_also_if_that_is_the_browsers(site):
    session = DjangoSession(SessionManager(**site.gaesess, lifetime=timedelta(0)).config, None)
    assert session.get_expire_at_browser_close()
    session.set_expiry(60)
    assert not session.get_expire_at_browser_close()
    session.set_expiry(None)
    assert session.get_expire_at_browser_close()


def test_a_session_cannot_end_in_the_past(session):
    with pytest.raises(ValueError, match="time to come"):
        session.set_expiry(-1)


def test_what_a_new_session_would_get_is_told(session):
    assert session.get_session_cookie_age() == session.get_expiry_age() == 7 * DAY
    assert not session.get_expire_at_browser_close()


def test_an_expiry_may_be_given_as_to_djangos_own(session):
    noon = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
    hour = timedelta(hours=1)
    assert session.get_expiry_date(expiry=noon) == noon
    assert session.get_expiry_date(modification=noon, expiry=3600) == noon + hour
    assert session.get_expiry_age(modification=noon, expiry=noon + hour) == 3600
    assert session.get_expiry_age(expiry=60) == 60


def test_times_are_naive_where_djangos_are(session, site):
    with override_settings(USE_TZ=False):
        assert session.get_expiry_date() == datetime.fromtimestamp(site.now + 7 * DAY)


# -- for coroutines


def test_every_coroutine_function_does_what_its_method_does(session):
    async def use():
        await session.aset("n", 1)
        await session.aupdate({"m": 2})
        assert await session.aget("n") == await session.asetdefault("n", 5) == 1
        assert await session.ahas_key("m")
        assert (list(await session.akeys()), list(await session.avalues())) == (["n", "m"], [1, 2])
        assert dict(await session.aitems()) == await session.aload() == {"n": 1, "m": 2}
        assert await session.apop("m") == 2
        with pytest.raises(KeyError):
            await session.apop("m")
        await session.aset_test_cookie()
        assert await session.atest_cookie_worked()
        await session.adelete_test_cookie()
        await session.aset_expiry(60)
        assert await session.aget_expiry_age() == 60
        assert await session.aget_expiry_date() == session.get_expiry_date()
        assert not await session.aget_expire_at_browser_close()
        key = session.session_key
        await session.acycle_key()
        await session.acreate()
        assert key != session.session_key
        assert await session.aexists(session.session_key)
        await session.asave()
        assert session.load() == {"n": 1}
        await session.aclear_expired()
        await session.aflush()
        await session.adelete()
        assert session.is_empty()

    asyncio.run(use())


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session.aget("filler"),
        lambda session: session.aset("filler", ""),
        lambda session: session.acycle_key(),
        lambda session: session.asave(),
        lambda session: session.aflush(),
        lambda session: session.adelete("another"),
        lambda session: session.aexists("another"),
        lambda session: session.aclear_expired(),
    ],
)
def test_neither_the_event_loop_nor_its_default_executor_waits_for_the_store(session, site, call):
    session["filler"] = BIG
    session = next_request(session)
    site.store.threads.clear()

    async def use():
        asyncio.get_running_loop().set_default_executor(Foreign())
        await call(session)
        return threading.get_ident()

    event_loop = asyncio.run(use())
    assert site.store.threads
    assert event_loop not in site.store.threads


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", [DjangoSession, SessionStore])
def test_it_is_neither_pickled_nor_copied(manager, duplicate, lazy, kind):
    session = SessionStore() if kind is SessionStore else kind(manager.config, None)
    session["name"] = "Ada"
    thing = SimpleLazyObject(lambda: session) if lazy else session
    assert thing["name"] == "Ada"
    with pytest.raises(TypeError, match=rf"^a {kind.__name__} .*the secret session id.*dict\(session\)"):
        duplicate(thing)


def test_an_outage_is_raised_by_the_coroutine(session, site):
    session["filler"] = BIG
    session = next_request(session)
    site.store.down = True
    with pytest.raises(StoreUnavailable):
        asyncio.run(session.aget("filler"))


def test_a_coroutine_function_calls_what_a_subclass_has_made_of_the_method(site):
    session = SessionStore()
    asyncio.run(session.asave())
    assert SessionStore(session.session_key).is_active()
