"""The process's own environment plays no part, as under mod_wsgi, where it is the server's and not the request's."""

import os
from collections.abc import MutableMapping

import pytest
from wsgi.client import Client, Site, respond

from gaesess import get_current_session
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
