"""What all clients of a soak have met with."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import NamedTuple

from wsgi.client import CookieJar


class Refused(NamedTuple):
    """A request that was answered 503, by the monotonic clock."""

    began: float
    ended: float


class Diary:
    """Kept by many threads."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.refused: list[Refused] = []
        self.wrong: Counter[str] = Counter()
        self.ended: list[CookieJar] = []  # cookies of sessions whose end was acknowledged
        self.acknowledged = 0
        self.unknown = 0
        self._lock = threading.Lock()

    def note_answer(self, status: int, began: float) -> None:
        """Note a response to a request that began then."""
        with self._lock:
            self.statuses[status] += 1
            if status == 503:
                self.refused.append(Refused(began, time.monotonic()))

    def note_write(self, status: int) -> None:
        """Note a response that says what came of a write."""
        with self._lock:
            self.acknowledged += status == 200
            self.unknown += status != 200

    def note_wrong(self, *complaints: str) -> None:
        """Note what must not be."""
        with self._lock:
            self.wrong.update(complaints)

    def note_ended(self, cookies: CookieJar) -> None:
        """Note the cookies of a session that was ended by an acknowledged request."""
        with self._lock:
            self.ended.append(cookies)
