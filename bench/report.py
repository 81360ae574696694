"""`make bench`: measures everything, writes the tables in README.md, and draws plots in build/bench."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import gaesess
from bench import servers, twins
from bench.cases import ALONE, CASES, OTHERS, SESSION
from bench.floor import built_floor
from bench.growth import draw_plots
from bench.interleaved import Timing, measure, measure_added
from bench.ours import GAESESS, GAESESS_ASGI, WRAP, Peer
from bench.peers import PEERS, STARLETTE, Codec
from bench.server import ASGI
from bench.stores import MEMCACHED_CPU, OTHER_CPU, Opened, on_cpu, open_stores, raw_get, request_pair

README = Path(__file__).with_name("README.md")
PLOTS = README.parents[1] / "build" / "bench"
LIBRARIES = ["Beaker", "Django", "Flask", "itsdangerous", "pyramid", "starlette", "WebOb"]
PACKAGES = [*LIBRARIES, "gunicorn", "uvicorn", "pymemcache"]
NOISE_SECONDS = 100e-9  # less than that is not told from nothing, and no ratio is made of it


def main() -> None:
    if gaesess.IMPLEMENTATION != "cython":
        sys.exit("bench: the compiled core is not installed, so this is not what ships")
    write("machine", machine())
    alone = {case: measure_peers(case, ALONE) for case in CASES}
    write("peers-alone", peers_table(alone))
    among = {case: measure_peers(case, OTHERS) for case in CASES}
    write("peers-among", peers_table(among))
    write("servers", servers_table())
    with open_stores() as opened:
        write("goals", table(GOALS_HEADING, [*peer_goals(among), *core_goals(), *store_goals(opened)]))
    draw_plots(PLOTS)
    print(f"\nwritten: {README}, {PLOTS}/*.svg")


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
