"""Flask's and Django's own signed cookies as old sessions; and old sessions under each of our integrations."""

import hashlib
import pickle
import threading
import time
from datetime import datetime, timedelta, timezone
from uuid import UUID

import asgi.client
import flask
import itsdangerous
import markupsafe
import pytest
import wsgi.client
from browser import Browser
from django.core import signing
from gae_sessions_1_07 import NOW, cookie_value, cookies, make_sid, session_cookies, session_pickle
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from test_integrations import INTEGRATIONS, with_django_engine

import gaesess.asgi
from gaesess import SessionManager, generate_key, legacy
from gaesess.flask import GaeSess

UNTIL = datetime(2100, 1, 1, tzinfo=timezone.utc)
SECRET = "a secret of the old application"
DJANGO_SALT = "django.contrib.sessions.backends.signed_cookies"

# -- the old applications: what cookie each sends for its session's data


def flask_cookie(data, **config):
    app = flask.Flask("old")
    app.config.update(SECRET_KEY=SECRET, **config)

    @app.route("/")
    def page():
        flask.session.permanent = data.pop("_permanent", False)
        flask.session.update(data)
        return ""

    client = app.test_client()
    client.get("/")
    return client.get_cookie(app.config["SESSION_COOKIE_NAME"]).value


def django_signer():
    return signing.TimestampSigner(key=SECRET, salt=DJANGO_SALT, fallback_keys=[])


def django_cookie(data, **options):
    return django_signer().sign_object(data, compress=True, **options)


READERS = {"flask": (legacy.flask, flask_cookie, "session"), "django": (legacy.django, django_cookie, "sessionid")}


@pytest.fixture(params=READERS)
def old(request):
    return READERS[request.param]


@pytest.fixture
def take_over(old):
    """Make a browser with an old session's cookie, at a site that takes it over."""
    make_reader, make_cookie, name = old

    def take_over(data, clock=time.time, **settings):
        reader = make_reader(**{"secret_key": SECRET, "until": UNTIL, **settings})
        browser = Browser(SessionManager(generate_key(), clock=clock, legacy=reader))
        browser.cookies = {settings.get("cookie_name", name): make_cookie(data)}
        return browser

    return take_over


def test_its_session_is_read_and_its_cookie_deleted(take_over):
    browser = take_over({"user": 7, "cart": ["a", "b"]})
    assert browser.data() == {"user": 7, "cart": ["a", "b"]}
    assert set(browser.cookies) == {browser.manager.cookie.name}
    assert browser.data() == {"user": 7, "cart": ["a", "b"]}


def test_its_cookie_is_deleted_where_it_was_set(take_over):
    browser = take_over({"x": 1}, cookie_path="/app", cookie_domain="example.com", cookie_name="other")
    browser.data()
    assert browser.received[-1].startswith("other=;")
    assert {"Path=/app", "Domain=example.com"} <= set(browser.received[-1].split("; "))


def test_it_ends_when_it_was_to(take_over):
    browser = take_over({"x": 1}, lifetime=timedelta(hours=1))
    assert 3500 < browser.send().get_expiration() - time.time() < 3700


def test_it_is_over_after_its_lifetime(take_over):
    assert take_over({"x": 1}, clock=lambda: time.time() + 32 * 86_400).data() == {}


def test_it_is_not_read_when_the_time_has_come(take_over):
    assert take_over({"x": 1}, until=datetime.now(timezone.utc)).data() == {}


def test_another_secret_is_refused(take_over):
    assert take_over({"x": 1}, secret_key="another").data() == {}


def test_an_earlier_secret_is_taken(old):
    make_reader, make_cookie, name = old
    earlier = {"secret_key": ["new", SECRET]} if name == "session" else {"secret_key": "new", "fallback_keys": [SECRET]}
    browser = Browser(SessionManager(generate_key(), legacy=make_reader(until=UNTIL, **earlier)))
    browser.cookies = {name: make_cookie({"x": 1})}
    assert browser.data() == {"x": 1}


@pytest.mark.parametrize("junk", ["", "x", ".", ":", "::", "x:y:z", "a.b.c", '"', "\xff" * 9])
def test_junk_is_refused(take_over, old, junk):
    browser = take_over({"x": 1})
    browser.cookies = {old[2]: junk}
    assert browser.data() == {}


@pytest.mark.parametrize("text", ["[1]", "null", "7", "{", "", "\x80\x02}."])
def test_what_is_signed_and_is_no_json_object_is_refused(take_over, old, text):
    payload = signing.b64_encode(text.encode("latin-1"))
    if old[2] == "session":
        key = {"key_derivation": "hmac", "digest_method": hashlib.sha1}
        value = itsdangerous.TimestampSigner(SECRET, "cookie-session", **key).sign(payload).decode()
    else:
        value = django_signer().sign(payload.decode())
    browser = take_over({"x": 1})
    browser.cookies = {old[2]: value}
    assert browser.data() == {}


# Flask alone


@pytest.fixture
def take_over_flask():
    def take_over(data):
        browser = Browser(SessionManager(generate_key(), legacy=legacy.flask(secret_key=SECRET, until=UNTIL)))
        browser.cookies = {"session": flask_cookie(data)}
        return browser

    return take_over


