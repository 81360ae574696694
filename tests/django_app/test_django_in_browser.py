"""The admin, in a real browser against Django's development server."""

import threading

import pytest
import services
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django_site import Site
from playwright.sync_api import expect


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    """A server of a site whose sessions may take several cookies."""
    site = Site(cookie_only_threshold=50_000)
    site.use(lambda request: request.session.update(filler="x" * 8000))
    with site.settings(), ThreadedWSGIServer(("127.0.0.1", 0), QuietHandler) as server:
        server.set_app(WSGIHandler())
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        serving.join()


def session_cookies(context):
    return {
        cookie["name"]: cookie["value"] for cookie in context.cookies() if cookie["name"].startswith("__Host-gaesess")
    }


def test_a_user_signs_into_the_admin_and_out(url, user):
    with services.run_chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        before = session_cookies(context)
        assert len(before) == 3

        page.goto(f"{url}/admin/")
        page.get_by_label("Username").fill("ada")
        page.get_by_label("Password").fill("secret")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
        after = session_cookies(context)
        assert len(after) == 3
        assert after["__Host-gaesess"] != before["__Host-gaesess"]

        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Logged out")).to_be_visible()
        assert session_cookies(context) == {}
