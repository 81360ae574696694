"""The threads in which the store is called where an event loop must not wait for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

MAX_STORE_THREADS = 1000


class StoreThreads:
    """Up to `limit` threads, each started when it is needed and no other one is idle.

    They are not those of the event loop's default executor, which has six on a machine with two CPUs: if a store hangs,
    the application's own threads and name lookups must not wait for it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0  # whose threads these are: a forked child has none of its parent's

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The executor of this process."""
        process = os.getpid()
        if self._executor is None or self._process != process:
            from concurrent.futures import ThreadPoolExecutor  # not in every process

            self._executor = ThreadPoolExecutor(self._limit, thread_name_prefix="gaesess")
            self._process = process
        return self._executor
