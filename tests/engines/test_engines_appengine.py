"""The example for App Engine under App Engine's development server."""

import re
import shutil
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from wsgi.client import CookieJar

import gaesess
from gaesess import generate_key

EXAMPLE = Path(__file__).parents[2] / "examples" / "appengine"
NOTE = "\N{SNOWMAN}" * 1000
NOTES = 3  # that do not fit into a cookie


@pytest.fixture(scope="module")
def server(run_dev_appserver, tmp_path_factory):
    """The ports of the example and of the server's administration."""
    app = tmp_path_factory.mktemp("app")
    build(app)
    with run_dev_appserver(
        app, tmp_path_factory.mktemp("server"), COOKIE_KEY=generate_key(), PYTHONDONTWRITEBYTECODE="1"
    ) as ports:
        yield ports


def build(app):
    """Copy the example, for the Python and with the gaesess of this test."""
    shutil.copytree(EXAMPLE, app, dirs_exist_ok=True)
    config = (app / "app.yaml").read_text()
    (app / "app.yaml").write_text(re.sub(r"python3\d+", f"python3{sys.version_info.minor}", config))
    requirements = (app / "requirements.txt").read_text()
    (app / "requirements.txt").write_text(re.sub("^gaesess.*$", "msgpack", requirements, flags=re.MULTILINE))
    shutil.copytree(Path(gaesess.__file__).parent, app / "gaesess")


@pytest.fixture
def visitor(server):
    return Visitor(server[0])


class Visitor:
    """A client that keeps cookies."""

    def __init__(self, port, cookies=()):
        self.port = port
        self.cookies = CookieJar(cookies)

    def send(self, method, path, headers=(), **form):
        """Return the status and the page."""
        connection = HTTPConnection("localhost", self.port, timeout=60)
        try:
            sent = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Cookie": self.cookies.header(),
                **dict(headers),
            }
            connection.request(method, path, urlencode(form), sent)
            response = connection.getresponse()
            self.cookies.receive(response.headers.get_all("Set-Cookie", []))
            return response.status, response.read().decode()
        finally:
            connection.close()

    def look(self):
        status, page = self.send("GET", "/")
        assert status == 200
        return page

    def fill(self):
        """Sign in, and write more than a cookie holds."""
        statuses = [self.send("POST", "/sign-in", name="Ada")[0]]
        statuses += [self.send("POST", "/note", text=f"{number}{NOTE}")[0] for number in range(NOTES)]
        assert set(statuses) == {303}
        assert "lives in its store" in self.look()


def flush_memcache(admin_port):
    admin = Visitor(admin_port)
    token = re.search('name="xsrf_token" value="([^"]+)"', admin.send("GET", "/memcache")[1])[1]
    status, _ = admin.send("POST", "/memcache", xsrf_token=token, **{"action:flush": "Flush Cache"})
    assert status == 302


def test_a_session_grows_out_of_its_cookie_and_outlives_a_flush_of_memcache(server, visitor):
    visitor.send("POST", "/sign-in", name="Ada")
    assert "lives in its cookie" in visitor.look()
    visitor.fill()
    flush_memcache(server[1])
    page = visitor.look()
    assert "Notes of Ada" in page
    assert re.findall(r"<li>(\d)", page) == ["0", "1", "2"]
    visitor.send("POST", "/note", text="after the flush")
    assert "after the flush" in visitor.look()


def test_signing_out_ends_every_copy_of_the_cookie(server, visitor):
    visitor.fill()
    copy = Visitor(visitor.port, visitor.cookies)
    visitor.send("POST", "/sign-out")
    assert visitor.cookies == {}
    flush_memcache(server[1])
    assert "Your name" in copy.look()


def test_the_cleanup_leaves_live_sessions_alone_and_is_refused_to_all_but_cron(visitor):
    visitor.fill()
    assert visitor.send("GET", "/tasks/cleanup")[0] == 403
    assert visitor.send("GET", "/tasks/cleanup", {"X-Appengine-Cron": "false"})[0] == 403
    assert visitor.send("GET", "/tasks/cleanup", {"X-Appengine-Cron": "true"}) == (200, "0 deleted")
    assert "Notes of Ada" in visitor.look()
