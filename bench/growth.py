"""How the cost of a request grows: with the size of the session, its keys, and other cookies. As plots."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flask

from bench.cases import ALONE, CASES, SESSION, other_cookies
from bench.charts import panels
from bench.interleaved import measure_added
from bench.ours import GAESESS, GAESESS_ASGI, STDLIB_LAZY, with_gaesess, with_gaesess_asgi
from bench.peers import DJANGO, FLASK, STARLETTE, with_flask

ROUNDS, ROUND_SECONDS = 9, 0.003
COOKIE_BYTES = (
    59_000  # of session data: about as much as 20 cookies take, so that size is never a matter of stores here
)
KIB = 1024


class LargeCookieResponse(flask.Response):
    max_cookie_size = 0  # warns of none


# Those whose cookies may be as large: the other peers refuse more than 4 KB.
PEERS = [
    GAESESS._replace(app=partial(with_gaesess, cookie_only_threshold=COOKIE_BYTES)),
    GAESESS_ASGI._replace(app=partial(with_gaesess_asgi, cookie_only_threshold=COOKIE_BYTES)),
    STARLETTE,
    STDLIB_LAZY,
    DJANGO,
    FLASK._replace(app=partial(with_flask, response_class=LargeCookieResponse)),
]
STYLES = dict(zip((peer.name for peer in PEERS), ["C0-o", "C0--o", "C1-s", "C7:^", "C2-v", "C3-D"], strict=True))


class Plot(NamedTuple):
    """What grows: at each of `values`, the other cookies and the session's contents."""

    name: str
    axis: str
    scale: str
    values: Sequence[int]
    others: Callable[[int], list[str]]
    contents: Callable[[int], dict[str, Any]]


def _alone(value: int) -> list[str]:
    return ALONE


def _sized(session_bytes: int) -> dict[str, Any]:
    text = "".join(random.Random(session_bytes).choices(string.ascii_letters, k=session_bytes - 20))
    return {"visits": 7, "text": text}


def _keyed(count: int) -> dict[str, Any]:
    return {"visits": 7} | {f"key_{number}": number for number in range(1, count)}


PLOTS = [
    Plot(
        "session-size", "session data (bytes)", "log", [100, 300, 1_000, 3_000, 10_000, 30_000, 59_000], _alone, _sized
    ),
    Plot(
        "cookie-header",
        "other cookies in the Cookie header (KiB)",
        "linear",
        [0, 4, 8, 16, 32, 48, 64],
        lambda kibibytes: other_cookies(13 * kibibytes, KIB * kibibytes),
        lambda kibibytes: SESSION,
    ),
    Plot("keys", "keys in the session", "log", [1, 3, 10, 30, 100, 300, 1_000], _alone, _keyed),
]


def draw_plots(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        _draw(plot, {case: _measure(plot, case) for case in ("read", "modify")}, directory / f"{plot.name}.svg")


def _measure(plot: Plot, case: str) -> dict[str, list[float]]:
    """Return the microseconds that each peer adds to a request, value by value."""
    lines: dict[str, list[float]] = {peer.name: [] for peer in PEERS}
    for value in plot.values:
        pairs = {peer.name: peer.pair(CASES[case], plot.others(value), plot.contents(value)) for peer in PEERS}
        for name, added in measure_added(pairs, rounds=ROUNDS, round_seconds=ROUND_SECONDS).items():
            lines[name].append(added.median * 1e6)
    return lines


def _draw(plot: Plot, cases: dict[str, dict[str, list[float]]], path: Path) -> None:
    with panels(path, len(cases), legend_columns=3) as axes:
        for panel, (case, lines) in zip(axes, cases.items(), strict=True):
            for name, microseconds in lines.items():
                panel.plot(plot.values, microseconds, STYLES[name], label=name, markersize=4)
            panel.set(title=case, xlabel=plot.axis, xscale=plot.scale, yscale=plot.scale)
        axes[0].set_ylabel("added to a request (µs)")
