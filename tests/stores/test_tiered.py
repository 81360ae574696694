"""TieredStore: the contract, interleavings of two callers, and either part down at every step."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gaesess.drivers import run
from gaesess.errors import Conflict, Gone, SessionTooLarge, StoreUnavailable
from gaesess.stores.base import Stored
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.stores.tiered import CACHE_SECONDS, SLOW_SECONDS, UNKNOWN, TieredStore, TieredVersion, Tiers
from gaesess.testing import EXPIRY, FaultyStore, StoreContract, new_key


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "sessions")
    yield store
    store.close()


class TestMemoryOverSQLite(StoreContract):
    @pytest.fixture
    def store(self, sqlite: SQLiteStore) -> TieredStore:
        return TieredStore(MemoryStore(), sqlite)


class TestMemcacheOverSQLite(StoreContract):
    @pytest.fixture
    def store(self, memcached: str, sqlite: SQLiteStore) -> Iterator[TieredStore]:
        cache = MemcacheStore(memcached)
        yield TieredStore(cache, sqlite)
        cache.close()


class TestCacheDown(StoreContract):
    @pytest.fixture
    def store(self, sqlite: SQLiteStore) -> TieredStore:
        cache = FaultyStore(MemoryStore())
        cache.down = True
        return TieredStore(cache, sqlite)


class Interleaved:
    """Passes calls on, and lets another caller do `between[method]`, once, before the result gets back."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.between: dict[str, Callable[[], object]] = {}

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            result = getattr(self._store, method)(*arguments, **options)
            self.between.pop(method, lambda: None)()
            return result

        return call


class Process:
    """The two stores as a process with a key and a clock works with them."""

    def __init__(self, tiered: TieredStore, tiers: Tiers) -> None:
        self.store = tiered
        self.tiers = tiers

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments, **options: run(getattr(self.tiers, method)(*arguments, **options))


class World:
    """A tiered store whose parts can be broken, delayed and looked into, and whose clock stands until it is set."""

    def __init__(self) -> None:
        self.cached, self.stored = MemoryStore(), MemoryStore()
        self.cache, self.durable = FaultyStore(self.cached), FaultyStore(self.stored)
        self.slow_cache, self.slow_durable = Interleaved(self.cache), Interleaved(self.durable)
        self.now = 1000.0  # of the breaker
        self.wall = 1_800_000_000.0  # Unix seconds
        self.tiered = self.another()
        self.slow = self.process(self.slow_cache, self.slow_durable)
        self.key = new_key()

    def another(self) -> Process:
        """Another process on the same parts."""
        return self.process(self.cache, self.durable)

    def process(self, cache: Any, durable: Any, keys: Sequence[bytes] = (b"key",), **options: Any) -> Process:
        tiered = TieredStore(cache, durable, clock=lambda: self.now, **options)
        return Process(tiered, tiered.tiers(keys, lambda: self.wall, CACHE_SECONDS))

    def add(self, data: bytes = b"first") -> TieredVersion:
        return self.tiered.add(self.key, data, expires_at=EXPIRY)

    def replace(self, data: bytes, version: TieredVersion) -> TieredVersion:
        return self.tiered.replace(self.key, data, expires_at=EXPIRY, version=version)

    def replace_durable_only(self, data: bytes, version: TieredVersion) -> TieredVersion:
        """A write of a machine that the cache does not hear of."""
        return self.stored.replace(self.key, data, expires_at=EXPIRY, version=version.durable)

    def evict(self) -> None:
        self.cached.delete(self.key)

    def read(self, *, fresh: bool = False) -> Stored | None:
        return self.tiered.get(self.key, fresh=fresh)

    def read_cache_only(self) -> Stored | None:
        """What a reader gets without the durable store; raises StoreUnavailable where it would have been asked."""
        self.durable.down = True
        try:
            return self.tiered.get(self.key)
        finally:
            self.durable.down = False


