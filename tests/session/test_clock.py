"""Tests of applications that replace `time.time`, as freezegun and unittest.mock do: sessions go by that clock."""

import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import pytest
from browser import NEW_KEY, OLD_KEY, Browser, with_session

from gaesess import SessionManager, delete_expired_sessions, generate_key
from gaesess.asgi import SessionMiddleware as ASGIMiddleware
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore, new_key
from gaesess.users import CHECKED_SECONDS
from gaesess.wsgi import SessionMiddleware as WSGIMiddleware

DAY = 24 * 3600
NOW = 1_900_000_000
STORED = {"store": MemoryStore(), "cookie_only_threshold": 0}
every_home = pytest.mark.parametrize("settings", [{}, STORED], ids=["cookie", "store"])


@pytest.fixture
def frozen(monkeypatch):
    """Freeze the time, that many seconds after NOW."""

    def freeze(seconds=0.0):
        monkeypatch.setattr(time, "time", lambda: NOW + seconds)

    freeze()
    return freeze


@pytest.fixture
def manager(settings):
    """One from before the time is frozen, with the clock that it has by itself."""
    return SessionManager(generate_key(), lifetime=timedelta(hours=1), **settings)


@every_home
def test_a_session_expires_when_that_clock_says_so(manager, frozen):
    browser = with_session(manager, user="ada")
    frozen(3599)
    assert browser.copy().data() == {"user": "ada"}
    frozen(3600)
    assert browser.copy().data() == {}


@every_home
def test_a_session_that_is_idle_by_that_clock_expires(settings, frozen):
    manager = SessionManager(generate_key(), idle_timeout=timedelta(minutes=10), **settings)
    browser = with_session(manager, user="ada")
    frozen(599)
    assert browser.data() == {"user": "ada"}
    frozen(599 + 599)
    assert browser.data() == {"user": "ada"}
    frozen(599 + 599 + 600)
    assert browser.data() == {}


@every_home
def test_a_new_session_begins_and_ends_by_that_clock(manager, frozen):
    frozen(30 * DAY)
    browser = with_session(manager, user="ada")
    (line,) = browser.received
    assert "Max-Age=3600" in line
    assert parsedate_to_datetime(line.partition("Expires=")[2].partition(";")[0]).timestamp() == NOW + 30 * DAY + 3600
    assert browser.send().get_expiration() == NOW + 30 * DAY + 3600
    assert manager.now() == NOW + 30 * DAY


@pytest.mark.parametrize("middleware", [WSGIMiddleware, ASGIMiddleware])
def test_a_middleware_goes_by_that_clock_too(middleware, frozen):
    frozen(DAY)
    assert middleware(lambda *arguments: None, generate_key()).manager.now() == NOW + DAY


def test_a_stored_session_that_has_expired_by_that_clock_is_not_loaded(frozen):
    manager = SessionManager(generate_key(), lifetime=timedelta(hours=1), **STORED)
    sid = with_session(manager, user="ada").send().sid
    assert manager.load(sid).is_active()
    frozen(3600)
    assert not manager.load(sid).is_active()


def test_a_retired_key_is_valid_until_that_clock_says_so(frozen):
    until = datetime.fromtimestamp(NOW + 60, timezone.utc)
    browser = with_session(SessionManager(OLD_KEY), user="ada")
    rotated = SessionManager(NEW_KEY, retired_keys=[(OLD_KEY, until)])
    frozen(59)
    assert browser.copy(rotated).send().is_active()
    frozen(60)
    assert not browser.copy(rotated).send().is_active()


def test_the_store_is_queried_again_when_that_clock_says_so(frozen):
    store = FaultyStore(MemoryStore())
    manager = SessionManager(generate_key(), store=store, revocable=True)
    browser = with_session(manager, user="ada")
    browser.data()
    elsewhere = browser.copy(manager)
    frozen(CHECKED_SECONDS - 1)
    assert not elsewhere.send().read_waits()
    frozen(CHECKED_SECONDS)
    assert elsewhere.send().read_waits()


def test_a_user_is_bound_at_the_time_of_that_clock(frozen):
    manager = SessionManager(generate_key(), store=MemoryStore(), revocable=True)
    with Browser(manager).request() as session:
        session.bind_user("ada")
    (listed,) = manager.list_sessions("ada")
    assert listed.bound_at == NOW


def test_a_clock_in_the_settings_comes_first(frozen):
    assert SessionManager(generate_key(), clock=lambda: 5.0).now() == 5


def test_the_cleanup_goes_by_that_clock(frozen):
    store = MemoryStore()
    store.add(new_key(), b"record", expires_at=NOW + 60)
    frozen(59)
    assert delete_expired_sessions(store) == 0
    frozen(60)
    assert delete_expired_sessions(store) == 1


def test_a_cache_that_has_failed_is_tried_again_when_a_clock_that_was_replaced_says_so(monkeypatch):
    """That is `time.monotonic`, which freezegun replaces too."""
    cache = FaultyStore(MemoryStore())
    store = TieredStore(cache, MemoryStore())
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    cache.down = True
    store.get(new_key())
    cache.down = False
    key = new_key()
    store.add(key, b"record", expires_at=NOW)
    assert cache.get(key) is None
    monkeypatch.setattr(time, "monotonic", lambda: 101.0)
    store.get(key)
    assert cache.get(key) is not None


def test_a_time_that_is_frozen_when_the_package_is_imported_is_seen():
    program = """
import time
from unittest import mock

with mock.patch("time.time", lambda: 2e9):
    import gaesess

    print(gaesess.SessionManager(gaesess.generate_key()).now())
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "2000000000\n"
