"""Records in an SQLite file: durable, for all processes of one machine, with nothing to install or run."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gaesess.errors import Conflict, Gone, KeyExists, StoreBusy, StoreUnavailable
from gaesess.stores._pool import Pool
from gaesess.stores.base import Store, Stored

T = TypeVar("T")

FORK_SECONDS = 5.0  # how long a fork waits for a write of another thread to end

MAX_PARAMETERS = 999  # of one statement, in SQLite before 3.32 (https://www.sqlite.org/limits.html)
BATCH_RECORDS = 500  # some milliseconds, for which other writers wait

# FULL: a commit returns when the disk has it. NORMAL survives a crash of the process too, but forgets the last commits
# when the power fails (https://www.sqlite.org/pragma.html#pragma_synchronous), and a terminated session would be back.
_SETTINGS = "PRAGMA synchronous = FULL"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS gaesess_record (
    key TEXT PRIMARY KEY, expires_at INTEGER NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS gaesess_record_by_expiry ON gaesess_record (expires_at);
"""
_GET = "SELECT data, version FROM gaesess_record WHERE key = ?"
_GET_MANY = "SELECT key, data, version FROM gaesess_record WHERE key IN ({})"
_ADD = """
INSERT INTO gaesess_record (key, expires_at, version, data) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING
"""
_REPLACE = """
UPDATE gaesess_record SET data = ?, expires_at = ?, version = version + 1 WHERE key = ? AND version = ?
"""
_DELETE = "DELETE FROM gaesess_record WHERE key = ?"
_COUNT_EXPIRED = "SELECT count(*) FROM gaesess_record WHERE expires_at <= ?"
_DELETE_EXPIRED = """
DELETE FROM gaesess_record WHERE key IN (SELECT key FROM gaesess_record WHERE expires_at <= ? LIMIT ?)
"""


# The writers of this process to one file, by its real path, take turns: SQLite has each sleep, up to 0.1 s at a time,
# until it finds the file unlocked by chance.
_writing: dict[str, threading.Lock] = {}
_writing_lock = threading.Lock()


class SQLiteStore(Store):
    """Keeps records in the SQLite file at `path`, which is made, readable by its owner only, if it is not there.

    Any number of threads and processes of one machine may share the file; it must not be on a network file system
    (https://www.sqlite.org/wal.html). `timeout` is how many seconds a write waits for others, of this process and of
    other ones together, before StoreUnavailable. A write that has returned survives a crash and a power failure.

    Raises StoreUnavailable if the file cannot be opened or is not an SQLite database.
    """

    reads_at_once = True  # from the page cache or the disk: in WAL mode no reader waits for a writer

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        if os.fspath(path) == ":memory:":
            raise ValueError("SQLiteStore needs a file, not ':memory:'; use MemoryStore for records in memory")
        self._path = Path(path).absolute()
        self._timeout = timeout
        self._pool = Pool(self._connect)
        self._create_file()
        self._real_path = os.path.realpath(self._path)
        with _writing_lock:
            _writing.setdefault(self._real_path, threading.Lock())
        self._lend(self._prepare)

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        row = self._lend(lambda connection: connection.execute(_GET, (key,)).fetchone())
        return None if row is None else Stored(*row)

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        def read(connection: sqlite3.Connection) -> dict[str, Stored]:
            found = {}
            for first in range(0, len(keys), MAX_PARAMETERS):
                some = keys[first : first + MAX_PARAMETERS]
                rows = connection.execute(_GET_MANY.format(", ".join("?" * len(some))), some)
                found.update({key: Stored(data, version) for key, data, version in rows})
            return found

        found = self._lend(read)
        return [found.get(key) for key in keys]

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        version = secrets.randbits(62)  # a random start: a deleted and re-added record never has an old version
        if not self._write(_ADD, key, expires_at, version, data):
            raise KeyExists("SQLiteStore has a record under this key already")
        return version

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        if self._write(_REPLACE, data, expires_at, key, version):
            return version + 1
        if self.get(key) is None:
            raise Gone("SQLiteStore has no record under this key")
        raise Conflict("the record in SQLiteStore was replaced since it was read")

    def delete(self, key: str) -> None:
        self._write(_DELETE, key)

    def count_expired(self, *, now: int) -> int:
        (count,) = self._lend(lambda connection: connection.execute(_COUNT_EXPIRED, (now,)).fetchone())
        return int(count)

    def delete_expired(self, *, now: int) -> Iterator[int]:
        while deleted := self._write(_DELETE_EXPIRED, now, BATCH_RECORDS):
            yield deleted

    def close(self) -> None:
        """Close the connections that are not in use. The store stays usable, and opens them again when needed."""
        self._pool.close()

    def _write(self, statement: str, *parameters: str | int | bytes) -> int:
        turn = _writing[self._real_path]
        deadline = None
        if not turn.acquire(blocking=False):
            deadline = time.monotonic() + self._timeout
            if not turn.acquire(timeout=self._timeout):
                raise StoreBusy(
                    f"SQLite file {self._path} cannot be used: other threads of this process write to it for more than"
                    f" {self._timeout} seconds"
                )
        try:
            return self._lend(lambda connection: self._execute(connection, deadline, statement, parameters))
        finally:
            turn.release()

    def _execute(
        self, connection: sqlite3.Connection, deadline: float | None, statement: str, parameters: tuple[object, ...]
    ) -> int:
        if deadline is None:
            return connection.execute(statement, parameters).rowcount
        _set_timeout(connection, deadline - time.monotonic())
        changed = connection.execute(statement, parameters).rowcount
        _set_timeout(connection, self._timeout)
        return changed

    def _lend(self, use: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._pool.lend(use)
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            kind = StoreBusy if "is locked" in str(error) else StoreUnavailable
            raise kind(f"SQLite file {self._path} cannot be used: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",  # never makes the file: it would be readable by others
            uri=True,
            timeout=self._timeout,
            isolation_level=None,  # each statement commits by itself
            check_same_thread=False,  # the pool lends it to one thread at a time
        )
        try:
            connection.execute(_SETTINGS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Let readers read while one writes, and make the table. The file remembers both.

        Of two processes that switch a new file together SQLite refuses one at once, whatever the timeout (to wait would
        be a deadlock). That one waits here for the write lock, which it can without, and tries again.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                if time.monotonic() >= deadline:
                    raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        connection.executescript(_SCHEMA)

    def _create_file(self) -> None:
        try:
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"SQLite file {self._path} cannot be made: {error.strerror}") from error


def _set_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {max(0, round(seconds * 1000))}")


_held_for_fork: list[threading.Lock] = []


def _before_fork() -> None:
    """Wait until no thread writes: SQLite in the child would take the parent's lock on the file for its own."""
    _writing_lock.acquire()
    deadline = time.monotonic() + FORK_SECONDS
    for turn in _writing.values():
        if turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            _held_for_fork.append(turn)


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop().release()
    _writing_lock.release()


def _after_fork_in_child() -> None:
    _held_for_fork.clear()
    for path in _writing:
        _writing[path] = threading.Lock()
    _writing_lock.release()


if hasattr(os, "register_at_fork"):  # after _pool's, so that its lock is free while this waits for writers
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
