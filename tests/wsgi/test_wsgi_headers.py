"""Which headers the middleware adds, and when it adds none."""

import logging

import pytest
from wsgi.client import respond

from gaesess import SessionMiddleware, generate_key, get_current_session

GARBAGE = "__Host-gaesess=garbage"


def ignoring(environ, start_response):
    respond(start_response)
    return [b"ignored"]


def reading(environ, start_response):
    respond(start_response)
    return [repr(get_current_session().get("name")).encode()]


def writing(environ, start_response):
    get_current_session()["name"] = "Ada"
    respond(start_response)
    return [b"written"]


def test_an_untouched_session_adds_no_header(site):
    exchange = site.visitor(ignoring, name="Ada").send()
    assert exchange.headers.items() == [("Content-Type", "text/plain")]


def test_an_untouched_session_does_not_look_at_the_cookie(site, caplog):
    caplog.set_level(logging.DEBUG)
    site.serve(ignoring).send(HTTP_COOKIE=GARBAGE)
    assert not caplog.records
    site.serve(reading).send(HTTP_COOKIE=GARBAGE)
    assert len(caplog.records) == 1


def test_a_read_adds_vary_and_no_cookie(site):
    exchange = site.visitor(reading, name="Ada").send()
    assert exchange.body == b"'Ada'"
    assert exchange.headers.items() == [("Content-Type", "text/plain"), ("Vary", "Cookie")]


def test_a_read_of_a_session_that_there_is_not_adds_vary(site):
    assert site.serve(reading).send().headers.items() == [("Content-Type", "text/plain"), ("Vary", "Cookie")]


def test_a_write_adds_the_cookie_and_vary(site):
    client = site.serve(writing)
    exchange = client.send()
    assert [name for name, _ in exchange.headers.items()] == ["Content-Type", "Set-Cookie", "Cache-Control", "Vary"]
    assert exchange.headers["Vary"] == "Cookie"
    assert site.data(client) == {"name": "Ada"}


def test_a_response_with_a_cookie_is_kept_by_no_cache(site):
    assert site.serve(writing).send().headers["Cache-Control"] == "private, no-store"


FOR_SHARED_CACHES = [
    "CDN-Cache-Control",
    "Cloudflare-CDN-Cache-Control",
    "X-LiteSpeed-Cache-Control",
    "Surrogate-Control",
    "Edge-Control",
    "edge-control",
    "X-Accel-Expires",
]


@pytest.mark.parametrize("name", FOR_SHARED_CACHES)
def test_a_response_with_a_cookie_has_no_header_by_which_a_shared_cache_keeps_it(site, name):
    def app(environ, start_response):
        get_current_session()["name"] = "Ada"
        respond(start_response, ("X-Content-Type-Options", "nosniff"), (name, "max-age=600"))
        return [b""]

    headers = site.serve(app).send().headers
    assert (headers[name], headers["X-Content-Type-Options"]) == (None, "nosniff")


@pytest.mark.parametrize("name", FOR_SHARED_CACHES)
def test_a_response_without_a_cookie_keeps_what_it_says_to_shared_caches(site, name):
    def app(environ, start_response):
        get_current_session().get("name")
        respond(start_response, (name, "max-age=600"))
        return [b""]

    assert site.serve(app).send().headers[name] == "max-age=600"


@pytest.mark.parametrize("name", ["Cache-Control", "cache-control"])
@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (["private, max-age=60"], ["private, max-age=60"]),
        (["no-store"], ["no-store"]),
        (["max-age=60", "No-Store"], ["max-age=60", "No-Store"]),
        (['public, max-age=60, private="X-User, Set-Cookie"'], ["max-age=60, private"]),
        (["max-age=60"], ["max-age=60, private"]),
        (["Public, max-age=60"], ["max-age=60, private"]),
        (["no-cache", "max-age=0"], ["no-cache, max-age=0, private"]),
    ],
)
def test_what_the_application_says_to_caches_stays_but_for_what_would_let_them_share_the_cookie(site, name, said, sent):
    def app(environ, start_response):
        get_current_session()["name"] = "Ada"
        respond(start_response, *((name, value) for value in said))
        return [b""]

    assert site.serve(app).send().headers.get_all("Cache-Control") == sent


def test_what_the_application_says_to_caches_of_a_response_without_a_cookie_stays(site):
    def app(environ, start_response):
        get_current_session().get("name")
        respond(start_response, ("Cache-Control", "public, max-age=60"))
        return [b""]

    assert site.visitor(app, name="Ada").send().headers.get_all("Cache-Control") == ["public, max-age=60"]


def test_a_write_of_what_is_there_already_adds_no_cookie(site):
    assert "Set-Cookie" not in site.visitor(writing, name="Ada").send().headers