@pytest.fixture
def world() -> World:
    return World()


class TestReading:
    def test_a_record_is_in_the_cache_once_it_is_added(self, world: World) -> None:
        version = world.add()
        assert world.read_cache_only() == Stored(b"first", version)

    def test_a_record_is_in_the_cache_once_it_is_replaced(self, world: World) -> None:
        version = world.replace(b"second", world.add())
        assert world.read_cache_only() == Stored(b"second", version)

    def test_a_miss_fills_the_cache(self, world: World) -> None:
        version = world.add()
        world.evict()
        world.read()
        assert world.read_cache_only() == Stored(b"first", version)

    def test_the_version_of_a_cached_read_replaces_in_the_durable_store(self, world: World) -> None:
        world.add()
        cached = world.read_cache_only()
        version = world.replace(b"second", cached.version)
        assert world.stored.get(world.key) == Stored(b"second", version.durable)

    def test_a_fresh_read_passes_an_old_entry_and_mends_it(self, world: World) -> None:
        world.replace_durable_only(b"second", world.add())
        assert world.read().data == b"first"
        assert world.read(fresh=True).data == b"second"
        assert world.read_cache_only().data == b"second"

    def test_a_fresh_read_puts_the_record_in_the_place_of_an_entry_that_was_written_to_the_cache_alone(
        self, world: World
    ) -> None:
        version = world.add()
        world.tiered.put_quick(world.key, b"quick", version)
        assert world.read(fresh=True).data == b"first"
        assert world.read_cache_only().data == b"first"

    def test_what_is_no_entry_is_a_miss_and_is_mended(self, world: World) -> None:
        world.add()
        world.cached.put(world.key, b"poison", expires_at=EXPIRY)
        assert world.read().data == b"first"
        assert world.read_cache_only().data == b"first"

    def test_an_absent_record_leaves_a_mark_in_the_cache_that_says_nothing(self, world: World) -> None:
        assert world.read() is None
        assert world.cached.get(world.key).data == UNKNOWN

    def test_a_mark_lasts_as_long_as_its_session(self, world: World) -> None:
        world.read()
        assert world.cached.count_expired(now=EXPIRY - 1) == 0
        assert world.cached.count_expired(now=EXPIRY) == 1

    def test_a_deleted_key_can_be_added_again(self, world: World) -> None:
        world.add()
        world.tiered.delete(world.key)
        version = world.add(b"again")
        assert world.tiered.get(world.key) == Stored(b"again", version)


