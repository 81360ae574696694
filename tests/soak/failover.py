"""A Redis and its replica, which takes its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import services
from proxy import Proxy

LAG_SECONDS = 0.5  # that the replica is behind, at least, when it takes the leader's place
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "always")


class Node(NamedTuple):
    """One of the two."""

    port: int
    server: services.Server

    @property
    def address(self) -> str:
        """Where it listens, as "host:port"."""
        return f"127.0.0.1:{self.port}"

    def command(self, *words: str) -> None:
        """Have it do that."""
        import redis

        with closing(redis.Redis(port=self.port)) as client:
            client.execute_command(*words)

    def wait_until_in_step(self) -> None:
        """Return when it has what its leader has."""
        import redis

        with closing(redis.Redis(port=self.port)) as client:
            while client.info("replication").get("master_link_status") != "up":
                time.sleep(0.05)


class Pair:
    """A leader, which answers, and a follower, which gets its writes by a proxy."""

    def __init__(self, leader: Node, follower: Node, replication: Proxy) -> None:
        self.leader, self.follower, self._replication = leader, follower, replication

    def follow(self) -> None:
        """Let the follower follow the leader, and return when it is in step."""
        self.follower.command("REPLICAOF", "127.0.0.1", str(self._replication.port))
        self.follower.wait_until_in_step()

    def fail_over(self, clients: Proxy, seconds: float) -> None:
        """Kill the leader while its follower is behind, and let that take its place. It comes back as the follower."""
        self._replication.inject(delay=LAG_SECONDS)
        time.sleep(seconds / 2)
        self.leader.server.kill()
        self.follower.command("REPLICAOF", "NO", "ONE")
        self.leader, self.follower = self.follower, self.leader
        for proxy in (clients, self._replication):
            proxy.target = self.leader.address.split(":")
            proxy.cut()
        self._replication.restore()
        time.sleep(seconds / 2)
        self.follower.server.start()
        self.follow()


@contextmanager
def run_pair(directory: Path) -> Iterator[Pair]:
    """Run the two servers, which write all they answer to the disk."""
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    options = (*PERSISTENT, "--repl-diskless-sync-delay", "0")
    with (
        services.run_redis(directory / "a", *options) as leader,
        services.run_redis(directory / "b", *options) as follower,
        Proxy(Node(*leader).address) as replication,
    ):
        pair = Pair(Node(*leader), Node(*follower), replication)
        pair.follow()
        yield pair