def test_a_cookie_of_the_application_stays(site):
    def app(environ, start_response):
        get_current_session()["name"] = "Ada"
        respond(start_response, ("Set-Cookie", "theme=dark"))
        return [b""]

    client = site.serve(app)
    client.send()
    assert client.cookies["theme"] == "dark"
    assert site.data(client) == {"name": "Ada"}


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["Accept"], ["Accept, Cookie"]),
        (["Accept", "Origin"], ["Accept, Origin, Cookie"]),
        (["Accept, cookie"], ["Accept, cookie"]),
        (["Accept", "COOKIE"], ["Accept", "COOKIE"]),
        (["*"], ["*"]),
        (["Accept-Cookie"], ["Accept-Cookie, Cookie"]),
    ],
)
def test_vary_of_the_application_is_merged_with_ours(site, present, expected):
    def app(environ, start_response):
        get_current_session().get("name")
        respond(start_response, *[("vary", value) for value in present])
        return [b"read"]

    assert site.serve(app).send().headers.get_all("Vary") == expected


def test_the_headers_of_the_application_are_not_changed_in_place(site):
    headers = [("Content-Type", "text/plain"), ("Vary", "Accept")]

    def app(environ, start_response):
        get_current_session()["name"] = "Ada"
        start_response("200 OK", headers)
        return [b"written"]

    site.serve(app).send()
    assert headers == [("Content-Type", "text/plain"), ("Vary", "Accept")]


def test_the_session_is_in_the_environ(site):
    def app(environ, start_response):
        respond(start_response)
        return [repr(environ["gaesess.session"] is get_current_session()).encode()]

    assert site.serve(app).send().body == b"True"


def test_a_terminated_session_takes_its_cookie_with_it(site):
    def app(environ, start_response):
        get_current_session().terminate()
        respond(start_response)
        return [b"bye"]

    client = site.visitor(app, name="Ada")
    exchange = client.send()
    assert exchange.headers["Vary"] == "Cookie"
    assert client.cookies == {}


def test_an_environ_and_headers_of_subclasses_are_taken():
    """PEP 3333 wants a dict and a list themselves, but not every server and framework keeps to it."""

    class Environ(dict):
        pass

    class Headers(list):
        pass

    def app(environ, start_response):
        environ["gaesess.session"]["name"] = "Ada"
        start_response("200 OK", Headers([("Content-Type", "text/plain")]))
        return [b"written"]

    sent = []
    middleware = SessionMiddleware(app, cookie_key=generate_key())
    middleware(Environ(REQUEST_METHOD="GET"), lambda status, headers, exc_info=None: sent.extend(headers))
    assert [name for name, _ in sent] == ["Content-Type", "Set-Cookie", "Cache-Control", "Vary"]


def ending(environ, start_response):
    get_current_session().terminate()
    respond(start_response)
    return [b"ended"]


@pytest.mark.parametrize(
    ("cookie", "ours"),
    [
        (None, 0),
        ("lang=en", 0),
        (GARBAGE, 1),
        (f"{GARBAGE}; {GARBAGE}", 1),
        (f"{GARBAGE}; __Host-gaesess.1=b; __Host-gaesess.2=c", 3),
        ("__Host-gaesess.1=b", 2),
    ],
    ids=["none", "another", "bad", "twice", "bad chunks", "a chunk that was left over"],
)
def test_to_end_what_is_no_session_takes_back_cookies_of_ours_alone(site, cookie, ours):
    lines = site.serve(ending).send(**({"HTTP_COOKIE": cookie} if cookie else {})).headers.get_all("Set-Cookie")
    assert (len(lines), all("Max-Age=0" in line for line in lines)) == (ours, True)


def test_to_end_a_session_that_was_begun_in_the_same_request_sends_no_cookie(site):
    def app(environ, start_response):
        get_current_session()["name"] = "Ada"
        get_current_session().save()
        return ending(environ, start_response)

    assert site.serve(app).send().headers.get_all("Set-Cookie") == []


@pytest.mark.parametrize("size", [10, 5000])
def test_two_sign_ins_of_one_browser_that_overlap_both_succeed(site, size):
    """The second one begins and ends within the first."""
    statuses = []

    def app(environ, start_response):
        session = get_current_session()
        assert len(session["filler"]) == size
        if not statuses:
            statuses.append("first")
            statuses.append(other.send().status)
        session.regenerate_id()
        session["user"] = "ada"
        respond(start_response)
        return [b"signed in"]

    client = site.visitor(app, filler="x" * size)
    other = site.serve(app)
    other.cookies.update(client.cookies)
    statuses.append(client.send().status)
    assert statuses == ["first", "200 OK", "200 OK"]
    assert site.data(client) == site.data(other) == {"filler": "x" * size, "user": "ada"}
    assert client.cookies != other.cookies
