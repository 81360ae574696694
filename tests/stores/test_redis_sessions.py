"""Whole sessions in a real Redis: what is lost, and what the session does then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import redis
import services
from browser import Browser
from proxy import Proxy
from services import Server

from gaesess import SessionDataLoss, SessionManager, StoreUnavailable, generate_key
from gaesess.stores.base import Store
from gaesess.stores.memory import MemoryStore
from gaesess.stores.redis import _WRITE, AsyncRedisStore, RedisStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import EXPIRY, FaultyStore, new_key

BIG = "x" * 5000
APPENDONLY = ("--appendonly", "yes", "--appendfsync", "no")
RUNS = pytest.mark.parametrize("run", [services.run_redis, services.run_valkey], ids=["redis", "valkey"])


def managers(store: Store, other: Store) -> tuple[SessionManager, SessionManager]:
    """Return the managers of two processes of one application."""
    key = generate_key()
    return SessionManager(key, store=store), SessionManager(key, store=other)


# Exactly once


def alone(url: str, memory: MemoryStore) -> Store:
    return RedisStore(url)


def durable(url: str, memory: MemoryStore) -> Store:
    return TieredStore(memory, RedisStore(url))


def cache(url: str, memory: MemoryStore) -> Store:
    return TieredStore(RedisStore(url, may_forget=True), memory)


def both(url: str, memory: MemoryStore) -> Store:
    return TieredStore(RedisStore(url, prefix="cache:", may_forget=True), RedisStore(url))


Make: TypeAlias = Callable[[str, MemoryStore], Store]
MAKES = pytest.mark.parametrize("make", [alone, durable, cache, both])


@MAKES
def test_two_processes_that_count_up_at_once_make_two(redis_url: str, make: Make) -> None:
    memory = MemoryStore()  # shared, too
    here, there = managers(make(redis_url, memory), make(redis_url, memory))
    browser = Browser(here)
    with browser.request() as session:
        session.update(filler=BIG, n=0)
    first, second = browser.send(), browser.copy(there).send()
    for request in (first, second):
        request.increment("n")
        request.append("items", "tea")
    first.commit()
    second.commit()
    for manager in (here, there):
        data = browser.copy(manager).data()
        assert (data["n"], data["items"]) == (2, ["tea", "tea"])


@MAKES
@pytest.mark.parametrize("cut", range(4))
def test_a_reply_that_is_lost_counts_once(redis_url: str, make: Make, cut: int) -> None:
    with Proxy(redis_url.split("/")[2]) as proxy:
        browser = Browser(SessionManager(generate_key(), store=make(f"redis://{proxy.address}/0", MemoryStore())))
        with browser.request() as session:
            session.update(filler=BIG, n=0)
        session = browser.send()
        session.increment("n")
        session.append("items", "tea")
        replies = [0]

        def is_due(chunk: bytes) -> bool:
            replies[0] += 1
            return replies[0] == cut + 1

        proxy.inject(cuts_after=0, reply_begins=is_due)
        browser.receive(session)
        proxy.restore()
        data = browser.data()
        assert (data["n"], data["items"]) == (1, ["tea"])


@pytest.mark.parametrize("asks_again", [False, True])
def test_a_sign_out_whose_replies_are_lost_is_one(redis_url: str, asks_again: bool) -> None:
    with Proxy(redis_url.split("/")[2]) as proxy:
        store = RedisStore(f"redis://{proxy.address}/0", timeout=0.2)
        browser = Browser(SessionManager(generate_key(), store=store))
        with browser.request() as session:
            session.update(filler=BIG)
        thief, session = browser.copy(), browser.send()
        session.ensure_data_loaded()
        proxy.inject(drops="replies") if asks_again else proxy.inject(cuts_after=0)
        if asks_again:
            with pytest.raises(StoreUnavailable):
                session.terminate()
            proxy.restore()
        session.terminate()
        browser.receive(session)
        assert not thief.send().is_active()


def test_an_asynchronous_session(redis_url: str) -> None:
    store = AsyncRedisStore(redis_url)
    here, there = managers(store, AsyncRedisStore(redis_url))
    browser = Browser(here)

    async def count_up(manager: SessionManager) -> Any:
        session = browser.copy(manager).send()
        await session.aload()
        session.setdefault("filler", BIG)
        session.increment("n")
        browser.take(await session.acommit())
        return session["n"]

    assert [asyncio.run(count_up(manager)) for manager in (here, there, here)] == [1, 2, 3]


# A server that is down, or full, or forgets


def test_an_application_starts_while_the_server_is_down(tmp_path: Path) -> None:
    with services.run_redis(tmp_path, *APPENDONLY) as (port, server):
        server.kill()
        browser = Browser(SessionManager(generate_key(), store=RedisStore(f"redis://127.0.0.1:{port}")))
        session = browser.send()
        session.update(filler=BIG)
        with pytest.raises(StoreUnavailable):
            session.commit()
        server.start()
        browser.receive(session)
        with redis.Redis(port=port) as client:
            client.flushall()
        with pytest.raises(SessionDataLoss):
            browser.data()


@pytest.mark.parametrize("options", [(), ("--maxmemory-policy", "allkeys-lru")])
@pytest.mark.parametrize("tiered", [False, True])
def test_a_session_that_the_server_may_lose_has_ended(options: tuple[str, ...], tiered: bool, tmp_path: Path) -> None:
    with services.run_redis(tmp_path, *options) as (port, _):
        store: Store = RedisStore(f"redis://127.0.0.1:{port}")
        browser = Browser(SessionManager(generate_key(), store=TieredStore(MemoryStore(), store) if tiered else store))
        with browser.request() as session:
            session.update(filler=BIG)
        if tiered:
            browser.manager.config.records._tiers._cache._store._records.clear()  # type: ignore[union-attr]
        with redis.Redis(port=port) as client:
            client.flushall()
        assert browser.data() == {}


@contextmanager
def full(run: Any, folder: Path) -> Iterator[tuple[Browser, redis.Redis]]:
    """Yield a browser with a session in a server whose memory is full by now, and a client to change that."""
    with run(folder, *APPENDONLY, "--maxmemory-policy", "noeviction") as (port, _), redis.Redis(port=port) as client:
        browser = Browser(SessionManager(generate_key(), store=RedisStore(f"redis://127.0.0.1:{port}")))
        with browser.request() as session:
            session.update(filler=BIG, n=0)
        client.config_set("maxmemory", 1)
        yield browser, client


@RUNS
def test_a_session_can_be_read_but_not_grow_while_the_memory_is_full(run: Any, tmp_path: Path) -> None:
    with full(run, tmp_path) as (browser, client):
        session = browser.send()
        session["more"] = BIG
        with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
            session.commit()
        session = Browser(browser.manager).send()
        session["new"] = BIG
        with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
            session.commit()
        assert browser.send()["n"] == 0
        client.config_set("maxmemory", 0)
        with browser.request() as session:
            session["more"] = BIG
        assert browser.data()["more"] == BIG


@RUNS
def test_a_sign_out_needs_no_memory(run: Any, tmp_path: Path) -> None:
    with full(run, tmp_path) as (browser, _):
        thief = browser.copy()
        with browser.request() as session:
            session.terminate()
        assert not thief.send().is_active()


@RUNS
def test_a_record_that_gets_no_longer_is_stored_in_full_memory(run: Any, tmp_path: Path) -> None:
    with run(tmp_path) as (port, _), redis.Redis(port=port) as client:
        store, key = RedisStore(f"redis://127.0.0.1:{port}"), new_key()
        version = store.add(key, bytes(600), expires_at=EXPIRY)
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailable):
            store.replace(key, bytes(601), expires_at=EXPIRY, version=version)
        for size in (600, 1, 0):
            version = store.replace(key, bytes(size), expires_at=EXPIRY + 1, version=version)
            assert store.get(key) == (bytes(size), version)
        assert client.pexpiretime(f"gaesess:{key}") == (EXPIRY + 1) * 1000
        store.close()


def test_evicted_sessions_are_over(tmp_path: Path) -> None:
    options = "--maxmemory", "4mb", "--maxmemory-policy", "volatile-ttl"
    with services.run_redis(tmp_path, *options) as (port, _):
        manager = SessionManager(generate_key(), store=RedisStore(f"redis://127.0.0.1:{port}"))
        browsers = [Browser(manager) for _ in range(600)]
        for browser in browsers:
            with browser.request() as session:
                session["filler"] = BIG
        found = [len(browser.send()) for browser in browsers]
        assert set(found) == {0, 1}


# Failover


class Pair:
    """A primary with a replica, which takes over."""

    def __init__(self, primary: tuple[int, Server], replica: tuple[int, Server]) -> None:
        self.ports = primary[0], replica[0]
        self.primary, self.replica = primary[1], replica[1]
        self.clients = [redis.Redis(port=port) for port in self.ports]
        self.key = generate_key()

    def browser(self, **options: Any) -> Browser:
        """Return a browser of an application that uses the primary."""
        return Browser(self._manager(0, **options))

    def after_failover(self, browser: Browser, **options: Any) -> Browser:
        """Return the browser as of an application that uses the former replica."""
        return browser.copy(self._manager(1, **options))

    def detach(self) -> None:
        """Let nothing reach the replica any more, which is a primary from now on."""
        self.clients[1].replicaof("NO", "ONE")

    def _manager(self, number: int, **options: Any) -> SessionManager:
        return SessionManager(self.key, store=RedisStore(f"redis://127.0.0.1:{self.ports[number]}", **options))


@pytest.fixture(params=[services.run_redis, services.run_valkey], ids=["redis", "valkey"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    for name in ("primary", "replica"):
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        primary = stack.enter_context(request.param(tmp_path / "primary", "--repl-diskless-sync-delay", "0"))
        options = "--replicaof", "127.0.0.1", str(primary[0])
        pair = Pair(primary, stack.enter_context(request.param(tmp_path / "replica", *options)))
        while pair.clients[1].info("replication")["master_link_status"] != "up":
            pair.clients[1].ping()
        yield pair
        for client in pair.clients:
            client.close()


def signed_in(browser: Browser) -> Browser:
    with browser.request() as session:
        session.update(filler=BIG, n=0)
    return browser


@pytest.mark.parametrize("may_forget", [False, True])
def test_a_change_that_a_failover_loses(pair: Pair, may_forget: bool) -> None:
    """The cookie's revision shows it."""
    browser = signed_in(pair.browser(wait_replicas=1, timeout=10))
    pair.detach()
    browser = browser.copy(pair.browser().manager)
    with browser.request() as session:
        session.increment("n")
    after = pair.after_failover(browser, may_forget=may_forget)
    if may_forget:
        assert after.data() == {}
    else:
        with pytest.raises(SessionDataLoss):
            after.data()


