import pytest
from browser import Browser
from clock import Clock

from gaesess import SessionManager, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore


class Engines:
    """A cache and a durable store that can be switched off."""

    def __init__(self, clock):
        self.cache, self.durable = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
        self.durable.may_forget = False
        self.store = TieredStore(self.cache, self.durable, clock=clock)

    def forget(self):
        """Restart the cache, empty."""
        self.cache.store._records.clear()


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


@pytest.fixture
def engines(clock):
    return Engines(clock)
