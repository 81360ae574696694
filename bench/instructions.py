"""`make count`, part of `make test`: guards the speed by counting what a busy machine cannot change.

Scenarios run under callgrind (https://valgrind.org/docs/manual/cl-manual.html), which counts instructions and calls.
Each runs twice, the second time with more requests, and the difference is what a request takes. libcrypto and libc are
left out, for they choose their code by the processor; with PYTHONMALLOC=malloc so is the allocator, and its calls are
the blocks that a request allocates. The unit of instructions is a read with what one writes by hand (`references.py`),
so that another build of Python moves both.

Fails if a count is above the accepted one in instructions.json by more than TOLERANCE. `make count ARGS=--accept`
accepts what it counts: do so in the very change that makes them other, so that its review sees what it costs.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import services

from bench.cases import CASES, OTHERS
from bench.interleaved import Call
from bench.ours import GAESESS, GAESESS_ASGI, STDLIB_LAZY
from bench.twins import TWINS, ways

TOLERANCE = 0.05
REQUESTS = 500, 1500
UNIT = f"{STDLIB_LAZY.name}: read"
ACCEPTED = Path(__file__).with_name("instructions.json")
PYTHON = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
LEFT_OUT = ("libc.", "libcrypto.", "ld-linux", "vgpreload")
ALLOCATORS = ("malloc", "calloc", "realloc")


class Count(NamedTuple):
    """What a request takes: instructions in units, blocks allocated."""

    instructions: float
    blocks: float


def scenarios() -> dict[str, Call]:
    found = {UNIT: STDLIB_LAZY.pair(CASES["read"], OTHERS).full}
    for peer, cases in ((GAESESS, ("untouched", "read", "modify")), (GAESESS_ASGI, ("untouched", "read"))):
        found |= {f"{peer.name}: {case}": peer.pair(CASES[case], OTHERS).full for case in cases}
    return found | {f"core: {way} 2 KB": call for way, call in ways(TWINS["compiled"], 2000).items()}


def run(name: str, requests: int) -> None:
    call = scenarios()[name]
    gc.disable()
    for _ in range(requests):
        call()


def count(name: str) -> Count:
    few, many = (totals(name, requests) for requests in REQUESTS)
    return Count(*((more - less) / (REQUESTS[1] - REQUESTS[0]) for less, more in zip(few, many, strict=True)))


def totals(name: str, requests: int) -> Count:
    """Return the instructions and the blocks of a whole process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = [sys.executable, "-m", "bench.instructions", name, str(requests)]
        options = ["--tool=callgrind", "--compress-strings=no", f"--callgrind-out-file={out}"]
        services.run_valgrind(*options, *command, PYTHONHASHSEED="0", PYTHONMALLOC="malloc")
        return parsed(out.read_text().splitlines())


def parsed(lines: list[str]) -> Count:
    """Sum up callgrind's profile (https://valgrind.org/docs/manual/cl-format.html)."""
    instructions = blocks = 0
    library = called = ""
    costs = iter(lines)
    for line in costs:
        if line.startswith("ob="):
            library = line.rpartition("/")[2]
        elif line.startswith("cfn="):
            called = line[len("cfn=") :]
        elif line.startswith("calls="):
            blocks += int(line[len("calls=") :].split()[0]) if called in ALLOCATORS else 0
            next(costs)  # what the callee took, which is told of itself
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            instructions += 0 if library.startswith(LEFT_OUT) else int(line.split()[-1])
    return Count(instructions, blocks)


def judged(counts: dict[str, Count], accepted: dict[str, list[float]]) -> Iterator[str]:
    """Yield what is above what was accepted."""
    for name, counted in counts.items():
        for what, value, limit in zip(Count._fields, counted, accepted.get(name, (0.0, 0.0)), strict=True):
            if value > limit * (1 + TOLERANCE):
                yield f"{name}: {value:.2f} {what}, accepted {limit:.2f}"


def main(arguments: list[str]) -> str | None:
    """Return what is wrong, if anything is."""
    if len(arguments) == 2:
        return run(arguments[0], int(arguments[1]))
    import pytest  # not where requests are counted, which would take twice as long

    try:
        services.VALGRIND.require()
    except pytest.skip.Exception as reason:
        return print(f"skipped: {reason}")
    if "compiled" not in TWINS:
        return print("skipped: the core is not compiled")
    names = list(scenarios())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        raw = dict(zip(names, pool.map(count, names), strict=True))
    counts = {name: Count(each.instructions / raw[UNIT].instructions, each.blocks) for name, each in raw.items()}
    for name, each in counts.items():
        print(f"{name:20} {each.instructions:6.3f} x the instructions of {UNIT!r}, {each.blocks:6.1f} blocks")
    accepted = json.loads(ACCEPTED.read_text())
    if arguments == ["--accept"]:
        accepted[PYTHON] = {name: [round(figure, 3) for figure in each] for name, each in counts.items()}
        ACCEPTED.write_text(json.dumps(accepted, indent=1) + "\n")
        return None
    if PYTHON not in accepted:
        return print(f"nothing is accepted for {PYTHON} yet: `make count ARGS=--accept`")
    return "\n".join(judged(counts, accepted[PYTHON])) or None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
