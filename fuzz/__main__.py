"""`python -m fuzz [TARGET ...] --seconds N`: fuzzes each target for so long, and tells what came of it.

An input that is a finding is left under fuzz/findings/, and shown again by `python -m fuzz.worker TARGET FILE`, in the
compiled package with GAESESS_PURE=0. What leads the fuzzer further is kept under build/fuzz/ for the next time.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from fuzz import targets

HERE = Path(__file__).parent
FOUND = HERE.parent / "build" / "fuzz"
FINDINGS = HERE / "findings"
SLOW_SECONDS = 5  # of one input: ten thousand times what most take
TARGETS = [target.__name__ for target in targets.TARGETS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(unknown)}")
    FINDINGS.mkdir(exist_ok=True)
    print(f"{'target':<12} {'executions':>10} {'coverage':>8} {'corpus':>6}  findings")
    passed = [fuzz(target, arguments.seconds) for target in arguments.targets or TARGETS]
    return 0 if all(passed) else 1


def fuzz(target: str, seconds: int) -> bool:
    """Fuzz a target, print its row, and return whether nothing was found.

    The pure package leads the fuzzer. All that led it further is then given to the compiled one.
    """
    (FOUND / target).mkdir(parents=True, exist_ok=True)
    led, replayed = work(target, f"-max_total_time={seconds}", pure=True), work(target, "-runs=0", pure=False)
    output = led.stdout + replayed.stdout
    executions, coverage, corpus = (last(name, led.stdout) for name in ("number_of_executed_units", "cov", "corp"))
    found = ", ".join(dict.fromkeys(re.findall(r"Test unit written to .*/(\S+)", output))) or "none"
    print(f"{target:<12} {executions:>10} {coverage:>8} {corpus:>6}  {found}", flush=True)
    for failed in (run for run in (led, replayed) if run.returncode):
        print(failed.stdout[-4000:], file=sys.stderr)
    return not led.returncode and not replayed.returncode


def work(target: str, limit: str, *, pure: bool) -> subprocess.CompletedProcess[str]:
    """Run libFuzzer on a target, in the pure package or in the compiled one."""
    command = [sys.executable, "-m", "fuzz.worker", target, limit, f"-timeout={SLOW_SECONDS}", "-print_final_stats=1"]
    command += [f"-artifact_prefix={FINDINGS}/{target}-", FOUND / target, HERE / "corpus" / target]
    environ = {**os.environ, "GAESESS_PURE": "1" if pure else "0"}
    return subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def last(name: str, output: str) -> str:
    """Return the number that libFuzzer gave last under that name."""
    return (re.findall(rf"{name}: +(\d+)", output) or ["?"])[-1]


if __name__ == "__main__":
    sys.exit(main())
