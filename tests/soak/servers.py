"""The servers that each store of a soak needs, and the proxies in front of them."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import services
from proxy import Proxy
from soak.failover import PERSISTENT, Pair, run_pair

ADDRESS = re.compile(r"127\.0\.0\.1:\d+")


class Servers(NamedTuple):
    """What runs; what this soak does without is None."""

    memcached: services.Server | None = None
    database: services.Server | None = None  # one that has all its data when it is started again
    pair: Pair | None = None
    cache: Proxy | None = None  # in front of memcached
    store: Proxy | None = None  # in front of the durable store

    @property
    def proxies(self) -> list[Proxy]:
        """Those in front of the stores."""
        return [proxy for proxy in (self.cache, self.store) if proxy]


def start_servers(stack: ExitStack, store: str, env: dict[str, str]) -> Servers:
    """Start what the store needs, until the stack is closed, and add to `env` where it is."""

    def new_directory() -> Path:
        return Path(stack.enter_context(TemporaryDirectory()))

    memcached = database = pair = None
    if store in ("datastore", "tiered"):
        env["SOAK_MEMCACHED"], memcached = stack.enter_context(services.memcached_server(new_directory()))
    if store == "datastore":
        env["DATASTORE_EMULATOR_HOST"] = stack.enter_context(services.run_datastore_emulator(new_directory()))
        env["DATASTORE_PROJECT_ID"] = services.PROJECT
    elif store == "redis":
        port, database = stack.enter_context(services.run_redis(new_directory(), *PERSISTENT))
        env["SOAK_URL"] = f"redis://127.0.0.1:{port}/0"
    elif store.startswith("failover"):
        pair = stack.enter_context(run_pair(new_directory()))
        env["SOAK_URL"] = f"redis://{pair.leader.address}/0"
    elif store == "postgres":
        env["SOAK_URL"], database = stack.enter_context(services.run_postgres())
    return Servers(memcached, database, pair)


def put_proxies(stack: ExitStack, servers: Servers, env: dict[str, str]) -> Servers:
    """Put a proxy in front of each server, and write into `env` where that is."""

    def proxied(name: str) -> Proxy | None:
        if name not in env:
            return None
        proxy = stack.enter_context(Proxy(ADDRESS.findall(env[name])[0]))
        env[name] = ADDRESS.sub(proxy.address, env[name])
        return proxy

    return servers._replace(
        cache=proxied("SOAK_MEMCACHED"), store=proxied("DATASTORE_EMULATOR_HOST") or proxied("SOAK_URL")
    )
