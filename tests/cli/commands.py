"""`python -m gaesess`, as a program."""

from __future__ import annotations

import subprocess
import sys


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `python -m gaesess` with nothing of a terminal."""
    command = [sys.executable, "-m", "gaesess", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
