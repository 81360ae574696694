"""The settings: every one is known by its name, and a wrong one is refused at the start, with what it must be."""

import re
from datetime import datetime, timedelta, timezone

import pytest

from gaesess import Home, SessionManager, generate_key, legacy
from gaesess.config import SETTINGS
from gaesess.manager import manager_from
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore

EACH = {
    "cookie_key": generate_key(),
    "lifetime": timedelta(days=1),
    "no_datastore": True,
    "cookie_only_threshold": 100,
    "store": TieredStore(MemoryStore(), MemoryStore()),
    "outage": "degrade",
    "on_data_loss": "restart",
    "store_threads": 8,
    "retired_keys": [],
    "encrypt": True,
    "compress": False,
    "revocable": True,
    "idle_timeout": timedelta(hours=1),
    "passive_paths": ["/poll"],
    "cookie_name": "another",
    "cookie_path": "/there",
    "cookie_domain": "example.com",
    "cookie_secure": True,
    "cookie_samesite": "Strict",
    "cookie_partitioned": True,
    "legacy": legacy.accept(cookie_key=generate_key(), until=datetime(2030, 1, 1, tzinfo=timezone.utc)),
    "clock": lambda: 1_000_000_000,
}


def test_every_setting_of_the_manager_has_its_name_here():
    assert sorted(EACH) == sorted(SETTINGS)
    assert SessionManager(**EACH).cookie.name == "another"


def test_the_settings_arrive():
    manager = manager_from(EACH, "GAESESS")
    assert (manager.cookie.name, manager.now()) == ("another", 1_000_000_000)
    session = manager.open(None)
    session["filler"] = "x" * 101
    session.save()
    assert session.home is Home.STORE


def test_without_a_clock_it_is_that_of_the_system_even_if_a_test_replaces_it(monkeypatch):
    manager = SessionManager(generate_key())
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.9)
    assert manager.now() == 1_000_000_000


def test_the_first_four_may_be_given_by_position():
    manager = SessionManager(EACH["cookie_key"], timedelta(hours=1), True, 0, store=EACH["store"])
    session = manager.open(None)
    session.start()
    session.save()
    assert session.get_expiration() == pytest.approx(manager.now() + 3600, abs=1)
    assert session.home is Home.STORE


@pytest.mark.parametrize(
    ("positional", "named", "message"),
    [
        ((EACH["cookie_key"], None, False, 0, True), {}, "by position there are cookie_key, lifetime, no_datastore, "),
        ((EACH["cookie_key"],), {"cookie_key": EACH["cookie_key"]}, "cookie_key is given twice"),
        ((EACH["cookie_key"],), {"cookie_nam": "x"}, "there is no setting 'cookie_nam': did you mean 'cookie_name'?"),
        ((EACH["cookie_key"],), {"colour": "x"}, "there is no setting 'colour': there are clock, compress, "),
    ],
)
def test_a_setting_that_does_not_exist_or_is_there_twice_is_a_type_error(positional, named, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        SessionManager(*positional, **named)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cookie_nam": "x"}, "GAESESS has no setting 'cookie_nam': did you mean 'cookie_name'?"),
        ({"colour": "x"}, "GAESESS has no setting 'colour': there are clock, compress, cookie_domain, cookie_key"),
        ({}, "GAESESS: cookie_key is missing.*python -m gaesess genkey"),
        ({"cookie_key": "short"}, "cookie_key has 5 bytes, and needs at least 32"),
        ({"cookie_key": generate_key(), "cookie_samesite": "None", "cookie_secure": False}, "needs cookie_secure=True"),
        (
            {"cookie_key": generate_key(), "cookie_name": "__Host-s", "cookie_domain": "example.com"},
            "needs cookie_path=.* and no cookie_domain",
        ),
        (
            {"cookie_key": generate_key(), "lifetime": 3600},
            "GAESESS: lifetime must be a timedelta, such as .*, got 3600",
        ),
        (
            {"cookie_key": generate_key(), "idle_timeout": 60},
            "GAESESS: idle_timeout must be None, or a timedelta of at .*, got 60",
        ),
        (None, "GAESESS must be a dictionary, such as .*, got NoneType"),
    ],
)
def test_what_is_wrong_is_said(settings, message):
    with pytest.raises(ValueError, match=message):
        manager_from(settings, "GAESESS")


