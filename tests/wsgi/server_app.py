"""The application that the tests have real servers serve; by itself, under wsgiref at the port of its argument."""

from __future__ import annotations

import os
import sys
import threading
from tempfile import TemporaryFile
from wsgiref.simple_server import make_server
from wsgiref.validate import validator

from wsgi.client import FILE, respond

from gaesess import SessionMiddleware, get_current_session
from gaesess.stores.sqlite import SQLiteStore
from gaesess.testing import FaultyStore

OVERLAPPING = 8  # requests that a server with threads or greenlets takes at once


def open_file():
    file = TemporaryFile()  # noqa: SIM115 (the server closes it)
    file.write(FILE)
    file.seek(0)
    return file


class OnlySendfile:
    """A file that can be sent by its descriptor alone: to read it is an error."""

    def __init__(self):
        self.file = open_file()

    def fileno(self):
        return self.file.fileno()

    def close(self):
        self.file.close()


def visit():
    session = get_current_session()
    session["visits"] = session.get("visits", 0) + 1
    return b"%d" % session["visits"]


def complete(environ, start_response):
    body = visit()
    respond(start_response, ("Content-Length", str(len(body))))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def listed(environ, start_response):
    respond(start_response)
    visit()
    return [b"one"]


def stream(environ, start_response):
    respond(start_response)
    yield b""
    yield visit()
    yield b" and"
    yield b" more"


def written(environ, start_response):
    respond(start_response)(visit())
    return [b" and more"]


def empty(environ, start_response):
    respond(start_response)
    visit()
    return []


def file(environ, start_response):
    respond(start_response, ("Content-Length", str(len(FILE))))
    visit()
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    return environ["wsgi.file_wrapper"](open_file())


def sendfile(environ, start_response):
    respond(start_response, ("Content-Length", str(len(FILE))))
    visit()
    return environ["wsgi.file_wrapper"](OnlySendfile())


def grow(environ, start_response):
    respond(start_response)
    session = get_current_session()
    session["filler"] = "x" * 5000
    return [b"%d %d %s" % (os.getpid(), int(visit()), session.home.value.encode())]


def overlap(environ, start_response):
    """Answer only when all requests that overlap have come as far, again and again."""
    if environ["QUERY_STRING"]:
        get_current_session()["name"] = environ["QUERY_STRING"]
    respond(start_response)
    for _ in range(3):
        meeting.wait(30)
        yield get_current_session()["name"].encode()


def outage(environ, start_response):
    respond(start_response)
    get_current_session()["big"] = "x" * 5000
    store.down = True
    return [b"secret"]


def mistake(environ, start_response):
    respond(start_response)
    get_current_session()["value"] = object()
    return [b"secret"]


UNVALIDATED = {"/listed": listed, "/file": file, "/sendfile": sendfile}  # the validator hides what a body is
PAGES = {
    "/complete": complete,
    "/stream": stream,
    "/written": written,
    "/empty": empty,
    "/grow": grow,
    "/overlap": overlap,
    "/outage": outage,
    "/mistake": mistake,
}


def pages(environ, start_response):
    return PAGES[environ["PATH_INFO"]](environ, start_response)


def route(environ, start_response):
    store.down = False
    return UNVALIDATED.get(environ["PATH_INFO"], validator(pages))(environ, start_response)


meeting = threading.Barrier(OVERLAPPING)
store = FaultyStore(SQLiteStore("sessions.sqlite3"))
sessions = SessionMiddleware(route, cookie_key="the same for all the workers of a server", store=store)


def application(environ, start_response):
    app = sessions if environ["PATH_INFO"] in UNVALIDATED else validator(sessions)
    return app(environ, start_response)


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), application).serve_forever()
