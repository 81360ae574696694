"""The verbs of gae-sessions 1.07, under their old names."""

from datetime import timedelta

import pytest
from browser import Browser

from gaesess import Home, SessionClosed, State, get_current_session, set_current_session

BIG = "x" * 5000  # more than one cookie holds
WEEK = 7 * 24 * 3600


def test_first_write_starts_a_session(browser):
    with browser.request() as session:
        assert not session.is_active()
        session["user"] = "ada"
        assert session.is_active()
    assert browser.data() == {"user": "ada"}


def test_reading_starts_no_session(browser):
    with browser.request() as session:
        assert session.get("user") is None
        assert list(session) == []
        assert len(session) == 0
    assert browser.received == []


def test_start_makes_a_session_that_is_kept_even_if_empty(browser):
    with browser.request() as session:
        session.start()
    with browser.request() as session:
        assert session.is_active()
        assert dict(session) == {}


def test_start_ends_the_earlier_session_and_its_record(browser, store, clock):
    with browser.request() as session:
        session["big"] = BIG
    with browser.request() as session:
        earlier = session.sid
        session.start()
        assert dict(session) == {}
        assert session.sid != earlier
    assert not browser.manager.load(earlier).is_active()


def test_lifetime_is_absolute(browser, clock):
    with browser.request() as session:
        session["n"] = 0
    clock.time += WEEK - 1
    with browser.request() as session:
        session["n"] = 1
    clock.time += 1
    with browser.request() as session:
        assert not session.is_active()


def test_start_takes_an_expiry(browser, clock):
    with browser.request() as session:
        session.start(expiration_ts=int(clock.time) + 60)
        assert session.get_expiration() == int(clock.time) + 60
    assert "Max-Age=60" in browser.received[0]


@pytest.mark.parametrize("expiration_ts", [-1, 1, 1_800_000_000, 2**32])
def test_start_refuses_an_expiry_that_is_over_or_beyond_the_format(browser, expiration_ts):
    with pytest.raises(ValueError, match="expiration_ts"):
        browser.send().start(expiration_ts=expiration_ts)


def test_expiry_zero_lets_the_cookie_end_with_the_browser_and_the_session_after_the_lifetime(browser, clock):
    with browser.request() as session:
        session.start(expiration_ts=0)
    assert "Max-Age" not in browser.received[0]
    clock.time += WEEK
    with browser.request() as session:
        assert not session.is_active()


def test_lifetime_zero_lets_the_cookie_end_with_the_browser(make_manager):
    browser = Browser(make_manager(lifetime=timedelta(0)))
    with browser.request() as session:
        session["a"] = 1
    assert "Max-Age" not in browser.received[0]
    with browser.request() as session:
        session.regenerate_id()
    assert "Max-Age" not in browser.received[0]


def test_ssl_only_is_in_the_id_and_makes_the_cookie_secure(make_manager):
    browser = Browser(make_manager(cookie_secure=False))
    with browser.request() as session:
        session.start(ssl_only=True)
    assert "; Secure" in browser.received[0]
    with browser.request() as session:
        assert session.is_ssl_only()
        assert session.sid[10] == "S"
        session.regenerate_id()
        assert session.is_ssl_only()


def test_session_that_is_not_ssl_only_says_so(browser):
    with browser.request() as session:
        session.start()
        assert not session.is_ssl_only()
        assert session.sid[10] == "_"


def test_id_is_the_expiry_then_32_hex_digits(browser):
    with browser.request() as session:
        session.start()
        assert int(session.sid[:10]) == session.get_expiration()
        assert len(bytes.fromhex(session.sid[11:])) == 16


def test_inactive_session_has_no_id_and_no_expiry(browser):
    session = browser.send()
    assert session.sid is None
    assert session.get_expiration() == 0
    assert session.home is None
    assert session.revision == 0


@pytest.mark.parametrize("value", ["small", BIG], ids=["cookie", "store"])
def test_terminate_ends_the_session_and_its_cookie(browser, value):
    with browser.request() as session:
        session["value"] = value
    with browser.request() as session:
        session.terminate()
        assert not session.is_active()
        assert "value" not in session
    assert browser.cookies == {}


