import re
import threading
from contextlib import contextmanager
from io import BytesIO
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
from playwright.sync_api import expect
from wsgi.client import Client


class Visitor(Client):
    """Looks at the page, and sends its form."""

    def look(self):
        """Return the page."""
        return self.send().body.decode()

    def post(self, path, **form):
        body = urlencode({"csrf_token": self.token(), **form}).encode()
        return self.send("POST", path, CONTENT_LENGTH=str(len(body)), **{"wsgi.input": BytesIO(body)})

    def token(self):
        return re.search('name="csrf_token" value="([^"]+)"', self.look())[1]

    def copy(self):
        """Return another one with the same cookies."""
        other = Visitor(self.app)
        other.cookies.update(self.cookies)
        return other


@pytest.fixture(scope="module")
def app(load):
    return load("login_form", "app").app


@pytest.fixture
def visitor(app):
    return Visitor(validator(app))


def test_signing_in_greets_once_and_keeps_the_name(visitor):
    answer = visitor.post("/sign-in", name="Ada")
    assert (answer.status, answer.headers["Location"]) == ("303 See Other", "/")
    assert "Welcome, Ada." in visitor.look()
    page = visitor.look()
    assert "Welcome, Ada." not in page
    assert "Hello, Ada" in page


def test_views_are_counted_for_each_session(visitor, app):
    views = [re.search("<strong>(.*)</strong>", visitor.look())[1] for _ in range(3)]
    assert views == ["1", "2", "3"]
    assert "<strong>1</strong>" in Visitor(app).look()


def test_what_a_visitor_enters_is_text_on_the_page(visitor):
    visitor.post("/sign-in", name="<b>&")
    assert visitor.look().count("&lt;b&gt;&amp;") == 2


def test_signing_in_makes_a_cookie_from_before_worthless(visitor):
    visitor.look()
    before = visitor.copy()
    visitor.post("/sign-in", name="Ada")
    assert "You are not signed in" in before.look()


def test_signing_in_makes_a_token_from_before_worthless(visitor):
    token = visitor.token()
    visitor.post("/sign-in", name="Ada")
    assert visitor.post("/sign-out", csrf_token=token).status == "403 Forbidden"


def test_signing_out_ends_every_copy_of_the_cookie(visitor):
    visitor.post("/sign-in", name="Ada")
    copy = visitor.copy()
    visitor.post("/sign-out")
    page = visitor.look()
    assert "You have signed out." in page
    assert "You are not signed in" in page
    assert "You are not signed in" in copy.look()


@pytest.mark.parametrize("token", ["", "wrong", "\N{SNOWMAN}"])
def test_a_form_without_the_sessions_token_is_refused(visitor, token):
    assert visitor.post("/sign-in", name="Ada", csrf_token=token).status == "403 Forbidden"
    assert "You are not signed in" in visitor.look()


def test_a_form_from_another_site_comes_without_the_cookie_and_is_refused(visitor, app):
    assert Visitor(app).send("POST", "/sign-in").status == "403 Forbidden"


def test_a_name_that_is_empty_is_asked_for_again(visitor):
    visitor.post("/sign-in", name="  ")
    assert "Please enter your name." in visitor.look()


def test_the_longest_name_fits_the_form(visitor):
    visitor.post("/sign-in", name="\N{SNOWMAN}" * 40)
    assert "\N{SNOWMAN}" * 40 in visitor.look()


def test_another_path_has_no_session(visitor):
    answer = visitor.send(path="/favicon.ico")
    assert (answer.status, answer.headers.get_all("Set-Cookie")) == ("404 Not Found", [])


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(app):
    with make_server("localhost", 0, app, handler_class=QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_in_a_browser(app, page):
    with served(app) as url:
        page.goto(url)
        expect(page.get_by_text("in this session: 1")).to_be_visible()
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading")).to_have_text("Hello, Ada")
        expect(page.get_by_role("status")).to_have_text("Welcome, Ada.")
        page.reload()
        expect(page.get_by_text("in this session: 3")).to_be_visible()
        expect(page.get_by_role("status")).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading")).to_have_text("You are not signed in")
        expect(page.get_by_role("status")).to_have_text("You have signed out.")
