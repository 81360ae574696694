"""`python -m model.mutants [TEXT]`: puts each fault back into a copy of the library, and looks for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import NamedTuple

HERE = Path(__file__).parent
TESTS, ROOT = HERE.parents[1], HERE.parents[2]
SECONDS = 240  # for one


class Mutant(NamedTuple):
    """A patch, and what shows that it is wrong."""

    path: Path
    title: str
    case: str
    faults: int


def mutants() -> list[Mutant]:
    """Return all of them."""
    found = []
    for path in sorted(HERE.glob("*.patch")):
        title, shown = path.read_text().splitlines()[:2]
        *case, faults = shown.removeprefix("shown by: ").split()
        found.append(Mutant(path, title, " ".join(case), int(faults)))
    return found


def look_for(mutant: Mutant) -> tuple[bool, str]:
    """Return whether a mutant is found, and what is printed about it."""
    with tempfile.TemporaryDirectory() as folder:
        copytree(ROOT / "src", Path(folder) / "src", ignore=ignore_patterns("*.so", "*.egg-info", "__pycache__"))
        subprocess.run(["git", "apply", "-p1", mutant.path], cwd=folder, check=True)
        environment = os.environ | {"PYTHONPATH": f"{folder}/src{os.pathsep}{TESTS}", "GAESESS_PURE": "1"}
        command = [
            sys.executable,
            "-m",
            "model",
            "--exactly",
            mutant.case,
            "--faults",
            str(mutant.faults),
            "--jobs",
            "1",
        ]
        done = subprocess.run(
            [*command, "--seconds", str(SECONDS)], env=environment, capture_output=True, text=True, check=False
        )
        assert not done.stderr, done.stderr
        return done.returncode == 1, done.stdout


def main() -> int:
    """Look for those whose names have one of the arguments in them, by default for all."""
    missed = 0
    for mutant in mutants():
        if not any(text in mutant.path.stem for text in sys.argv[1:] or [""]):
            continue
        found, printed = look_for(mutant)
        missed += not found
        said = [line for line in printed.splitlines() if "@" in line or line.startswith("total")]
        print(
            f"{mutant.path.stem}: {mutant.title}", *(f"    {line.strip()}" for line in said or ["NOT FOUND"]), sep="\n"
        )
    print(f"{missed} mutants were not found" if missed else "every mutant is found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
