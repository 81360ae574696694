"""`python -m mutation`: change one thing in a module at a time, and see whether a test fails.

A change that no test finds, a survivor, is printed. The exit code is 1 if there is one that `equivalent.txt` does not
list: a line of that file has a mutant as it is printed, then ` # ` and why no test can tell it from the original.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

import pytest
from mutation.mutants import Mutant, mutants
from mutation.runs import Runs

EQUIVALENT = Path(__file__).with_name("equivalent.txt")
SESSION = "tests/session/test_{}.py"
QUICK = [*map(SESSION.format, ("saving", "races", "rotation", "placement", "termination", "loss"))]
ASYNC = "tests/asgi/test_asgi_async_store.py"
SLOWER = [
    *map(SESSION.format, ("outages", "degraded", "sign_ins", "clock", "ahead", "verbs", "compression", "regressions")),
    "tests/test_events.py",
    "tests/revocation",
    SESSION.format("threads"),
]
# The tests of each module, the fast and telling ones first: a mutant is done with at the first that fails.
TESTS = {
    "records.py": ["tests/test_record.py", *QUICK, *SLOWER],
    "saving.py": [*QUICK, "tests/test_changes.py", "tests/test_time_of_a_save.py", *SLOWER],
    "merging.py": ["tests/test_changes.py", *QUICK, *SLOWER],
    "ending.py": [*QUICK, *SLOWER],
    "users.py": ["tests/revocation", SESSION.format("sign_ins"), "tests/test_events.py"],
    "drivers.py": [SESSION.format("turns"), "tests/test_timeouts.py", "tests/stores/test_async.py", ASYNC, *QUICK],
    "stores/tiered.py": ["tests/stores/test_tiered_entries.py", "tests/stores/test_tiered.py", *SLOWER],
    "_core.py": ["tests/core", SESSION.format("encrypted"), SESSION.format("dictionary"), *QUICK, *SLOWER],
}


def main() -> int:
    options = argparse.ArgumentParser(prog="mutation", description=__doc__.split("\n\n")[0] if __doc__ else "")
    options.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)} (default: all)")
    options.add_argument("--seconds", type=float, default=600, help="for each module (default: %(default)s)")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (default: %(default)s)")
    options.add_argument("--seed", type=int, default=1, help="of the order in which mutants come")
    options.add_argument("--only", default="", help="mutants whose name contains this")
    chosen = options.parse_args()
    results = []
    for module in chosen.modules or TESTS:  # each in a process of its own: pytest runs once in one
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os._exit(try_all(module, chosen))
        results.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return max(results)


def try_all(module: str, chosen: argparse.Namespace) -> int:
    """Try the mutants of a module, and return the exit code."""
    source = Path("src/gaesess", module).read_text()
    known = {line.split(" # ")[0].strip() for line in EQUIVALENT.read_text().splitlines()}
    every: list[Mutant] = [mutant for mutant in mutants(module, source) if chosen.only in mutant.name]
    left = [mutant for mutant in every if mutant.name not in known]
    random.Random(chosen.seed).shuffle(left)
    runs = Runs(module, left, time.monotonic() + chosen.seconds, chosen.jobs)
    tests = [test for test in TESTS[module] if Path(test).exists()]
    quiet = ("-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:terminal", "--timeout=20")
    pytest.main([*quiet, "--continue-on-collection-errors", "--hypothesis-seed=0", *tests], plugins=[runs])
    counted = f"{runs.tried} of {len(every)} mutants tried, {runs.survived} survive"
    print(f"{module}: {counted}; {len(every) - len(left)} are listed as equivalent", flush=True)
    return 1 if runs.survived or not runs.tried else 0


if __name__ == "__main__":
    sys.exit(main())
