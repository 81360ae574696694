from datetime import datetime, timezone

import pytest
from browser import Browser
from clock import Clock
from gae_sessions_1_07 import KEY, NOW, make_sid, session_cookies

from gaesess import SessionManager, events, generate_key, legacy
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

UNTIL = NOW + 30 * 86_400


class Source:
    """A store of 1.07, which can be down, and counts what it is asked."""

    def __init__(self, **pickles):
        self.pickles, self.down, self.asked = pickles, None, 0

    def get(self, sid):
        self.asked += 1
        if self.down:
            raise self.down
        return self.pickles.get(sid)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    store = FaultyStore(MemoryStore())
    store.may_forget = False
    return store


@pytest.fixture
def source():
    return Source


@pytest.fixture
def accept():
    """Make a reader of 1.07's sessions that ends with the tests' month."""

    def make(**settings):
        until = datetime.fromtimestamp(UNTIL, timezone.utc)
        return legacy.accept(**{"cookie_key": KEY, "until": until, **settings})

    return make


@pytest.fixture
def make_manager(store, clock, accept):
    def make(**settings):
        return SessionManager(
            **{"cookie_key": generate_key(), "store": store, "clock": clock, "legacy": accept(), **settings}
        )

    return make


@pytest.fixture
def manager(make_manager):
    return make_manager()


@pytest.fixture
def visitor():
    """Make a browser with a session of 1.07, that lasts for another day."""

    def make(manager, data=None, *, expires=NOW + 86_400, **sid):
        browser = Browser(manager)
        browser.cookies = session_cookies({b"user": 7} if data is None else data, make_sid(expires, **sid))
        return browser

    return make


@pytest.fixture
def told():
    """The events so far."""
    heard = []
    unsubscribe = events.subscribe(heard.append)
    yield heard
    unsubscribe()
