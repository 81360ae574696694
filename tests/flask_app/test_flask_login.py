"""Flask-Login on top: it knows of nothing but `flask.session`."""

import pytest
from flask import session
from flask_app.flask_site import BIG, FlaskSite
from flask_login import (
    LoginManager,
    UserMixin,
    confirm_login,
    current_user,
    fresh_login_required,
    login_required,
    login_user,
    logout_user,
)

from gaesess.stores.sqlite import SQLiteStore
from gaesess.testing import EXPIRY


class User(UserMixin):
    def __init__(self, name):
        self.id = name


class LoginSite(FlaskSite):
    def __init__(self, **settings):
        super().__init__(**settings)
        manager = LoginManager(self.app)
        manager.user_loader(User)
        for view in (login, remember, logout, confirm, home, account, public):
            self.app.add_url_rule(f"/{view.__name__}", view.__name__, view)

    def visit(self, client, *paths):
        """Return the statuses of the responses."""
        return [client.send(path=f"/{path}").status[:3] for path in paths]


def login():
    session.regenerate_id()
    login_user(User("Ada"))
    return "welcome"


def remember():
    login_user(User("Ada"), remember=True)
    return "welcome"


def logout():
    logout_user()
    return "goodbye"


def confirm():
    confirm_login()
    return "confirmed"


@login_required
def home():
    return current_user.id


@fresh_login_required
def account():
    return current_user.id


def public():
    return "hello"


@pytest.fixture
def site():
    return LoginSite()


def test_a_user_is_known_from_the_login_to_the_logout(site):
    client = site.serve(site.app)
    assert site.visit(client, "home", "login", "home", "account", "logout", "home") == ["401", *["200"] * 4, "401"]


def test_the_logout_ends_a_session_that_has_nothing_else(site):
    client = site.serve(site.app)
    site.visit(client, "login", "logout")
    assert "__Host-gaesess" not in client.cookies


def test_a_user_in_a_session_of_the_store_is_known_until_the_logout(site):
    client = site.visitor(site.app, filler=BIG)
    assert site.visit(client, "login", "home", "logout", "home") == ["200", "200", "200", "401"]


def test_a_remembered_user_is_known_without_a_session_but_not_fresh_until_confirmed(site):
    client = site.serve(site.app)
    site.visit(client, "remember")
    assert set(client.cookies) == {"__Host-gaesess", "remember_token"}
    del client.cookies["__Host-gaesess"]  # the browser was closed
    assert site.visit(client, "home", "account", "confirm", "account") == ["200", "401", "200", "200"]


def test_the_logout_forgets_a_remembered_user(site):
    client = site.serve(site.app)
    assert site.visit(client, "remember", "logout", "home") == ["200", "200", "401"]
    assert "remember_token" not in client.cookies


def test_strong_protection_ends_the_login_of_another_browser(site):
    site.app.config["SESSION_PROTECTION"] = "strong"
    client = site.serve(site.app)
    site.visit(client, "login")
    assert client.send(path="/home", HTTP_USER_AGENT="another").status.startswith("401")


def test_an_outage_is_503_and_no_logout(site):
    client = site.visitor(site.app, filler=BIG)
    site.visit(client, "login")
    site.store.down = True
    assert site.visit(client, "home", "public") == ["503", "503"]  # for the public page it is Flask-Login that asks
    site.store.down = False
    assert site.visit(client, "home") == ["200"]


def test_a_login_begins_a_new_session_where_the_store_has_lost_the_old_one(tmp_path):
    store = SQLiteStore(tmp_path / "sessions")
    site = LoginSite(store=store)
    site.app.add_url_rule("/sign_in", "sign_in", lambda: str(login_user(User("Ada"))))
    client = site.visitor(site.app, cart=BIG)
    list(store.delete_expired(now=EXPIRY))  # all of them
    assert site.visit(client, "home", "sign_in", "home") == ["503", "200", "200"]