def test_the_types_of_flasks_sessions_are_kept(take_over_flask):
    data = {
        "when": datetime(2030, 1, 2, tzinfo=timezone.utc),
        "id": UUID(int=7),
        "pair": (1, b"x"),
        "nested": {"a": [1]},
    }
    assert take_over_flask(dict(data)).data() == data


def test_what_our_sessions_cannot_hold_is_left_out(take_over_flask, told):
    assert take_over_flask({"html": markupsafe.Markup("<b>"), "x": 1}).data() == {"x": 1}
    assert told[0].name == "value_left_out"
    assert "markupsafe.Markup" in told[0].message


@pytest.mark.parametrize("permanent", [True, False])
def test_flasks_session_ends_with_the_browser_unless_it_is_permanent(take_over_flask, permanent):
    browser = take_over_flask({"x": 1, "_permanent": permanent})
    assert browser.data() == {"x": 1}
    assert ("Max-Age" in browser.received[0]) == permanent


# Django alone


@pytest.mark.parametrize("expiry", [300, "in five minutes"])
def test_an_earlier_end_that_was_set_in_django_is_kept(expiry):
    if expiry == "in five minutes":
        expiry = datetime.fromtimestamp(time.time() + 300, timezone.utc).isoformat()
    browser = Browser(SessionManager(generate_key(), legacy=legacy.django(secret_key=SECRET, until=UNTIL)))
    browser.cookies = {"sessionid": django_cookie({"x": 1, "_session_expiry": expiry})}
    session = browser.send()
    assert dict(session) == {"x": 1}
    assert 200 < session.get_expiration() - time.time() < 310


def test_an_end_with_the_browser_that_was_set_in_django_is_kept():
    browser = Browser(SessionManager(generate_key(), legacy=legacy.django(secret_key=SECRET, until=UNTIL)))
    browser.cookies = {"sessionid": django_cookie({"x": 1, "_session_expiry": 0})}
    assert browser.data() == {"x": 1}
    assert "Max-Age" not in browser.received[0]


def test_pickles_of_django_are_refused():
    class PickleSerializer:
        def dumps(self, data):
            return pickle.dumps(data)

    browser = Browser(SessionManager(generate_key(), legacy=legacy.django(secret_key=SECRET, until=UNTIL)))
    browser.cookies = {"sessionid": django_cookie({"x": 1}, serializer=PickleSerializer)}
    assert browser.data() == {}


# -- old sessions under our integrations


SID = make_sid(NOW + 86_400)


@pytest.fixture
def settings(accept, clock):
    return {"cookie_key": generate_key(), "store": asgi.client.WatchedStore(), "clock": clock, "legacy": accept()}


@pytest.fixture
def serve_flask(settings):
    """Make a client of a page of Flask's, which has the cookies of a session of 1.07."""

    def serve(page):
        app = flask.Flask("app")
        app.config.update(GAESESS=settings, PROPAGATE_EXCEPTIONS=True)
        GaeSess(app)
        app.add_url_rule("/", "page", page)
        client = wsgi.client.Client(app)
        client.cookies.update(session_cookies({b"user": 7}, SID))
        return client

    return serve


@pytest.fixture
def serve_asgi(settings):
    """Make a client of a Starlette that shows the user."""

    async def page(request):
        return PlainTextResponse(str(request.session.get("user")))

    def serve(cookies, **changes):
        sessions = Middleware(gaesess.asgi.SessionMiddleware, **{**settings, **changes})
        client = asgi.client.Client(Starlette(routes=[Route("/", page)], middleware=[sessions]))
        client.cookies.update(cookies)
        return client

    return serve


@pytest.mark.parametrize("integration", [each for each in INTEGRATIONS if each is not with_django_engine])
def test_every_middleware_takes_a_session_over(settings, integration):
    found = []
    client = integration(settings, lambda session: found.append(session.get("user")))
    client.cookies.update(session_cookies({b"user": 7}, SID))
    client.send()
    client.send()
    assert found == [7, 7]
    assert "DgU00" not in client.cookies


@pytest.mark.parametrize("integration", [each for each in INTEGRATIONS if each is not with_django_engine])
def test_every_middleware_signs_an_old_session_out(settings, integration):
    client = integration(settings, lambda session: session.terminate())
    client.cookies.update(session_cookies({b"user": 7}, SID))
    client.send()
    assert client.cookies == {}


def test_a_session_that_flask_empties_is_signed_out(serve_flask):
    client = serve_flask(lambda: flask.session.clear() or "")
    client.send()
    assert client.cookies == {}


def test_a_request_of_flasks_that_does_not_use_its_session_changes_nothing(serve_flask):
    client = serve_flask(lambda: "")
    assert client.send().headers.get_all("Set-Cookie") == []


def test_asgi_never_asks_the_store_on_the_event_loop(serve_asgi, settings):
    client = serve_asgi(session_cookies({b"user": 7}, SID))
    assert client.send().sent[-1]["body"] == b"7"
    assert "DgU00" not in client.cookies
    assert settings["store"].threads
    assert threading.get_ident() not in settings["store"].threads


def test_asgi_never_asks_a_source_on_the_event_loop(serve_asgi, accept):
    threads = []

    class Watched:
        def get(self, sid):
            threads.append(threading.get_ident())
            return session_pickle({b"user": 7})

    client = serve_asgi(cookies(cookie_value(b"", SID)), store=None, legacy=accept(sources=[Watched()]))
    assert client.send().sent[-1]["body"] == b"7"
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
