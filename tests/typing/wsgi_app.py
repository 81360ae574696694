"""A WSGI application under the middleware, as its author types it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

from gaesess import Session, SessionMiddleware, generate_key, get_current_session
from gaesess.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session: Session = environ["gaesess.session"]
    assert session is get_current_session()
    visits: int = session.get("visits", 0) + 1
    session["visits"] = visits
    session |= {"seen": True}
    shown: dict[Hashable, object] = {"theme": "light"} | session.copy() | {"visits": visits}
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Visit number %d\n" % visits, repr(shown).encode()]


sessions: WSGIApplication = SessionMiddleware(
    app,
    cookie_key=generate_key(),
    lifetime=timedelta(days=1),
    store=SQLiteStore("sessions.sqlite3"),
    idle_timeout=timedelta(hours=1),
    cookie_samesite="Strict",
)

make_server("localhost", 8000, sessions).serve_forever()
