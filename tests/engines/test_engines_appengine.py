"""The example for App Engine under App Engine's development server."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import services
from http_browser import HttpBrowser

import gaesess
from gaesess import generate_key

EXAMPLE = Path(__file__).parents[2] / "examples" / "appengine"
NOTE = "\N{SNOWMAN}" * 1000
NOTES = 3  # that do not fit into a cookie


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The ports of the example and of the server's administration."""
    app = tmp_path_factory.mktemp("app")
    build(app)
    with services.run_dev_appserver(
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


class Visitor(HttpBrowser):
    def fill(self):
        """Sign in, and write more than a cookie holds."""
        statuses = [self.post("/sign-in", name="Ada")]
        statuses += [self.post("/note", text=f"{number}{NOTE}") for number in range(NOTES)]
        assert set(statuses) == {303}
        assert "lives in its store" in self.look()


def flush_memcache(admin_port):
    admin = HttpBrowser(admin_port)
    token = re.search('name="xsrf_token" value="([^"]+)"', admin.get("/memcache")[1])[1]
    assert admin.post("/memcache", xsrf_token=token, **{"action:flush": "Flush Cache"}) == 302


def test_a_session_grows_out_of_its_cookie_and_outlives_a_flush_of_memcache(server, visitor):
    visitor.post("/sign-in", name="Ada")
    assert "lives in its cookie" in visitor.look()
    visitor.fill()
    flush_memcache(server[1])
    page = visitor.look()
    assert "Notes of Ada" in page
    assert re.findall(r"<li>(\d)", page) == ["0", "1", "2"]
    visitor.post("/note", text="after the flush")
    assert "after the flush" in visitor.look()


def test_signing_out_ends_every_copy_of_the_cookie(server, visitor):
    visitor.fill()
    copy = Visitor(visitor.port, visitor.cookies)
    visitor.post("/sign-out")
    assert visitor.cookies == {}
    flush_memcache(server[1])
    assert "Your name" in copy.look()


def test_the_cleanup_leaves_live_sessions_alone_and_is_refused_to_all_but_cron(visitor):
    visitor.fill()
    assert visitor.get("/tasks/cleanup")[0] == 403
    assert visitor.get("/tasks/cleanup", **{"X-Appengine-Cron": "false"})[0] == 403
    assert visitor.get("/tasks/cleanup", **{"X-Appengine-Cron": "true"}) == (200, "0 deleted")
    assert "Notes of Ada" in visitor.look()
