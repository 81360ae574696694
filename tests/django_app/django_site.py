"""The project's pages, and a site that serves them with one set of settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asgi.client
import wsgi.client
from django.contrib import admin
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.test import override_settings
from django.urls import path

from gaesess import Session, SessionManager, generate_key


class Site:
    """The project with one set of settings: a page that does what a test wants, and clients of it."""

    BROWSER = timedelta(0)  # the lifetime of a session whose cookie ends with the browser

    def __init__(self, **gaesess: Any) -> None:
        self.store = asgi.client.WatchedStore()
        self.now = 1_800_000_000
        self.gaesess = {"cookie_key": generate_key(), "store": self.store, "clock": lambda: self.now, **gaesess}

    def settings(self, **changed: Any) -> override_settings:
        """Return a context in which Django has these settings; clients made in it keep them."""
        return override_settings(GAESESS=self.gaesess, **changed)

    def wsgi(self, use: Any = None) -> wsgi.client.Client:
        """Return a client of the project, whose page answers what `use` returns for the request."""
        self.use(use)
        return wsgi.client.Client(WSGIHandler())

    def asgi(self, use: Any = None) -> asgi.client.Client:
        """Return a client of the project under ASGI; its page /async/ awaits `use`, the other calls it in a thread."""
        self.use(use)
        return asgi.client.Client(ASGIHandler())

    def use(self, use: Any) -> None:
        """Let the pages do something else."""
        pages["use"] = use

    def data(self, client: Any) -> dict[Any, Any]:
        """Return what the session holds that the client has a cookie of."""
        return dict(self.session(client))

    def session(self, client: Any) -> Session:
        """Return the session that the client has a cookie of, as one more request would find it."""
        return SessionManager(**self.gaesess).open(client.cookies.header())


def count(request: Any) -> int:
    """Count the visits in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return request.session["visits"]


def read(request: Any) -> int | None:
    """Only read what `count` has counted."""
    return request.session.get("visits")


pages: dict[str, Any] = {}


def page(request: Any) -> HttpResponseBase:
    return _response(pages["use"](request))


async def async_page(request: Any) -> HttpResponseBase:
    return _response(await pages["use"](request))


def _response(result: Any) -> HttpResponseBase:
    return result if isinstance(result, HttpResponseBase) else HttpResponse(str(result))


urlpatterns = [path("", page), path("async/", async_page), path("admin/", admin.site.urls)]
