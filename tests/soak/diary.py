"""What all clients of a soak have met with."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import NamedTuple

from wsgi.client import CookieJar

MOUNTS = {"/plain": 60.0, "/revocable": 5.0}  # seconds for which an ended session may be believed, as documented


class Failed(NamedTuple):
    """A request that was answered 503, or not at all (0), by the monotonic clock."""

    status: int
    began: float
    ended: float


class Ended(NamedTuple):
    """The cookies of a session whose end was acknowledged then."""

    mount: str
    cookies: CookieJar
    at: float


class Diary:
    """Kept by many threads."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.failed: list[Failed] = []
        self.wrong: Counter[str] = Counter()
        self.examples: dict[str, str] = {}  # of each thing that is wrong, the first
        self.ended: list[Ended] = []
        self.acknowledged: Counter[str] = Counter()  # what was changed, by the verb
        self.unknown: Counter[str] = Counter()
        self.ghosts: Counter[str] = Counter()  # copies of ended sessions that were tried
        self.resurrected: dict[str, list[float]] = {
            mount: [] for mount in MOUNTS
        }  # when those that were alive had ended
        self.lost: list[float] = []  # when the sessions that the store has lost were last written to
        self._lock = threading.Lock()

    def note_answer(self, status: int, began: float) -> None:
        """Note a response to a request that began then."""
        with self._lock:
            self.statuses[status] += 1
            if status in (0, 503):
                self.failed.append(Failed(status, began, time.monotonic()))

    def note_write(self, verb: str, status: int) -> None:
        """Note a response that says what came of a write."""
        with self._lock:
            (self.acknowledged if status == 200 else self.unknown)[verb] += 1

    def note_wrong(self, *complaints: str, example: object = "") -> None:
        """Note what must not be."""
        with self._lock:
            self.wrong.update(complaints)
            for complaint in complaints:
                self.examples.setdefault(complaint, f"{time.monotonic():.3f} {example}")

    def note_ended(self, mount: str, cookies: CookieJar) -> None:
        """Note the cookies of a session that was ended by an acknowledged request."""
        with self._lock:
            self.ended.append(Ended(mount, cookies, time.monotonic()))

    def an_ended(self, mount: str, chance: random.Random) -> Ended | None:
        """Return one of the latest sessions that have ended there."""
        with self._lock:
            here = [ended for ended in self.ended[-1000:] if ended.mount == mount]
        return chance.choice(here) if here else None

    def note_ghost(self, ended: Ended, *, alive: bool, late: bool) -> None:
        """Note what became of a request with the cookies of an ended session: `late`, if it must be dead by now."""
        with self._lock:
            self.ghosts["alive" if alive else "dead"] += 1
            if alive and late:
                self.resurrected[ended.mount].append(ended.at)

    def note_lost(self, written_at: float) -> None:
        """Note that the store has lost a session, which was last written to then."""
        with self._lock:
            self.lost.append(written_at)
