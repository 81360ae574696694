"""Where a session lives, and how it moves."""

from datetime import timedelta

import pytest
from browser import NEW_KEY, OLD_KEY, Browser

from gaesess import Home, SessionTooLarge, _impl, generate_key, values
from gaesess._core import POINTER, RECORDED
from gaesess.stores.base import CLOCK_MARGIN, MAX_RECORD_BYTES, record_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore

BIG = "x" * 5000


def token_flags(browser):
    return _impl.decode(browser.cookies["__Host-gaesess"])[2]


def test_small_session_lives_in_its_cookie_and_never_meets_the_store(make_manager):
    browser = Browser(make_manager(store=None))
    with browser.request() as session:
        session["user"] = "ada"
        session.regenerate_id()
    with browser.request() as session:
        assert session.home is Home.COOKIE
        session.regenerate_id()
        session.terminate()


def test_session_that_outgrows_the_cookie_moves_to_the_store_and_back(browser):
    with browser.request() as session:
        session["filler"] = "small"
    assert token_flags(browser) == 0
    with browser.request() as session:
        session["filler"] = BIG
    assert token_flags(browser) == POINTER | RECORDED
    with browser.request() as session:
        assert session.home is Home.STORE
        assert session["filler"] == BIG
        session["filler"] = "small again"
    assert token_flags(browser) == RECORDED
    with browser.request() as session:
        assert session.home is Home.COOKIE
        assert session["filler"] == "small again"


@pytest.mark.parametrize("change", ["start", "regenerate_id"])
def test_a_session_that_was_in_a_store_gets_a_new_id_where_there_is_no_store_any_more(make_manager, change):
    key = generate_key()
    browser = Browser(make_manager(cookie_key=key))
    with browser.request() as session:
        session["n"] = 1
        session.save(persist_even_if_using_cookie=True)
        sid = session.sid
    browser.manager = make_manager(cookie_key=key, store=None)
    with browser.request() as session:
        getattr(session, change)()
        session["n"] = 2
    assert browser.data() == {"n": 2}
    with browser.request() as session:
        assert session.sid != sid


def test_largest_session_of_one_cookie_fits_the_limit_and_one_byte_more_moves(browser):
    limit = browser.manager.cookie.payload_limit(1)
    overhead = len(_impl.decode(_impl.encode(b"\x81\xa1k\xc5\x00\x00")))  # a map of one key and a long byte string
    with browser.request() as session:
        session["k"] = bytes(limit - overhead)
        session.save()
        assert session.home is Home.COOKIE
        session["k"] = bytes(limit - overhead + 1)
        session.save()
        assert session.home is Home.STORE


def test_unchanged_session_sends_no_cookie_and_writes_nothing(browser, store):
    with browser.request() as session:
        session["filler"] = BIG
        session["list"] = [1]
    records = dict(store.store._records)
    with browser.request() as session:
        session["filler"] = BIG
        assert session["list"] == [1]
    assert browser.received == []
    assert store.store._records == records


def test_change_inside_a_nested_value_is_saved(browser):
    with browser.request() as session:
        session["cart"] = {"items": []}
    with browser.request() as session:
        session["cart"]["items"].append("tea")
    assert browser.data() == {"cart": {"items": ["tea"]}}


def test_threshold_keeps_more_in_several_cookies(make_manager):
    browser = Browser(make_manager(cookie_only_threshold=10_000))
    with browser.request() as session:
        session["filler"] = "x" * 9000
        session.save()
        assert session.home is Home.COOKIE
    assert list(browser.cookies) == ["__Host-gaesess" + chunk for chunk in ("", ".1", ".2", ".3")]
    assert browser.data() == {"filler": "x" * 9000}
    with browser.request() as session:
        session["filler"] = "small"
    assert list(browser.cookies) == ["__Host-gaesess"]
    assert browser.data() == {"filler": "small"}


def test_threshold_zero_keeps_every_session_in_the_store(make_manager):
    browser = Browser(make_manager(cookie_only_threshold=0))
    with browser.request() as session:
        session["a"] = 1
    assert token_flags(browser) & POINTER
    assert browser.data() == {"a": 1}


def test_sign_out_deletes_every_chunk(make_manager):
    browser = Browser(make_manager(cookie_only_threshold=10_000))
    with browser.request() as session:
        session["filler"] = "x" * 9000
    with browser.request() as session:
        session.terminate()
    assert browser.cookies == {}


def test_session_without_a_store_that_outgrows_its_cookie_says_so(make_manager):
    session = Browser(make_manager(store=None)).send()
    session["filler"] = BIG
    with pytest.raises(
        SessionTooLarge, match=r"the session has 5\d\d\d bytes, its cookie holds \d+, and there is no store="
    ):
        session.commit()


def test_session_too_large_for_a_store_says_so(browser):
    session = browser.send()
    session["filler"] = bytes(MAX_RECORD_BYTES)
    with pytest.raises(SessionTooLarge, match=r"the session has 10\d{5} bytes, a store takes 1000000"):
        session.commit()


def test_store_knows_no_session_id(browser, store):
    with browser.request() as session:
        session["filler"] = BIG
        sid = session.sid
    (key,) = store.store._records
    assert key == record_key(int(sid[:10]) + CLOCK_MARGIN, bytes.fromhex(sid[11:]))
    assert sid[11:] not in key


def test_revision_counts_the_saves(browser):
    for revision in range(1, 4):
        with browser.request() as session:
            session["n"] = revision
        with browser.request() as session:
            assert session.revision == revision


