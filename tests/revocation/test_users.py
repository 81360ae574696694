"""Whose session it is: to sign a user out everywhere else, and to show him where he is signed in."""

from contextlib import ExitStack, closing

import pytest
from browser import Browser, with_session

from gaesess import SessionManager, StoreUnavailable, generate_key
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore
from gaesess.users import CHECKED_SECONDS, MAX_LISTED, USER_KEY

BIG = "x" * 5000
HOMES = pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])


def sign_in(manager, user_id="ada", **data):
    browser = Browser(manager)
    with browser.request() as session:
        session.update(data)
        session.regenerate_id()
        session.bind_user(user_id)
        session["user"] = user_id
    return browser


def signed_in(browser):
    return "user" in browser.data()


def sids(manager, user_id="ada"):
    return [listed.sid for listed in manager.list_sessions(user_id)]


def sid(browser):
    return browser.send().sid


@pytest.fixture
def manager(make_manager):
    return make_manager()


# -- signing out everywhere


@HOMES
def test_every_session_of_the_user_is_signed_out_but_the_one_that_is_excepted(manager, filler):
    here, there = sign_in(manager, filler=filler), sign_in(manager, filler=filler)
    with here.request() as session:
        session.manager.revoke_user("ada", except_=session)
    assert (signed_in(here), signed_in(there)) == (True, False)


def test_without_an_exception_every_one_is(manager):
    browsers = [sign_in(manager, filler=filler) for filler in ("", BIG)]
    manager.revoke_user("ada")
    assert [signed_in(browser) for browser in browsers] == [False, False]


def test_other_users_stay(manager):
    grace, number, text = sign_in(manager, "grace"), sign_in(manager, 1), sign_in(manager, "1")
    manager.revoke_user("ada")
    manager.revoke_user("1")
    assert (signed_in(grace), signed_in(number), signed_in(text)) == (True, True, False)


@HOMES
def test_another_process_signs_them_out_after_the_stated_time(manager, make_manager, clock, filler):
    browser = sign_in(manager, filler=filler)
    assert signed_in(browser)
    make_manager().revoke_user("ada")
    assert signed_in(browser)
    clock.time += CHECKED_SECONDS
    assert not signed_in(browser)


def test_other_processes_sign_them_out_though_the_cache_had_just_failed_the_one_that_did_it(make_manager, clock):
    """It may exit before it uses the cache again."""
    cache, durable = FaultyStore(MemoryStore()), MemoryStore()
    one, other = (make_manager(store=TieredStore(cache, durable, clock=clock)) for _ in range(2))
    browser = sign_in(other)
    clock.time += CHECKED_SECONDS
    assert signed_in(browser)  # and from then on the cache has the user's record
    cache.down = True
    assert signed_in(browser.copy(one))
    cache.down = False
    one.revoke_user("ada")
    clock.time += CHECKED_SECONDS
    assert not signed_in(browser)


def test_who_signs_in_after_it_is_signed_in_though_it_be_in_the_same_second(manager):
    manager.revoke_user("ada")
    assert signed_in(sign_in(manager))


def test_who_signs_in_between_two_sendings_of_it_stays_signed_in(manager, make_manager, store, monkeypatch):
    sign_in(manager)
    other_process = make_manager()
    browsers = []

    def sent_twice(*arguments, **options):
        monkeypatch.undo()
        store.replace(*arguments, **options)
        browsers.append(sign_in(other_process))
        return store.replace(*arguments, **options)

    monkeypatch.setattr(store, "replace", sent_twice)
    manager.revoke_user("ada")
    assert [signed_in(browser) for browser in browsers] == [True]


def test_one_whose_writes_are_all_sent_twice_signs_out_the_others(manager, store):
    store.resends = True
    here, there = sign_in(manager), sign_in(manager)
    with here.request() as session:
        manager.revoke_user("ada", except_=session)
    assert (signed_in(here), signed_in(there)) == (True, False)
    assert sids(manager) == [sid(here)]


def test_it_can_be_done_again(manager):
    browsers = []
    for _ in range(3):
        browsers.append(sign_in(manager))
        with browsers[-1].request() as session:
            manager.revoke_user("ada", except_=session)
    assert [signed_in(browser) for browser in browsers] == [False, False, True]


