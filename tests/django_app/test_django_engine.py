"""`SESSION_ENGINE = "gaesess.django"`: under Django's own middleware, with its test client, and by `clearsessions`."""

import asyncio
from datetime import timedelta
from importlib import import_module

import pytest
from asgi.client import BIG
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import AsyncClient, Client, override_settings
from django_site import Site, count, read
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gaesess.cookies import MAX_COOKIE_BYTES
from gaesess.django import SessionStore

DJANGOS_OWN = "django.contrib.sessions.middleware.SessionMiddleware"
ENGINE = {"SESSION_ENGINE": "gaesess.django"}


@pytest.fixture
def own(site):
    """The site under Django's own session middleware."""
    domain = "x" * 200 + ".example.com"  # a long one, as it leaves less room in the cookie
    with site.settings(MIDDLEWARE=[DJANGOS_OWN], SESSION_COOKIE_NAME="id", SESSION_COOKIE_DOMAIN=domain, **ENGINE):
        yield site


# -- under Django's own middleware


def test_a_session_is_kept_from_request_to_request(own):
    client = own.wsgi(count)
    assert [client.send().body for _ in range(3)] == [b"1", b"2", b"3"]
    assert list(client.cookies) == ["id"]


def test_the_cookie_has_djangos_attributes(own):
    with override_settings(SESSION_COOKIE_PATH="/app", SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="Strict"):
        line = own.wsgi(count).send().headers["Set-Cookie"]
        assert all(text in line for text in ("; Path=/app;", "; Secure", "; HttpOnly", "; SameSite=Strict"))
        assert "; Max-Age=604800;" in line


def test_a_request_that_does_not_use_its_session_sends_no_cookie_and_asks_no_store(own):
    client = own.wsgi(lambda request: request.session.update(filler=BIG))
    client.send()
    own.store.threads.clear()
    own.use(lambda request: "ok")
    assert client.send().headers.get_all("Set-Cookie") == []
    assert own.store.threads == []


@pytest.mark.parametrize("threshold", [None, 50_000])
def test_a_session_that_its_cookie_cannot_hold_is_in_the_store(own, threshold):
    own.gaesess["cookie_only_threshold"] = threshold
    lengths = []
    with own.settings():
        for size in range(2400, 3000, 40):
            client = own.wsgi(lambda request, size=size: request.session.update(filler="x" * size))
            lengths.append(len(client.send().headers["Set-Cookie"].strip()))
            own.use(lambda request: len(request.session["filler"]))
            assert client.send().body == str(size).encode()
    assert MAX_COOKIE_BYTES - 80 < max(lengths) <= MAX_COOKIE_BYTES
    assert lengths[-1] < 600


def test_a_threshold_of_nothing_keeps_every_session_in_the_store(own):
    own.gaesess["cookie_only_threshold"] = 0
    with own.settings():
        own.wsgi(count).send()
        assert own.store.count_expired(now=own.now + 10**7) == 1


def test_a_session_that_has_ended_takes_its_cookie_back(own):
    client = own.wsgi(count)
    client.send()
    own.use(lambda request: request.session.flush())
    client.send()
    assert client.cookies == {}


def test_a_cookie_that_is_not_to_be_believed_is_deleted(own):
    client = own.wsgi(read)
    client.cookies["id"] = "junk"
    assert client.send().body == b"None"
    assert client.cookies == {}


def test_a_session_that_another_request_terminates_is_djangos_400(own):
    def late(request):
        request.session["late"] = True
        SessionStore(client.cookies["id"]).flush()

    client = own.wsgi(lambda request: request.session.update(filler=BIG))
    client.send()
    own.use(late)
    assert client.send().status == "400 Bad Request"


def test_an_active_session_does_not_end_for_idleness():
    site = Site(idle_timeout=timedelta(minutes=10))
    with site.settings(MIDDLEWARE=[DJANGOS_OWN], **ENGINE):
        client = site.wsgi(count)
        client.send()
        site.use(read)
        for _ in range(3):
            site.now += 6 * 60
            assert client.send().body == b"1"
        site.now += 10 * 60
        assert client.send().body == b"None"


