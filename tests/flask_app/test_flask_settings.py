"""Settings come from the application's own configuration, and what is wrong with them is said at the start."""

from datetime import timedelta

import pytest
from flask import Flask, session

from gaesess import SessionManager, generate_key
from gaesess.flask import GaeSess


def make_app(**config):
    app = Flask("configured")
    app.config.update(config)
    return app


def set_cookie(app):
    """Return the Set-Cookie header of a response with a permanent session."""

    @app.route("/")
    def view():
        session.permanent = True
        session["name"] = app.name
        return ""

    return app.test_client().get("/").headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "cookie_key is missing"),
        ({"GAESESS": None}, "GAESESS.* must be a dictionary, .*, got NoneType"),
        ({"GAESESS": {"cookie_kye": "x"}}, "GAESESS.* has no setting 'cookie_kye': did you mean 'cookie_key'"),
        ({"GAESESS": {"cookie_key": "short"}}, "cookie_key has 5 bytes"),
        ({"GAESESS": {"cookie_key": generate_key()}, "PERMANENT_SESSION_LIFETIME": timedelta(days=500)}, "lifetime"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(config, message):
    with pytest.raises(ValueError, match=message):
        GaeSess(make_app(**config))


@pytest.mark.parametrize(
    ("config", "max_age"),
    [
        ({}, 31 * 86400),  # Flask's default
        ({"PERMANENT_SESSION_LIFETIME": 3600}, 3600),
        ({"PERMANENT_SESSION_LIFETIME": 3600, "GAESESS": {"lifetime": timedelta(hours=2)}}, 7200),
    ],
)
def test_a_session_lasts_as_long_as_flask_says_unless_there_is_a_lifetime(config, max_age):
    settings = {"cookie_key": generate_key(), "clock": lambda: 1_800_000_000, **config.pop("GAESESS", {})}
    app = make_app(GAESESS=settings, **config)
    GaeSess(app)
    assert f"; Max-Age={max_age};" in set_cookie(app)


def test_one_extension_serves_many_applications_each_with_its_own_settings():
    sessions = GaeSess()
    apps = [make_app(GAESESS={"cookie_key": generate_key(), "cookie_name": name}) for name in ("one", "other")]
    for app in apps:
        sessions.init_app(app)
    assert [set_cookie(app).partition("=")[0] for app in apps] == ["one", "other"]


def test_the_manager_is_to_be_had_from_the_session_interface():
    app = make_app(GAESESS={"cookie_key": generate_key()})
    GaeSess(app)
    assert isinstance(app.session_interface.manager, SessionManager)
