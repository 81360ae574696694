"""PostgresStore and AsyncPostgresStore while PostgreSQL hangs, crashes, restarts, loses replies, and fails over."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import services
from proxy import Proxy
from psycopg.conninfo import make_conninfo

from gaesess import SessionManager, generate_key
from gaesess.errors import StoreUnavailable
from gaesess.stores.base import Stored
from gaesess.stores.postgres import AsyncPostgresStore, PostgresStore
from gaesess.testing import EXPIRY, new_key
from gaesess.testing.async_contract import Blocking, InLoop, event_loop

if TYPE_CHECKING:
    from typing_extensions import LiteralString

DEADLINE_SECONDS = 60  # for what PostgreSQL does by itself


class Stores:
    """Makes stores of one kind, and closes them."""

    def __init__(self, kind: type, in_loop: InLoop) -> None:
        self.made: list[Any] = []
        self._kind, self._in_loop = kind, in_loop

    def __call__(self, url: str, **settings: Any) -> Any:
        self.made.append(self._kind(url, **settings))
        return self.made[-1] if self._kind is PostgresStore else Blocking(self.made[-1], self._in_loop)

    def close(self) -> None:
        for store in self.made:
            store.close()


@pytest.fixture(params=[PostgresStore, AsyncPostgresStore])
def make(request: pytest.FixtureRequest) -> Iterator[Stores]:
    with event_loop() as in_loop:
        stores = Stores(request.param, in_loop)
        yield stores
        stores.close()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, services.Server]]:
    with services.run_postgres() as started:
        yield started


@pytest.fixture
def proxy(server: tuple[str, services.Server]) -> Iterator[Proxy]:
    with Proxy(server[0].split("@")[1].split("/")[0]) as proxy:
        yield proxy


def through(proxy: Proxy) -> str:
    return f"postgresql://postgres@{proxy.address}/postgres"


CALLS: dict[str, Callable[[Any, str, int], object]] = {
    "get": lambda store, key, version: store.get(key),
    "get_many": lambda store, key, version: store.get_many([key, new_key()]),
    "add": lambda store, key, version: store.add(new_key(), b"new", expires_at=EXPIRY),
    "replace": lambda store, key, version: store.replace(key, b"new", expires_at=EXPIRY, version=version),
    "delete": lambda store, key, version: store.delete(new_key()),
}


# -- Lost replies


@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_reply_is_lost_is_made_once_more(make: Stores, proxy: Proxy, call: str) -> None:
    store, key = make(through(proxy)), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    proxy.inject(cuts_after=0)
    CALLS[call](store, key, version)
    assert proxy.faults == 1


def test_an_add_whose_reply_is_lost_finds_its_own_record(make: Stores, proxy: Proxy) -> None:
    store, key = make(through(proxy)), new_key()
    store.get(key)
    proxy.inject(cuts_after=0)
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key) == Stored(b"data", version)


def test_a_replace_whose_reply_is_lost_finds_its_own_record(make: Stores, proxy: Proxy) -> None:
    store, key = make(through(proxy)), new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    proxy.inject(cuts_after=0)
    version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"second", version)


def test_a_reply_that_is_lost_twice_is_an_outage(make: Stores, proxy: Proxy) -> None:
    store, key = make(through(proxy)), new_key()
    store.get(key)
    proxy.inject(drops="replies")
    stopped = threading.Thread(target=until, args=(lambda: proxy.faults, proxy.refuse))
    stopped.start()
    with pytest.raises(StoreUnavailable, match="refused"):
        store.add(key, b"data", expires_at=EXPIRY)
    stopped.join()


def until(condition: Callable[[], object], then: Callable[[], object] = lambda: None) -> None:
    """Wait for what another process does by itself."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    then()


def is_of_a_statement(reply: bytes) -> bool:
    """Whether it does not belong to the beginning of a connection, which nothing repeats."""
    return not reply.startswith((b"N", b"R"))  # no TLS; authentication


def test_increments_add_up_however_many_replies_are_lost(proxy: Proxy) -> None:
    cookie_key, store = generate_key(), PostgresStore(through(proxy))

    def manager() -> SessionManager:
        return SessionManager(cookie_key, store=store, cookie_only_threshold=0)

    session = manager().open(None)
    session["visits"] = 0
    cookie = str(session.commit()[0]).split(";")[0]

    # While no call is under way: one that is hit twice fails.
    one_fault = threading.Barrier(4, lambda: proxy.inject(cuts_after=0, reply_begins=is_of_a_statement))

    def visit(number: int) -> None:
        own = manager()
        for turn in range(20):
            if turn % 5 == 0:
                one_fault.wait()
            session = own.open(cookie)
            session.increment("visits")
            session.commit()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(visit, range(4)))
    assert manager().open(cookie)["visits"] == 80
    assert proxy.faults == 4
    store.close()


