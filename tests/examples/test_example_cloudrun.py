"""The example for Cloud Run, run as its Dockerfile says: by its CMD, in a directory that has what it copies."""

import json
import os
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import services
from http_browser import HttpBrowser

from gaesess import generate_key

EXAMPLE = Path(__file__).parents[2] / "examples" / "cloudrun"
NOTES = 20  # that do not fit into a cookie
NOTE = "\N{SNOWMAN}" * 500


def instructions(name):
    """Return what follows a name in the Dockerfile, each time."""
    return re.findall(f"^{name} (.*)$", (EXAMPLE / "Dockerfile").read_text(), re.MULTILINE)


def build(directory):
    """Copy what the Dockerfile copies."""
    for instruction in instructions("COPY"):
        *sources, target = instruction.split()
        for source in sources:
            if (EXAMPLE / source).is_dir():
                shutil.copytree(EXAMPLE / source, directory / target)
            else:
                shutil.copy(EXAMPLE / source, directory / target)


@contextmanager
def run(directory, **env):
    port = services.free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (command,) = instructions("CMD")
    with services.running(
        json.loads(command),
        directory,
        lambda: services.accepts(port),
        PATH=path,
        PYTHONPATH=services.python_path(),
        PORT=str(port),
        GOOGLE_CLOUD_PROJECT=services.PROJECT,
        **env,
    ) as server:
        yield port
        server.kill()  # at a SIGTERM it would take its time


@pytest.fixture(scope="module")
def site(datastore_emulator, tmp_path_factory):
    """The port of the example, and its own memcached."""
    directory = tmp_path_factory.mktemp("app")
    build(directory)
    with services.memcached_server(tmp_path_factory.mktemp("memcached")) as (address, server):
        env = {"COOKIE_KEY": generate_key(), "MEMCACHED": address, "DATASTORE_EMULATOR_HOST": datastore_emulator}
        with run(directory, **env) as port:
            yield port, server
        server.kill()


@pytest.fixture
def visitor(site):
    return Visitor(site[0])


class Visitor(HttpBrowser):
    """Sends the forms as the page has them."""

    def post(self, path, **form):
        token = re.search('name="csrf_token" value="([^"]+)"', self.look())[1]
        return super().post(path, **{"csrf_token": token, **form})

    def notes(self):
        return re.findall("<li>(.*?)</li>", self.look())


def test_a_session_that_grows_moves_to_the_store_and_outlives_memcached(visitor, site):
    assert visitor.post("/sign-in", name="Ada") == 302
    assert "lives in\nits cookie" in visitor.look()
    for number in range(NOTES):
        assert visitor.post("/note", text=f"{number} {NOTE}"[:500]) == 302
    assert "lives in\nmemcached and Datastore" in visitor.look()
    site[1].kill()
    assert len(visitor.notes()) == NOTES
    site[1].start()
    visitor.post("/note", text="one more")
    assert len(visitor.notes()) == NOTES + 1
    assert "Notes of Ada" in visitor.look()


def test_signing_out_ends_every_copy_of_a_cookie_that_points_to_the_store(visitor):
    visitor.post("/sign-in", name="Ada")
    for _ in range(3):
        visitor.post("/note", text=NOTE)
    assert "lives in\nmemcached and Datastore" in visitor.look()
    copy = Visitor(visitor.port, visitor.cookies)
    assert visitor.post("/sign-out") == 302
    assert "You are not signed in" in copy.look()


def test_a_form_without_the_sessions_token_is_refused(visitor):
    assert visitor.post("/sign-in", name="Ada", csrf_token="\N{SNOWMAN}") == 403
    assert "You are not signed in" in visitor.look()
