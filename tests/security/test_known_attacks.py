"""Attacks that others have met with: one test for each that no other test shows under the name of its own."""

from datetime import timedelta

import django_site
import pytest
from asgi.client import Site as ASGISite
from asgi.client import respond as asgi_respond
from browser import Browser, with_session
from django.contrib.auth import logout
from flask import session as flask_session
from flask_app.flask_site import FlaskSite
from steps import executed_lines
from wsgi.client import Site as WSGISite
from wsgi.client import respond

from gaesess import SessionManager, _core, _impl, generate_key, get_current_session
from gaesess.stores.base import CLOCK_MARGIN, record_key
from gaesess.stores.memory import MemoryStore

NAME = "__Host-gaesess"
BIG = "x" * 5000  # outgrows the cookie
NOW = 1_800_000_000
MINUTE = 60  # seconds


# -- each framework's way from a request with a session to its response


class Exchange:
    """What a test looks at of a response, whatever the framework."""

    def __init__(self, headers):
        self.headers = [(name.lower(), value) for name, value in headers]

    def all(self, name):
        return [value for field, value in self.headers if field == name]


def under_wsgi(settings, use, cookies):
    def app(environ, start_response):
        use(get_current_session())
        respond(start_response)
        return [b"ok"]

    client = WSGISite(**settings).serve(app)
    client.cookies.update(cookies)
    return Exchange(client.send().headers.items())


def under_asgi(settings, use, cookies):
    async def app(scope, receive, send):
        use(scope["session"])
        await asgi_respond(send)

    client = ASGISite(**settings).serve(app)
    client.cookies.update(cookies)
    headers = client.send().started["headers"]
    return Exchange((name.decode(), value.decode()) for name, value in headers)


def under_flask(settings, use, cookies):
    site = FlaskSite(**settings)
    client = site.serve_view(lambda: str(use(flask_session)))
    client.cookies.update(cookies)
    return Exchange(client.send().headers.items())


def under_django(settings, use, cookies):
    site = django_site.Site(**settings)
    with site.settings():
        client = site.wsgi(lambda request: use(request.session))
        client.cookies.update(cookies)
        return Exchange(client.send().headers.items())


FRAMEWORKS = [under_wsgi, under_asgi, under_django, under_flask]
frameworks = pytest.mark.parametrize("visit", FRAMEWORKS)


def settings_and_cookies(**settings):
    settings = {"cookie_key": generate_key(), "store": None, "clock": lambda: NOW, **settings}
    return settings, with_session(SessionManager(**settings), name="Ada").cookies


# -- caches that hand one visitor's page, or cookie, to the next


@frameworks
@pytest.mark.parametrize(
    "use",
    [
        lambda session: "name" in session,
        lambda session: "name" not in session,
        lambda session: len(session),
        lambda session: bool(session),
        lambda session: list(session),
        lambda session: list(session.keys()),
        lambda session: session == {},
        lambda session: session.get("name"),
        lambda session: session.setdefault("name"),
    ],
    ids=["in", "not in", "len", "bool", "iter", "keys", "==", "get", "setdefault"],
)
def test_whatever_looks_into_a_session_makes_the_response_vary_by_cookie(visit, use):
    """Flask's `in` and `len` did not (CVE-2026-27205)."""
    settings, cookies = settings_and_cookies()
    for sent in (cookies, {}):
        assert visit(settings, use, sent).all("vary") == ["Cookie"]


@frameworks
def test_a_cookie_that_is_only_refreshed_is_kept_by_no_cache(visit):
    """Flask refreshed permanent sessions in responses that did not vary by cookie (CVE-2023-30861)."""
    settings, cookies = settings_and_cookies(idle_timeout=timedelta(hours=1))
    settings["clock"] = lambda: NOW + 30 * MINUTE
    exchange = visit(settings, lambda session: session.get("name"), cookies)
    assert len(exchange.all("set-cookie")) == 1
    assert (exchange.all("vary"), exchange.all("cache-control")) == (["Cookie"], ["private, no-store"])


