"""The middleware in Django's place: what goes to the client, and when the session is saved."""

import copy
import pickle

import pytest
from asgi.client import BIG
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import RequestFactory, override_settings
from django.utils.deprecation import MiddlewareMixin
from django_settings import MIDDLEWARE
from django_site import Site, count, pages, read

from gaesess import SessionClosed, SessionManager, generate_key, get_current_session
from gaesess.django import DjangoSessionMiddleware
from gaesess.session import current_session


def untouched(request):
    return "ok"


def grow(request):
    request.session["filler"] = BIG


def shrink(request):
    request.session["filler"] = ""


def without_values(lines):
    """Return Set-Cookie lines as names and sets of attributes."""
    pairs = [line.strip().split("; ") for line in lines]
    return [(pair.split("=")[0], {attribute.lower() for attribute in attributes}) for pair, *attributes in pairs]


@pytest.fixture
def stored(site):
    """A client whose session is in the store."""
    client = site.wsgi(grow)
    client.send()
    return client


# -- the response


def test_a_session_is_kept_from_request_to_request(site):
    client = site.wsgi(count)
    assert [client.send().body for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_request_that_does_not_use_its_session_leaves_no_trace(site):
    client = site.wsgi(count)
    client.send()
    site.use(untouched)
    headers = client.send().headers
    assert (headers.get_all("Set-Cookie"), headers["Vary"]) == ([], None)


def test_a_request_that_only_reads_sets_no_cookie_and_tells_caches_of_it(site):
    client = site.wsgi(count)
    client.send()
    site.use(read)
    headers = client.send().headers
    assert (headers.get_all("Set-Cookie"), headers["Vary"]) == ([], "Cookie")


def test_a_response_that_sets_a_session_cookie_is_for_one_client(site):
    def publish(request):
        count(request)
        return HttpResponse("ok", headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})

    headers = site.wsgi(publish).send().headers
    assert (headers["Cache-Control"], headers["Vary"]) == ("max-age=60, private", "Accept, Cookie")


def test_a_response_that_sets_a_session_cookie_is_kept_by_no_cache(site):
    assert site.wsgi(count).send().headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    "cookie",
    [
        {},
        {"cookie_path": '/a,"b\\', "cookie_domain": "example.com", "cookie_samesite": "None"},
        {"cookie_secure": False, "cookie_samesite": "Strict", "cookie_name": "!#$%&'*+.^_`|~"},
        {"lifetime": Site.BROWSER, "cookie_partitioned": True},
    ],
)
def test_every_chunk_and_every_deletion_arrives_with_every_attribute(cookie):
    site = Site(cookie_only_threshold=50_000, **cookie)
    with site.settings():
        client = site.wsgi()
        for filler, cookies in (("x" * 10_000, 4), ("", 1)):
            expected = site.session(client)
            expected["filler"] = filler
            site.use(lambda request, filler=filler: request.session.update(filler=filler))
            lines = client.send().headers.get_all("Set-Cookie")
            assert without_values(lines) == without_values(expected.commit())
            assert len(lines) == 4
            assert len(client.cookies) == cookies
            assert site.data(client) == {"filler": filler}


def test_a_cookie_name_that_python_cannot_send_is_an_error_and_no_silence():
    site = Site(cookie_name="path")
    with site.settings():
        assert site.wsgi(count).send().status == "500 Internal Server Error"


def test_a_session_that_has_ended_takes_its_cookie_back(site):
    client = site.wsgi(count)
    client.send()
    site.use(lambda request: request.session.flush())
    client.send()
    assert client.cookies == {}


def test_the_session_moves_to_the_store_and_back(site, stored):
    assert site.session(stored).get("filler") == BIG
    assert len(stored.cookies["__Host-gaesess"]) < 200
    site.use(shrink)
    stored.send()
    site.store.down = True
    assert site.data(stored) == {"filler": ""}


def test_a_cookie_that_is_not_to_be_believed_is_no_session(site):
    client = site.wsgi(read)
    client.cookies["__Host-gaesess"] = "\xe9;__Host-gaesess.1=\xff"
    assert client.send().body == b"None"