def test_a_sign_out_that_a_failover_loses_brings_a_copied_cookie_back(pair: Pair) -> None:
    browser = signed_in(pair.browser(wait_replicas=1, timeout=10))
    pair.detach()
    thief = browser.copy()
    browser = browser.copy(pair.browser().manager)
    with browser.request() as session:
        session.terminate()
    assert pair.after_failover(thief).send()["n"] == 0


def test_a_change_that_a_replica_has_survives_a_failover(pair: Pair) -> None:
    browser = signed_in(pair.browser(wait_replicas=1, timeout=10))
    with browser.request() as session:
        session.increment("n")
    pair.primary.kill()
    pair.detach()
    assert pair.after_failover(browser).data()["n"] == 1


def test_a_sign_out_that_a_replica_has_survives_a_failover(pair: Pair) -> None:
    browser = signed_in(pair.browser(wait_replicas=1, timeout=10))
    thief = browser.copy()
    with browser.request() as session:
        session.terminate()
    pair.primary.kill()
    pair.detach()
    assert not pair.after_failover(thief).send().is_active()


WAIT = {"wait_replicas": 1, "timeout": 0.5}


def add(browser: Browser) -> None:
    signed_in(Browser(browser.manager))


def change(browser: Browser) -> None:
    with browser.request() as session:
        session.increment("n")