STORE, TIERED = MemoryStore(), EACH["store"]
FLAGS = ["encrypt", "compress", "revocable", "no_datastore", "cookie_secure", "cookie_partitioned"]
NO_FLAGS = [None, 0, 1, "yes", [True]]
WRONG = {
    **dict.fromkeys(FLAGS, ("True or False", NO_FLAGS)),
    "lifetime": (
        "a timedelta, such as timedelta(days=7): zero, or from a second to 400 days",
        [None, 3600, timedelta(microseconds=999_999), timedelta(seconds=-1), timedelta(days=400, microseconds=1)],
    ),
    "idle_timeout": (
        "None, or a timedelta of at least a minute, such as timedelta(hours=2)",
        [0, 60, timedelta(0), timedelta(seconds=59), timedelta(minutes=-5)],
    ),
    "store": ("None, or a store, such as SQLiteStore(path)", ["sqlite", MemoryStore, {}, object(), 0]),
    "store_threads": ("an int from 1 to 1000", [0, 1001, -1, 1.5, True, None, "64"]),
    "cookie_only_threshold": ("None, or a number of bytes, an int from 0 to 81860", [-1, 81_861, 1.5, True, "0", [1]]),
    "outage": ('"raise" or "degrade"', [None, "", "Raise", "ignore", True]),
    "on_data_loss": ('"raise" or "restart"', [None, "", "Restart", "ignore", True]),
    "legacy": ("what gaesess.legacy returns, or a list of these", ["gae-sessions", [None], {"a": 1}, legacy, 1]),
    "clock": ("None, or a function that returns Unix seconds", [0, "now", 1_800_000_000.0]),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, values) in WRONG.items() for value in values])
def test_a_value_that_a_setting_cannot_have_is_refused_with_what_it_must_be(name, value):
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name} must be {WRONG[name][0]}, got {value!r}')}$"):
        SessionManager(generate_key(), **{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"lifetime": timedelta(0)},
        {"lifetime": timedelta(seconds=1)},
        {"lifetime": timedelta(days=400)},
        {"idle_timeout": timedelta(minutes=1)},
        {"lifetime": timedelta(hours=1), "idle_timeout": timedelta(hours=1)},
        {"lifetime": timedelta(0), "idle_timeout": timedelta(days=100)},
        {"store": STORE, "store_threads": 1000, "cookie_only_threshold": 0},
        {"store": STORE, "outage": "degrade", "revocable": True},
        {"store": TIERED, "outage": "degrade"},
        {"store": TIERED, "no_datastore": True},
        {"retired_keys": iter([generate_key()]), "passive_paths": iter(["/poll"]), "idle_timeout": timedelta(hours=1)},
        {"legacy": iter([EACH["legacy"]])},
    ],
)
def test_settings_that_go_together_are_taken(settings):
    SessionManager(generate_key(), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encrypt": True, "compress": True}, "compress=True would let the length of an encrypted session tell"),
        ({"passive_paths": ["/poll"]}, "passive_paths are for sessions with an idle_timeout"),
        ({"no_datastore": True}, "no_datastore=True is for a TieredStore"),
        ({"no_datastore": True, "store": STORE}, "no_datastore=True is for a TieredStore"),
        ({"revocable": True}, "revocable=True needs a store="),
        ({"cookie_only_threshold": 0}, "cookie_only_threshold=0 needs a store="),
        ({"outage": "degrade"}, 'outage="degrade" is for a TieredStore'),
        ({"outage": "degrade", "store": STORE}, 'outage="degrade" is for a TieredStore'),
        (
            {"lifetime": timedelta(hours=1), "idle_timeout": timedelta(hours=1, seconds=1)},
            "idle_timeout must be at most the lifetime, got 1:00:01",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        SessionManager(generate_key(), **settings)


@pytest.mark.parametrize(("size", "home"), [(50_000, Home.COOKIE), (70_000, Home.STORE)])
def test_a_threshold_above_what_twenty_cookies_hold_counts_as_that(size, home):
    session = SessionManager(generate_key(), cookie_only_threshold=81_860, store=STORE).open(None)
    session["filler"] = "x" * size
    session.save()
    assert session.home is home


@pytest.mark.parametrize("key", [generate_key(), generate_key().encode()], ids=["str", "bytes"])
def test_the_error_for_a_key_in_the_place_of_another_setting_does_not_tell_it(key):
    with pytest.raises(ValueError, match=f"^lifetime must be .*, got a {type(key).__name__} of 43 characters$"):
        SessionManager(generate_key(), key)
