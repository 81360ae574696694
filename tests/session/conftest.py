import pytest
from browser import Browser

from gaesess import SessionManager, generate_key
from gaesess.stores.memory import MemoryStore

NOW = 1_800_000_000


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = float(NOW)

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def make_manager(store, clock):
    def make(**settings):
        return SessionManager(**{"cookie_key": generate_key(), "store": store, "clock": clock, **settings})

    return make


@pytest.fixture
def manager(make_manager):
    return make_manager()


@pytest.fixture
def browser(manager):
    return Browser(manager)
