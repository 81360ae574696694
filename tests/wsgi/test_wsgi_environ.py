"""The process's own environment plays no part, as under mod_wsgi; nor does what is put into that of the request."""

import gc
import os
import sys
from collections.abc import MutableMapping
from contextvars import copy_context

import pytest
from wsgi.client import Client, Site, respond

from gaesess import SessionManager, generate_key, get_current_session
from gaesess.stores.sqlite import SQLiteStore


def visit(environ, start_response):
    session = get_current_session()
    session["visits"] = session.get("visits", 0) + 1
    respond(start_response)
    return [b"%d" % session["visits"]]


def grow(environ, start_response):
    get_current_session()["filler"] = "x" * 5000
    return visit(environ, start_response)


def sign_out(environ, start_response):
    get_current_session().terminate()
    respond(start_response)
    return [b"bye"]


class Untouchable(MutableMapping):
    """Refuses every use."""

    def refuse(self, *arguments):
        raise AssertionError("the environment of the process was used")

    __getitem__ = __setitem__ = __delitem__ = __iter__ = __len__ = __contains__ = refuse


@pytest.fixture
def site(tmp_path):
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    yield Site(store=store)
    store.close()


PAGES = {"/visit": visit, "/grow": grow, "/out": sign_out}
VISIT = {"/visit": b"1", "/grow": b"2", "/out": b"bye"}


def route(environ, start_response):
    return PAGES[environ["PATH_INFO"]](environ, start_response)


def two_visits(site):
    """Return what two visitors of one process get, one after the other."""
    app = site.middleware(route)
    return [{path: visitor.send(path=path).body for path in PAGES} for visitor in (Client(app), Client(app))]


def test_the_environment_is_neither_read_nor_written(site, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", Untouchable())
        answers = two_visits(site)
    assert answers == [VISIT, VISIT]


def test_a_request_that_is_in_the_environment_is_nobodys(site, monkeypatch):
    """As under CGI, or left there by a server that has it in common with its requests."""
    another = site.visitor(None, visits=100)
    monkeypatch.setenv("HTTP_COOKIE", another.cookies.header())
    monkeypatch.setenv("REQUEST_METHOD", "HEAD")
    monkeypatch.setenv("gaesess.session", "somebody's")
    assert two_visits(site) == [VISIT, VISIT]


# -- the request's own environment: what is put into the session's place


PLACES = {
    "deleted": lambda environ: environ.pop("gaesess.session"),
    "a dictionary": lambda environ: environ.update({"gaesess.session": {"other": 1}}),
    "None": lambda environ: environ.update({"gaesess.session": None}),
    "another session of ours": lambda environ: environ.update({"gaesess.session": another_session()}),
    "all is deleted": lambda environ: environ.clear(),
}


def another_session():
    return SessionManager(generate_key()).open(None)


@pytest.mark.parametrize("put", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("before", [{}, {"old": 1}, {"old": 1, "filler": "x" * 5000}], ids=["new", "cookie", "store"])
@pytest.mark.parametrize("lazy", [False, True], ids=["a list", "a generator"])
def test_a_session_whose_place_is_taken_is_saved_as_it_is(site, put, before, lazy):
    def app(environ, start_response):
        environ["gaesess.session"]["a"] = 1
        put(environ)
        respond(start_response)
        return (chunk for chunk in [b"ok"]) if lazy else [b"ok"]

    client = site.visitor(app, **before) if before else site.serve(app)
    client.app = site.middleware(app)
    assert client.send().body == b"ok"
    assert site.data(client) == {**before, "a": 1}


def test_a_session_that_is_not_used_and_whose_place_is_taken_leaves_no_trace(site):
    def app(environ, start_response):
        del environ["gaesess.session"]
        respond(start_response)
        return [b"ok"]

    assert "Vary" not in site.visitor(app, old=1).send().headers


def test_a_body_that_is_half_read_and_forgotten_is_collected_without_an_error(site, monkeypatch):
    """In another context than the one in which it was begun."""
    errors, closed = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: errors.append(raised.exc_value))

    def app(environ, start_response):
        respond(start_response)
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(environ["gaesess.session"].get("old"))

    def half():
        exchange = Client(site.middleware(app)).begin()
        exchange.call()
        exchange.next_chunk()
        return exchange

    exchange = copy_context().run(half)
    del exchange
    gc.collect()
    assert (errors, closed) == ([], [None])
