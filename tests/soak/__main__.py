"""`python -m soak`: minutes of users, kills and outages, and then a look at whether anything was lost.

gunicorn with 2 processes of 8 threads serves sessions in memcached and the Datastore emulator. memcached is killed and
started again; Datastore first loses its replies, then its connections. Exit code 1 says that something is not as
claimed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import services
from engines.processes import Site, run_gunicorn
from engines.visitor import Visitor, complaints
from proxy import Proxy
from soak.clients import LARGE, SMALL, Client, Sharing
from soak.contention import Contention, contend
from soak.diary import Diary
from soak.workers import Usage, children, usage, wait_for_children

PROCESSES, THREADS = 2, 8
CLIENTS = 24
DATASTORE_SECONDS = 2.0  # that a call may take; a request makes two at most in an outage
RECONNECT_SECONDS = 6.0  # gRPC tries again after up to so long, when it could not connect for 5 seconds
OUTAGE_SECONDS = 10.0
# An outage, in which every thread fails at once, is the most memory that the workers ever need: the allocators keep it.
MAX_RSS_GROWTH = 0.3  # from the warm-up to the end
MAX_RSS_GROWTH_AFTER_FAULTS = 0.05  # from when all is well again to the end: here a leak would show
MAX_DESCRIPTOR_GROWTH = PROCESSES * THREADS  # each thread may come to need a connection to memcached of its own


class Engines(NamedTuple):
    """The servers, and where each is reached."""

    memcached: services.Server
    datastore: Proxy
    site: Site


class Run(NamedTuple):
    """What was measured besides the diary."""

    seconds: float
    outage: tuple[float, float]  # by the monotonic clock
    usages: tuple[Usage, Usage, Usage]  # when the workers are warm, some time after the last fault, at the end
    faults: int


def main() -> int:
    options = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n\n")[0] if __doc__ else "")
    options.add_argument("--seconds", type=float, default=200, help="how long users come (default: %(default)s)")
    options.add_argument("--writes", type=int, default=500, help="of each kind by each of 8 (default: %(default)s)")
    chosen = options.parse_args()
    diary = Diary()
    with ExitStack() as stack:
        directories = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(4)]
        memcached_address, memcached = stack.enter_context(services.memcached_server(directories[0]))
        emulator = stack.enter_context(services.run_datastore_emulator(directories[1]))
        contention = contend(directories[2], memcached_address, emulator, chosen.writes)
        datastore = stack.enter_context(Proxy(emulator))
        site = stack.enter_context(
            run_gunicorn(
                directories[3],
                *("--workers", str(PROCESSES), "--threads", str(THREADS), "--keep-alive", "75"),
                memcached=memcached_address,
                datastore=datastore.address,
                datastore_seconds=DATASTORE_SECONDS,
            )
        )
        run = soak(Engines(memcached, datastore, site), diary, chosen.seconds)
    wrong = verdict(diary, run, contention)
    report(diary, run, contention)
    for complaint in wrong:
        print(f"WRONG: {complaint}", file=sys.stderr)
    return 1 if wrong else 0


def soak(engines: Engines, diary: Diary, seconds: float) -> Run:
    """Let users come for so long, with every fault in its time, and look at what they find at the end."""
    began = time.monotonic()

    def wait_until(share: float) -> None:
        time.sleep(max(0.0, began + share * seconds - time.monotonic()))

    workers = wait_for_children(engines.site.server.pid, PROCESSES)
    clients = make_clients(engines.site.port, diary)
    for client in clients:
        client.start()
    wait_until(0.25)
    before = usage(workers)
    wait_until(0.35)
    engines.memcached.kill()
    wait_until(0.4)
    engines.memcached.start()
    wait_until(0.5)
    outage = break_datastore(engines.datastore, min(OUTAGE_SECONDS, seconds / 6))
    wait_until(0.8)
    between = usage(workers)
    wait_until(1)
    after = usage(workers)
    for client in clients:
        client.done.set()
    for client in clients:
        client.join()
    took = time.monotonic() - began
    look_back(clients, diary)
    for client in clients:
        client.http.close()
    if children(engines.site.server.pid) != workers:
        diary.note_wrong("a worker died")
    return Run(took, outage, (before, between, after), engines.datastore.faults)


def make_clients(port: int, diary: Diary) -> list[Client]:
    """Return users: a third with small sessions, a third with large ones, a third with one session together."""
    kinds = ((Client, "small", SMALL), (Client, "large", LARGE), (Sharing, "shared", LARGE[1:2]))
    clients = []
    for number in range(CLIENTS):
        make, name, sizes = kinds[number % len(kinds)]
        user = name if make is Sharing else f"{name} {number}"
        clients.append(make(port, "/datastore", user, sizes, diary, seed=number))
    sharing = [client for client in clients if isinstance(client, Sharing)]
    sharing[0].sign_in()
    for number, client in enumerate(sharing):
        client.visitor = client.new_visitor(sharing[0].visitor.cookies)
        client.signed_in = True
        client.items = number * 1_000_000  # so that no two append the same
    return clients


def break_datastore(datastore: Proxy, seconds: float) -> tuple[float, float]:
    """Lose its replies for half of the time, then its connections; return when that began and ended."""
    began = time.monotonic()
    datastore.inject(drops="replies")
    time.sleep(seconds / 2)
    datastore.refuse()
    time.sleep(seconds / 2)
    datastore.restore()
    return began, time.monotonic()


def look_back(clients: list[Client], diary: Diary) -> None:
    """Have every user look whether all is there, and whether what was ended is not."""
    for client in clients:
        if client.signed_in and not isinstance(client, Sharing):
            client.read()
    sharing = [client for client in clients if isinstance(client, Sharing)]
    told = sharing[0].visitor.try_to_read()
    diary.note_wrong(*(["nobody answers"] if told is None else complaints([c.visitor for c in sharing], told)))
    for cookies in diary.ended:
        ghost = Visitor(clients[0].send, "", cookies).try_to_read()
        if ghost is None or ghost["user"] is not None:
            diary.note_wrong("an ended session is alive")


def verdict(diary: Diary, run: Run, contention: Contention) -> list[str]:
    """Return what is not as claimed."""
    wrong = [f"{complaint} ({times} times)" for complaint, times in diary.wrong.items()]
    wrong += [f"under contention: {complaint}" for complaint in contention.wrong]
    began, ended = run.outage
    grace = 2 * DATASTORE_SECONDS + RECONNECT_SECONDS
    outside = sum(refused.ended < began or refused.began > ended + grace for refused in diary.refused)
    if outside:
        wrong.append(f"{outside} times 503 outside of the outage")
    if not diary.refused:
        wrong.append("the outage had no effect")
    warm, well, end = run.usages
    if end.rss_mib > min(warm.rss_mib * (1 + MAX_RSS_GROWTH), well.rss_mib * (1 + MAX_RSS_GROWTH_AFTER_FAULTS)):
        wrong.append("the workers' memory grows")
    if end.descriptors > warm.descriptors + MAX_DESCRIPTOR_GROWTH:
        wrong.append("the workers' descriptors grow")
    return wrong


def report(diary: Diary, run: Run, contention: Contention) -> None:
    """Print the table."""
    requests = sum(diary.statuses.values())
    last = max((refused.ended - run.outage[1] for refused in diary.refused), default=0.0)
    rows = {
        "requests": f"{requests} in {run.seconds:.0f} s, {requests / run.seconds:.0f}/s",
        "answered": ", ".join(f"{status}: {times}" for status, times in sorted(diary.statuses.items())),
        "faults injected": f"memcached killed, {run.faults} on the way to Datastore",
        "last 503 after the outage": f"{last:.1f} s",
        "writes acknowledged": str(diary.acknowledged),
        "writes of unknown outcome": str(diary.unknown),
        "writes lost": str(sum(times for complaint, times in diary.wrong.items() if "lost" in complaint)),
        "users signed out": str(diary.wrong["a user was signed out"]),
        "writes made twice": str(sum(times for complaint, times in diary.wrong.items() if "twice" in complaint)),
        "sessions ended, and none alive": str(len(diary.ended)),
        "RSS of the workers": " -> ".join(f"{used.rss_mib:.1f}" for used in run.usages) + " MiB",
        "descriptors of the workers": " -> ".join(str(used.descriptors) for used in run.usages),
        "writes to one session by 8 processes": f"{contention.written} in {contention.seconds:.0f} s, all there",
    }
    if contention.wrong:
        rows["writes to one session by 8 processes"] = f"{contention.written} in {contention.seconds:.0f} s"
    for name, value in rows.items():
        print(f"{name:<40}{value}")


if __name__ == "__main__":
    sys.exit(main())