# -- when it is saved


def test_a_response_of_an_error_saves_nothing(site):
    def fail(request):
        count(request)
        raise AssertionError

    client = site.wsgi(fail)
    exchange = client.send()
    assert (exchange.status, client.cookies) == ("500 Internal Server Error", {})


def test_what_was_saved_before_an_error_stays(site):
    def fail(request):
        count(request)
        request.session.save()
        request.session["visits"] = "lost"
        raise AssertionError

    client = site.wsgi(fail)
    client.send()
    assert site.data(client) == {"visits": 1}


def fail(request):
    count(request)
    raise AssertionError


def fail_unused(request):
    raise AssertionError


def hold_what_cannot_be_held(request):
    request.session["bad"] = object()


def write_in_vain(request):
    grow(request)
    pages["store"].down = True


@pytest.mark.parametrize("protocol", ["WSGI", "ASGI", "ASGI, a coroutine"])
@pytest.mark.parametrize("use", [fail, fail_unused, hold_what_cannot_be_held, write_in_vain])
def test_however_a_view_fails_later_changes_of_its_session_raise(site, protocol, use):
    kept = []
    pages["store"] = site.store

    def keeping(request):
        kept.append(request.session)
        return use(request)

    async def awaited(request):
        return keeping(request)

    client = site.wsgi(keeping) if protocol == "WSGI" else site.asgi(awaited if "coroutine" in protocol else keeping)
    client.send(path="/async/" if "coroutine" in protocol else "/")
    site.store.down = False
    with pytest.raises(SessionClosed):
        kept[0]["late"] = True
    assert "late" not in kept[0]


def test_a_stream_reads_the_session_and_can_change_it_no_more(site):
    said = []

    def stream(request):
        request.session["visits"] = 1

        def body():
            yield str(request.session["visits"])
            with pytest.raises(SessionClosed):
                request.session["visits"] = 2
            said.append("closed")

        return StreamingHttpResponse(body())

    client = site.wsgi(stream)
    assert client.send().body == b"1"
    assert (said, site.data(client)) == (["closed"], {"visits": 1})


def test_what_a_template_changes_is_saved(site):
    def lazily(request):
        template = engines["django"].from_string("{{ use }}")
        return TemplateResponse(request, template, {"use": lambda: count(request)})

    client = site.wsgi(lazily)
    assert client.send().body == b"1"
    assert site.data(client) == {"visits": 1}


def test_a_value_that_no_session_can_hold_is_an_error(site):
    client = site.wsgi(lambda request: request.session.update(bad=object()))
    assert (client.send().status, client.cookies) == ("500 Internal Server Error", {})


def put_signed_cookies(request):
    request.session = SignedCookies()
    request.session["other"] = 1


PLACES = {
    "deleted": lambda request: delattr(request, "session"),
    "a dictionary": lambda request: setattr(request, "session", {"other": 1}),
    "None": lambda request: setattr(request, "session", None),
    "Django's own": put_signed_cookies,
}


