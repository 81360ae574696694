"""Settings in a dictionary: every one is known by its name, and what is wrong with one is said."""

from datetime import datetime, timedelta, timezone

import pytest

from gaesess import SessionManager, generate_key, legacy
from gaesess.settings import NAMES, manager_from
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore

EACH = {
    "cookie_key": generate_key(),
    "lifetime": timedelta(days=1),
    "no_datastore": True,
    "cookie_only_threshold": 100,
    "store": TieredStore(MemoryStore(), MemoryStore()),
    "outage": "degrade",
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
    assert sorted(EACH) == sorted(NAMES)
    assert SessionManager(**EACH).cookie.name == "another"


def test_the_settings_arrive():
    manager = manager_from(EACH, "GAESESS")
    assert (manager.cookie.name, manager.now(), manager.has_store) == ("another", 1_000_000_000, True)


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
        ({"cookie_key": generate_key(), "lifetime": 3600}, r"lifetime is a timedelta, such as .*, not 3600"),
        ({"cookie_key": generate_key(), "idle_timeout": 60}, "idle_timeout is a timedelta"),
        (None, "GAESESS is a dictionary"),
    ],
)
def test_what_is_wrong_is_said(settings, message):
    with pytest.raises(ValueError, match=message):
        manager_from(settings, "GAESESS")


@pytest.mark.parametrize("value", [0, 1001, -1, 1.5, True, None, "64"])
def test_store_threads_is_a_count(value):
    with pytest.raises(ValueError, match=rf"^store_threads must be an int from 1 to 1000, got {value!r}$"):
        SessionManager(generate_key(), store_threads=value)
