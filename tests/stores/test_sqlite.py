"""SQLiteStore: the contract, many processes on one file, and files that cannot be used."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gaesess.errors import Conflict, StoreBusy, StoreUnavailable
from gaesess.stores._sqlite_file import _files
from gaesess.stores.base import Stored
from gaesess.stores.sqlite import SQLiteStore
from gaesess.testing import EXPIRY, NOW, StoreContract, new_key, race

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
FORK_IN_THREADS = "ignore:.* is multi-threaded, use of fork:DeprecationWarning"  # of the threads of gRPC
SPAWN = multiprocessing.get_context("spawn")
INCREMENTS = 40
FILES = 50  # how two processes meet at a new file is left to chance


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()


class TestSQLiteStore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, path: Path) -> Iterator[SQLiteStore]:
        store = SQLiteStore(path)
        yield store
        store.close()


def test_a_record_outlives_the_store_object(path: Path, store: SQLiteStore) -> None:
    key = new_key()
    version = store.add(key, b"kept", expires_at=EXPIRY)
    store.close()
    reopened = SQLiteStore(path)
    assert reopened.get(key) == Stored(b"kept", version)
    reopened.close()


def test_a_closed_store_opens_the_file_again_when_needed(store: SQLiteStore) -> None:
    key = new_key()
    store.close()
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key) == Stored(b"data", version)


def test_two_stores_on_one_file_see_each_others_writes(path: Path, store: SQLiteStore) -> None:
    key, other = new_key(), SQLiteStore(path)
    version = store.add(key, b"first", expires_at=EXPIRY)
    version = other.replace(key, b"second", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"second", version)
    other.close()


def test_replace_moves_the_expiry(store: SQLiteStore) -> None:
    key = new_key()
    version = store.add(key, b"short", expires_at=NOW)
    store.replace(key, b"long", expires_at=NOW + 1, version=version)
    assert list(store.delete_expired(now=NOW)) == []


def increment(path: Path, key: str, conflicts: multiprocessing.Queue[int]) -> None:
    store, lost = SQLiteStore(path), 0
    for _ in range(INCREMENTS):
        while True:
            count, version = store.get(key)
            try:
                store.replace(key, b"%d" % (int(count) + 1), expires_at=EXPIRY, version=version)
                break
            except Conflict:
                lost += 1
    store.close()
    conflicts.put(lost)


def test_two_processes_that_replace_one_record_lose_no_write(path: Path, store: SQLiteStore) -> None:
    key = new_key()
    first_version = store.add(key, b"0", expires_at=EXPIRY)
    conflicts = SPAWN.Queue()
    processes = [SPAWN.Process(target=increment, args=(path, key, conflicts)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        conflicts.get(timeout=60)
        process.join()
    assert store.get(key) == Stored(b"%d" % (2 * INCREMENTS), first_version + 2 * INCREMENTS)


def make_files(paths: list[Path], start: Any) -> None:
    for path in paths:
        start.wait()
        store = SQLiteStore(path)
        store.add(new_key(), b"data", expires_at=NOW)
        store.close()


def test_processes_that_start_together_make_the_file_together(tmp_path: Path) -> None:
    paths, start = [tmp_path / str(number) for number in range(FILES)], SPAWN.Barrier(4, timeout=15)
    processes = [SPAWN.Process(target=make_files, args=(paths, start)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    for path in paths:
        store = SQLiteStore(path)
        assert store.count_expired(now=NOW) == 4
        store.close()


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_forked_child_opens_connections_of_its_own(store: SQLiteStore) -> None:
    key = new_key()
    version = store.add(key, b"parent", expires_at=EXPIRY)
    child = os.fork()
    if child == 0:
        try:
            store.replace(key, b"child", expires_at=EXPIRY, version=version)
            store.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert store.get(key) == Stored(b"child", version + 1)


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_no_idle_connection_is_open_across_a_fork(path: Path, store: SQLiteStore) -> None:
    store.get(new_key())
    assert open_files(path) > 0
    child = os.fork()
    if child == 0:
        os._exit(open_files(path))
    assert os.waitpid(child, 0) == (child, 0)


def open_files(path: Path) -> int:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc")
    return sum(str(entry.resolve()).startswith(str(path.resolve())) for entry in descriptors.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_only_its_owner_can_read_the_file_and_its_log(path: Path, store: SQLiteStore) -> None:
    store.add(new_key(), b"secret", expires_at=EXPIRY)
    files = list(path.parent.iterdir())
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_disk_has_a_write_before_it_returns(path: Path, store: SQLiteStore) -> None:
    def pragma(name: str) -> tuple[object]:
        return store._pool.lend(lambda connection: connection.execute(f"PRAGMA {name}").fetchone())

    assert pragma("journal_mode") == ("wal",)
    assert pragma("synchronous") == (2,)


def test_expired_records_are_found_by_an_index(path: Path, store: SQLiteStore) -> None:
    connection = sqlite3.connect(path)
    plan = connection.execute("EXPLAIN QUERY PLAN SELECT key FROM gaesess_record WHERE expires_at <= 1").fetchall()
    connection.close()
    assert "gaesess_record_by_expiry" in str(plan)


def test_a_path_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"missing.sessions.*cannot be made"):
        SQLiteStore(tmp_path / "missing" / "sessions")


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailable, match=r"sessions\.sqlite3.*not a database"):
        SQLiteStore(path)


def test_a_file_that_has_gone_is_an_outage_and_not_a_miss(path: Path, store: SQLiteStore) -> None:
    store.close()
    path.unlink()
    with pytest.raises(StoreUnavailable, match=r"sessions\.sqlite3.*unable to open"):
        store.get(new_key())
    assert not path.exists()


def test_a_write_that_waits_too_long_for_another_is_an_outage(path: Path, store: SQLiteStore) -> None:
    key, impatient, writer = new_key(), SQLiteStore(path, timeout=0.01), sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="locked"):
        impatient.add(key, b"data", expires_at=EXPIRY)
    writer.close()
    impatient.close()
    assert store.get(key) is None


def test_writers_of_one_process_take_turns_whatever_they_call_the_file(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = path.parent / "link"
    link.symlink_to(path)
    stores = [store, SQLiteStore(path), SQLiteStore(link)]
    writing, most = [], []
    lend = SQLiteStore._lend

    def watched(store: SQLiteStore, use: Any, deadline: float | None = None) -> Any:
        writing.append(store)
        most.append(len(writing))
        time.sleep(0.001)
        try:
            return lend(store, use, deadline)
        finally:
            writing.pop()

    monkeypatch.setattr(SQLiteStore, "_lend", watched)
    race(lambda name: stores[name[0] % 3].add(new_key(), name, expires_at=EXPIRY), [bytes([n]) for n in range(12)])
    assert most == [1] * 12
    monkeypatch.undo()
    for each in stores:
        each.close()


def hold(lock: threading.Lock, held: threading.Event, wanted: threading.Event) -> None:
    with lock:
        held.set()
        wanted.wait()


@contextmanager
def writing(path: Path) -> Iterator[threading.Event]:
    """Let another thread write to the file until the block is left, or the event is set."""
    held, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(_files[str(path)].turn, held, done))
    thread.start()
    held.wait()
    try:
        yield done
    finally:
        done.set()
        thread.join()


def test_a_write_that_waits_too_long_for_another_thread_is_an_outage(path: Path, store: SQLiteStore) -> None:
    impatient = SQLiteStore(path, timeout=0.01)
    with writing(path), pytest.raises(StoreBusy, match="other threads of this process write"):
        impatient.add(new_key(), b"data", expires_at=EXPIRY)
    assert impatient.get(new_key()) is None
    impatient.close()


def test_what_a_write_has_waited_for_threads_it_does_not_wait_for_sqlite(path: Path, store: SQLiteStore) -> None:
    statements: list[str] = []
    store._pool.lend(lambda connection: connection.set_trace_callback(statements.append))
    store.add(new_key(), b"data", expires_at=EXPIRY)
    assert "busy_timeout" not in str(statements)
    with writing(path) as done:
        threading.Timer(0.05, done.set).start()
        store.add(new_key(), b"data", expires_at=EXPIRY)
    first, *_, last = (statement for statement in statements if "busy_timeout" in statement)
    assert 0 < int(first.partition("=")[2]) < 5000
    assert last == "PRAGMA busy_timeout = 5000"


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_child_can_write_that_was_forked_while_a_thread_wrote(path: Path, store: SQLiteStore) -> None:
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            store.add(new_key(), bytes(200_000), expires_at=EXPIRY)

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                try:
                    SQLiteStore(path, timeout=10.0).add(new_key(), b"child", expires_at=EXPIRY)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0) == (child, 0)
    finally:
        stop.set()
        thread.join()


def test_a_record_can_be_read_while_another_process_writes(path: Path, store: SQLiteStore) -> None:
    key, writer = new_key(), sqlite3.connect(path, isolation_level=None)
    version = store.add(key, b"data", expires_at=EXPIRY)
    writer.execute("BEGIN IMMEDIATE")
    assert store.get(key) == Stored(b"data", version)
    writer.close()


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="use MemoryStore"):
        SQLiteStore(":memory:")


def test_many_records_are_read_in_one_statement(path: Path, store: SQLiteStore) -> None:
    statements: list[str] = []
    keys = [new_key() for _ in range(3)]
    store._pool.lend(lambda connection: connection.set_trace_callback(statements.append))
    store.get_many(keys)
    assert len(statements) == 1
