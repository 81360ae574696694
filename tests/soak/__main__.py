"""`python -m soak [STORE]`: minutes of users, kills and outages, and then a look at whether anything was lost.

gunicorn with 2 processes of 8 threads serves sessions in memcached and the Datastore emulator (`datastore`), in SQLite
(`sqlite`), in memcached and SQLite (`tiered`), in a Redis that syncs every write to its disk (`redis`), in one with a
replica that takes its place (`failover`, and with `wait_replicas=1` `failover-wait`), or in PostgreSQL (`postgres`);
half of them with the setting `revocable`. Workers and servers are killed, and the stores are slow, cannot be reached,
lose replies, and get writes twice. Exit code 1 says that something is not as claimed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from engines.processes import run_gunicorn
from engines.visitor import complaints
from soak.clients import LARGE, SMALL, Client, Sharing
from soak.contention import Contention, contend
from soak.diary import MOUNTS, Diary
from soak.faults import FAILOVER, Engines, Fault, inject_all
from soak.servers import put_proxies, start_servers
from soak.workers import Usage, usage, wait_for_children

STORES = ("datastore", "sqlite", "tiered", "redis", "failover", "failover-wait", "postgres")
MAY_LOSE = ("failover",)  # what was written while the replica was behind
PROCESSES, THREADS = 2, 8
CLIENTS = 24
CALL_SECONDS = 2.0  # that a call of the durable store may take; a request makes two at most in an outage
RECONNECT_SECONDS = 6.0  # gRPC tries again after up to so long, when it could not connect for 5 seconds
FAULT_SECONDS = 5.0
FAULTS_END = 0.75  # of the time: afterwards all is well, and a leak would show
GOAL = 1_000_000  # acknowledged operations, in a night
# An outage, in which every thread fails at once, is the most memory that the workers ever need: the allocators keep it.
MAX_RSS_GROWTH = 0.05  # from some time after the last fault to the end
MAX_DESCRIPTOR_GROWTH = PROCESSES * THREADS  # each thread may come to need a connection to memcached of its own


class Run(NamedTuple):
    """What was measured besides the diary."""

    seconds: float
    faults: list[Fault]
    proxied: int  # chunks and connections
    usages: tuple[Usage, Usage]  # some time after the last fault, at the end


def main() -> int:
    options = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n\n")[0] if __doc__ else "")
    options.add_argument("store", nargs="?", choices=STORES, default=STORES[0])
    options.add_argument("--seconds", type=float, default=200, help="how long users come (default: %(default)s)")
    options.add_argument("--writes", type=int, default=500, help="of each kind by each of 8 (default: %(default)s)")
    options.add_argument("--seed", type=int, default=1, help="of what users do, and of the order of the faults")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM stops the servers first
    diary = Diary()
    with ExitStack() as stack:
        site_directory, contention_directory = (Path(stack.enter_context(TemporaryDirectory())) for _ in range(2))
        env = {"SOAK_STORE": chosen.store, "SOAK_SECONDS": str(CALL_SECONDS), "SOAK_DIRECTORY": str(site_directory)}
        servers = start_servers(stack, chosen.store, env)
        contention = contend(contention_directory, chosen.writes, **env | {"SOAK_DIRECTORY": str(contention_directory)})
        servers = put_proxies(stack, servers, env)
        workers = ("--workers", str(PROCESSES), "--threads", str(THREADS), "--keep-alive", "75")
        site = stack.enter_context(run_gunicorn(site_directory, *workers, serves="soak.served", **env))
        engines = Engines(site.server, site_directory, servers)
        clients = make_clients(site.port, diary, chosen.seed, shared=chosen.store not in MAY_LOSE)
        run = soak(engines, clients, diary, chosen.seconds, chosen.seed)
    wrong = verdict(chosen.store, diary, run, contention)
    report(chosen.store, diary, run, contention)
    for complaint in wrong:
        print(f"WRONG: {complaint}", file=sys.stderr)
    return 1 if wrong else 0


def soak(engines: Engines, clients: list[Client], diary: Diary, seconds: float, seed: int) -> Run:
    """Let users come for so long, with one fault after the other, and look at what they find at the end."""
    began = time.monotonic()

    def wait_until(share: float) -> None:
        time.sleep(max(0.0, began + share * seconds - time.monotonic()))

    wait_for_children(engines.server.pid, PROCESSES)
    for client in clients:
        client.start()
    wait_until(0.05)
    injected = inject_all(engines, began + FAULTS_END * seconds, min(FAULT_SECONDS, seconds / 20), seed)
    wait_until(0.9)
    workers = wait_for_children(engines.server.pid, PROCESSES)
    between = usage(workers)
    wait_until(1)
    if wait_for_children(engines.server.pid, PROCESSES) != workers:
        diary.note_wrong("a worker died")
        workers = wait_for_children(engines.server.pid, PROCESSES)
    after = usage(workers)
    for client in clients:
        client.done.set()
    for client in clients:
        client.join()
    took = time.monotonic() - began
    look_back(clients, diary)
    for client in clients:
        client.http.close()
    proxied = sum(proxy.faults for proxy in engines.servers.proxies)
    return Run(took, injected, proxied, (between, after))


def make_clients(port: int, diary: Diary, seed: int, *, shared: bool) -> list[Client]:
    """Return users: as many with small sessions as with large ones and, if `shared`, with one session together.

    Half of each have revocable sessions.
    """
    kinds = [(Client, "small", SMALL), (Client, "large", LARGE)]
    if shared:
        kinds.append((Sharing, "shared", LARGE[1:2]))
    clients = []
    for number in range(CLIENTS):
        make, name, sizes = kinds[number % len(kinds)]
        user = name if make is Sharing else f"{name} {number}"
        mount = list(MOUNTS)[number // len(kinds) % len(MOUNTS)]
        clients.append(make(port, mount, user, sizes, diary, seed=seed * CLIENTS + number))
    for mount in MOUNTS:
        sharing = those_sharing(clients, mount)
        for first in sharing[:1]:
            first.sign_in()
        for number, client in enumerate(sharing):
            client.visitor = client.new_visitor(sharing[0].visitor.cookies)
            client.signed_in = True
            client.items = number * 1_000_000  # so that no two append the same
    return clients


def those_sharing(clients: list[Client], mount: str) -> list[Sharing]:
    return [client for client in clients if isinstance(client, Sharing) and client.mount == mount]


def look_back(clients: list[Client], diary: Diary) -> None:
    """Have every user look whether all is there, and whether what was ended is not."""
    for client in clients:
        if client.signed_in and not isinstance(client, Sharing):
            client.read()
    for mount, bound in MOUNTS.items():
        if sharing := those_sharing(clients, mount):
            told = sharing[0].visitor.try_to_read()
            wrong = ["nobody answers"] if told is None else complaints([client.visitor for client in sharing], told)
            diary.note_wrong(*wrong, example=f"the shared session at {mount}")
        ended = [ended for ended in diary.ended if ended.mount == mount]
        if ended:
            time.sleep(max(0.0, ended[-1].at + bound - time.monotonic()))
        visitor = next(client for client in clients if client.mount == mount)
        for each in ended:
            told = visitor.haunting(each).try_to_read()
            diary.note_ghost(each, alive=told is None or told["user"] is not None, late=True)


def verdict(store: str, diary: Diary, run: Run, contention: Contention) -> list[str]:
    """Return what is not as claimed."""
    wrong = [
        f"{complaint} ({times} times), first {diary.examples.get(complaint, '')}"
        for complaint, times in diary.wrong.items()
    ]
    wrong += [f"under contention: {complaint}" for complaint in contention.wrong]
    failovers = [fault for fault in run.faults if fault.name == FAILOVER] if store in MAY_LOSE else []
    if lost := count_outside(failovers, diary.lost):
        wrong.append(f"{lost} sessions were lost, and no failover could lose them")
    for mount, ends in diary.resurrected.items():
        if alive := count_outside(failovers, ends):
            wrong.append(f"{alive} ended sessions were alive at {mount} after the stated bound")
    grace = {0: 1.0, 503: 2 * CALL_SECONDS + RECONNECT_SECONDS}
    for status, seconds in grace.items():
        windows = [(fault.began, fault.ended + seconds) for fault in run.faults if fault.excuses == status]
        outside = [
            failed
            for failed in diary.failed
            if failed.status == status
            and not any(began < failed.ended and failed.began < end for began, end in windows)
        ]
        if outside:
            after = Counter(fault_before(run.faults, failed.ended) for failed in outside)
            wrong.append(f"{len(outside)} times {status or 'no answer'} without an outage: {dict(after)}")
    between, end = run.usages
    if end.rss_mib > between.rss_mib * (1 + MAX_RSS_GROWTH):
        wrong.append("the workers' memory grows")
    if end.descriptors > between.descriptors + MAX_DESCRIPTOR_GROWTH:
        wrong.append("the workers' descriptors grow")
    return wrong


def count_outside(faults: list[Fault], times: list[float]) -> int:
    """Return how many of these times are in none of these faults."""
    return sum(not any(fault.began <= at <= fault.ended for fault in faults) for at in times)


def fault_before(faults: list[Fault], at: float) -> str:
    return next((fault.name for fault in reversed(faults) if fault.began <= at), "before the first fault")


def report(store: str, diary: Diary, run: Run, contention: Contention) -> None:
    """Print the table."""
    requests = sum(diary.statuses.values())
    acknowledged = diary.acknowledged.total()
    rate = acknowledged / run.seconds
    rows = {
        "store": store,
        "requests": f"{requests} in {run.seconds:.0f} s, {requests / run.seconds:.0f}/s",
        "answered": ", ".join(f"{status or 'not'}: {times}" for status, times in sorted(diary.statuses.items())),
        "faults injected": f"{len(run.faults)}, {run.proxied} on the way to the stores",
        "operations acknowledged": f"{acknowledged}, {rate:.0f}/s: {GOAL:,} in {GOAL / max(rate, 1) / 3600:.1f} h",
        "of these": ", ".join(f"{verb}: {times}" for verb, times in diary.acknowledged.most_common()),
        "operations of unknown outcome": str(diary.unknown.total()),
        "writes lost": str(sum(times for complaint, times in diary.wrong.items() if "lost" in complaint)),
        "sessions lost, as answered": str(len(diary.lost)),
        "users signed out": str(diary.wrong["a user was signed out"]),
        "writes made twice": str(sum(times for complaint, times in diary.wrong.items() if "twice" in complaint)),
        "sessions ended": f"{len(diary.ended)}; used again {diary.ghosts.total()} times, alive {diary.ghosts['alive']}",
        "alive after the stated bound": str(sum(map(len, diary.resurrected.values()))),
        "RSS of the workers": " -> ".join(f"{used.rss_mib:.1f}" for used in run.usages) + " MiB",
        "descriptors of the workers": " -> ".join(str(used.descriptors) for used in run.usages),
        "writes to one session by 8 processes": f"{contention.written} in {contention.seconds:.0f} s",
    }
    for name, value in rows.items():
        print(f"{name:<40}{value}")
    for name, times in Counter(fault.name for fault in run.faults).items():
        print(f"  {times} x {name}")


if __name__ == "__main__":
    sys.exit(main())