@HOMES
def test_requests_of_the_excepted_session_that_are_on_their_way_stay_signed_in(manager, clock, filler):
    browser = sign_in(manager, filler=filler)
    before = browser.copy()
    with browser.request() as session:
        manager.revoke_user("ada", except_=session)
    clock.time += CHECKED_SECONDS
    assert signed_in(before)


@HOMES
def test_the_excepted_session_stays_signed_in_under_a_new_id(manager, filler):
    browser = sign_in(manager, filler=filler)
    with browser.request() as session:
        manager.revoke_user("ada", except_=session)
    with browser.request() as session:
        session.regenerate_id()
    assert signed_in(browser)
    assert sids(manager) == [sid(browser)]


@HOMES
def test_what_a_signed_out_session_writes_meanwhile_does_not_bring_it_back(manager, clock, filler):
    browser = sign_in(manager, filler=filler)
    late = browser.send()
    late["visits"] = 1
    manager.revoke_user("ada")
    browser.receive(late)
    assert not signed_in(browser)


@HOMES
def test_nor_does_a_new_id(manager, filler):
    browser = sign_in(manager, filler=filler)
    late = browser.send()
    late.regenerate_id()
    manager.revoke_user("ada")
    browser.receive(late)
    assert not signed_in(browser)
    assert sids(manager) == []


@HOMES
def test_a_session_that_was_cleared_stays_bound_to_its_user(manager, filler):
    browser = sign_in(manager, filler=filler)
    with browser.request() as session:
        session.clear()
        session["cart"] = ["bread"]
    assert browser.data() == {USER_KEY: ("ada", 0), "cart": ["bread"]}
    assert sids(manager) == [sid(browser)]
    manager.revoke_user("ada")
    assert not browser.send().is_active()


def test_without_the_store_nobody_is_believed_and_nobody_is_signed_out(manager, store, clock):
    browser = sign_in(manager, filler=BIG)
    store.down = True
    with pytest.raises(StoreUnavailable):
        manager.revoke_user("ada")
    with pytest.raises(StoreUnavailable):
        browser.data()
    store.down = False
    assert signed_in(browser)


# -- binding


@HOMES
def test_the_sessions_data_tell_whose_it_is(manager, filler):
    assert sign_in(manager, filler=filler).data()[USER_KEY] == ("ada", 0)


@HOMES
@pytest.mark.parametrize("other", [1, ("ada",), (1.5, 0), (["ada"], 0), ("ada", "0"), ["ada", 0]], ids=repr)
def test_a_session_whose_data_do_not_tell_whose_it_is_as_bind_user_does_is_not_believed(manager, filler, other):
    browser = with_session(manager, filler=filler, **{USER_KEY: other})
    assert not browser.send().is_active()


def test_a_new_id_in_the_request_in_which_the_application_names_its_user_itself_is_no_error(manager):
    browser = Browser(manager)
    with browser.request() as session:
        session[USER_KEY] = 1
        session.regenerate_id()
    assert not browser.copy(manager).send().is_active()


@HOMES
def test_a_session_that_was_excepted_under_a_new_id_stays_signed_in_under_a_further_one(manager, clock, filler):
    """As where a change of the password gives a new id, and signs out everywhere else."""
    browser = sign_in(manager, filler=filler)
    with browser.request() as session:
        session.regenerate_id()
        manager.revoke_user("ada", except_=session)
    with browser.request() as session:
        session.regenerate_id()
    clock.time += CHECKED_SECONDS
    assert signed_in(browser)


def test_an_excepted_session_whose_cookie_is_from_an_overlapping_request_stays_signed_in_under_a_new_id(manager, clock):
    browser = sign_in(manager)
    late = browser.send()
    late["late"] = True
    with browser.request() as session:
        manager.revoke_user("ada", except_=session)
    browser.receive(late)
    with browser.request() as session:
        session.regenerate_id()
    clock.time += CHECKED_SECONDS
    assert signed_in(browser)


def test_a_session_of_somebody_else_that_is_excepted_stays_his(manager):
    admin = sign_in(manager, "admin")
    with admin.request() as session:
        manager.revoke_user("ada", except_=session)
    assert admin.data()[USER_KEY] == ("admin", 0)


