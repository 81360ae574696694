"""Errors of the application, of its session and of the store: what the client gets to see of them, and what not."""

import logging
from contextlib import suppress

import pytest
from wsgi.client import Client, respond

from gaesess import SessionClosed, SessionManager, SessionTooLarge, StoreUnavailable, get_current_session

BIG = "x" * 5000  # too big for a cookie: the session lives in the store
COOKIE = ("Set-Cookie", "theme=dark")


class Body:
    """A body that notes how often it was closed."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.closed = 0

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        self.closed += 1


def read_session(environ):
    """Read a session in the store after that has gone down."""
    environ["test.store"].down = True
    get_current_session()["name"]


def change_session(environ):
    """Change a session in the store, which goes down before it can be saved."""
    get_current_session()["name"] = "Grace"
    environ["test.store"].down = True


# Applications of which the client must see nothing: each sets a cookie and has a body.


def in_the_application(environ, start_response):
    respond(start_response, COOKIE)
    read_session(environ)
    return [b"secret"]


def before_start_response(environ, start_response):
    read_session(environ)
    respond(start_response, COOKIE)
    return [b"secret"]


def in_a_generator(environ, start_response):
    respond(start_response, COOKIE)
    yield b""
    read_session(environ)
    yield b"secret"


def at_commit_of_a_list(environ, start_response):
    respond(start_response, COOKIE)
    change_session(environ)
    return [b"secret"]


def at_commit_of_a_generator(environ, start_response):
    respond(start_response, COOKIE)
    change_session(environ)
    yield b"secret"
    yield b"secret"


def at_commit_of_an_empty_generator(environ, start_response):
    respond(start_response, COOKIE)
    change_session(environ)
    yield b""


def in_write(environ, start_response):
    write = respond(start_response, COOKIE)
    change_session(environ)
    write(b"secret")
    write(b"secret")
    return [b"secret"]


def in_write_of_a_generator(environ, start_response):
    write = respond(start_response, COOKIE)
    change_session(environ)
    write(b"secret")
    yield b"secret"


REFUSED = [
    in_the_application,
    before_start_response,
    in_a_generator,
    at_commit_of_a_list,
    at_commit_of_a_generator,
    at_commit_of_an_empty_generator,
    in_write,
    in_write_of_a_generator,
]


def test_a_change_after_a_refused_write_raises(site):
    def app(environ, start_response):
        write = respond(start_response)
        change_session(environ)
        write(b"secret")
        with pytest.raises(SessionClosed):
            get_current_session()["more"] = True
        return []

    client = site.visitor(app, name="Ada", big=BIG)
    assert client.send(**{"test.store": site.store}).status == "503 Service Unavailable"


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("app", REFUSED)
def test_a_store_that_is_down_is_503_and_nothing_of_the_application_goes_out(site, app, validated):
    """Not validated is another case: the validator makes an iterator of every body."""
    client = site.visitor(app, name="Ada", big=BIG)
    if not validated:
        client.app = site.middleware(app)
    cookies = dict(client.cookies)
    exchange = client.send(**{"test.store": site.store})
    assert exchange.status == "503 Service Unavailable"
    assert exchange.headers["Cache-Control"] == "no-store"
    assert exchange.headers["Content-Length"] == str(len(exchange.body))
    assert b"try again" in exchange.body
    assert b"secret" not in exchange.body
    assert "Set-Cookie" not in exchange.headers
    assert client.cookies == cookies


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("app", REFUSED)
def test_a_refused_answer_to_head_has_no_body(site, app, validated):
    client = site.visitor(app, name="Ada", big=BIG)
    if not validated:
        client.app = site.middleware(app)
    exchange = client.send("HEAD", **{"test.store": site.store})
    assert exchange.status == "503 Service Unavailable"
    assert exchange.body == b""


@pytest.mark.parametrize("app", REFUSED)
def test_after_the_outage_the_session_is_still_there(site, app):
    client = site.visitor(app, name="Ada", big=BIG)
    client.send(**{"test.store": site.store})
    site.store.down = False
    assert site.data(client) == {"name": "Ada", "big": BIG}


def test_a_generator_is_not_asked_for_more_once_its_response_is_refused(site):
    asked = []

    def app(environ, start_response):
        respond(start_response)
        change_session(environ)
        yield b"first"
        asked.append("more")

    client = site.visitor(app, name="Ada", big=BIG)
    assert client.send(**{"test.store": site.store}).status == "503 Service Unavailable"
    assert asked == []


def test_a_refusal_is_logged_without_the_session(site, caplog):
    client = site.visitor(in_the_application, name="Ada", big=BIG)
    client.send(**{"test.store": site.store})
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("gaesess", logging.WARNING),
        ("gaesess", logging.ERROR),
    ]
    assert caplog.messages[-1] == "refused a response: FaultyStore is down"


def test_an_outage_after_the_headers_are_out_propagates(site):
    def app(environ, start_response):
        respond(start_response)
        yield b"first"
        yield get_current_session()["name"].encode()

    client = site.visitor(app, name="Ada", big=BIG)
    site.store.down = True
    exchange = client.begin()
    with pytest.raises(StoreUnavailable):
        exchange.run()
    assert (exchange.status, exchange.body) == ("200 OK", b"first")


def test_an_outage_after_write_propagates(site):
    def app(environ, start_response):
        respond(start_response)(b"written")
        return [get_current_session()["name"].encode()]

    client = site.visitor(app, name="Ada", big=BIG)
    site.store.down = True
    exchange = client.begin()
    with pytest.raises(StoreUnavailable):
        exchange.run()
    assert (exchange.status, exchange.body) == ("200 OK", b"written")


def test_an_outage_that_the_application_handles_is_no_503(site):
    def app(environ, start_response):
        try:
            get_current_session()["name"]
        except StoreUnavailable:
            respond(start_response)
            return [b"no name today"]

    client = site.visitor(app, name="Ada", big=BIG)
    site.store.down = True
    exchange = client.send()
    assert (exchange.status, exchange.body) == ("200 OK", b"no name today")


def test_what_a_handled_outage_made_of_the_response_varies_by_cookie(site):
    """Or a cache would give the makeshift answer to everybody."""

    def app(environ, start_response):
        respond(start_response)
        with pytest.raises(StoreUnavailable):
            get_current_session()["name"]
        return [b"no name today"]

    client = site.visitor(app, name="Ada", big=BIG)
    site.store.down = True
    assert client.send().headers["Vary"] == "Cookie"


def test_logout_while_the_store_is_down_is_503_and_still_expires_the_cookie(site):
    def app(environ, start_response):
        get_current_session().terminate()
        respond(start_response, COOKIE)
        return [b"bye"]

    client = site.visitor(app, big=BIG)
    site.store.down = True
    exchange = client.send()
    assert exchange.status == "503 Service Unavailable"
    assert client.cookies == {}


@pytest.mark.parametrize("validated", [True, False])
def test_a_session_that_another_request_terminated_is_409(site, validated):
    def app(environ, start_response):
        session = get_current_session()
        session["name"] = "Grace"
        SessionManager(**site.settings).load(session.sid).terminate()
        respond(start_response, COOKIE)
        return [b"secret"]

    client = site.visitor(app, big=BIG)
    if not validated:
        client.app = site.middleware(app)
    exchange = client.send()
    assert exchange.status == "409 Conflict"
    assert exchange.headers["Cache-Control"] == "no-store"
    assert b"secret" not in exchange.body
    assert "Set-Cookie" not in exchange.headers


# The session cannot be saved, by a mistake of the application


def unsupported():
    get_current_session()["cart"] = object()


def too_large():
    get_current_session()["cart"] = "x" * 2_000_000


MISTAKES = [(unsupported, TypeError, "cart"), (too_large, SessionTooLarge, "bytes")]


def mistaken_list(mistake, start_response):
    respond(start_response, COOKIE)
    mistake()
    return [b"body"]


def mistaken_generator(mistake, start_response):
    respond(start_response, COOKIE)
    mistake()
    yield b"body"


def mistaken_write(mistake, start_response):
    write = respond(start_response, COOKIE)
    mistake()
    write(b"body")
    return []


@pytest.mark.parametrize("app", [mistaken_list, mistaken_generator, mistaken_write])
@pytest.mark.parametrize(("mistake", "error", "said"), MISTAKES)
def test_what_a_session_cannot_hold_propagates_before_any_header_is_out(site, app, mistake, error, said):
    exchange = site.serve(lambda environ, start_response: app(mistake, start_response)).begin()
    with pytest.raises(error, match=said):
        exchange.run()
    assert exchange.status is None
    assert exchange.body == b""


# Other errors of the application


def raising_first(environ, start_response):
    get_current_session()["name"] = "Grace"
    raise RuntimeError("application")


def raising_after_start_response(environ, start_response):
    respond(start_response)
    get_current_session()["name"] = "Grace"
    raise RuntimeError("application")


def raising_in_a_generator(environ, start_response):
    respond(start_response)
    get_current_session()["name"] = "Grace"
    yield b""
    raise RuntimeError("application")


@pytest.mark.parametrize("app", [raising_first, raising_after_start_response, raising_in_a_generator])
def test_an_error_of_the_application_propagates_and_nothing_is_saved(site, app):
    client = site.visitor(app, name="Ada", big=BIG)
    exchange = client.begin()
    with pytest.raises(RuntimeError, match="application"):
        exchange.run()
    assert exchange.status is None
    assert site.data(client)["name"] == "Ada"


def test_an_error_in_the_middle_of_the_body_leaves_what_was_saved_with_its_headers(site):
    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Grace"
        yield b"first"
        raise RuntimeError("application")

    client = site.visitor(app, name="Ada", big=BIG)
    exchange = client.begin()
    with pytest.raises(RuntimeError, match="application"):
        exchange.run()
    assert exchange.body == b"first"
    assert site.data(client)["name"] == "Grace"


def exiting(environ, start_response):
    get_current_session()["name"] = "Grace"
    raise SystemExit


def raising_unused(environ, start_response):
    raise RuntimeError("application")


def mistaken(environ, start_response):
    respond(start_response)
    unsupported()
    return [b"body"]


def raising_between_chunks(environ, start_response):
    respond(start_response)
    yield b"first"
    raise RuntimeError("application")


@pytest.mark.parametrize("data", [{}, {"name": "Ada"}, {"name": "Ada", "big": BIG}], ids=["new", "cookie", "store"])
@pytest.mark.parametrize(
    "app",
    [
        raising_first,
        raising_after_start_response,
        raising_in_a_generator,
        raising_between_chunks,
        raising_unused,
        exiting,
        mistaken,
        at_commit_of_a_list,
        in_write,
    ],
)
@pytest.mark.parametrize("validated", [True, False])
def test_however_the_application_fails_later_changes_of_its_session_raise(site, app, data, validated):
    """As of a thread that it has started: they would be saved nowhere."""
    kept = []

    def keeping(environ, start_response):
        kept.append(get_current_session())
        return app(environ, start_response)

    client = site.visitor(keeping, **data) if data else site.serve(keeping)
    if not validated:
        client.app = site.middleware(keeping)
    exchange = client.begin(**{"test.store": site.store})
    with suppress(RuntimeError, SystemExit, TypeError):
        exchange.run()
    site.store.down = False
    with pytest.raises(SessionClosed):
        kept[0]["late"] = True
    assert "late" not in kept[0]


# Whatever happens, the body of the application is closed, once


def runs(exchange):
    exchange.run()


def stops_early(exchange):
    exchange.call()
    exchange.next_chunk()
    exchange.close()


def never_iterates(exchange):
    exchange.call()
    exchange.close()


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("server", [runs, stops_early, never_iterates])
def test_the_body_is_closed_once_however_much_the_server_takes(site, server, validated):
    body = Body([b"one", b"two"])

    def app(environ, start_response):
        respond(start_response)
        return body

    client = site.serve(app) if validated else Client(site.middleware(app))
    server(client.begin())
    assert body.closed == 1


def test_what_the_server_never_asked_for_saves_nothing(site):
    def app(environ, start_response):
        respond(start_response)
        get_current_session()["name"] = "Grace"
        return Body([b"one"])

    client = site.visitor(app, name="Ada", big=BIG)
    never_iterates(client.begin())
    assert site.data(client)["name"] == "Ada"


def raising_chunks():
    yield b"first"
    raise RuntimeError("application")


class RaisingIter(Body):
    def __iter__(self):
        raise RuntimeError("application")


@pytest.mark.parametrize("body", [Body(raising_chunks()), RaisingIter([])])
def test_the_body_is_closed_once_if_it_raises(site, body):
    def app(environ, start_response):
        respond(start_response)
        return body

    with pytest.raises(RuntimeError, match="application"):
        Client(site.middleware(app)).send()
    assert body.closed == 1


@pytest.mark.parametrize(("mistake", "error", "said"), MISTAKES)
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_body_is_closed_once_if_the_session_cannot_be_saved(site, mistake, error, said, wrapped):
    """A body that the middleware hands on, as a file wrapper, and one that it watches over."""
    body = Body([b"one"])

    def app(environ, start_response):
        respond(start_response)
        mistake()
        return body

    with pytest.raises(error, match=said):
        Client(site.middleware(app)).send(**{"wsgi.file_wrapper": Body if wrapped else None})
    assert body.closed == 1


class StoreReadingIter(Body):
    def __iter__(self):
        get_current_session()["name"]
        return super().__iter__()


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("written", [b"", b"secret"])
def test_the_body_is_closed_once_if_the_response_is_refused(site, written, wrapped):
    body = Body([b"secret"])

    def app(environ, start_response):
        write = respond(start_response)
        change_session(environ)
        write(written)
        return body

    client = site.visitor(app, name="Ada", big=BIG)
    client.app = site.middleware(app)
    exchange = client.send(**{"wsgi.file_wrapper": Body if wrapped else None, "test.store": site.store})
    assert exchange.status == "503 Service Unavailable"
    assert b"secret" not in exchange.body
    assert body.closed == 1


def test_the_body_is_closed_once_if_the_store_is_down_when_its_iteration_begins(site):
    body = StoreReadingIter([b"secret"])

    def app(environ, start_response):
        respond(start_response)
        return body

    client = site.visitor(app, name="Ada", big=BIG)
    client.app = site.middleware(app)
    site.store.down = True
    assert client.send().status == "503 Service Unavailable"
    assert body.closed == 1


class RaisingClose(Body):
    def close(self):
        super().close()
        raise RuntimeError("close")


@pytest.mark.parametrize("server", [runs, stops_early, never_iterates])
def test_an_error_in_close_propagates_and_close_is_not_called_again(site, server):
    body = RaisingClose([b"one", b"two"])

    def app(environ, start_response):
        respond(start_response)
        return body

    exchange = Client(site.middleware(app)).begin()
    with pytest.raises(RuntimeError, match="close"):
        server(exchange)
    exchange.close()
    assert body.closed == 1
