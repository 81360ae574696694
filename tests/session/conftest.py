import pytest
from browser import Browser
from clock import Clock

from gaesess import SessionManager, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore, new_key


class Engines:
    """A cache and a durable store that can be switched off."""

    def __init__(self, clock):
        self.cache, self.durable = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
        self.durable.may_forget = False
        self.clock = clock
        self.store = self.another_store()

    def another_store(self):
        """Return a store of another process on the same engines."""
        return TieredStore(self.cache, self.durable, clock=self.clock)

    def fail_once(self):
        """Have the cache fail one call of `store`, which leaves it alone from then on."""
        self.cache.down = True
        self.store.get(new_key())
        self.cache.down = False

    def forget(self):
        """Restart the cache, empty."""
        self.cache.store._records.clear()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    """A store whose client sends every write twice, which nobody must notice."""
    store = FaultyStore(MemoryStore())
    store.resends = True
    return store


@pytest.fixture
def make_manager(store, clock):
    """Return what makes a manager as each process of an application would have one."""
    key = generate_key()

    def make(**settings):
        return SessionManager(**{"cookie_key": key, "store": store, "clock": clock, **settings})

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
