"""Eight processes that all write to one session, as fast as they can."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from engines.processes import Http, run_gunicorn
from engines.visitor import Visitor, at_once, complaints

WORKERS = 8


class Contention(NamedTuple):
    """What came of it."""

    written: int
    seconds: float
    wrong: list[str]


def contend(directory: Path, writes: int, **env: str) -> Contention:
    """Have a client for each worker make so many increments and as many appends."""
    with run_gunicorn(directory, "--workers", str(WORKERS), serves="soak.served", **env) as site:
        return _contend(site.port, writes)


def _contend(port: int, writes: int) -> Contention:
    def work(number: int) -> Visitor:
        with closing(Http(port, "/plain")) as http:
            visitor = Visitor(http.send, "ada", ada.cookies)
            for step in range(writes):
                visitor.increment()
                visitor.append(f"{number} {step}")
            return visitor

    with closing(Http(port, "/plain")) as http:
        ada = Visitor(http.send, "ada").sign_in(5000)
        began = time.monotonic()
        visitors = at_once([lambda number=number: work(number) for number in range(WORKERS)])
        seconds = time.monotonic() - began
        told = ada.read()
    wrong = complaints(visitors, told)
    failed = sum((visitor.statuses for visitor in visitors), Counter())
    del failed[200]
    if failed:
        wrong.append(f"requests failed, and there was no fault: {dict(failed)} of {2 * WORKERS * writes}")
    return Contention(told["n"] + len(told["items"]), seconds, wrong)
