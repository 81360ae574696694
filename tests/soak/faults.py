"""What goes wrong while users come: each fault lasts for some seconds, and one follows the other."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import services
from proxy import Proxy, grpc_reply_begins
from soak.servers import Servers
from soak.workers import children

PAUSE_SECONDS = 5.0  # between two faults
FAILOVER = "the store fails over to a replica that is behind"


class Engines(NamedTuple):
    """What faults are made in: gunicorn, the folder that tells it to lie, and the servers of the stores."""

    server: services.Server
    directory: Path
    servers: Servers


class Fault(NamedTuple):
    """One that was injected, by the monotonic clock."""

    name: str
    excuses: int | None  # the status for which it is an excuse, 0 for no answer
    began: float
    ended: float


def faults(engines: Engines) -> dict[str, tuple[int | None, Callable[[float], None]]]:
    """Return the faults of these engines by name: the status that they excuse, and what makes one for so long."""
    kinds: dict[str, tuple[int | None, Callable[[float], None]]] = {
        "a worker is killed": (0, lambda seconds: kill_worker(engines.server.pid)),
    }
    memcached, database, pair, cache, store = engines.servers
    if memcached and cache:
        kinds |= {
            "the cache is killed, and back empty": (None, lambda seconds: restart(memcached, seconds)),
            "the cache hangs": (None, lambda seconds: pause(memcached, seconds)),
            "the cache is slow": (None, lambda seconds: inject(cache, seconds, delay=0.3)),
            "the cache's replies are lost": (None, lambda seconds: inject(cache, seconds, drops="replies")),
            "the cache is cut off": (None, lambda seconds: cut(cache, seconds)),
        }
    if store:
        begins = grpc_reply_begins if memcached else bool  # Datastore's, which alone has one before it
        kinds |= {
            "the store's replies are lost": (503, lambda seconds: inject(store, seconds, drops="replies")),
            "the store is slow": (503, lambda seconds: inject(store, seconds, delay=0.2)),
            "a reply of the store is cut": (
                503,
                lambda seconds: inject(store, seconds, cuts_after=1, reply_begins=begins),
            ),
            "the store cannot be reached": (503, lambda seconds: refuse(store, seconds)),
        }
    else:
        kinds["another program locks the store"] = (503, lambda seconds: lock(engines.directory, seconds))
    if database or pair or not store:
        kinds["some writes are made and said to have failed, or made twice"] = (
            503,
            lambda seconds: lie(engines.directory, seconds),
        )
    if database:
        kinds |= {
            "the store is killed and started again": (503, lambda seconds: restart(database, seconds)),
            "the store hangs": (503, lambda seconds: pause(database, seconds)),
        }
    if store and (database or pair):
        kinds["the store is cut off"] = (503, lambda seconds: cut(store, seconds))
    if store and pair:
        kinds[FAILOVER] = (503, lambda seconds: pair.fail_over(store, seconds))
    return kinds


def inject_all(engines: Engines, until: float, longest: float, seed: int) -> list[Fault]:
    """Inject faults until then by the monotonic clock, in an order by chance, and return which there were."""
    injected, kinds, chance = [], list(faults(engines).items()), random.Random(seed)
    while True:
        chance.shuffle(kinds)
        for name, (excuses, make) in kinds:
            if time.monotonic() + longest + PAUSE_SECONDS > until:
                return injected
            began = time.monotonic()
            make(longest)
            injected.append(Fault(name, excuses, began, time.monotonic()))
            time.sleep(PAUSE_SECONDS)


def kill_worker(master: int) -> None:
    """Kill a worker; gunicorn starts another one."""
    workers = children(master)
    os.kill(random.choice(workers), signal.SIGKILL)
    time.sleep(1)


def restart(server: services.Server, seconds: float) -> None:
    server.kill()
    time.sleep(seconds)
    server.start()


def pause(server: services.Server, seconds: float) -> None:
    server.pause()
    time.sleep(seconds)
    server.resume()


def inject(proxy: Proxy, seconds: float, **fault: object) -> None:
    proxy.inject(**fault)
    time.sleep(seconds)
    proxy.restore()


def refuse(proxy: Proxy, seconds: float) -> None:
    proxy.refuse()
    time.sleep(seconds)
    proxy.restore()


def cut(proxy: Proxy, seconds: float) -> None:
    """End all connections again and again: what was sent on them may have landed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        proxy.cut()
        time.sleep(0.1)


def lock(directory: Path, seconds: float) -> None:
    with closing(sqlite3.connect(directory / "sessions.sqlite3", timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        other.execute("ROLLBACK")


def lie(directory: Path, seconds: float) -> None:
    """See `soak.served.Lying`."""
    switch = directory / "lying"
    switch.touch()
    time.sleep(seconds)
    switch.unlink()