def terminate(browser: Browser) -> None:
    with browser.request() as session:
        session.terminate()


def regenerate(browser: Browser) -> None:
    with browser.request() as session:
        session.regenerate_id()


@pytest.mark.parametrize("call", [add, change, terminate, regenerate])
@pytest.mark.parametrize("tiered", [False, True])
def test_what_no_replica_has_confirmed_is_not_called_saved(
    pair: Pair, call: Callable[[Browser], None], tiered: bool
) -> None:
    patient, hasty = (
        RedisStore(f"redis://127.0.0.1:{pair.ports[0]}", wait_replicas=1, timeout=timeout) for timeout in (10, 0.5)
    )
    cache = MemoryStore()
    stores = [TieredStore(cache, store) if tiered else store for store in (patient, hasty)]
    before, after = managers(*stores)
    browser = signed_in(Browser(before))
    pair.replica.pause()
    with pytest.raises(StoreUnavailable, match="on 0 replicas, and wait_replicas=1"):
        call(browser.copy(after))
    pair.replica.resume()


def test_what_is_saved_again_is_not_called_saved_before_a_replica_has_it(pair: Pair) -> None:
    """It was written the first time; the second one finds that out."""
    browser = signed_in(pair.browser(wait_replicas=1, timeout=10)).copy(pair.browser(**WAIT).manager)
    session = browser.send()
    session.increment("n")
    pair.replica.pause()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            session.save()
    pair.replica.resume()
    patient = browser.copy(pair.browser(wait_replicas=1, timeout=10).manager)
    assert patient.data()["n"] == 1


