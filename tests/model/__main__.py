"""`python -m model`: every schedule of two requests, and of some three, with up to two faults, while there is time.

First all without a fault, then all with one, then with two. Prints for each configuration how much was run; with
--replay the story of one schedule. Exit status 1 says that a guarantee was broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any

from model.cases import cases
from model.explore import Result, explore, minimized, replay, told
from model.world import Case, patched

SHARE = 1.5  # of the time per case that is left: most need less
PHASES = {0: 0.15, 1: 0.5, 2: 1.0}  # by when those with so many faults must be done
COLUMNS = {"schedules": 11, "judged": 10, "states": 11, "again": 10, "slept": 10, "CPU s": 8}
HEAD = f"{'':26}{'scripts':>8}{'complete':>9}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items())


def run(task: tuple[Case, int, float]) -> tuple[Result, str]:
    """Run one case, and tell what was found."""
    case, faults, seconds = task
    with patched():
        result = explore(case, faults, seconds=seconds)
        return result, told(minimized(result.found)) if result.found else ""


def shares(found: list[Case], faults: int, until: float, jobs: int) -> Iterator[tuple[Case, int, float]]:
    """Yield each case with its share of the time that is left; what one does not need is for the others."""
    for number, case in enumerate(found):
        left = max(until - time.monotonic(), 0.0) * jobs
        yield case, faults, max(left / (len(found) - number) * SHARE, 0.1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    parser.add_argument("--faults", type=int, default=2, metavar="N", help="at most so many in a schedule: 2")
    parser.add_argument("--seconds", type=float, default=600, metavar="S", help="at most so long: 600")
    parser.add_argument("--only", default="", metavar="TEXT", help="only scripts and configurations with that in them")
    parser.add_argument("--exactly", metavar="CASE", help="only this script in this configuration")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes: 2")
    parser.add_argument("--replay", metavar="SCHEDULE", help="tell the story of one: script, configuration, choices")
    options = parser.parse_args()
    if options.replay:
        script, config, *choices = options.replay.split()
        with patched():
            wrong, story, _ = replay(Case.parse(script, config), choices, story=True)
        print("\n".join(story), wrong or "as guaranteed", sep="\n")
        return 1 if wrong else 0
    found = [Case.parse(*options.exactly.split())] if options.exactly else cases(options.only)
    began, broken = time.monotonic(), 0
    broken_cases: set[Case] = set()
    with Pool(options.jobs) as pool:
        for faults in range(options.faults + 1):
            share = PHASES.get(faults, 1.0) if faults < options.faults else 1.0
            until = began + share * options.seconds
            results: dict[str, list[Result]] = defaultdict(list)
            if not (todo := [case for case in found if case not in broken_cases]):
                break
            print(f"at most {faults} fault{'s' * (faults != 1)} a schedule")
            for result, story in in_order(pool, shares(todo, faults, until, options.jobs), options.jobs):
                results[result.case.config].append(result)
                if story:
                    broken += 1
                    broken_cases.add(result.case)
                    print(story, flush=True)
            print(HEAD)
            for config, each in [
                *sorted(results.items()),
                ("total", [one for many in results.values() for one in many]),
            ]:
                print(line(config, each), flush=True)
    print(f"{broken} scripts break a guarantee" if broken else "every schedule keeps the guarantees")
    return 1 if broken else 0


def in_order(pool: Any, tasks: Iterator[tuple[Case, int, float]], jobs: int) -> Iterator[tuple[Result, str]]:
    """Yield the results of tasks, of which each is made only when a process is about to be free for it."""
    running: list[Any] = []
    for task in tasks:
        running.append(pool.apply_async(run, (task,)))
        while len(running) > jobs:
            ready = [each for each in running if each.ready()]
            for each in ready:
                running.remove(each)
                yield each.get()
            if not ready:
                running[0].wait(0.02)
    for each in running:
        yield each.get()


def line(name: str, results: list[Result]) -> str:
    """Return a row of the table."""
    complete = sum(result.complete for result in results)
    sums = [
        sum(getattr(result, field) for result in results)
        for field in ("schedules", "ended", "states", "seen_again", "slept")
    ]
    seconds = sum(result.seconds for result in results)
    numbers = "".join(f"{number:>{width},}" for number, width in zip(sums, (11, 10, 11, 10, 10), strict=True))
    return f"{name:26}{len(results):>8}{complete:>9}{numbers}{seconds:>8.0f}"


if __name__ == "__main__":
    sys.exit(main())
