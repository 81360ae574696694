"""A lock that survives a fork."""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """A lock for the threads of a process: `with lock():`. A forked child never finds it locked.

    It is created on first use, after gevent has patched `threading`.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def __call__(self) -> threading.Lock:
        """Return the lock of this process."""
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.Lock())
