import re
import warnings

import pytest
from flask import Flask

from gaesess import generate_key
from gaesess.flask import GaeSess

SITE = "https://example.appspot.com"


@pytest.fixture
def testbed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what App Engine's SDK imports is old
        from google.appengine.ext.testbed import Testbed

    testbed = Testbed()
    testbed.activate()
    testbed.init_user_stub()
    yield testbed
    testbed.deactivate()


@pytest.fixture
def http(load, testbed):
    """A client of the application that has the users service, without what wraps a whole process for App Engine."""
    users = load("google_login", "appengine_users")
    pages = load("google_login", "pages")
    app = Flask(pages.__name__)
    app.config["GAESESS"] = {"cookie_key": generate_key()}
    GaeSess(app)
    pages.add_pages(app, users.AppEngineUsers())
    return app.test_client()


def google_knows(testbed, email, user_id):
    testbed.setup_env(user_email=email, user_id=user_id, overwrite=True)


def look(http):
    return http.get("/", base_url=SITE).text


def test_sends_the_visitor_to_google_and_back(http):
    answer = http.get("/sign-in", base_url=SITE)
    assert answer.location.startswith("https://www.google.com/accounts/Login?continue=")
    assert answer.location.endswith("/signed-in")


def test_signs_in_whom_google_knows(http, testbed):
    google_knows(testbed, "ada@gmail.com", "1357")
    assert "You are not signed in" in look(http)
    http.get("/signed-in", base_url=SITE)
    page = look(http)
    assert "Welcome, ada." in page
    assert "<code>1357</code>" in page


def test_signs_in_nobody_whom_google_does_not_know(http):
    http.get("/signed-in", base_url=SITE)
    page = look(http)
    assert "Google did not confirm your account." in page
    assert "You are not signed in" in page


def test_signs_out_of_google_too(http, testbed):
    google_knows(testbed, "ada@gmail.com", "1357")
    http.get("/signed-in", base_url=SITE)
    token = re.search('name="csrf_token" value="([^"]+)"', look(http))[1]
    answer = http.post("/sign-out", base_url=SITE, data={"csrf_token": token})
    assert answer.location.startswith("https://www.google.com/accounts/Logout?continue=")
    assert "You are not signed in" in look(http)
