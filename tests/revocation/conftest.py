"""Managers as each process of an application would have one, over one store."""

import pytest
from browser import Browser
from clock import Clock

from gaesess import SessionManager, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

KEY = generate_key()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def monotonic():
    """The clock that never steps back, which stands still here unless a test moves it."""
    return Clock()


@pytest.fixture
def store():
    return FaultyStore(MemoryStore())


@pytest.fixture
def make_manager(store, clock, monotonic):
    def make(**settings):
        manager = SessionManager(**{"cookie_key": KEY, "store": store, "clock": clock, "revocable": True, **settings})
        manager.config.driver.clock = monotonic
        return manager

    return make


@pytest.fixture
def browser(make_manager):
    browser = Browser(make_manager())
    with browser.request() as session:
        session["name"] = "Ada"
    return browser
