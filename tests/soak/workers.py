"""What the processes of a server use, as Linux tells."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """Of all of them together."""

    rss_mib: float
    descriptors: int


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_children(pid: int, count: int) -> list[int]:
    """Return the process ids of a process's children as soon as there are so many."""
    while len(found := children(pid)) < count:
        time.sleep(0.05)
    return found


def usage(pids: list[int]) -> Usage:
    """Return what processes use by now."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
    return Usage(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, descriptors)
