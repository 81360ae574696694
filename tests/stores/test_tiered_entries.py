"""TieredStore: which settings it takes, and which entries of the cache it signs and believes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gaesess.drivers import run
from gaesess.errors import StoreUnavailable
from gaesess.stores.base import Stored
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore, Tiers
from gaesess.testing import EXPIRY, FaultyStore, new_key

NOW = 1_800_000_000.0


class Site:
    """A cache and a durable store that several processes share."""

    def __init__(self) -> None:
        self.cache, self.durable = MemoryStore(), FaultyStore(MemoryStore())
        self.key = new_key()

    def process(self, *keys: bytes) -> Tiers:
        store = TieredStore(self.cache, self.durable, clock=lambda: 0.0)
        return store.tiers(keys, lambda: NOW, 60)

    def add(self, tiers: Tiers, data: bytes = b"first") -> Any:
        return run(tiers.add(self.key, data, expires_at=EXPIRY))

    def read_cache_only(self, tiers: Tiers) -> Stored | None:
        self.durable.down = True
        try:
            return run(tiers.get(self.key))
        finally:
            self.durable.down = False


@pytest.fixture
def site() -> Site:
    return Site()


class TestSettings:
    @pytest.mark.parametrize("seconds", [-1, -0.001, math.nan])
    def test_a_time_that_is_none_is_refused(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="cache_seconds must be a number of seconds, 0 or more"):
            TieredStore(MemoryStore(), MemoryStore(), cache_seconds=seconds)

    @pytest.mark.parametrize("seconds", [0, 0.5, 3600])
    def test_any_other_is_taken(self, seconds: float) -> None:
        assert TieredStore(MemoryStore(), MemoryStore(), cache_seconds=seconds).cache_seconds == seconds

    def test_with_no_time_the_cache_is_never_believed(self) -> None:
        durable = FaultyStore(MemoryStore())
        store = TieredStore(MemoryStore(), durable, cache_seconds=0)
        key = new_key()
        store.add(key, b"first", expires_at=EXPIRY)
        durable.down = True
        with pytest.raises(StoreUnavailable):
            store.get(key)


class TestKeys:
    def test_the_first_key_signs(self, site: Site) -> None:
        site.add(site.process(b"new", b"old"))
        found = site.read_cache_only(site.process(b"new"))
        assert found
        assert found.data == b"first"

    def test_every_key_verifies(self, site: Site) -> None:
        site.add(site.process(b"old"))
        found = site.read_cache_only(site.process(b"new", b"old"))
        assert found
        assert found.data == b"first"
