"""Attacks that other session libraries fell to, by their CVE numbers where they have any."""

import sys

import pytest
from asgi.client import Site as AsgiSite
from asgi.client import respond as asgi_respond
from browser import Browser
from wsgi.client import Site as WsgiSite
from wsgi.client import respond

from gaesess import SessionManager, SessionTerminated, _core, generate_key, get_current_session
from gaesess.stores.memory import MemoryStore

BIG = "x" * 5000
HOMES = pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def manager(store):
    return SessionManager(generate_key(), store=store)


def signed_in(manager, user="ada", filler=""):
    browser = Browser(manager)
    with browser.request() as session:
        session.update(user=user, filler=filler)
    return browser


# -- fixation


@pytest.mark.parametrize(
    "planted",
    ["", "0", "null", "undefined", "deadbeef" * 4, "1800000000_" + "0" * 32, "1800000000S" + "f" * 32, "A" * 86, "{}"],
)
def test_an_id_that_the_client_makes_up_is_not_taken_on(manager, store, planted):
    """Nor an empty one (CVE-2015-3982)."""
    browser = Browser(manager)
    browser.cookies = {manager.cookie.name: planted}
    with browser.request() as session:
        assert not session.is_active()
        session["user"] = "ada"
        assert planted not in session.sid or not planted.strip("0")
    assert browser.data() == {"user": "ada"}


@HOMES
def test_a_cookie_that_an_attacker_has_planted_is_worth_nothing_after_the_sign_in(filler):
    manager = SessionManager(generate_key(), store=MemoryStore(), revocable=not filler)
    attacker = signed_in(manager, "nobody", filler)
    victim = Browser(manager)
    victim.cookies = dict(attacker.cookies)
    with victim.request() as session:
        session.regenerate_id()
        session["user"] = "ada"
    assert victim.data()["user"] == "ada"
    assert attacker.data() == {}


@HOMES
@pytest.mark.parametrize("other", [{"cookie_name": "other"}, {"cookie_key": generate_key()}], ids=["name", "key"])
def test_a_cookie_of_another_application_is_refused(store, filler, other):
    key = generate_key()
    theirs = SessionManager(**{"cookie_key": key, "store": store, **other})
    ours = Browser(SessionManager(key, store=store))
    (name,) = signed_in(theirs, filler=filler).cookies.items()
    ours.cookies = {ours.manager.cookie.name: name[1]}
    assert ours.data() == {}


# -- cookies that look like ours


@pytest.mark.parametrize("header", ["={}", "=; {}", "{0}; ={0}", " ={}", "=__Host-gaesess={}"])
def test_a_cookie_without_a_name_is_not_ours(manager, header):
    """Browsers send `=__Host-gaesess=x` for a cookie without a name (CVE-2022-2860, CVE-2023-23934)."""
    (value,) = signed_in(manager).cookies.values()
    assert not manager.open(header.format(value)).is_active()


@pytest.mark.parametrize(
    "name", ["__host-gaesess", "__HOST-gaesess", "..Host-gaesess", "%5F%5FHost-gaesess", "  Host-gaesess"]
)
def test_a_name_that_some_would_take_for_ours_is_not_ours(manager, name):
    """PHP read `..Host-` as `__Host-` (CVE-2022-31629), Werkzeug decoded names (CVE-2020-8184 in Rack)."""
    (value,) = signed_in(manager).cookies.values()
    assert not manager.open(f"{name}={value}").is_active()


def test_of_two_cookies_with_our_name_neither_is_believed(manager):
    """One may be a sibling domain's: no order tells which."""
    one, other = (signed_in(manager, user).header() for user in ("ada", "mallory"))
    assert not manager.open(f"{one}; {other}").is_active()
    assert not manager.open(f"{other}; {one}").is_active()


def test_the_time_to_read_a_cookie_header_grows_with_its_length(manager):
    """CVE-2024-7592: quoted values took http.cookies quadratic time. Counted in lines that are executed."""

    def lines(header):
        count = 0

        def trace(frame, event, _):
            nonlocal count
            count += event == "line"
            return trace

        sys.settrace(trace)
        try:
            _core.read_cookies(header, "s")
        except _core.MalformedToken:
            pass
        finally:
            sys.settrace(None)
        return count

    for piece in ("s", "s=", "s=;", '"\\', "s.1", ";", " ", "\\134", "=", "s.1=a; "):
        once, twice = lines(piece * 1000), lines(piece * 2000)
        assert twice <= 2 * once + 20, piece


# -- what caches are told

USES = pytest.mark.parametrize(
    "use",
    [
        lambda session: "user" in session,
        lambda session: len(session),
        lambda session: bool(session),
        lambda session: list(session),
        lambda session: session.get("user"),
        lambda session: session.keys() & {"user"},
        lambda session: list(session.items()),
        lambda session: session.pop("nothing", None),
        lambda session: session.is_active(),
        lambda session: session.sid,
        lambda session: session == {},
    ],
)


@USES
def test_every_use_is_told_to_caches_under_wsgi(use):
    """CVE-2023-30861, CVE-2026-27205: a response that depends on the session went to others from a cache."""

    def app(environ, start_response):
        use(get_current_session())
        respond(start_response)
        return [b""]

    assert WsgiSite().serve(app).send().headers["Vary"] == "Cookie"


@USES
def test_every_use_is_told_to_caches_under_asgi(use):
    async def app(scope, receive, send):
        use(scope["session"])
        await asgi_respond(send)

    assert AsgiSite().serve(app).send().all("vary") == ["Cookie"]


# -- sign-out


def test_a_session_that_was_deleted_is_not_restored_by_a_request_on_its_way(manager):
    """CVE-2025-46336."""
    browser = signed_in(manager, filler=BIG)
    late = browser.send()
    late["visits"] = 1
    with browser.request() as session:
        session.terminate()
    with pytest.raises(SessionTerminated):
        late.commit()
    assert browser.data() == {}


@pytest.mark.parametrize("cookie", [None, "junk", "of another key"])
def test_sign_out_without_a_session_makes_no_record(manager, store, cookie):
    """CVE-2015-5143: anybody could fill the store. (With revocable=True: tests/revocation.)"""
    browser = signed_in(SessionManager(generate_key(), store=MemoryStore())) if cookie else Browser(manager)
    browser.manager = manager
    if cookie == "junk":
        browser.cookies = {manager.cookie.name: "junk"}
    with browser.request() as session:
        session.terminate()
    assert store._records == {}


@pytest.mark.parametrize("use", [lambda session: session.get("user"), lambda session: session.clear()])
def test_a_visitor_without_a_session_gets_none_by_looking(manager, store, use):
    browser = Browser(manager)
    with browser.request() as session:
        use(session)
    assert (browser.cookies, store._records) == ({}, {})


# -- what is in the store


def test_a_record_that_is_moved_to_another_sessions_place_is_not_shown(manager, store):
    ada, mallory = signed_in(manager, "ada", BIG), signed_in(manager, "mallory", BIG)
    (one, first), (other, second) = store._records.items()
    store._records[one], store._records[other] = second._replace(version=first.version), first
    assert [browser.data() for browser in (ada, mallory)] == [{}, {}]


def test_a_cookie_is_no_record_and_a_record_no_cookie(manager, store):
    browser = signed_in(manager, filler=BIG)
    ((key, record),) = store._records.items()
    cookie = _core.decode(browser.cookies[manager.cookie.name])
    browser.cookies = {manager.cookie.name: _core.encode(record.data[:3] + bytes([1]) + record.data[4:])}
    assert browser.data() == {}
    store._records[key] = record._replace(data=cookie)
    assert browser.data() == {}
