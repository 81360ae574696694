import re
import time

import httpx
import pytest
from examples.openid_provider import CLIENT_ID, CLIENT_SECRET, run_openid_provider
from joserfc.jwk import RSAKey

SITE = "http://localhost:8000"


class Visitor:
    """A browser that is at the application's pages, and follows it to the provider."""

    def __init__(self, app):
        self.http = app.test_client()

    def look(self):
        """Return the page."""
        return self.http.get("/", base_url=SITE).text

    def ask(self):
        """Ask to sign in, and return where the provider sends the browser then."""
        asked = self.http.get("/sign-in", base_url=SITE)
        return httpx.get(asked.location).headers["Location"]

    def sign_in(self):
        """Sign in as far as it gets, and return the page."""
        self.http.get(self.ask(), base_url=SITE)
        return self.look()

    def sign_out(self, **form):
        token = re.search('name="csrf_token" value="([^"]+)"', self.look())[1]
        return self.http.post("/sign-out", base_url=SITE, data={"csrf_token": token, **form})

    def session(self):
        """Return what the browser's cookie holds, or points to."""
        manager = self.http.application.session_interface.manager
        return manager.open(f"{manager.cookie.name}={self.http.get_cookie(manager.cookie.name).value}")


def assert_refused(page):
    assert "Google did not confirm your account." in page
    assert "You are not signed in" in page


@pytest.fixture(scope="module")
def running_provider():
    with run_openid_provider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider, monkeypatch):
    """The provider, which tells the truth again after the test."""
    monkeypatch.setattr(running_provider, "claims", dict(running_provider.claims))
    monkeypatch.setattr(running_provider, "signing_key", running_provider.key)
    return running_provider


@pytest.fixture(scope="module")
def app(load, running_provider):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENID_PROVIDER", running_provider.url)
        patch.setenv("GOOGLE_CLIENT_ID", CLIENT_ID)
        patch.setenv("GOOGLE_CLIENT_SECRET", CLIENT_SECRET)
        return load("google_login", "app").app


@pytest.fixture
def visitor(app, provider):
    return Visitor(app)


def test_signs_in_and_greets_once(visitor):
    assert "You are not signed in" in visitor.look()
    page = visitor.sign_in()
    assert "Welcome, Ada." in page
    assert "<code>1357</code>" in page
    page = visitor.look()
    assert "Hello, Ada" in page
    assert "Welcome" not in page


def test_a_user_without_a_name_can_sign_in(visitor, provider):
    del provider.claims["name"]
    assert "<code>1357</code>" in visitor.sign_in()


def test_signs_out(visitor):
    visitor.sign_in()
    answer = visitor.sign_out()
    assert (answer.status_code, answer.location) == (302, "/")
    page = visitor.look()
    assert "You have signed out." in page
    assert "You are not signed in" in page


def test_a_sign_out_that_another_site_sends_is_refused(visitor):
    visitor.sign_in()
    assert visitor.sign_out(csrf_token="").status_code == 403
    assert "Hello, Ada" in visitor.look()


def test_signing_in_makes_a_new_id_and_a_new_token(visitor):
    visitor.look()
    before = visitor.session()
    visitor.sign_in()
    after = visitor.session()
    assert after.sid != before.sid
    assert after["csrf_token"] != before["csrf_token"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda url: url.copy_set_param("state", "wrong"),
        lambda url: url.copy_remove_param("state"),
        lambda url: url.copy_with(params={"error": "access_denied", "state": url.params["state"]}),
    ],
    ids=["a wrong state", "no state", "an error"],
)
def test_an_answer_is_refused_that_has(visitor, answer):
    url = answer(httpx.URL(visitor.ask()))
    visitor.http.get(str(url), base_url=SITE)
    assert_refused(visitor.look())


def test_an_answer_to_another_visitor_is_refused(visitor, app):
    answer = Visitor(app).ask()
    visitor.http.get(answer, base_url=SITE)
    assert_refused(visitor.look())


def test_an_answer_is_good_once(visitor):
    answer = visitor.ask()
    visitor.http.get(answer, base_url=SITE)
    visitor.sign_out()
    visitor.http.get(answer, base_url=SITE)
    assert_refused(visitor.look())


@pytest.mark.parametrize(
    "lie",
    [{"nonce": "wrong"}, {"aud": "another-client"}, {"iss": "https://example.org"}, {"exp": int(time.time()) - 3600}],
    ids=lambda lie: next(iter(lie)),
)
def test_an_id_token_is_refused_that_has_a_wrong(visitor, provider, lie):
    provider.claims |= lie
    assert_refused(visitor.sign_in())


def test_an_id_token_is_refused_that_another_key_has_signed(visitor, provider):
    provider.signing_key = RSAKey.generate_key(2048)
    assert_refused(visitor.sign_in())


def test_sign_ins_that_were_not_finished_are_in_nobodys_way(visitor):
    for _ in range(10):
        visitor.ask()
    assert "Hello, Ada" in visitor.sign_in()


def test_without_a_client_it_says_where_to_make_one(load, app, monkeypatch):
    openid = load("google_login", "openid")
    monkeypatch.delenv("GOOGLE_CLIENT_SECRET", raising=False)
    with pytest.raises(SystemExit, match="redirect URI http://localhost:8000/signed-in"):
        openid.OpenID(app)
