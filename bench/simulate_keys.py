"""Which ranges of keys the writes of stored sessions go to, for different numbers of shards. Prints and draws it.

The store of this simulation is any that keeps its keys in order, cuts them into ranges that are served by one server
each, and cuts anew by load: Bigtable's tablets, Spanner's and Firestore's splits. Once a minute a range that had more
writes than it can take is cut in two where half of them were, and neighbours that had few become one. Nobody publishes
how fast the real ones cut, nor where; a range that stays too hot here however long one waits does so there too, as
the next writes never go to where the last ones were.

`python -m bench.simulate_keys`; each run is the same.
"""

from __future__ import annotations

import argparse
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeAlias

CHART = Path(__file__).parents[1] / "docs" / "images" / "key-ranges.svg"

PER_SECOND = 10_000  # sessions newly stored, changed, or deleted by the cleanup
RANGE_LIMIT = 500  # writes per second to keys in sequence (https://firebase.google.com/docs/firestore/quotas)
MERGE_BELOW = RANGE_LIMIT / 4  # low enough for what has been merged not to be cut again at once
MINUTES = 60
SAMPLE = 50  # one write in so many is simulated
LIFETIME = 7 * 86_400  # seconds, gaesess's default
CLEANED = 86_400  # seconds of expired sessions, which a daily cleanup finds
PAGE = 500  # keys that the cleanup deletes at once: MAX_MUTATIONS of gaesess.stores.datastore
NOW = 1_800_000_000

DIGITS = {"1 shard (gae-sessions 1.07)": 0, "16 shards": 1, "256 shards (gaesess)": 2, "4,096 shards": 3}

Writes: TypeAlias = Callable[[int, int, int, Random], Iterator[str]]
"""Yields the keys of writes: for so many digits of shard, of the minute from that second on, so many, at random."""


class Minute(NamedTuple):
    """What the ranges had in one minute, in writes per second: all together, and each, the hottest first."""

    writes: float
    ranges: list[float]

    @property
    def hottest_share(self) -> float:
        return self.ranges[0] / sum(self.ranges)

    @property
    def ranges_with_most(self) -> int:
        """How many ranges had nine tenths of the writes."""
        return 1 + sum(total < 0.9 * sum(self.ranges) for total in accumulate(self.ranges))


def key(digits: int, expires: int, name: str) -> str:
    """Return what `record_key` returns for the hash `name`, if its shards had that many digits.

    With none of them keys begin with the expiry, as those of gae-sessions 1.07 did.
    """
    return f"{name[:digits]}{expires:010d}{name[digits:]}"


def new(digits: int, second: int, count: int, random: Random) -> Iterator[str]:
    """Sessions stored for the first time, one after the other, all with the same lifetime."""
    for number in range(count):
        yield key(digits, NOW + LIFETIME + second + 60 * number // count, _name(random))


def changed(digits: int, second: int, count: int, random: Random) -> Iterator[str]:
    """Changes of sessions that are stored and live, one as likely as another."""
    for _ in range(count):
        yield key(digits, NOW + second + random.randrange(LIFETIME), _name(random))


def cleaned(digits: int, second: int, count: int, random: Random) -> Iterator[str]:
    """Deletes of a cleanup: a page of the oldest keys of each shard in turn."""
    for number in range(count):
        page = (second // 60 * count + number) * SAMPLE // PAGE
        shard = f"{page % 16**digits:0{digits}x}" if digits else ""
        yield key(digits, NOW - CLEANED + second + 60 * number // count, shard + _name(random)[digits:])


def _name(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"


WRITES: dict[str, Writes] = {"new sessions": new, "changes of live sessions": changed, "cleanup": cleaned}


def simulate(writes: Writes, digits: int, per_second: float = PER_SECOND) -> list[Minute]:
    """Return what happens minute by minute, while the load rises as Datastore asks for it to rise.

    That is from 500 a second by 50 % every 5 minutes, until it is `per_second`
    (https://cloud.google.com/datastore/docs/best-practices#ramping_up_traffic).
    """
    random = Random(0)
    starts, minutes = [""], []
    for minute in range(MINUTES):
        rate = min(per_second, 500 * 1.5 ** (minute // 5))
        written = sorted(writes(digits, 60 * minute, round(60 * rate / SAMPLE), random))
        cuts = [*(bisect_left(written, start) for start in starts), len(written)]
        ranges = [written[first:end] for first, end in pairwise(cuts)]
        minutes.append(Minute(rate, sorted(map(_load, ranges), reverse=True)))
        starts = _cut(starts, ranges)
    return minutes


def _cut(starts: list[str], ranges: list[list[str]]) -> list[str]:
    """Return where the ranges start next, of those that start here and had these writes."""
    next_starts: list[str] = []
    load_before = float("inf")
    for start, written in zip(starts, ranges, strict=True):
        load = _load(written)
        if load_before + load >= MERGE_BELOW:
            next_starts.append(start)
            load_before = 0.0
        load_before += load
        if load > RANGE_LIMIT:
            next_starts.append(written[len(written) // 2])
    return next_starts


def _load(written: list[str]) -> float:
    return len(written) * SAMPLE / 60


# -- what is shown

Runs: TypeAlias = dict[str, dict[str, list[Minute]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--per-second", type=int, default=PER_SECOND, help=f"writes, {PER_SECOND:,} if not given")
    per_second = parser.parse_args().per_second
    runs = {
        kind: {name: simulate(writes, digits, per_second) for name, digits in DIGITS.items()}
        for kind, writes in WRITES.items()
    }
    print(table(runs))
    if per_second == PER_SECOND:
        draw(runs)
        print(f"written: {CHART}")


def table(runs: Runs) -> str:
    """Return, as Markdown, what the last minute of each run was like, and how many of the last 10 were too hot."""
    lines = [
        "| writes | keys | ranges | with 90 % of the writes | on the hottest | a second | of 10 minutes above 500 |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for kind, layouts in runs.items():
        for name, minutes in layouts.items():
            last, hot = minutes[-1], sum(minute.ranges[0] > RANGE_LIMIT for minute in minutes[-10:])
            lines.append(
                f"| {kind} | {name} | {len(last.ranges)} | {last.ranges_with_most} | {last.hottest_share:.0%}"
                f" | {last.ranges[0]:,.0f} | {hot} |"
            )
    return "\n".join(lines)


def draw(runs: Runs) -> None:
    from bench.charts import panels  # here, so that the simulation does without matplotlib

    styles = dict(zip(DIGITS, ["C3-", "C1-", "C0-", "C2--"], strict=True))
    with panels(CHART, len(runs), legend_columns=3) as axes:
        for panel, (kind, layouts) in zip(axes, runs.items(), strict=True):
            for name, minutes in layouts.items():
                panel.plot([minute.ranges[0] for minute in minutes], styles[name], label=name)
            panel.plot([minute.writes for minute in layouts[name]], "C7:", label="all ranges together")
            panel.axhline(RANGE_LIMIT, color="black", linewidth=0.8, label="500 a second")
            panel.set(title=kind, xlabel="minutes", yscale="log", ylim=(80, 2 * PER_SECOND))
        axes[0].set_ylabel("writes a second on the hottest range")


if __name__ == "__main__":
    main()