# -- Outages


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_hangs_is_an_outage(make: Stores, server: tuple[str, services.Server], call: str) -> None:
    url, process = server
    store, key = make(url, timeout=0.2), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    with paused(url, process), pytest.raises(StoreUnavailable, match=r"has not answered within 0\.2 seconds"):
        CALLS[call](store, key, version)
    assert store.get(new_key()) is None


@contextmanager
def paused(url: str, process: services.Server) -> Iterator[None]:
    """Let the server hang: the process that listens, and those of the connections, which are in groups of their own."""
    with psycopg.connect(url) as admin:
        found = admin.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchall()
    process.pause()
    for (pid,) in found:
        with suppress(ProcessLookupError):  # that of `admin` has ended
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        process.resume()
        for (pid,) in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_server_that_does_not_let_anybody_in_is_an_outage(make: Stores, proxy: Proxy) -> None:
    proxy.inject(drops="replies")
    with pytest.raises(StoreUnavailable, match="connection timeout expired"):
        make(through(proxy), timeout=0.2).get(new_key())


def test_after_a_crash_and_a_restart_no_call_fails(make: Stores) -> None:
    with services.run_postgres() as (url, process):
        store = make(url)
        keys = [new_key() for _ in range(40)]
        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(lambda key: store.add(key, b"data", expires_at=EXPIRY), keys))
            process.kill()
            process.start()
            found = list(pool.map(store.get, keys))
        assert found == [Stored(b"data", version) for version in versions]
        make.close()


def test_connections_that_the_server_ends_make_no_call_fail(make: Stores, server: tuple[str, services.Server]) -> None:
    url, _ = server
    store, key = make(make_conninfo(url, application_name="ended")), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    with psycopg.connect(url) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'")
    assert store.get(key) == Stored(b"data", version)


def test_after_a_failover_the_new_primary_is_found(make: Stores) -> None:
    """What the standby had not received yet would be lost: replication is asynchronous unless it is set otherwise."""
    with services.run_postgres() as (primary, process), standby_of(primary) as standby:
        hosts = ",".join(url.split("@")[1].split("/")[0] for url in (primary, standby))
        store, key = make(f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"), new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        wait_for(standby, "SELECT 1 FROM gaesess_record")
        process.kill()
        with pytest.raises(StoreUnavailable):
            store.replace(key, b"lost", expires_at=EXPIRY, version=version)
        with psycopg.connect(standby, autocommit=True) as admin:
            admin.execute("SELECT pg_promote()")
        version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
        assert store.get(key) == Stored(b"second", version)
        make.close()


def test_a_write_to_a_standby_says_what_finds_the_primary(make: Stores) -> None:
    with services.run_postgres() as (primary, _), standby_of(primary) as standby:
        make(primary).get(new_key())
        wait_for(standby, "SELECT 1 WHERE to_regclass('gaesess_record') IS NOT NULL")
        with pytest.raises(StoreUnavailable, match=r"read-only .*25006.* target_session_attrs=read-write"):
            make(standby).add(new_key(), b"data", expires_at=EXPIRY)
        make.close()


@contextmanager
def standby_of(primary: str) -> Iterator[str]:
    """Run a standby that replicates asynchronously, and yield its URL."""
    programs, port = services.postgres_bin(), services.free_port()
    with TemporaryDirectory(prefix="gaesess-standby-", ignore_cleanup_errors=True) as folder:
        data = Path(folder, "data")
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        if become:
            shutil.chown(folder, "postgres")
        copy = [*become, f"{programs}/pg_basebackup", "-D", str(data), "-d", primary, "-R", "-c", "fast", "-N"]
        subprocess.run(copy, cwd=folder, check=True)
        command = [*become, f"{programs}/postgres", "-D", str(data), "-p", str(port), "-k", folder]
        for setting in ("listen_addresses=127.0.0.1", "fsync=off"):
            command += ["-c", setting]
        with services.running(command, Path(folder), lambda: services.postgres_answers(port)):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


def wait_for(url: str, query: LiteralString) -> None:
    """Wait until the query finds something."""
    with psycopg.connect(url, autocommit=True) as admin:

        def is_there() -> bool:
            try:
                return admin.execute(query).fetchone() is not None
            except psycopg.errors.UndefinedTable:
                return False

        until(is_there)