@frameworks
def test_a_request_that_does_not_use_its_session_refreshes_no_cookie(visit):
    """So that what goes to everybody can be cached for everybody (CVE-2023-30861)."""
    settings, cookies = settings_and_cookies(idle_timeout=timedelta(hours=1))
    settings["clock"] = lambda: NOW + 30 * MINUTE
    exchange = visit(settings, lambda session: None, cookies)
    assert (exchange.all("set-cookie"), exchange.all("vary")) == ([], [])


# -- cookies that pass for others


@pytest.mark.parametrize(
    "impostor",
    [
        "={name}={value}",
        "={name}.1={value}",
        " ={name}={value}",
        "x={name}={value}",
        '"{name}"={value}',
        "{name} ={value}",
        "{name}\t={value}",
        "{name}[]={value}",
        "{name}[0]={value}",
        "{name}\x00={value}",
        "\x00{name}={value}",
        "\xa0{name}={value}",
        "%5F%5FHost-gaesess={value}",
        "..Host-gaesess={value}",
        "_.Host-gaesess={value}",
        " _Host-gaesess={value}",
        "[_Host-gaesess={value}",
        "__HOST-gaesess={value}",
        "__host-gaesess={value}",
        "__Host_gaesess={value}",
        "__Secure-gaesess={value}",
        "Host-gaesess={value}",
        "gaesess={value}",
    ],
)
def test_no_cookie_passes_for_that_of_this_host(impostor):
    """A nameless "=__Host-x=y" did in Werkzeug (CVE-2023-23934), "..Host-x" in PHP (CVE-2022-31629).

    A site beside this one can plant these in browsers that let it plant no "__Host-x". It has a genuine value: that of
    a session of its own, which a visitor is to mistake for his.
    """
    manager = SessionManager(generate_key(), clock=lambda: NOW)
    planted = with_session(manager, user="mallory").cookies[NAME]
    browser = with_session(manager, user="ada")
    cookie = impostor.format(name=NAME, value=planted)
    assert dict(manager.open(cookie)) == {}
    for header in (f"{cookie}; {browser.header()}", f"{browser.header()}; {cookie}"):
        assert manager.open(header)["user"] == "ada"


# -- session fixation


PLANTED_SID = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(
    "planted",
    [
        PLANTED_SID,
        f"1900000000_{PLANTED_SID}",
        f"1900000000S{PLANTED_SID}",
        _impl.encode(bytes.fromhex(PLANTED_SID)),
        _impl.encode(b"\x21\x00\x01\x01" + bytes(12) + bytes.fromhex(PLANTED_SID)),
        _impl.encode(b"\x21\x00\x01\x01" + bytes(12) + bytes.fromhex(PLANTED_SID) + bytes(32)),
    ],
)
@pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])
def test_no_id_that_was_planted_is_adopted(manager, store, filler, planted):
    browser = Browser(manager)
    browser.cookies[NAME] = planted
    with browser.request() as session:
        assert session.sid is None
        session.update(user="ada", filler=filler)
        session.regenerate_id()
        assert PLANTED_SID not in session.sid
    assert record_key(1_900_000_000 + CLOCK_MARGIN, bytes.fromhex(PLANTED_SID)) not in store.store._records
    assert browser.data()["user"] == "ada"


def test_a_cookie_planted_before_the_login_is_worth_nothing_after_it(make_manager):
    """Of a session in the store. One in its cookie has all copies good until they expire."""
    mallory = Browser(make_manager(cookie_only_threshold=0))
    with mallory.request() as session:
        session["cart"] = []
    ada = mallory.copy()
    with ada.request() as session:
        session.regenerate_id()
        session["user"] = "ada"
    assert ada.data() == {"cart": [], "user": "ada"}
    assert mallory.data() == {}


def test_the_pointer_of_one_user_with_the_id_of_another_is_refused(make_manager):
    manager = make_manager(cookie_only_threshold=0)
    ada, mallory = (with_session(manager, user=name) for name in ("ada", "mallory"))
    theirs, ours = (_impl.decode(browser.cookies[NAME]) for browser in (ada, mallory))
    sid = slice(16, 32)  # of the table in _core.py
    spliced = ours[: sid.start] + theirs[sid] + ours[sid.stop :]
    mallory.cookies[NAME] = _impl.encode(spliced)
    assert mallory.data() == {}
    assert ada.data() == {"user": "ada"}


