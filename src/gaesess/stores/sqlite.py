"""Records in an SQLite file: durable, for all processes of one machine, with nothing to install or run."""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gaesess.errors import Conflict, Gone, KeyExists, StoreBusy, StoreUnavailable
from gaesess.stores._pool import Places, Pool
from gaesess.stores._sqlite_file import MAX_CONNECTIONS, SQLiteFile, file_of_process, inode_of
from gaesess.stores.base import Store, Stored, checked_seconds

T = TypeVar("T")

MAX_PARAMETERS = 999  # of one statement, in SQLite before 3.32 (https://www.sqlite.org/limits.html)
BATCH_RECORDS, BATCH_BYTES = 500, 4_000_000  # some milliseconds, for which other writers wait
MAX_LOG_BYTES = 33_554_432  # of the log, beyond which a cleanup empties it before it goes on
MAX_PAUSE_SECONDS = 0.1
LATE_SECONDS = 0.01  # a shorter wait is not worth two statements that change SQLite's own timeout

# FULL: a commit returns when the disk has it. NORMAL survives a crash of the process too, but forgets the last commits
# when the power fails (https://www.sqlite.org/pragma.html#pragma_synchronous), and a terminated session would be back.
_SETTINGS = ("PRAGMA synchronous = FULL", f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}")
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS gaesess_record (
    key TEXT PRIMARY KEY, expires_at INTEGER NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS gaesess_record_by_expiry ON gaesess_record (expires_at);
COMMIT;
"""
_TABLES = "SELECT name, sql FROM sqlite_master"
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
_EXPIRED = "SELECT key, length(data) FROM gaesess_record WHERE expires_at <= ? LIMIT ?"
_EMPTY_LOG = "PRAGMA wal_checkpoint(TRUNCATE)"  # its first value is 1 if somebody was in the way for too long
_DELETE_EXPIRED = "DELETE FROM gaesess_record WHERE expires_at <= ? AND key IN ({})"


class SQLiteStore(Store):
    """Keeps records in the SQLite file at `path`, which is created, readable by its owner only, if it does not exist.

    Any number of threads and processes of one machine may share the file. It must be on a local disk, not on a network
    file system (https://www.sqlite.org/wal.html), and hold nothing but sessions. `timeout` is how many seconds a write
    waits in all, for writers of this process and for other programs, before StoreBusy. Reads do not wait for writes. A
    write that has returned survives a crash and a power failure.

    If the file is deleted while it is in use, every call raises StoreUnavailable until it is back, or the application
    is started again. If it is replaced, and its old log (-wal) was deleted, the store goes on with the new file.

    Servers may fork after the store was created or used: no connection is shared by two processes.

    Raises StoreUnavailable if the file cannot be opened, is not an SQLite database or is one of another application,
    and if SQLite cannot use write-ahead logging there. Raises ValueError for a timeout that is not a number of seconds
    above 0.
    """

    reads_at_once = True  # from the page cache or the disk: in WAL mode no reader waits for a writer

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        if os.fspath(path) == ":memory:":
            raise ValueError("SQLiteStore needs a file, not ':memory:'; use MemoryStore for records in memory")
        self._path = os.path.abspath(path)
        self._timeout = checked_seconds("timeout", timeout)
        self._pool = Pool(
            self._connect,
            abandon=_abandon,
            max_connections=MAX_CONNECTIONS,
            shared_places=self._places,
            timeout=self._timeout,
        )
        self._create_file()
        self._real_path = os.path.realpath(self._path)
        self._file = file_of_process(self._real_path, self._pool)
        self._lend(lambda connection: None)
        self.close()  # an application that is created before a fork has no connection open

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        row = self._lend(lambda connection: connection.execute(_GET, (key,)).fetchone())
        return None if row is None else Stored(*row)

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        def read(connection: sqlite3.Connection) -> dict[str, Stored]:
            found = {}
            for first in range(0, len(keys), MAX_PARAMETERS):
                some = keys[first : first + MAX_PARAMETERS]
                rows = connection.execute(_GET_MANY.format(_marks(some)), some)
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
        while keys := self._lend(lambda connection: _one_batch(connection, now)):
            began = time.monotonic()
            self._bound_log()
            yield self._write(_DELETE_EXPIRED.format(_marks(keys)), now, *keys)
            # Half of the time is for other writers: those of other processes find the file unlocked by chance only.
            time.sleep(min(time.monotonic() - began, MAX_PAUSE_SECONDS))

    def close(self) -> None:
        """Close the connections that are not in use. The store stays usable, and opens them again when needed."""
        file = self._here()
        if file.stop(time.monotonic()):  # nobody uses one
            file.go_on()
        else:
            self._pool.close()

    def _bound_log(self) -> None:
        """Empty the log if it is large: SQLite does not begin it again while there is always somebody who reads."""
        size = 0
        with suppress(OSError):  # SQLite has deleted it with the last connection
            size = os.stat(self._file.log).st_size
        if size > MAX_LOG_BYTES and self._write(_EMPTY_LOG):
            raise StoreBusy(
                f"SQLite file {self._path} cannot be cleaned up: its log is large, and another program has read the"
                f" file for more than {self._timeout} seconds; end that, or try again later"
            )

    def _write(self, statement: str, *parameters: str | int | bytes) -> int:
        """Return how many records a statement has changed, or the first value that it returns."""
        deadline = time.monotonic() + self._timeout
        turn = self._here().turn
        if not (turn.acquire(blocking=False) or turn.acquire(timeout=self._timeout)):
            raise StoreBusy(
                f"SQLite file {self._path} cannot be used: other threads of this process write to it for more than"
                f" {self._timeout} seconds"
            )
        try:
            answer = self._lend(lambda connection: self._execute(connection, deadline, statement, parameters), deadline)
        finally:
            turn.release()
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer

    def _execute(
        self, connection: sqlite3.Connection, deadline: float, statement: str, parameters: tuple[object, ...]
    ) -> int | StoreUnavailable:
        """Execute a statement; return the error, and do not raise it, where the connections should stay open."""
        seconds = deadline - time.monotonic()
        is_late = seconds < self._timeout - LATE_SECONDS
        if is_late:
            _set_timeout(connection, seconds)
        try:
            cursor = connection.execute(statement, parameters)
            changed: int = cursor.fetchone()[0] if cursor.description else cursor.rowcount
        except sqlite3.OperationalError as error:
            if "is locked" in str(error) or "is full" in str(error):
                return self._unavailable(error)
            raise
        finally:
            if is_late:
                _set_timeout(connection, self._timeout)
        if self._file.is_current(self._path):
            return changed
        self._file.look_at = 0.0
        return StoreUnavailable(f"SQLite file {self._path} was deleted or replaced during a write")

    def _here(self) -> SQLiteFile:
        """Return what this process has open of the file."""
        if self._file.pid != os.getpid():
            self._file = file_of_process(self._real_path, self._pool)
        return self._file

    def _places(self) -> Places:
        file = self._here()
        file.check()
        return file.free

    def _lend(self, use: Callable[[sqlite3.Connection], T], deadline: float | None = None) -> T:
        now = time.monotonic()
        if deadline is None:
            deadline = now + self._timeout
        if now >= self._file.look_at and not self._here().look(self._path, deadline):
            raise StoreBusy(
                f"SQLite file {self._path} cannot be used: the process is being forked, or the file was replaced and"
                f" other threads still use the old one, for more than {self._timeout} seconds"
            )
        try:
            return self._pool.lend(use, deadline)
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._unavailable(error) from error
        except StoreUnavailable:
            self._file.look_at = 0.0
            raise
        finally:
            if self._file.uwsgi is not None and self._file.uwsgi.worker_id() == 0:
                self.close()  # the master forks workers without telling Python

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        self._file.look_at = 0.0
        reason = str(error)
        if not os.path.exists(self._path):
            reason += ": it was deleted; put it back, or start the application again to create it"
        elif "I/O" in reason or "locking protocol" in reason:
            reason += "; it must be on a local disk"
        kind = StoreBusy if "is locked" in reason else StoreUnavailable
        return kind(f"SQLite file {self._path} cannot be used: {reason}")

    def _connect(self, deadline: float | None = None) -> sqlite3.Connection:
        deadline = deadline or time.monotonic() + self._timeout
        before = inode_of(self._path)
        self._repair_permissions()
        connection = sqlite3.connect(
            f"{Path(self._path).as_uri()}?mode=rw",  # never creates the file: it would be readable by others
            uri=True,
            timeout=max(0.0, deadline - time.monotonic()),
            isolation_level=None,  # each statement commits by itself
            check_same_thread=False,  # the pool lends it to one thread at a time
        )
        try:
            for setting in _SETTINGS:
                connection.execute(setting)
            self._prepare(connection, deadline)
            _set_timeout(connection, self._timeout)
            if not self._file.note(self._path) or inode_of(self._path) != before:
                raise StoreUnavailable(f"SQLite file {self._path} was deleted or replaced while it was opened")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection, deadline: float) -> None:
        """Check that the file is ours. If it is new, or a backup, enable WAL mode and create what is missing."""
        tables = dict(connection.execute(_TABLES).fetchall())
        if tables and "WITHOUT ROWID" not in (tables.get("gaesess_record") or ""):  # DjangoStore's is with rowid
            raise StoreUnavailable(
                f"SQLite file {self._path} has tables of another application: give sessions a file of their own"
            )
        is_wal = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        if not is_wal:
            self._enable_wal(connection, deadline)
        if not is_wal or "gaesess_record_by_expiry" not in tables:
            connection.executescript(_SCHEMA)

    def _enable_wal(self, connection: sqlite3.Connection, deadline: float) -> None:
        """Let readers read while one writes. The file remembers it.

        If two processes switch a new file together, SQLite refuses one at once, whatever the timeout (to wait would be
        a deadlock). That one waits here for the write lock, which it can without, and tries again.
        """
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError:
                if time.monotonic() >= deadline:
                    raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        if mode != "wal":
            raise StoreUnavailable(
                f"SQLite file {self._path} is on a file system without write-ahead logging (SQLite stays in the journal"
                f" mode {mode!r}): put it on a local disk"
            )

    def _create_file(self) -> None:
        try:
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"SQLite file {self._path} cannot be made: {error.strerror}") from error

    def _repair_permissions(self) -> None:
        """Give the log and its index the permissions of the file. SQLite does so only when it creates them."""
        with suppress(OSError):
            mode = stat.S_IMODE(os.stat(self._path).st_mode)
            for name in (self._file.log, self._file.index):
                found = os.lstat(name)
                if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) != mode:
                    os.chmod(name, mode)


def _one_batch(connection: sqlite3.Connection, now: int) -> list[str]:
    """Return the keys of expired records that are deleted together."""
    keys: list[str] = []
    size = 0
    for key, length in connection.execute(_EXPIRED, (now, BATCH_RECORDS)):
        size += length
        if keys and size > BATCH_BYTES:
            break
        keys.append(key)
    return keys


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _abandon(connection: sqlite3.Connection) -> None:
    """Close a connection of the parent process without touching the log."""
    configure = getattr(connection, "setconfig", None)  # before Python 3.12 SQLite tries, and others have the file open
    if configure is not None:
        configure(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # type: ignore[attr-defined]
    connection.close()


def _set_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {max(0, round(seconds * 1000))}")