def test_terminate_deletes_the_record_at_once(browser):
    with browser.request() as session:
        session["big"] = BIG
        session.save()
        sid = session.sid
        session.terminate()
        assert not browser.manager.load(sid).is_active()


def test_terminate_without_clear_data_leaves_the_record(browser):
    with browser.request() as session:
        session["big"] = BIG
    with browser.request() as session:
        sid = session.sid
        session.terminate(clear_data=False)
    assert browser.cookies == {}
    assert browser.manager.load(sid)["big"] == BIG


def test_write_after_terminate_starts_a_new_session(browser):
    with browser.request() as session:
        session["user"] = "ada"
    with browser.request() as session:
        earlier = session.sid
        session.terminate()
        session["flash"] = "bye"
        assert session.sid != earlier
    assert browser.data() == {"flash": "bye"}


@pytest.mark.parametrize("value", ["small", BIG], ids=["cookie", "store"])
def test_regenerate_id_changes_the_id_and_nothing_else(browser, value):
    with browser.request() as session:
        session["value"] = value
    with browser.request() as session:
        earlier, expires = session.sid, session.get_expiration()
        session.regenerate_id()
        assert session.sid != earlier
        assert session.get_expiration() == expires
    assert browser.data() == {"value": value}
    assert not browser.manager.load(earlier).is_active()


def test_regenerate_id_takes_an_expiry(browser, clock):
    with browser.request() as session:
        session["a"] = 1
    with browser.request() as session:
        session.regenerate_id(expiration_ts=int(clock.time) + 5)
    assert "Max-Age=5" in browser.received[0]


def test_regenerate_id_leaves_an_inactive_session_alone(browser):
    with browser.request() as session:
        session.regenerate_id()
        assert not session.is_active()


def test_regenerate_id_with_an_expiry_starts_an_inactive_session(browser, clock):
    with browser.request() as session:
        session.regenerate_id(expiration_ts=int(clock.time) + 5)
    with browser.request() as session:
        assert session.is_active()


def test_save_writes_before_the_response(browser):
    with browser.request() as session:
        session["big"] = BIG
        session.save()
        assert browser.manager.load(session.sid)["big"] == BIG
    assert browser.data() == {"big": BIG}


def test_save_can_put_a_cookie_session_into_the_store_too(browser):
    with browser.request() as session:
        session["user"] = "ada"
        session.save(persist_even_if_using_cookie=True)
        sid = session.sid
        assert session.home is Home.COOKIE
    assert browser.manager.load(sid)["user"] == "ada"
    with browser.request() as session:
        session.terminate()
    assert not browser.manager.load(sid).is_active()


def test_nested_change_after_save_is_seen(browser):
    with browser.request() as session:
        session["cart"] = cart = []
        session.save()
        cart.append("tea")
    assert browser.data() == {"cart": ["tea"]}


def test_save_of_an_inactive_session_does_nothing(browser):
    with browser.request() as session:
        session.save()
    assert browser.received == []


@pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])
def test_quick_writes_are_kept(browser, filler):
    with browser.request() as session:
        session["filler"] = filler
    with browser.request() as session:
        session.set_quick("flash", ["hello"])
    with browser.request() as session:
        assert session.pop_quick("flash") == ["hello"]
        assert session.pop_quick("flash") is None
        assert session.pop_quick("flash", "none") == "none"
    assert browser.data() == {"filler": filler}


def test_pop_returns_none_for_a_key_that_is_not_there(browser):
    with browser.request() as session:
        session["a"] = 1
        assert session.pop("b") is None
        assert session.pop("b", 2) == 2
        assert session.pop("a") == 1
    assert browser.data() == {}


def test_mapping_methods_work(browser):
    with browser.request() as session:
        session.update(a=1, b=2)
        assert session.setdefault("c", 3) == 3
        del session["a"]
        assert session.has_key("b")
        assert not session.has_key("a")
        assert session == {"b": 2, "c": 3}
        with pytest.raises(KeyError):
            session["a"]
        with pytest.raises(KeyError):
            del session["a"]
        session.clear()
        assert session.is_active()
    with browser.request() as session:
        assert session.is_active()
        assert dict(session) == {}


