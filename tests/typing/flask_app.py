"""A typical Flask application, for mypy to check; nothing runs it."""

from datetime import timedelta
from typing import cast

from flask import Flask, Response, flash, redirect, session
from typing_extensions import assert_type

from gaesess import Session, SessionTerminated, StoreUnavailable, generate_key, get_current_session
from gaesess.flask import FlaskSession, GaeSess
from gaesess.stores.sqlite import SQLiteStore

sessions = GaeSess()


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["GAESESS"] = {
        "cookie_key": generate_key(),
        "store": SQLiteStore("sessions.sqlite3"),
        "lifetime": timedelta(days=7),
    }
    sessions.init_app(app)
    app.add_url_rule("/", view_func=home)
    app.add_url_rule("/login", view_func=login, methods=["POST"])
    app.add_url_rule("/logout", view_func=logout, methods=["POST"])
    app.register_error_handler(StoreUnavailable, later)
    app.register_error_handler(SessionTerminated, signed_out)
    return app


def home() -> str:
    session["visits"] = session.get("visits", 0) + 1
    session.permanent = True
    assert_type(session.modified, bool)
    assert_type(get_current_session(), Session)
    return f"{session['visits']}"


def login() -> Response:
    own = cast(FlaskSession, session)
    own.regenerate_id()
    own.increment("logins")
    assert_type(own.permanent, bool)
    assert_type(own.sid, str | None)
    own.permanent = own.new
    flash("Welcome")
    return cast(Response, redirect("/"))


def logout() -> str:
    cast(FlaskSession, session).terminate()
    return "Goodbye"


def later(error: StoreUnavailable) -> tuple[str, int]:
    return "Please come back in a minute.", 503


def signed_out(error: SessionTerminated) -> tuple[str, int]:
    return "Please sign in again.", 409


app = Flask(__name__)
app.config["GAESESS"] = {"cookie_key": generate_key()}
GaeSess(app)
