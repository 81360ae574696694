"""A typical App Engine application, for mypy to check; nothing runs it. (App Engine's own packages have no types.)"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from google.appengine.api import wrap_wsgi_app

from gaesess import SessionMiddleware, delete_expired_sessions, get_current_session
from gaesess.stores.appengine import AppEngineDatastore, AppEngineMemcache
from gaesess.stores.tiered import TieredStore

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

store = TieredStore(AppEngineMemcache(namespace=""), AppEngineDatastore(namespace="", timeout=2))


def visit(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    get_current_session().increment("visits")
    start_response("200 OK", [])
    return [b"ok"]


def cleanup() -> int:
    return delete_expired_sessions(store)


app = wrap_wsgi_app(SessionMiddleware(visit, cookie_key=os.environ["COOKIE_KEY"], store=store))
