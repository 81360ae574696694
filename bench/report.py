"""`make bench`: measures everything, writes the tables in README.md, and draws plots in build/bench.

`python -m bench.report stores` does a part of it; PARTS has the others.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gaesess
from bench import redis_peers, servers, twins
from bench.cases import ALONE, CASES, OTHERS, SESSION
from bench.floor import built_floor
from bench.growth import draw_plots
from bench.interleaved import Call, Timing, measure, measure_added
from bench.ours import GAESESS, GAESESS_ASGI, WRAP, Peer
from bench.peers import PEERS, STARLETTE, Codec
from bench.raw import raw_operations
from bench.server import ASGI
from bench.stores import (
    MEMCACHED_CPU,
    OTHER_CPU,
    RECORD_BYTES,
    Opened,
    on_cpu,
    open_stores,
    operations,
    raw_get,
    request_pair,
)

README = Path(__file__).with_name("README.md")
PLOTS = README.parents[1] / "build" / "bench"
LIBRARIES = ["Beaker", "Django", "Flask", "itsdangerous", "pyramid", "starlette", "WebOb"]
ON_REDIS = ["django-redis", "Flask-Session", "starsessions"]
PACKAGES = [*LIBRARIES, *ON_REDIS, "gunicorn", "uvicorn", "pymemcache", "redis", "valkey", "psycopg"]
NOISE_SECONDS = 100e-9  # less than that is not told from nothing, and no ratio is made of it


def main() -> None:
    if gaesess.IMPLEMENTATION != "cython":
        sys.exit("bench: the compiled core is not installed, so this is not what ships")
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := set(wanted) - PARTS.keys():
        sys.exit(f"bench: there is no {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    for name in wanted:
        PARTS[name]()
    print(f"\nwritten: {README}, {PLOTS}/*.svg")


def write_peers() -> None:
    alone = {case: measure_peers(case, ALONE) for case in CASES}
    write("peers-alone", peers_table(alone))
    among = {case: measure_peers(case, OTHERS) for case in CASES}
    write("peers-among", peers_table(among))
    with open_stores() as opened:
        write("goals", table(GOALS_HEADING, [*peer_goals(among), *core_goals(), *store_goals(opened)]))


def write_servers() -> None:
    write("servers", servers_table())


def write_stores() -> None:
    with open_stores() as opened:
        write("stores", stores_table(opened))
        if "Redis" in opened.urls:
            write("redis-peers", redis_peers_table(opened.urls["Redis"]))


PARTS: dict[str, Callable[[], None]] = {
    "machine": lambda: write("machine", machine()),
    "peers": write_peers,
    "servers": write_servers,
    "stores": write_stores,
    "plots": lambda: draw_plots(PLOTS),
}


def write(section: str, text: str) -> None:
    """Print a section, and put it between its markers in the README."""
    print(f"\n{text}", flush=True)
    start, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    old = README.read_text(encoding="utf-8")
    before, _, rest = old.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{README} lacks the markers {start} and {end}")
    README.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def machine() -> str:
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    rows = [
        ("machine", f"{cpus[0] if cpus else platform.machine()}, {os.cpu_count()} processors, {platform.system()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("gaesess", f"{version('gaesess')}, core: {gaesess.IMPLEMENTATION}"),
        ("peers", ", ".join(f"{package} {version(package)}" for package in PACKAGES)),
    ]
    return table(("", ""), rows, align="---")


# -- peers


def measure_peers(case: str, others: list[str]) -> dict[str, Timing]:
    pairs = {peer.name: peer.pair(CASES[case], others) for peer in PEERS}
    return measure_added({name: pair for name, pair in pairs.items() if pair})


def peers_table(added: Mapping[str, dict[str, Timing]]) -> str:
    rows = [(peer.name, *(peer_cell(peer, times) for times in added.values())) for peer in PEERS]
    return table(("µs added to a request", *added), rows)


def peer_cell(peer: Peer | Codec, times: dict[str, Timing]) -> str:
    """Return what a peer adds, and how many times what gaesess adds by the same protocol."""
    if peer.name not in times:
        return ""
    own = GAESESS_ASGI if isinstance(peer, Peer) and peer.protocol is ASGI else GAESESS
    its, ours = times[peer.name].median, times[own.name].median
    ratio = f" ({its / ours:.1f}x)" if peer is not own and min(its, ours) > NOISE_SECONDS else ""
    return microseconds(its) + ratio


def servers_table() -> str:
    times = servers.measured()
    rows = [(server, *(f"{1 / times[server, use].median:,.0f}" for use in servers.USES)) for server in servers.SERVERS]
    return table(("requests a second", *servers.USES), rows)


# -- stores on a server


def stores_table(opened: Opened) -> str:
    rows = [
        (f"{name}, {size}", *store_cells(opened, name, record_bytes))
        for name in opened.urls
        for size, record_bytes in RECORD_BYTES.items()
    ]
    return table(("µs (client alone, times)", "get", "add", "replace", "added to a read", "added to a modify"), rows)


def store_cells(opened: Opened, name: str, record_bytes: int) -> Iterator[str]:
    """Return what one interleaved run says of a store: its calls, those of the client alone, and whole requests."""
    store = opened.stores[name]
    contents = {**SESSION, "basket": "x" * (record_bytes - 120)}
    with raw_operations(opened, name, record_bytes) as raw:
        calls: dict[tuple[str, str], Call] = {
            (name, "store"): call for name, call in operations(store, record_bytes).items()
        }
        calls |= {(name, "raw"): call for name, call in raw.items()}
        for case in ("read", "modify"):
            pair = request_pair(store, CASES[case], contents)
            calls |= {(case, which): call for which, call in pair._asdict().items()}
        times = measure(calls)
    for operation in raw:
        ours, its = times[operation, "store"].median, times[operation, "raw"].median
        yield f"{microseconds(ours)} ({microseconds(its)}, {ours / its:.2f}x)"
    for case in ("read", "modify"):
        yield microseconds(times[case, "full"].minus(times[case, "bare"]).median)


# -- peers on Redis


def redis_peers_table(url: str) -> str:
    added = redis_peers.measured(url)
    rows = [
        (each.peer.name, *(cell for case in redis_peers.MEASURED for cell in redis_cells(added, each, case)))
        for each in dict.fromkeys(each for each, _ in added)
    ]
    heading = (f"{case}: {what}" for case in redis_peers.MEASURED for what in ("commands", "µs", "over the commands"))
    return table(("a session of 600 B in Redis", *heading), rows)


def redis_cells(added: Mapping[Any, redis_peers.Added], each: redis_peers.RedisPeer, case: str) -> tuple[str, ...]:
    sent, whole, own = added[each, case]
    own_by = next(its.own for (other, of), its in added.items() if of == case and other.peer is each.held_against)
    ratio = "" if each.peer is each.held_against else f" ({own.median / own_by.median:.1f}x)"
    names = [("GET", sent.reads), ("SET", sent.writes)]
    commands = ", ".join(f"{count} {name}" for name, count in names if count)
    return commands, microseconds(whole.median), with_spread(own) + ratio


# -- goals: each row from one interleaved run

Goal = tuple[str, str, str, str, str]
GOALS_HEADING = ("", "gaesess (µs)", "held against", "(µs)", "gaesess takes")


def goal(what: str, ours: Timing, name: str, its: Timing) -> Goal:
    return what, with_spread(ours), name, with_spread(its), f"{ours.median / its.median:.2g}x"


def peer_goals(added: Mapping[str, dict[str, Timing]]) -> Iterator[Goal]:
    for own in (GAESESS, GAESESS_ASGI):
        for case in ("read", "modify"):
            times = added[case]
            yield goal(f"{case}, {own.name}", times[own.name], STARLETTE.name, times[STARLETTE.name])
    times = added["untouched"]
    yield goal(f"untouched, {GAESESS.name}", times[GAESESS.name], WRAP.name, times[WRAP.name])


def core_goals() -> Iterator[Goal]:
    with built_floor() as floor:
        for size, payload_bytes in twins.PAYLOAD_BYTES.items():
            calls = {("floor", way): call for way, call in floor.ways(payload_bytes).items()}
            for twin, core in twins.TWINS.items():
                calls |= {(twin, way): call for way, call in twins.ways(core, payload_bytes).items()}
            times = measure(calls)
            for way in ("read", "write"):
                what = f"core, {way} {size}"
                yield goal(what, times["compiled", way], "the C floor", times["floor", way])
                yield goal(what, times["compiled", way], "the pure core", times["pure", way])


def store_goals(opened: Opened) -> Iterator[Goal]:
    if "memcached" in opened.stores:
        yield from memcached_goals(opened)
    for case in ("read", "modify"):
        pairs = {name: request_pair(store, CASES[case], SESSION) for name, store in opened.stores.items()}
        times = measure_added({"its cookie": GAESESS.pair(CASES[case], ALONE), **pairs})
        for name in pairs:
            yield goal(f"{case} a small session in its cookie", times["its cookie"], f"in {name}", times[name])


def memcached_goals(opened: Opened) -> Iterator[Goal]:
    for where, cpu in (("on one CPU", MEMCACHED_CPU), ("on two CPUs", OTHER_CPU)):
        if cpu is None:
            continue
        with on_cpu(cpu), raw_get(opened) as get:
            times = measure({"request": request_pair(opened.stores["memcached"]).full, "get": get})
        what = f"read 6 KB in memcached, whole request, {where}"
        yield goal(what, times["request"], "pymemcache's get alone", times["get"])


# -- Markdown


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f}" if abs(seconds) < 10e-6 else f"{seconds * 1e6:,.1f}"


def with_spread(timing: Timing) -> str:
    """Return the median and, behind ±, half of the range that the middle half of the rounds keeps within."""
    return f"{microseconds(timing.median)} ± {microseconds(timing.spread / 2)}"


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]], align: str = "---:") -> str:
    lines = [heading, ("---",) + (align,) * (len(heading) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
