"""Fixtures for the real servers, started at their first use, and what has to hold of the run as a whole."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest
import services

from gaesess import _impl

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

BROWSER_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_report_header() -> str:
    found = [service.name for service in services.SERVICES if service.found()]
    return f"gaesess: core={_impl.IMPLEMENTATION}, services={', '.join(found) or 'none'}"


def pytest_sessionstart() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run that is told to end stops its servers first
    must_be_compiled = os.environ.get("GAESESS_REQUIRE_EXTENSION") == "1" and os.environ.get("GAESESS_PURE") != "1"
    if must_be_compiled and _impl.IMPLEMENTATION != "cython":
        pytest.exit(f"GAESESS_REQUIRE_EXTENSION is set, but the core is {_impl.IMPLEMENTATION!r}", returncode=1)


def require(service: services.Service) -> None:
    """Skip the test if the service is not installed, or fail it where GAESESS_REQUIRE_SERVICES=1 says it must be."""
    if service.found():
        return
    give_up = pytest.fail if os.environ.get("GAESESS_REQUIRE_SERVICES") == "1" else pytest.skip
    give_up(f"{service.name} is not installed: install {service.install}")


@pytest.fixture(scope="session")
def memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The "host:port" of a memcached."""
    require(services.MEMCACHED)
    with services.run_memcached(tmp_path_factory.mktemp("memcached")) as address:
        yield address


@pytest.fixture(scope="session")
def datastore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The "host:port" of a Cloud Datastore emulator."""
    require(services.DATASTORE)
    with services.run_datastore_emulator(tmp_path_factory.mktemp("datastore")) as address:
        yield address


@pytest.fixture(scope="session")
def firestore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The "host:port" of a Firestore emulator in Datastore mode."""
    require(services.FIRESTORE)
    with services.run_firestore_emulator(tmp_path_factory.mktemp("firestore")) as address:
        yield address


@pytest.fixture(scope="session")
def run_dev_appserver() -> Callable[..., AbstractContextManager[tuple[int, int]]]:
    """What runs an application under App Engine's development server."""
    require(services.DEV_APPSERVER)
    return services.run_dev_appserver


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the chromium program."""
    require(services.CHROMIUM)
    return str(shutil.which("chromium"))


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # not where the portable tests run: it has no wheel for musl

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=BROWSER_ARGS)
        yield launched
        launched.close()


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
