"""The application that the tests have real servers serve."""

from __future__ import annotations

from tempfile import TemporaryFile
from wsgiref.validate import validator

from wsgi.client import respond

from gaesess import SessionMiddleware, generate_key, get_current_session
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

CONTENTS = b"0123456789" * 50_000  # more than a socket takes at once


def open_contents():
    file = TemporaryFile()  # noqa: SIM115 (the server closes it)
    file.write(CONTENTS)
    file.seek(0)
    return file


class OnlySendfile:
    """A file that can be sent by its descriptor alone: to read it is an error."""

    def __init__(self):
        self.file = open_contents()

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
    respond(start_response, ("Content-Length", str(len(CONTENTS))))
    visit()
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    return environ["wsgi.file_wrapper"](open_contents())


def sendfile(environ, start_response):
    respond(start_response, ("Content-Length", str(len(CONTENTS))))
    visit()
    return environ["wsgi.file_wrapper"](OnlySendfile())


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
    "/outage": outage,
    "/mistake": mistake,
}


def pages(environ, start_response):
    return PAGES[environ["PATH_INFO"]](environ, start_response)


def route(environ, start_response):
    store.down = False
    return UNVALIDATED.get(environ["PATH_INFO"], validator(pages))(environ, start_response)


store = FaultyStore(MemoryStore())
sessions = SessionMiddleware(route, cookie_key=generate_key(), store=store)


def application(environ, start_response):
    app = sessions if environ["PATH_INFO"] in UNVALIDATED else validator(sessions)
    return app(environ, start_response)