def test_a_session_that_is_not_saved_is_not_listed(manager, store):
    browser = Browser(manager)
    session = browser.send()
    session.bind_user("ada")
    store.down = True
    with pytest.raises(StoreUnavailable):
        session.commit()
    store.down = False
    assert sids(manager) == []
    browser.receive(session)
    assert sids(manager) == [sid(browser)]


def test_to_bind_waits_for_the_store(manager):
    session = Browser(manager).send()
    session.bind_user("ada")
    assert session.close()


@pytest.mark.parametrize("user_id", [None, b"ada", 1.0, True, ("ada",)])
def test_an_id_that_might_be_written_in_several_ways_is_refused_at_once(manager, user_id):
    with pytest.raises(TypeError, match=r"^a user's id is a str or an int, not "):
        Browser(manager).send().bind_user(user_id)


def test_without_the_setting_it_is_an_error_that_names_it():
    manager = SessionManager(generate_key())
    for use in (
        lambda: manager.open(None).bind_user("ada"),
        lambda: manager.revoke_user("ada"),
        lambda: manager.list_sessions("ada"),
        lambda: manager.revoke_session("x"),
    ):
        with pytest.raises(RuntimeError, match="revocable=True"):
            use()


def test_two_that_sign_in_at_once_are_both_listed(manager, make_manager, store):
    other = Browser(make_manager())
    add = store.store.add

    def sign_in_meanwhile(*arguments, **options):
        store.store.add = add
        with other.request() as session:
            session.bind_user("ada")
        return add(*arguments, **options)

    store.store.add = sign_in_meanwhile
    browser = Browser(manager)
    with browser.request() as session:
        session.bind_user("ada")
    assert sorted(sids(manager)) == sorted([sid(browser), sid(other)])


# -- the list


@HOMES
def test_sessions_are_listed_by_id_end_and_time_of_signing_in(manager, clock, filler):
    browser = sign_in(manager, filler=filler)
    (listed,) = manager.list_sessions("ada")
    with browser.request() as session:
        assert listed == (session.sid, clock.time, session.get_expiration())
    assert session.sid not in repr(listed)


@pytest.mark.parametrize("end", ["terminate", "start", "expire"])
@HOMES
def test_a_session_that_has_ended_is_not_listed(manager, clock, end, filler):
    browser = sign_in(manager, filler=filler)
    if end == "expire":
        clock.time += 8 * 24 * 3600
    else:
        with browser.request() as session:
            getattr(session, end)()
    assert sids(manager) == []


@HOMES
def test_a_session_from_the_list_can_be_ended(manager, filler):
    here, there = sign_in(manager, filler=filler), sign_in(manager, filler=filler)
    manager.revoke_session(sid(there))
    assert (signed_in(here), signed_in(there)) == (True, False)
    assert sids(manager) == [sid(here)]


@pytest.mark.parametrize("text", ["", "ada", "1800000000_zz"])
def test_what_is_no_session_id_cannot_be_ended(manager, text):
    with pytest.raises(ValueError, match="not a session id"):
        manager.revoke_session(text)


def test_to_end_a_session_that_is_over_leaves_no_record(manager, store):
    manager.revoke_session(f"{1_700_000_000}_{bytes(16).hex()}")
    assert store.store._records == {}


def test_only_the_latest_of_very_many_are_listed_but_all_are_signed_out(manager):
    first = sign_in(manager)
    for _ in range(MAX_LISTED):
        last = sign_in(manager)
    listed = sids(manager)
    assert (len(listed), listed[-1]) == (MAX_LISTED, sid(last))
    assert sid(first) not in listed
    manager.revoke_user("ada")
    assert not signed_in(first)


@HOMES
def test_a_hundred_sessions_are_listed_each_once(manager, filler):
    browsers = [sign_in(manager, filler=filler) for _ in range(100)]
    assert sids(manager) == [sid(browser) for browser in browsers]


def test_the_record_of_a_user_has_less_than_8_kb(manager, store):
    for _ in range(MAX_LISTED + 1):
        sign_in(manager, 2**63)
    (record,) = (record for key, record in store.store._records.items() if is_of_user(key))
    assert len(record.data) < 8_000


def test_a_session_that_has_expired_makes_room_in_the_list(manager, store, clock):
    for _ in range(MAX_LISTED):
        sign_in(manager)
    clock.time += 8 * 24 * 3600
    last = sign_in(manager)
    assert sids(manager) == [sid(last)]