@pytest.mark.parametrize("put", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("protocol", ["WSGI", "ASGI", "ASGI, a coroutine"])
def test_a_session_whose_place_is_taken_is_saved_as_it_is(site, protocol, put):
    def use(request):
        request.session["a"] = 1
        put(request)
        return "ok"

    async def awaited(request):
        return use(request)

    client = site.wsgi(use) if protocol == "WSGI" else site.asgi(awaited if "coroutine" in protocol else use)
    exchange = client.send(path="/async/" if "coroutine" in protocol else "/")
    assert exchange.body == b"ok"
    assert site.data(client) == {"a": 1}


def test_the_session_is_the_current_one_in_the_view(site):
    def view(request):
        assert get_current_session() is request.session

    assert site.wsgi(view).send().status == "200 OK"
    assert current_session.get() is None


# -- what cannot be read or saved


def test_an_outage_while_the_view_reads_is_a_503(site, stored):
    site.use(read)
    site.store.down = True
    exchange = stored.send()
    assert exchange.status == "503 Service Unavailable"
    assert (exchange.headers["Cache-Control"], exchange.headers["Vary"]) == ("no-store", "Cookie")
    assert exchange.body == b"The session store did not answer. Please try again in a moment.\n"
    assert exchange.headers.get_all("Set-Cookie") == []


def test_an_outage_while_the_session_is_saved_is_a_503(site):
    client = site.wsgi(grow)
    site.store.down = True
    assert (client.send().status, client.cookies) == ("503 Service Unavailable", {})


class ReadingMiddleware(MiddlewareMixin):
    """Reads the session where Django catches what it raises, as CsrfViewMiddleware with CSRF_USE_SESSIONS does."""

    def process_request(self, request):
        read(request)


def test_an_outage_that_a_middleware_meets_with_is_a_503(site, stored):
    with override_settings(MIDDLEWARE=[*MIDDLEWARE, f"{__name__}.ReadingMiddleware"]):
        stored.app = WSGIHandler()
    site.store.down = True
    assert stored.send().status == "503 Service Unavailable"


def test_an_error_beside_a_session_that_can_be_read_stays_a_500(site, stored):
    site.use(lambda request: read(request) + 1)
    assert stored.send().status == "500 Internal Server Error"


def test_an_outage_is_the_views_to_handle(site, stored):
    def handle(request):
        try:
            return read(request)
        except Exception as error:
            return type(error).__name__

    site.use(handle)
    site.store.down = True
    exchange = stored.send()
    assert (exchange.status, exchange.body) == ("200 OK", b"StoreUnavailable")


@pytest.mark.parametrize("save", [True, False], ids=["in the view", "after it"])
def test_a_session_that_another_request_terminates_is_a_409(site, stored, save):
    def late(request):
        request.session["late"] = True
        site.session(stored).terminate()
        if save:
            request.session.save()

    site.use(late)
    exchange = stored.send()
    assert exchange.status == "409 Conflict"
    assert exchange.body == b"Your session was ended by another request. Please sign in again.\n"


def test_a_sign_out_during_an_outage_still_takes_the_cookie_back(site, stored):
    site.use(lambda request: request.session.flush())
    site.store.down = True
    assert stored.send().status == "503 Service Unavailable"
    assert stored.cookies == {}


# -- the middleware itself


def test_it_takes_the_place_of_djangos_own():
    assert issubclass(DjangoSessionMiddleware, SessionMiddleware)


def test_it_does_not_import_the_session_engine(site):
    with override_settings(SESSION_ENGINE="no.such.engine"):
        assert site.wsgi(count).send().body == b"1"


@pytest.mark.parametrize(
    ("gaesess", "message"),
    [
        (None, "GAESESS must be a dictionary"),
        ({"cookie_key": "short"}, "cookie_key has 5 bytes"),
        ({"cookie_nam": "x"}, "did you mean 'cookie_name'"),
    ],
)
def test_bad_settings_are_said_at_the_start(gaesess, message):
    with override_settings(GAESESS=gaesess), pytest.raises(ImproperlyConfigured, match=message):
        WSGIHandler()


def test_the_settings_may_be_overridden(site):
    other = {"cookie_key": generate_key(), "cookie_name": "other"}
    with override_settings(GAESESS=other):
        client = site.wsgi(count)
    client.send()
    assert dict(SessionManager(**other).open(client.cookies.header())) == {"visits": 1}


def test_a_request_made_by_hand_gets_its_session_as_from_djangos_own(site):
    request = RequestFactory().get("/")
    middleware = DjangoSessionMiddleware(lambda request: HttpResponse())
    middleware.process_request(request)
    count(request)
    response = middleware.process_response(request, HttpResponse())
    assert response.cookies["__Host-gaesess"].value


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_the_middleware_is_neither_pickled_nor_copied(site, duplicate):
    with pytest.raises(TypeError, match=r"^a DjangoSessionMiddleware .*the secret keys"):
        duplicate(DjangoSessionMiddleware(lambda request: HttpResponse()))
