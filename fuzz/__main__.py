"""`python -m fuzz [TARGET ...] --seconds N`: fuzzes each target for so long, and tells what came of it.

An input that is a finding is left under fuzz/findings/, and shown again by `python -m fuzz.worker TARGET FILE`. What
leads the fuzzer further is kept under build/fuzz/ for the next time.
"""

from __future__ import annotations

import argparse
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
    """Fuzz a target, print its row, and return whether nothing was found."""
    (FOUND / target).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fuzz.worker", target, f"-max_total_time={seconds}", f"-timeout={SLOW_SECONDS}"]
    command += [f"-artifact_prefix={FINDINGS}/{target}-", "-print_final_stats=1"]
    done = subprocess.run([*command, FOUND / target, HERE / "corpus" / target], capture_output=True, text=True)
    output = done.stdout + done.stderr
    executions, coverage, corpus = (last(name, output) for name in ("number_of_executed_units", "cov", "corp"))
    found = ", ".join(re.findall(r"Test unit written to .*/(\S+)", output)) or "none"
    print(f"{target:<12} {executions:>10} {coverage:>8} {corpus:>6}  {found}", flush=True)
    if done.returncode:
        print(output[-4000:], file=sys.stderr)
    return not done.returncode


def last(name: str, output: str) -> str:
    """Return the number that libFuzzer gave last under that name."""
    return (re.findall(rf"{name}: +(\d+)", output) or ["?"])[-1]


if __name__ == "__main__":
    sys.exit(main())