class TestInterleavings:
    @pytest.mark.parametrize(("fresh", "evicted"), [(False, True), (True, False), (True, True)])
    def test_a_slow_reader_brings_no_terminated_record_back(self, world: World, fresh: bool, evicted: bool) -> None:
        world.add()
        if evicted:
            world.evict()
        world.slow_durable.between["get"] = lambda: world.tiered.delete(world.key)
        assert world.slow.get(world.key, fresh=fresh).data == b"first"
        assert world.read() is None

    @pytest.mark.parametrize("fresh", [False, True])
    def test_a_slow_reader_brings_nothing_back_if_the_cache_forgets_what_came_after_it(
        self, world: World, fresh: bool
    ) -> None:
        def overtake() -> None:
            world.tiered.delete(world.key)
            world.evict()

        world.add()
        world.evict()
        world.slow_durable.between["get"] = overtake
        world.slow.get(world.key, fresh=fresh)
        assert world.read() is None

    def test_a_reader_between_deletion_and_its_mark_brings_nothing_back(self, world: World) -> None:
        world.add()
        world.evict()
        world.slow_durable.between["delete"] = lambda: world.read()
        world.slow.delete(world.key)
        assert world.read() is None

    @pytest.mark.parametrize("fresh", [False, True])
    def test_a_slow_reader_puts_no_old_record_over_a_new_one(self, world: World, fresh: bool) -> None:
        old = world.add()
        if not fresh:
            world.evict()
        world.slow_durable.between["get"] = lambda: world.replace(b"second", old)
        assert world.slow.get(world.key, fresh=fresh).data == b"first"
        assert world.read().data == b"second"

    def test_a_slow_writer_puts_no_old_record_over_a_newer_one(self, world: World) -> None:
        first = world.add()
        world.slow_durable.between["replace"] = lambda: world.replace(b"third", world.read(fresh=True).version)
        world.slow.replace(world.key, b"second", expires_at=EXPIRY, version=first)
        assert world.read().data == b"third"

    def test_a_slow_writer_puts_no_old_record_where_the_cache_forgot_a_newer_one(self, world: World) -> None:
        def overtake() -> None:
            world.replace(b"third", world.read(fresh=True).version)
            world.evict()

        world.add()
        first = world.read().version
        world.slow_durable.between["replace"] = overtake
        world.slow.replace(world.key, b"second", expires_at=EXPIRY, version=first)
        assert world.read().data == b"third"

    def test_a_slow_writer_brings_no_terminated_record_back(self, world: World) -> None:
        version = world.add()
        world.slow_durable.between["replace"] = lambda: world.tiered.delete(world.key)
        world.slow.replace(world.key, b"second", expires_at=EXPIRY, version=version)
        assert world.read() is None

    def test_a_writer_interrupted_by_a_deletion_in_the_cache_brings_nothing_back(self, world: World) -> None:
        version = world.add()
        world.slow_durable.between["replace"] = lambda: world.slow_cache.between.update(
            gets=lambda: world.tiered.delete(world.key)
        )
        world.slow.replace(world.key, b"second", expires_at=EXPIRY, version=version)
        assert world.read() is None

    def test_an_old_record_filled_while_a_writer_is_under_way_is_overwritten_by_it(self, world: World) -> None:
        version = world.add()
        old_entry = world.cached.get(world.key).data
        world.evict()
        world.slow_durable.between["replace"] = lambda: world.cached.add(world.key, old_entry, expires_at=EXPIRY)
        version = world.slow.replace(world.key, b"second", expires_at=EXPIRY, version=version)
        assert world.read_cache_only() == Stored(b"second", version)


class TestConflicts:
    def test_what_was_written_after_a_conflict_and_a_fresh_read_is_in_the_cache(self, world: World) -> None:
        first = world.add()
        world.replace_durable_only(b"second", first)
        with pytest.raises(Conflict):
            world.replace(b"third", first)
        world.replace(b"third", world.read(fresh=True).version)
        assert world.read_cache_only().data == b"third"

    def test_a_conflict_leaves_the_ticket_of_the_next_read_good(self, world: World) -> None:
        """The other writer has told the cache by then: nothing is to be mended, and one round trip writes it."""
        first = world.add()
        world.another().replace(world.key, b"second", expires_at=EXPIRY, version=first)
        assert world.read(fresh=True).version.ticket is not None

    def test_a_write_to_a_terminated_record_leaves_it_terminated(self, world: World) -> None:
        version = world.add()
        world.tiered.delete(world.key)
        with pytest.raises(Gone):
            world.replace(b"second", version)
        assert world.read() is None


