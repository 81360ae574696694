"""What one process has open of an SQLite file, and how it survives forks and a file that is deleted or replaced.

SQLite keeps its locks per process and file, in memory of the process. This has two consequences.

A child must not open the file while it has a connection of its parent open: SQLite would believe that the child has
the parent's locks. Another process would then delete the log that the child writes to, and the child's writes with it
(https://www.sqlite.org/howtocorrupt.html, 2.6). So when Python forks, it first waits until no call is under way, for at
most FORK_SECONDS, and closes all idle connections. A server that forks without telling Python cannot be made to wait:
there, the child closes what it has inherited before it opens anything. That is safe for an idle connection: it frees
memory and descriptors of the child, and leaves the locks of the parent alone; and SQLite deletes the log then only if
no process has the file open. uWSGI's master, which forks like this, keeps no connection idle, so there is nothing to
inherit. The connection of a call that was under way cannot be closed: such a child refuses to use the file.

If the log (-wal) or its index (-shm) was deleted or replaced, the process must close all its connections before it
opens one: a new one would share the old index, of which other processes know nothing.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import Any
from weakref import ref

from gaesess.errors import StoreUnavailable
from gaesess.stores._lock import ProcessLock
from gaesess.stores._pool import Pool, places

FORK_SECONDS = 5.0  # how long a fork waits for the calls of other threads
LOOK_SECONDS = 1.0  # how often reads see whether the file was deleted or replaced; a write always sees that
MAX_CONNECTIONS = 32  # SQLite keeps the descriptor of each, even if closed, until all of the process are closed

_files: dict[str, SQLiteFile] = {}  # by real path
_registering = ProcessLock()


class SQLiteFile:
    """What this process has open of one file, in all its stores."""

    def __init__(self, path: str, inherited: SQLiteFile | None = None) -> None:
        self.pid = os.getpid()
        self.path, self.log, self.index = path, f"{path}-wal", f"{path}-shm"
        self.pools: list[ref[Pool[Any]]] = list(inherited.pools) if inherited else []
        self.free = places(MAX_CONNECTIONS)  # a call has one of these places
        # Writers take turns: SQLite has each sleep, up to 0.1 s at a time, until it finds the file unlocked by chance.
        self.turn = threading.Lock()
        self.look_at = 0.0  # when to look again whether the file is current, by time.monotonic
        self.is_lost = inherited is not None and inherited.is_in_use()
        self.uwsgi = sys.modules.get("uwsgi")  # uWSGI has a module of this name, which no other process can import
        self._inodes: tuple[int | None, ...] = ()  # of what the connections have open: the file, its log, the index
        self._stopping = threading.Lock()
        self._held = 0  # the places that `stop` has taken

    def is_in_use(self) -> bool:
        """Return whether a call is under way, or, in a child, was under way when the process was forked."""
        return self.is_lost or self.free.qsize() + self._held < MAX_CONNECTIONS

    def check(self) -> None:
        """Raise StoreUnavailable if this process cannot use the file."""
        if self.is_lost:
            raise StoreUnavailable(
                f"SQLite file {self.path} cannot be used in this process: it was forked while a thread of its parent"
                " was using the file; start this worker again"
            )

    def is_current(self, path: str) -> bool:
        """Return whether the file at `path` is the one that the connections have open, and its log is there.

        Cheap enough for every write. (A stat of the log, which was just written to, is not: on file systems with
        fine timestamps it makes the next write a third slower.)
        """
        try:
            return os.stat(path).st_ino == self._inodes[0] and os.access(self.log, os.F_OK)
        except OSError:
            return False

    def look(self, path: str, deadline: float) -> bool:
        """Close all connections if the files are not those that they have open. Returns whether it could by then.

        Raises StoreUnavailable if the file at `path` is another one, or none, and the log is still that of the old one:
        SQLite would write the log's pages into the new file. The connections stay open, so that no other log can get
        the inode of this one.
        """
        if not self._stopping.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return False
        try:
            known, found = self._inodes, self._find(path)
            if known and known != found:
                if known[0] != found[0] and known[1] == found[1]:
                    raise StoreUnavailable(
                        f"SQLite file {path} cannot be used: it was deleted or replaced, and {self.log} is of the old"
                        f" one; put that back, or delete {self.log} and {self.index}"
                    )
                if not self._close_all(deadline):
                    return False
            self.look_at = time.monotonic() + LOOK_SECONDS
            return True
        finally:
            self.go_on()

    def note(self, path: str) -> bool:
        """Note which files a new connection has opened; return whether they are those of the others."""
        found = self._find(path)
        with _registering():
            if not self._inodes and None not in found:
                self._inodes = found
            return self._inodes == found

    def stop(self, deadline: float) -> bool:
        """Close all connections when no call is under way, and let none begin until `go_on`.

        Returns False, and lets calls go on, if that took longer.
        """
        if not self._stopping.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return False
        is_stopped = False
        try:
            is_stopped = self._close_all(deadline)
        finally:
            if not is_stopped:
                self.go_on()
        return is_stopped

    def go_on(self) -> None:
        """Let calls begin again."""
        while self._held:
            self._held -= 1
            self.free.put(None)
        self._stopping.release()

    def _close_all(self, deadline: float) -> bool:
        self.look_at = 0.0  # calls that would begin now wait until this is over: none takes the place of one that ends
        try:
            while self._held < MAX_CONNECTIONS:
                self.free.get(timeout=max(0.0, deadline - time.monotonic()))
                self._held += 1
        except queue.Empty:
            return False
        self.close_idle()
        self._inodes = ()
        return True

    def close_idle(self) -> None:
        """Close the idle connections of all stores."""
        self.look_at = 0.0  # SQLite deletes the log with the last one
        for pool in self.pools:
            if (found := pool()) is not None:
                found.close()

    def _find(self, path: str) -> tuple[int | None, ...]:
        return inode_of(path), inode_of(self.log), inode_of(self.index)


def inode_of(path: str) -> int | None:
    """Return the inode of a file, None if there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def file_of_process(path: str, pool: Pool[Any]) -> SQLiteFile:
    """Return what this process has open of the file at a real path, for one more pool of connections to it.

    In a child, closes first what it has inherited.
    """
    with _registering():
        file = _files.get(path)
        if file is None or file.pid != os.getpid():
            file = _files[path] = SQLiteFile(path, file)
            for inherited in file.pools:
                if (found := inherited()) is not None:
                    found.abandon_inherited()
        known = [found for each in file.pools if (found := each()) is not None and found is not pool]
        file.pools = [*map(ref, known), ref(pool)]
        return file


_stopped: list[SQLiteFile] = []


def _before_fork() -> None:
    deadline = time.monotonic() + FORK_SECONDS
    for file in list(_files.values()):
        if file.pid == os.getpid():
            if file.stop(deadline):
                _stopped.append(file)
            else:
                file.close_idle()


def _after_fork_in_parent() -> None:
    while _stopped:
        _stopped.pop().go_on()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_stopped.clear)
