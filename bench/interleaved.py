"""The measuring harness: everything that is compared is timed in turn, A, B, C, A, B, C ..., and told as medians.

A machine that is busy for a moment then slows a round of everything, not the whole of one thing.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Mapping
from statistics import median, quantiles
from timeit import Timer
from typing import NamedTuple, TypeAlias, TypeVar

ROUNDS = 41
ROUND_SECONDS = 0.004  # long beside the clock's resolution, short beside a scheduler's turn

Call: TypeAlias = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)


class SelfTimed(NamedTuple):
    """What does its own timing: called with a number of calls to make, it returns the seconds they took."""

    run: Callable[[int], float]


class Timing(NamedTuple):
    """Seconds per call, one figure for each round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def spread(self) -> float:
        """The interquartile range, in seconds."""
        first, _, third = quantiles(self.rounds, n=4)
        return third - first

    def minus(self, other: Timing) -> Timing:
        """Return what this takes more than the other, round by round."""
        return Timing([mine - its for mine, its in zip(self.rounds, other.rounds, strict=True)])


class Pair(NamedTuple):
    """Something to be measured, and the same without that whose cost is asked for."""

    full: Call | SelfTimed
    bare: Call | SelfTimed


def measure(
    calls: Mapping[Name, Call | SelfTimed], *, rounds: int = ROUNDS, round_seconds: float = ROUND_SECONDS
) -> dict[Name, Timing]:
    """Time named calls, interleaved. The garbage collector runs between rounds, and not in them."""
    timers = {name: call.run if isinstance(call, SelfTimed) else Timer(call).timeit for name, call in calls.items()}
    numbers = {name: _calibrated(timer, round_seconds) for name, timer in timers.items()}
    seconds: dict[Name, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        gc.collect()
        for name, timer in timers.items():
            seconds[name].append(timer(numbers[name]) / numbers[name])  # timeit turns the collector off meanwhile
    return {name: Timing(figures) for name, figures in seconds.items()}


def measure_added(pairs: Mapping[Name, Pair], **settings: float) -> dict[Name, Timing]:
    """Time what each pair's full call takes more than its bare one; the settings are those of `measure`."""
    calls = {(name, which): call for name, pair in pairs.items() for which, call in pair._asdict().items()}
    times = measure(calls, **settings)
    return {name: times[name, "full"].minus(times[name, "bare"]) for name in pairs}


def _calibrated(timer: Callable[[int], float], round_seconds: float) -> int:
    """Return how many calls fill a round, judged by the fastest of a few tries: a first call may well be a slow one."""
    number = 1
    while (seconds := min(timer(number) for _ in range(3))) < round_seconds / 4:
        number *= 2
    return max(1, round(number * round_seconds / seconds))