class TestQuick:
    def put_quick(self, world: World, version: TieredVersion | None, data: bytes = b"quick") -> TieredVersion | None:
        return world.tiered.put_quick(world.key, data, version)

    def test_it_writes_the_cache_and_not_the_durable_store(self, world: World) -> None:
        version = world.add()
        assert self.put_quick(world, version) == version
        assert world.read() == Stored(b"quick", version)
        assert world.stored.get(world.key) == Stored(b"first", version.durable)

    def test_another_can_follow(self, world: World) -> None:
        world.add()
        version = self.put_quick(world, world.read().version)
        assert self.put_quick(world, version, b"quicker") == version
        assert world.read().data == b"quicker"

    def test_a_record_that_the_durable_store_has_not_is_made_durable_by_the_next_normal_write(
        self, world: World
    ) -> None:
        self.put_quick(world, None)
        version = world.replace(b"durable", world.read().version)
        assert world.stored.get(world.key) == Stored(b"durable", version.durable)
        assert world.read_cache_only() == Stored(b"durable", version)

    def test_a_record_that_the_durable_store_has_by_then_is_a_conflict(self, world: World) -> None:
        self.put_quick(world, None)
        world.stored.add(world.key, b"other", expires_at=EXPIRY)
        with pytest.raises(Conflict):
            world.replace(b"durable", world.read().version)
        assert world.read(fresh=True).data == b"other"

    def test_it_writes_over_nothing_that_it_has_not_seen(self, world: World) -> None:
        version = world.add()
        assert self.put_quick(world, None) is None
        assert world.read() == Stored(b"first", version)

    def test_a_normal_write_can_follow(self, world: World) -> None:
        version = world.add()
        self.put_quick(world, version)
        version = world.replace(b"durable", world.read().version)
        assert world.read_cache_only() == Stored(b"durable", version)

    def test_it_refuses_while_the_cache_is_down(self, world: World) -> None:
        version = world.add()
        world.cache.down = True
        assert self.put_quick(world, version) is None

    def test_it_refuses_what_the_cache_has_forgotten(self, world: World) -> None:
        version = world.add()
        world.evict()
        assert self.put_quick(world, version) is None
        assert world.read().data == b"first"

    def test_it_refuses_a_version_that_was_replaced(self, world: World) -> None:
        old = world.add()
        world.replace(b"second", old)
        assert self.put_quick(world, old) is None
        assert world.read().data == b"second"

    def test_it_brings_no_terminated_record_back(self, world: World) -> None:
        version = world.add()
        world.tiered.delete(world.key)
        assert self.put_quick(world, version) is None
        assert world.read() is None