# -- every store


@pytest.fixture(params=["SQLite", "memcached", "memcached before SQLite"])
def real_store(request, tmp_path):
    with ExitStack() as stack:
        sqlite = stack.enter_context(closing(SQLiteStore(tmp_path / "sessions.sqlite3")))
        if request.param == "SQLite":
            yield sqlite
            return
        cache = stack.enter_context(closing(MemcacheStore(request.getfixturevalue("memcached"))))
        yield cache if request.param == "memcached" else TieredStore(cache, sqlite)


@HOMES
def test_it_works_on_real_stores(real_store, filler):
    manager = SessionManager(generate_key(), store=real_store, revocable=True)
    user_id = f"ada {generate_key()}"  # the memcached is that of other tests too
    here, there, gone = (sign_in(manager, user_id, filler=filler) for _ in range(3))
    with gone.request() as session:
        session.terminate()
    with here.request() as session:
        assert len(manager.list_sessions(user_id)) == 2
        manager.revoke_user(user_id, except_=session)
    assert (signed_in(here), signed_in(there)) == (True, False)
    assert sids(manager, user_id) == [sid(here)]


# -- a user's record that nobody can read


def is_of_user(key):
    return "4294967295" in key


def spoil_users(store):
    for key, record in store._records.items():
        if is_of_user(key):
            store._records[key] = record._replace(data=record.data[:-1] + bytes([record.data[-1] ^ 1]))


def test_a_user_can_sign_in_when_the_key_of_his_record_is_gone(manager, make_manager):
    sign_in(manager)
    manager = make_manager(cookie_key=generate_key())
    browser = sign_in(manager)
    assert signed_in(browser)
    assert sids(manager) == [sid(browser)]


def test_a_user_whose_record_was_spoiled_is_signed_out_until_he_signs_in(manager, store, clock):
    before = sign_in(manager)
    spoil_users(store.store)
    clock.time += CHECKED_SECONDS
    assert not signed_in(before)
    after = sign_in(manager)
    assert (signed_in(before), signed_in(after)) == (False, True)
    manager.revoke_user("ada")
    assert not signed_in(after)


@pytest.fixture
def tiers(make_manager):
    """A cache and a durable store, and a manager over both."""
    cache, durable = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
    durable.may_forget = False
    return cache, durable, make_manager(store=TieredStore(cache, durable))


def test_no_cache_has_the_record_of_a_user(tiers, clock):
    cache, durable, manager = tiers
    browser = sign_in(manager)
    clock.time += CHECKED_SECONDS
    assert signed_in(browser)
    manager.list_sessions("ada")
    assert not any(map(is_of_user, cache.store._records))
    assert sum(map(is_of_user, durable.store._records)) == 1


def test_what_was_spoiled_in_the_cache_alone_signs_nobody_out(tiers, clock):
    cache, _, manager = tiers
    browser = sign_in(manager, filler=BIG)
    for key, record in cache.store._records.items():
        cache.store._records[key] = record._replace(data=b"?" * len(record.data))
    clock.time += CHECKED_SECONDS
    assert signed_in(browser)


def test_an_old_record_of_a_user_in_the_cache_signs_nobody_in_again(tiers, clock):
    cache, durable, manager = tiers
    browser = sign_in(manager)
    old = {key: record for key, record in durable.store._records.items() if is_of_user(key)}
    manager.revoke_user("ada")
    cache.store._records.update(old)
    clock.time += CHECKED_SECONDS
    assert not signed_in(browser)


def test_a_users_record_is_none_of_a_sessions_though_its_id_be_known(manager, store):
    sign_in(manager)
    (record,) = (record for key, record in store.store._records.items() if is_of_user(key))
    handle = record.data[16:32]
    assert not manager.load(f"4294967295_{handle.hex()}").is_active()


def test_a_session_cannot_take_the_place_of_a_users_record(manager, store):
    """Also if it has the id and the expiry of one."""
    sign_in(manager)
    (key,) = filter(is_of_user, store.store._records)
    token = manager.config.users._identities("ada")[0]
    assert manager.config.records.key(token) != key


def test_memory_store_is_enough_for_a_test():
    assert SessionManager(generate_key(), store=MemoryStore(), revocable=True).list_sessions("ada") == []