@pytest.mark.parametrize(("path", "refreshes"), [("/", 1), ("/poll", 0)])
def test_a_passive_path_is_no_use_of_the_session(path, refreshes):
    site = Site(idle_timeout=timedelta(minutes=10), passive_paths=["/poll"])
    with site.settings():
        client = site.wsgi(count)
        client.send()
        site.use(read)
        site.now += 300
        assert len(client.send(PATH_INFO=path).headers.get_all("Set-Cookie")) == refreshes


def test_the_cookie_may_end_with_the_browser(own):
    client = own.wsgi(lambda request: request.session.set_expiry(0))
    assert "Max-Age" not in client.send().headers["Set-Cookie"]


# -- the store by itself


@pytest.mark.parametrize("size", [10, 5000])
def test_a_saved_session_is_found_by_its_key(site, size):
    session = SessionStore()
    assert session.session_key is None
    session["filler"] = "x" * size
    session.save()
    again = SessionStore(session.session_key)
    assert again.exists(session.session_key)
    assert dict(again) == {"filler": "x" * size}
    SessionStore().delete(session.session_key)
    assert SessionStore(session.session_key).is_active() is (size == 10)  # what lives in its cookie only that ends


def test_what_another_request_has_ended_cannot_be_saved(site):
    session = SessionStore()
    session["filler"] = BIG
    session.save()
    SessionStore(session.session_key).flush()
    session["n"] = 1
    with pytest.raises(UpdateError):
        session.save()


@given(key=st.text() | st.from_regex(r"[A-Za-z0-9_-]{1,200}([;,=\" ]gaesess(\.1)?=[A-Za-z0-9_-]*)?", fullmatch=True))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_key_that_is_none_of_ours_is_no_session(site, key):
    session = SessionStore(key)
    assert session.is_empty()
    assert session.session_key is None
    assert not session.exists(key)
    assert dict(session) == {}


def test_bad_settings_are_said():
    with override_settings(GAESESS={"cookie_key": "short"}), pytest.raises(ImproperlyConfigured, match="has 5 bytes"):
        SessionStore()


@pytest.mark.parametrize("with_store", [True, False])
def test_manage_clearsessions_clears_the_store(site, with_store):
    if not with_store:
        del site.gaesess["store"]
    with site.settings(**ENGINE):
        session = SessionStore()
        session.save(persist_even_if_using_cookie=with_store)
        site.now += 8 * 24 * 60 * 60
        call_command("clearsessions")
    assert site.store.count_expired(now=site.now) == 0


def test_the_engine_is_a_module_as_django_looks_for_it():
    assert import_module("gaesess.django").SessionStore is SessionStore


# -- Django's test client, with our middleware


@pytest.fixture
def client(site):
    site.use(count)
    with site.settings(**ENGINE):
        yield Client()


def test_the_test_client_shows_the_session(client):
    client.get("/")
    client.get("/")
    assert dict(client.session) == {"visits": 2}


def test_what_a_test_saves_in_a_session_in_the_store_a_view_finds(site, client):
    site.gaesess["cookie_only_threshold"] = 0
    with site.settings():
        session = client.session
        session["visits"] = 5
        session.save()
        assert client.get("/").content == b"6"


def test_what_a_test_saves_in_a_session_in_its_cookie_a_view_finds_by_its_new_key(client):
    session = client.session
    session["visits"] = 5
    session.save()
    client.cookies["__Host-gaesess"] = session.session_key
    assert client.get("/").content == b"6"


@pytest.mark.parametrize("threshold", [0, None])
def test_a_test_can_sign_a_user_in_and_out(site, client, user, threshold):
    site.gaesess["cookie_only_threshold"] = threshold
    with site.settings():
        site.use(lambda request: request.user)
        client.force_login(user)
        assert client.get("/").content == b"ada"
        client.logout()
        assert client.get("/").content == b"AnonymousUser"
        assert client.login(username="ada", password="secret")
        assert client.get("/").content == b"ada"


@pytest.mark.skipif(not hasattr(Client, "aforce_login"), reason="Django has it since 5.0")
def test_a_test_can_sign_a_user_in_under_asgi(site, client, user):
    async def use():
        client = AsyncClient()
        await client.aforce_login(user)
        return await client.get("/")

    site.use(lambda request: request.user)
    assert asyncio.run(use()).content == b"ada"