class TestCacheFailures:
    @pytest.fixture(params=["down", "deaf"])
    def fault(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def recover(self, world: World) -> None:
        world.cache.down = world.cache.deaf = False
        world.now += 10

    def test_a_read_is_answered_by_the_durable_store(self, world: World, fault: str) -> None:
        version = world.add()
        setattr(world.cache, fault, True)
        assert world.read() == Stored(b"first", version)

    def test_a_fill_that_fails_does_not_fail_the_read(self, world: World, fault: str) -> None:
        version = world.add()
        world.evict()
        world.slow_cache.between["gets"] = lambda: setattr(world.cache, fault, True)
        assert world.slow.get(world.key) == Stored(b"first", version)

    def test_an_add_succeeds_and_is_read_after_recovery(self, world: World, fault: str) -> None:
        setattr(world.cache, fault, True)
        version = world.add()
        self.recover(world)
        assert world.read() == Stored(b"first", version)

    def test_a_replace_that_the_cache_missed_is_read_when_the_old_entry_has_had_its_time(
        self, world: World, fault: str
    ) -> None:
        version = world.add()
        setattr(world.cache, fault, True)
        version = world.replace(b"second", version)
        self.recover(world)
        world.wall += CACHE_SECONDS
        assert world.read() == Stored(b"second", version)

    def test_a_cache_that_fails_between_the_steps_of_a_replace_shows_no_old_record_after_that_time(
        self, world: World, fault: str
    ) -> None:
        version = world.add()
        world.slow_cache.between["gets"] = lambda: setattr(world.cache, fault, True)
        version = world.slow.replace(world.key, b"second", expires_at=EXPIRY, version=version)
        self.recover(world)
        world.wall += CACHE_SECONDS
        assert world.slow.get(world.key) == Stored(b"second", version)

    def test_a_deletion_succeeds_and_nothing_is_read_when_the_old_entry_has_had_its_time(
        self, world: World, fault: str
    ) -> None:
        world.add()
        setattr(world.cache, fault, True)
        world.tiered.delete(world.key)
        self.recover(world)
        world.wall += CACHE_SECONDS
        assert world.read() is None

    def fail_once(self, world: World) -> None:
        world.cache.down = True
        world.tiered.get(new_key())
        world.cache.down = False

    def test_other_processes_hear_of_a_deletion_though_the_cache_has_just_failed(self, world: World) -> None:
        world.add()
        self.fail_once(world)
        world.tiered.delete(world.key)
        assert world.another().get(world.key) is None

    def test_other_processes_hear_of_a_tombstone_though_the_cache_has_just_failed(self, world: World) -> None:
        version = world.add()
        self.fail_once(world)
        version = world.tiered.end(world.key, b"tombstone", expires_at=EXPIRY, version=version)
        assert world.another().get(world.key) == Stored(b"tombstone", version)

    def test_a_record_that_the_cache_refuses_as_too_large_is_no_failure_of_the_cache(self, world: World) -> None:
        other, version = new_key(), world.add()
        world.tiered.add(other, b"other", expires_at=EXPIRY)

        def refuse(*_: Any, **__: Any) -> None:
            raise SessionTooLarge("the cache takes no such record")

        world.cached.cas = refuse  # type: ignore[method-assign]
        version = world.replace(b"second", version)
        assert world.read() == Stored(b"second", version)
        world.durable.down = True
        assert world.tiered.get(other).data == b"other"


class TestAge:
    """What the cache has is believed for a time only, whatever becomes of the cache, and of who wrote."""

    def stale(self, world: World) -> TieredVersion:
        """Write something of which the cache does not hear."""
        return world.replace_durable_only(b"second", world.add())

    def test_an_entry_is_believed_for_so_long(self, world: World) -> None:
        self.stale(world)
        world.wall += CACHE_SECONDS - 1
        assert world.read().data == b"first"

    def test_and_no_longer(self, world: World) -> None:
        self.stale(world)
        world.wall += CACHE_SECONDS
        assert world.read().data == b"second"

    def test_an_entry_that_is_still_right_is_believed_for_another_time(self, world: World) -> None:
        world.add()
        world.wall += CACHE_SECONDS
        world.read()
        world.wall += CACHE_SECONDS - 1
        assert world.read_cache_only().data == b"first"

    def test_one_from_a_clock_that_is_ahead_is_not_believed(self, world: World) -> None:
        self.stale(world)
        world.wall -= 1
        assert world.read().data == b"second"

    def test_the_time_is_from_before_the_durable_store_was_read(self, world: World) -> None:
        world.add()
        world.evict()
        world.slow_durable.between["get"] = lambda: setattr(world, "wall", world.wall + 10)
        version = world.slow.get(world.key).version
        world.replace_durable_only(b"second", version)
        world.wall += CACHE_SECONDS - 10
        assert world.read().data == b"second"

    def test_a_quick_write_does_not_prolong_it(self, world: World) -> None:
        version = world.add()
        world.wall += CACHE_SECONDS - 1
        version = world.tiered.put_quick(world.key, b"quick", version)
        world.replace_durable_only(b"second", version)
        world.wall += 1
        assert world.read().data == b"second"

    def test_a_quick_write_outlives_it_if_nothing_else_was_written(self, world: World) -> None:
        world.tiered.put_quick(world.key, b"quick", world.add())
        world.wall += CACHE_SECONDS
        assert world.read().data == b"quick"

    def test_an_entry_whose_time_was_changed_is_not_believed(self, world: World) -> None:
        self.stale(world)
        entry = world.cached.get(world.key).data
        world.cached.put(world.key, entry[:19] + bytes([entry[19] ^ 32]) + entry[20:], expires_at=EXPIRY)
        assert world.read().data == b"second"

    def test_an_entry_of_another_key_is_not_believed(self, world: World) -> None:
        other = new_key()
        world.add()
        world.tiered.add(other, b"other", expires_at=EXPIRY)
        world.cached.put(world.key, world.cached.get(other).data, expires_at=EXPIRY)
        assert world.read().data == b"first"

    def test_an_entry_signed_with_a_retired_key_is_believed(self, world: World) -> None:
        self.stale(world)
        rotated = world.process(world.cache, world.durable, keys=(b"new", b"key"))
        assert rotated.get(world.key).data == b"first"

    def test_an_entry_signed_with_a_key_of_another_application_is_not_believed(self, world: World) -> None:
        self.stale(world)
        assert world.process(world.cache, world.durable, keys=(b"other",)).get(world.key).data == b"second"

    def test_while_the_durable_store_is_down_an_old_entry_is_no_answer(self, world: World) -> None:
        world.add()
        world.wall += CACHE_SECONDS
        with pytest.raises(StoreUnavailable):
            world.read_cache_only()

    def test_but_it_is_where_the_settings_say_so(self, world: World) -> None:
        world.add()
        world.wall += CACHE_SECONDS
        world.durable.down = True
        degrading = world.tiered.store.tiers([b"key"], lambda: world.wall, CACHE_SECONDS, degrades=True)
        assert run(degrading.get(world.key)).data == b"first"


class TestDurableFailures:
    def test_a_record_in_the_cache_is_still_read(self, world: World) -> None:
        version = world.add()
        assert world.read_cache_only() == Stored(b"first", version)

    def test_a_miss_in_the_cache_is_an_outage(self, world: World) -> None:
        world.durable.down = True
        with pytest.raises(StoreUnavailable):
            world.read()

    def test_a_fresh_read_is_an_outage(self, world: World) -> None:
        world.add()
        world.durable.down = True
        with pytest.raises(StoreUnavailable):
            world.read(fresh=True)

    def test_a_failed_add_leaves_nothing_to_read(self, world: World) -> None:
        world.durable.down = True
        with pytest.raises(StoreUnavailable):
            world.add()
        world.durable.down = False
        assert world.read() is None

    def test_a_failed_replace_leaves_the_old_record(self, world: World) -> None:
        version = world.add()
        world.durable.down = True
        with pytest.raises(StoreUnavailable):
            world.replace(b"second", version)
        world.durable.down = False
        assert world.read() == Stored(b"first", version)

    def test_a_failed_replace_leaves_the_record_readable_during_the_outage(self, world: World) -> None:
        version = world.add()
        world.durable.down = True
        with pytest.raises(StoreUnavailable):
            world.replace(b"second", version)
        assert world.read().data == b"first"

    def test_a_replace_that_landed_unacknowledged_is_read_fresh(self, world: World) -> None:
        version = world.add()
        world.durable.deaf = True
        with pytest.raises(StoreUnavailable):
            world.replace(b"second", version)
        world.durable.deaf = False
        assert world.read(fresh=True).data == b"second"

    def test_a_failed_deletion_leaves_the_record(self, world: World) -> None:
        version = world.add()
        world.durable.down = True
        with pytest.raises(StoreUnavailable):
            world.tiered.delete(world.key)
        world.durable.down = False
        assert world.read() == Stored(b"first", version)

    def test_a_deletion_that_landed_unacknowledged_is_seen(self, world: World) -> None:
        world.add()
        world.durable.deaf = True
        with pytest.raises(StoreUnavailable):
            world.tiered.delete(world.key)
        world.durable.deaf = False
        assert world.read() is None

    def test_clean_up_is_of_the_durable_store(self, world: World) -> None:
        world.durable.down = True
        with pytest.raises(StoreUnavailable):
            world.tiered.store.count_expired(now=EXPIRY)
        with pytest.raises(StoreUnavailable):
            list(world.tiered.store.delete_expired(now=EXPIRY))


class TestBreaker:
    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1", None])
    def test_a_pause_that_is_none_is_refused(self, seconds: Any) -> None:
        with pytest.raises(ValueError, match=r"^retry_after must be"):
            TieredStore(MemoryStore(), MemoryStore(), retry_after=seconds)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.* is multi-threaded, use of fork:DeprecationWarning")
    def test_a_child_that_was_forked_while_a_thread_noted_an_outage_is_served(self, world: World) -> None:
        world.add()
        world.cache.down = True
        with world.tiered.store.breaker._lock():  # as another thread would
            child = os.fork()
            if child == 0:
                os._exit(world.read().data != b"first")
            assert os.waitpid(child, 0) == (child, 0)

    def test_a_cache_that_has_failed_is_left_alone_for_a_while(self, world: World) -> None:
        version = world.add()
        world.cache.down = True
        world.read()
        world.cache.down = False
        world.replace_durable_only(b"second", version)
        world.now += 0.99
        assert world.read().data == b"second"

    def test_then_it_is_tried_again(self, world: World) -> None:
        version = world.add()
        world.cache.down = True
        world.read()
        world.cache.down = False
        world.now += 1
        world.read()
        assert world.read_cache_only() == Stored(b"first", version)

    def test_one_caller_tries_it_while_the_others_do_without(self, world: World) -> None:
        calls: list[str] = []
        cache = Interleaved(world.cache)
        tiered = world.process(cache, world.stored)
        world.cache.down = True
        tiered.get(world.key)
        world.cache.down = False
        world.now += 1

        def read_meanwhile() -> None:
            cache.between["gets"] = lambda: calls.append("tried too")
            tiered.get(world.key)
            cache.between.clear()

        cache.between["gets"] = read_meanwhile
        tiered.get(world.key)
        assert calls == []

    def test_a_cache_that_answers_slowly_is_left_alone_too(self, world: World) -> None:
        def slow() -> None:
            world.now += SLOW_SECONDS + 0.1

        world.add()
        world.slow_cache.between["gets"] = slow
        assert world.slow.get(world.key).data == b"first"
        world.slow_cache.between["gets"] = lambda: pytest.fail("the cache was asked")
        assert world.slow.get(world.key).data == b"first"

    def test_the_pause_is_the_callers_choice(self, world: World) -> None:
        tiered = world.process(world.cache, world.stored, retry_after=30.0)
        version = tiered.add(world.key, b"first", expires_at=EXPIRY)
        world.cache.down = True
        tiered.get(world.key)
        world.cache.down = False
        world.replace_durable_only(b"second", version)
        world.now += 29
        assert tiered.get(world.key).data == b"second"

    def test_a_deletion_that_does_not_reach_the_cache_prolongs_the_pause(self, world: World) -> None:
        version = world.add()
        world.cache.down = True
        world.read()
        world.now += 0.9
        world.tiered.delete(new_key())
        world.cache.down = False
        world.replace_durable_only(b"second", version)
        world.now += 0.9
        assert world.read().data == b"second"

    def test_a_deletion_that_reaches_the_cache_ends_the_pause(self, world: World) -> None:
        version = world.add()
        world.cache.down = True
        world.read()
        world.cache.down = False
        world.tiered.delete(new_key())
        assert world.read_cache_only() == Stored(b"first", version)

    def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "gaesess")
        world.cache.down = True
        for _ in range(3):
            world.read()
            world.now += 1
        world.cache.down = False
        for _ in range(3):
            world.read()
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("WARNING", "the cache fails, the durable store serves alone: FaultyStore is down"),
            ("INFO", "the cache works again"),
        ]

    def test_an_answer_that_a_record_was_replaced_is_no_failure(self, world: World) -> None:
        version = world.add()
        world.evict()
        world.slow_durable.between["get"] = lambda: world.read()
        world.slow.get(world.key)
        world.durable.down = True
        assert world.slow.get(world.key) == Stored(b"first", version)
