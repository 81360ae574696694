"""Fixtures for the real servers, started at their first use, and what has to hold of the run as a whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import services

from gaesess import _impl

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


def pytest_report_header() -> str:
    found = [service.name for service in services.SERVICES if service.found()]
    return f"gaesess: core={_impl.IMPLEMENTATION}, services={', '.join(found) or 'none'}"


def pytest_sessionstart() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run that is told to end stops its servers first
    must_be_compiled = os.environ.get("GAESESS_REQUIRE_EXTENSION") == "1" and os.environ.get("GAESESS_PURE") != "1"
    if must_be_compiled and _impl.IMPLEMENTATION != "cython":
        pytest.exit(f"GAESESS_REQUIRE_EXTENSION is set, but the core is {_impl.IMPLEMENTATION!r}", returncode=1)


@pytest.fixture(scope="session")
def memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The "host:port" of a memcached."""
    with services.run_memcached(tmp_path_factory.mktemp("memcached")) as address:
        yield address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis."""
    with services.run_redis(tmp_path_factory.mktemp("redis")) as (port, _):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey."""
    with services.run_valkey(tmp_path_factory.mktemp("valkey")) as (port, _):
        yield f"valkey://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL, of a superuser."""
    with services.run_postgres() as (url, _):
        yield url


@pytest.fixture(scope="session")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The SQLAlchemy URL of a MariaDB."""
    with services.run_mariadb(tmp_path_factory.mktemp("mariadb")) as (url, _):
        yield url


@pytest.fixture(scope="session")
def datastore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The "host:port" of a Cloud Datastore emulator."""
    with services.run_datastore_emulator(tmp_path_factory.mktemp("datastore")) as address:
        yield address


@pytest.fixture(scope="session")
def firestore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The "host:port" of a Firestore emulator in Datastore mode."""
    with services.run_firestore_emulator(tmp_path_factory.mktemp("firestore")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with services.run_chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that must log no error and reach for no other host; the test ends with that check."""
    opened = context.new_page()
    complaints: list[str] = []
    hosts: set[str] = set()
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    yield opened
    assert complaints == []
    assert len(hosts) == 1