def test_clear_of_an_inactive_session_starts_none(browser):
    with browser.request() as session:
        session.clear()
        assert not session.is_active()


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.get("a"),
        lambda session: "a" in session,
        lambda session: len(session),
        lambda session: list(session),
        lambda session: session.is_active(),
        lambda session: session.is_ssl_only(),
        lambda session: session.get_expiration(),
        lambda session: session.has_key("a"),
        lambda session: session.pop("a"),
        lambda session: session.ensure_data_loaded(),
        lambda session: session.sid,
        lambda session: session.clear(),
    ],
)
def test_every_use_counts_as_access(browser, use):
    session = browser.send()
    assert not session.is_accessed()
    use(session)
    assert session.is_accessed()


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.update(a=1),
        lambda session: session.pop("user"),
        lambda session: session.set_quick("a", 1),
        lambda session: session.clear(),
        lambda session: session.start(),
        lambda session: session.terminate(),
        lambda session: session.regenerate_id(),
        lambda session: session.save(),
    ],
)
def test_change_after_the_headers_are_out_raises(browser, change):
    with browser.request() as session:
        session["user"] = "ada"
    with browser.request() as session:
        pass
    with pytest.raises(SessionClosed):
        change(session)
    assert session["user"] == "ada"  # reading is still allowed


def test_representation_shows_neither_id_nor_data(browser):
    with browser.request() as session:
        session["user"] = "ada"
        assert repr(session) == "<Session active>"


def test_state_follows_the_request(browser):
    session = browser.send()
    assert session.state is State.UNREAD
    assert not session.is_active()
    assert session.state is State.INACTIVE
    session.start()
    assert session.state is State.ACTIVE
    session.terminate()
    assert session.state is State.TERMINATED


def test_current_session_is_the_one_that_was_set(browser):
    session = browser.send()
    set_current_session(session)
    try:
        assert get_current_session() is session
    finally:
        set_current_session(None)


def test_current_session_outside_of_a_request_raises():
    with pytest.raises(LookupError, match="middleware"):
        get_current_session()


@pytest.mark.parametrize("sid", ["", "nonsense", "1800000000_" + "0" * 32, "9999999999_" + "0" * 32, "\uff11" * 43])
def test_load_of_an_id_that_is_none_gives_an_inactive_session(manager, sid):
    assert not manager.load(sid).is_active()


def test_load_checks_the_expiry(browser, clock):
    with browser.request() as session:
        session["big"] = BIG
        sid = session.sid
    clock.time += WEEK
    assert not browser.manager.load(sid).is_active()


def test_loaded_session_can_be_changed_and_saved(browser):
    with browser.request() as session:
        session["big"] = BIG
        sid = session.sid
    loaded = browser.manager.load(sid)
    loaded["note"] = "from a task"
    loaded.save()
    assert browser.data() == {"big": BIG, "note": "from a task"}


def test_increment_counts_from_nothing_by_one(browser):
    with browser.request() as session:
        session.increment("visits")
        session.increment("visits")
        session.increment("points", -5)
    assert browser.data() == {"visits": 2, "points": -5}


@pytest.mark.parametrize("n", [1.5, True, "1", None])
def test_increment_counts_in_int(browser, n):
    with browser.request() as session, pytest.raises(TypeError, match="int"):
        session.increment("visits", n)
    assert browser.data() == {}


def test_append_begins_a_list(browser):
    with browser.request() as session:
        session.append("cart", "tea")
        session.append("cart", ["milk", 2])
    assert browser.data() == {"cart": ["tea", ["milk", 2]]}


@pytest.mark.parametrize(
    "change", [lambda session: session.increment("name"), lambda session: session.append("name", 1)]
)
def test_what_is_not_to_be_added_to_is_named(browser, change):
    with browser.request() as session:
        session["name"] = "ada"
        with pytest.raises(TypeError, match="'name'"):
            change(session)
    assert browser.data() == {"name": "ada"}


@pytest.mark.parametrize(
    "change", [lambda session: session.increment("visits"), lambda session: session.append("cart", "tea")]
)
def test_nothing_is_added_once_the_headers_are_out(browser, change):
    session = browser.send()
    browser.receive(session)
    with pytest.raises(SessionClosed):
        change(session)
