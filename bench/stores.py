"""The stores that are there to be measured, and a session that lives in one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from secrets import token_bytes
from typing import Any, NamedTuple

import services
from pymemcache.client.base import Client

from bench.cases import ALONE, CASES, SESSION, Case, cookie_header
from bench.interleaved import Call, Pair
from bench.ours import GAESESS, Peer, with_gaesess
from gaesess import _core
from gaesess.stores.base import CLOCK_MARGIN, Store, record_key
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.memory import MemoryStore
from gaesess.stores.postgres import PostgresStore
from gaesess.stores.redis import RedisStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.stores.tiered import TieredStore

RECORD_BYTES = {"600 B": 600, "6 KB": 6_000}
LARGE_SESSION = {**SESSION, "basket": "x" * 6_000}  # too large for its cookie
LIFETIME_SECONDS = 3600
SERVER_STORES: dict[str, Any] = {"Redis": RedisStore, "Valkey": RedisStore, "PostgreSQL": PostgresStore}


# A wake-up of another CPU can cost more than all the rest of a round trip to memcached: so where each runs is set.
MEMCACHED_CPU, *_other_cpus = sorted(os.sched_getaffinity(0))
OTHER_CPU = _other_cpus[-1] if _other_cpus else None


class Opened(NamedTuple):
    """The stores by name, the "host:port" of the memcached, if there is one, and the URLs of the other servers."""

    stores: dict[str, Store]
    memcached: str | None
    urls: dict[str, str]


@contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Keep this thread, and what it starts, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def open_stores() -> Iterator[Opened]:
    """Open every store that can be had here, and stay on memcached's CPU meanwhile.

    The servers are started if they are installed: all but the Datastore emulator on that CPU, too.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gaesess-bench-")))
        emulator = services.DATASTORE.found() and stack.enter_context(services.run_datastore_emulator(directory))
        stack.enter_context(on_cpu(MEMCACHED_CPU))
        sqlite = stack.enter_context(closing(SQLiteStore(directory / "sessions.sqlite3")))
        stores: dict[str, Store] = {"memory": MemoryStore(), "SQLite": sqlite}
        address = None
        if services.MEMCACHED.found():
            address = stack.enter_context(services.run_memcached(directory))
            memcached = stack.enter_context(closing(MemcacheStore(address)))
            stores |= {"memcached": memcached, "memcached + SQLite": TieredStore(memcached, sqlite)}
        urls = {name: stack.enter_context(run) for name, run in _database_servers(directory)}
        for name, url in urls.items():
            stores[name] = stack.enter_context(closing(SERVER_STORES[name](url)))
        if emulator:
            datastore = stores["Datastore"] = _emulated_datastore(emulator)
            if address:
                stores["memcached + Datastore"] = TieredStore(memcached, datastore)
        yield Opened(stores, address, urls)


def _database_servers(directory: Path) -> Iterator[tuple[str, AbstractContextManager[str]]]:
    """Yield what starts each server that is installed, and gives its URL."""
    if services.REDIS.found():
        yield "Redis", _url_of("redis", services.run_redis(_new(directory, "redis")))
    if services.VALKEY.found():
        yield "Valkey", _url_of("valkey", services.run_valkey(_new(directory, "valkey")))
    if services.POSTGRES.found():
        yield "PostgreSQL", _url_of("", services.run_postgres())


def _new(directory: Path, name: str) -> Path:
    (directory / name).mkdir()
    return directory / name


@contextmanager
def _url_of(scheme: str, run: AbstractContextManager[Any]) -> Iterator[str]:
    with run as (where, _):
        yield f"{scheme}://127.0.0.1:{where}/0" if scheme else where


def _emulated_datastore(address: str) -> Store:
    from google.cloud import ndb

    from gaesess.stores.datastore import DatastoreStore

    os.environ["DATASTORE_EMULATOR_HOST"] = address
    return DatastoreStore(ndb.Client(project=services.PROJECT))


def operations(store: Store, record_bytes: int = RECORD_BYTES["6 KB"]) -> dict[str, Call]:
    """Return calls that get, add and replace a record of that size."""
    record = token_bytes(record_bytes)
    expires_at = int(time.time()) + LIFETIME_SECONDS
    key = record_key(expires_at, token_bytes(16))
    version = store.add(key, record, expires_at=expires_at)

    def add() -> None:
        store.add(record_key(expires_at, token_bytes(16)), record, expires_at=expires_at)

    def replace() -> None:
        nonlocal version
        version = store.replace(key, record, expires_at=expires_at, version=version)

    return {"get": lambda: store.get(key), "add": add, "replace": replace}


def request_pair(store: Store, case: Case = CASES["read"], contents: dict[str, Any] = LARGE_SESSION) -> Pair:
    """Return a request whose session lives in that store whatever its size, and the same without sessions."""
    return _stored_in(store).pair(case, ALONE, contents)


@contextmanager
def raw_get(opened: Opened) -> Iterator[Call]:
    """Give a call of pymemcache itself that gets the record of a session, by a client such as MemcacheStore makes.

    Of its settings the timeout counts: with one, Python asks the kernel before each send and receive if it may.
    """
    peer, sids = _stored_in(opened.stores["memcached"]), []
    cookies = cookie_header(peer.issue(LARGE_SESSION), ALONE)
    peer.protocol.request(peer.app(lambda session: sids.append(session.sid)), cookies)()
    expires, _, sid = _core.parse_sid(sids[0])
    key = f"gaesess:{record_key(expires + CLOCK_MARGIN, sid)}"
    with closing(Client(opened.memcached, connect_timeout=0.5, timeout=0.5, no_delay=True)) as client:
        assert len(client.get(key)) > len(LARGE_SESSION["basket"])
        yield lambda: client.get(key)


def _stored_in(store: Store) -> Peer:
    return GAESESS._replace(app=partial(with_gaesess, store=store, cookie_only_threshold=0))