# -- rows without end


def nothing(manager, clock):
    return None


def junk(manager, clock):
    return f"{NAME}=junk"


def empty(manager, clock):
    return f"{NAME}="


def expired(manager, clock):
    header = with_session(manager, user="ada").header()
    clock.time += 8 * 24 * 3600
    return header


def foreign(manager, clock):
    other = SessionManager(generate_key(), cookie_only_threshold=0, store=MemoryStore(), clock=clock)
    return with_session(other, user="ada").header()


@pytest.mark.parametrize("cookie", [nothing, junk, empty, expired, foreign])
@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.terminate(),
        lambda session: session.regenerate_id(),
        lambda session: session.save(),
        lambda session: session.clear(),
        lambda session: session.get("user"),
        lambda session: session.pop("user"),
    ],
    ids=["terminate", "regenerate_id", "save", "clear", "get", "pop"],
)
def test_without_a_session_no_request_makes_a_row(manager, store, clock, cookie, use):
    """Django's logout (CVE-2015-5963), and the reading of a key that there was not (CVE-2015-5143), wrote to the store.

    Whoever repeated that often enough had it full, or other sessions evicted.
    """
    header = cookie(manager, clock)
    session = manager.open(header)
    use(session)
    assert all(line.startswith(f"{NAME}=;") for line in session.commit())  # it may only be taken back
    assert store.store._records == {}


@pytest.mark.parametrize(("filler", "rows"), [("", 0), (BIG, 1)], ids=["cookie", "store"])
def test_a_cookie_that_signs_out_again_and_again_makes_no_further_row(manager, store, filler, rows):
    """Of a session in its cookie none at all, as nothing was kept of it before."""
    header = with_session(manager, filler=filler).header()
    for _ in range(3):
        manager.open(header).terminate()
        assert len(store.store._records) == rows


@pytest.mark.parametrize("cookie", [nothing, junk, empty])
def test_djangos_logout_and_flush_make_no_row_and_leave_no_key(cookie):
    """A key that was empty after a flush was everybody's (CVE-2015-3982)."""
    site = django_site.Site(cookie_only_threshold=0)

    def sign_out(request):
        logout(request)
        request.session.flush()
        assert request.session.session_key is None
        return request.session.load()

    with site.settings():
        client = site.wsgi(sign_out)
        header = cookie(None, None)
        exchange = client.send(**({"HTTP_COOKIE": header} if header else {}))
    assert (exchange.status, exchange.body) == ("200 OK", b"{}")
    assert site.store.store._records == {}


@pytest.mark.parametrize("value", ["", '""', " ", "=", "%00"])
def test_an_empty_cookie_is_nobodys_session(manager, value):
    """After a flush every visitor with an empty session key had the same session (CVE-2015-3982)."""
    first, second = Browser(manager), Browser(manager)
    first.cookies[NAME] = second.cookies[NAME] = value
    with first.request() as session:
        session["user"] = "ada"
    assert second.data() == {}
    assert not manager.load(value).is_active()


# -- work without end


@pytest.mark.parametrize(
    "noise",
    ["\\", '"', '\\"', "\\073", '"\\""', "\\;", '";', "%5C", "\\\\x"],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_backslashes_and_quotes_take_work_in_proportion(noise, quoted):
    """http.cookies took the square of it (CVE-2024-7592). In executed lines, which only the pure twin has."""

    def lines(times):
        value = noise * times
        header = f'{NAME}="{value}"; other="{value}"' if quoted else f"other={value}; {NAME}={value}"
        return executed_lines(_core.unseal_cookies, {}, header, NAME, NOW)

    assert lines(2000) <= 2 * lines(1000)


def test_many_cookies_of_our_name_take_work_in_proportion():
    def lines(times):
        header = "; ".join(f"{NAME}.{number}=x" for number in range(times))
        return executed_lines(_core.unseal_cookies, {}, header, NAME, NOW)

    assert lines(2000) <= 2 * lines(1000)