def test_a_sign_out_that_is_repeated_is_not_called_done_before_a_replica_has_it(pair: Pair) -> None:
    browser = signed_in(pair.browser(wait_replicas=1, timeout=10))
    thief, session = browser.copy(), browser.copy(pair.browser(**WAIT).manager).send()
    session.ensure_data_loaded()
    pair.replica.pause()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            session.terminate()
    pair.replica.resume()
    while pair.clients[0].wait(1, 100) != 1:
        pass
    session.terminate()
    pair.primary.kill()
    pair.detach()
    assert not pair.after_failover(thief).send().is_active()


def test_sessions_can_be_read_without_a_replica(pair: Pair) -> None:
    browser = signed_in(pair.browser(wait_replicas=1, timeout=10)).copy(pair.browser(**WAIT).manager)
    pair.replica.pause()
    assert browser.send()["n"] == 0
    pair.replica.resume()


def test_a_write_that_is_sent_twice_waits_for_the_first(pair: Pair) -> None:
    """The second finds the first, on a connection of its own that has written nothing yet."""
    pair.replica.pause()
    with Proxy(f"127.0.0.1:{pair.ports[0]}") as proxy:
        store = RedisStore(f"redis://{proxy.address}", may_forget=True, **WAIT)
        assert store.get(new_key()) is None
        pair.clients[0].script_load(_WRITE)
        proxy.inject(cuts_after=0)
        with pytest.raises(StoreUnavailable, match="on 0 replicas"):
            store.add(new_key(), b"data", expires_at=EXPIRY)
        assert proxy.faults == 1
        store.close()
    pair.replica.resume()


def test_a_faulty_copy_of_the_store_works_as_any(redis_url: str) -> None:
    store = FaultyStore(RedisStore(redis_url))
    store.resends = 1
    browser = Browser(SessionManager(generate_key(), store=store))
    with browser.request() as session:
        session.update(filler=BIG, n=0)
    with browser.request() as session:
        session.increment("n")
    assert browser.data()["n"] == 1
