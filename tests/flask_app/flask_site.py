"""Flask applications, and clients of them that keep cookies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from wsgi.client import Client, Site

from gaesess import SessionManager
from gaesess.flask import GaeSess

BIG = "x" * 5000  # outgrows the cookie


class FlaskSite(Site):
    """One set of session settings, and a Flask application that has them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.app = Flask("site")
        self.app.config.update(GAESESS=self.settings, SECRET_KEY="for Flask-Login", PROPAGATE_EXCEPTIONS=True)
        GaeSess(self.app)

    def middleware(self, app: Flask) -> Flask:
        return app  # which has its sessions by itself

    def serve_view(self, view: Callable[..., Any], **data: Any) -> Client:
        """Return a client of the application with one page, and with a session if there is data for it."""
        self.app.add_url_rule("/", "view", view)
        return self.visitor(self.app, **data) if data else self.serve(self.app)

    def manager(self) -> SessionManager:
        return SessionManager(**self.settings)