def test_retired_key_still_reads_and_the_new_one_seals(make_manager):
    browser = Browser(make_manager(cookie_key=OLD_KEY))
    with browser.request() as session:
        session["filler"] = BIG
    browser.manager = make_manager(cookie_key=NEW_KEY, retired_keys=[OLD_KEY])
    with browser.request() as session:
        assert session["filler"] == BIG
        session["note"] = 1
    browser.manager = make_manager(cookie_key=NEW_KEY)
    assert browser.data() == {"filler": BIG, "note": 1}


def test_key_that_is_gone_ends_the_session(make_manager):
    browser = Browser(make_manager(cookie_key=OLD_KEY))
    with browser.request() as session:
        session["a"] = 1
    browser.manager = make_manager(cookie_key=NEW_KEY)
    with browser.request() as session:
        assert not session.is_active()


def test_idle_session_ends(make_manager, clock):
    browser = Browser(make_manager(idle_timeout=timedelta(minutes=10)))
    with browser.request() as session:
        session["a"] = 1
    clock.time += 600
    with browser.request() as session:
        assert not session.is_active()


@pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])
def test_use_keeps_a_session_from_being_idle(make_manager, clock, filler):
    browser = Browser(make_manager(idle_timeout=timedelta(minutes=10)))
    with browser.request() as session:
        session["filler"] = filler
    for _ in range(3):
        clock.time += 599
        assert browser.data() == {"filler": filler}


def test_busy_session_is_not_reissued_at_every_request(make_manager, clock):
    browser = Browser(make_manager(idle_timeout=timedelta(minutes=10)))
    with browser.request() as session:
        session["a"] = 1
    clock.time += 59
    browser.data()
    assert browser.received == []
    clock.time += 1
    browser.data()
    assert len(browser.received) == 1


def test_no_datastore_uses_only_the_cache(make_manager):
    cache, durable = MemoryStore(), MemoryStore()
    browser = Browser(make_manager(store=TieredStore(cache, durable), no_datastore=True))
    with browser.request() as session:
        session["filler"] = BIG
    assert len(cache._records) == 1
    assert durable._records == {}
    assert browser.data() == {"filler": BIG}


def test_no_datastore_with_a_store_that_has_no_cache_is_refused(make_manager):
    with pytest.raises(ValueError, match="no_datastore"):
        make_manager(no_datastore=True)


@pytest.mark.parametrize(
    "settings", [{"lifetime": timedelta(-1)}, {"idle_timeout": timedelta(seconds=59)}, {"cookie_name": "a b"}]
)
def test_senseless_settings_are_refused(make_manager, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make_manager(**settings)


def test_quick_write_reaches_only_the_cache_until_a_normal_one(make_manager):
    cache, durable = MemoryStore(), MemoryStore()
    browser = Browser(make_manager(store=TieredStore(cache, durable)))
    with browser.request() as session:
        session["filler"] = BIG
    before = dict(durable._records)
    with browser.request() as session:
        session.set_quick("flash", "hello")
    assert browser.received == []
    assert durable._records == before
    assert browser.data() == {"filler": BIG, "flash": "hello"}
    with browser.request() as session:
        session["note"] = 1
    cache._records.clear()
    assert browser.data() == {"filler": BIG, "flash": "hello", "note": 1}


def test_quick_write_is_lost_with_the_cache_and_nothing_else_is(make_manager):
    cache = MemoryStore()
    browser = Browser(make_manager(store=TieredStore(cache, MemoryStore())))
    with browser.request() as session:
        session["filler"] = BIG
    with browser.request() as session:
        session.set_quick("flash", "hello")
    cache._records.clear()
    assert browser.data() == {"filler": BIG}


def test_normal_change_beside_a_quick_one_is_durable(make_manager):
    cache = MemoryStore()
    browser = Browser(make_manager(store=TieredStore(cache, MemoryStore())))
    with browser.request() as session:
        session["filler"] = BIG
        session["cart"] = []
    with browser.request() as session:
        session.set_quick("flash", "hello")
        session["cart"].append("tea")
    cache._records.clear()
    assert browser.data() == {"filler": BIG, "cart": ["tea"], "flash": "hello"}


@pytest.mark.parametrize("filler", ["small", BIG], ids=["cookie", "store"])
def test_a_save_encodes_the_session_once(make_manager, monkeypatch, filler):
    browser = Browser(make_manager(store=MemoryStore()))

    class Counted:
        pass

    encoded = []
    monkeypatch.setattr(values, "_TYPES", dict(values._TYPES))
    monkeypatch.setattr(values, "_REGISTERED_LOADERS", {})
    values.register(Counted, "counted", encoded.append, lambda packed: Counted())
    session = browser.send()
    session.update(filler=filler, counted=Counted())
    browser.receive(session)
    assert len(encoded) == 1


def test_a_copy_of_a_cookie_whose_session_has_a_new_id_can_sign_in(browser, clock):
    """As after an outage that lost the response with the new id. The copy is valid, so a new id takes away nothing."""
    browser.manager.config.driver.clock = clock
    with browser.request() as session:
        session["filler"] = BIG
    with browser.request() as session:
        session["filler"] = "x"
    copy = browser.copy()
    with browser.request() as session:
        session.regenerate_id()
    clock.time += 3600
    with copy.request() as session:
        session.regenerate_id()
        session["user"] = "ada"
    assert copy.data() == {"filler": "x", "user": "ada"}
