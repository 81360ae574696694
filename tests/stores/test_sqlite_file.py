"""SQLiteStore through operations: files that are deleted, replaced or repaired, forks of all kinds, and one timeout."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import services

from gaesess.errors import StoreBusy, StoreUnavailable
from gaesess.stores import _sqlite_file, sqlite
from gaesess.stores.base import Stored
from gaesess.stores.sqlite import SQLiteStore
from gaesess.testing import EXPIRY, new_key, race

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
FORK_IN_THREADS = "ignore:.* is multi-threaded, use of fork:DeprecationWarning"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path)
    yield store
    store.close()


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_file, "LOOK_SECONDS", 0.0)


def files_of(path: Path) -> list[Path]:
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]


def open_files(path: Path) -> list[str]:
    """Return the names of what this process has open in the folder, also if they were deleted."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc")
    links = []
    for descriptor in descriptors.iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(descriptor))
    return [link for link in links if link.startswith(str(path.parent))]


def in_another_process(path: Path, key: str) -> bytes | None:
    """Return the data of a record as a process that starts now finds it."""
    source = (
        "import sys; from gaesess.stores.sqlite import SQLiteStore;"
        " stored = SQLiteStore(sys.argv[1]).get(sys.argv[2]); print(stored and stored.data.decode())"
    )
    env = os.environ | {"PYTHONPATH": services.python_path()}
    command = [sys.executable, "-c", source, str(path), key]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=True)
    return None if done.stdout.strip() == "None" else done.stdout.strip().encode()


@contextlib.contextmanager
def call_under_way(store: SQLiteStore) -> Iterator[threading.Event]:
    """Let another thread use a connection until the block is left, or the event is set."""
    began, done = threading.Event(), threading.Event()

    def use(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT 1").fetchone()
        began.set()
        done.wait()

    thread = threading.Thread(target=store._lend, args=(use,))
    thread.start()
    began.wait()
    try:
        yield done
    finally:
        done.set()
        thread.join()


# -- the file


def test_a_new_store_has_nothing_open(path: Path) -> None:
    SQLiteStore(path)
    assert open_files(path) == []


def test_a_write_to_a_file_that_was_deleted_is_an_outage_until_the_store_is_made_again(
    path: Path, store: SQLiteStore
) -> None:
    key = new_key()
    store.add(new_key(), b"data", expires_at=EXPIRY)
    for file in files_of(path):
        file.unlink()
    for expected in ("deleted or replaced", "it was deleted; put it back, or start the application again"):
        with pytest.raises(StoreUnavailable, match=expected):
            store.add(key, b"data", expires_at=EXPIRY)
    assert list(path.parent.iterdir()) == []
    again = SQLiteStore(path)
    store.add(key, b"data", expires_at=EXPIRY)
    assert again.get(key).data == b"data"
    again.close()


def test_a_file_that_is_deleted_during_a_write_does_not_acknowledge_it(path: Path, store: SQLiteStore) -> None:
    store._lend(lambda connection: connection.set_trace_callback(lambda _: path.unlink(missing_ok=True)))
    with pytest.raises(StoreUnavailable, match="deleted or replaced during a write"):
        store.add(new_key(), b"data", expires_at=EXPIRY)


@pytest.mark.usefixtures("looks_at_once")
def test_reads_notice_a_deleted_file_too(path: Path, store: SQLiteStore) -> None:
    store.get(new_key())
    for file in files_of(path):
        file.unlink()
    with pytest.raises(StoreUnavailable, match="it was deleted"):
        store.get(new_key())


def test_reads_look_at_most_once_a_second(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    find = _sqlite_file.SQLiteFile._find
    store.get(new_key())
    monkeypatch.setattr(_sqlite_file.SQLiteFile, "_find", lambda file, path: looks.append(path) or find(file, path))
    for _ in range(2):
        store.get(new_key())
    assert looks == []


@pytest.mark.usefixtures("looks_at_once")
def test_a_backup_is_used_when_the_log_of_the_old_file_is_deleted(path: Path, store: SQLiteStore) -> None:
    key, backup = new_key(), path.with_name("backup")
    version = store.add(key, b"of the backup", expires_at=EXPIRY)
    store._lend(lambda connection: connection.execute("VACUUM INTO ?", (str(backup),)))
    store.replace(key, b"later", expires_at=EXPIRY, version=version)
    backup.rename(path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"put that back, or delete .*-wal and .*-shm"):
            store.get(key)
    for file in files_of(path)[1:]:
        file.unlink()
    assert store.get(key) == Stored(b"of the backup", version)
    store.replace(key, b"after it", expires_at=EXPIRY, version=version)
    assert in_another_process(path, key) == b"after it"


@pytest.mark.usefixtures("looks_at_once")
def test_a_file_that_is_put_back_is_used_with_its_log(path: Path, store: SQLiteStore) -> None:
    key, elsewhere = new_key(), path.with_name("elsewhere")
    store.add(key, b"data", expires_at=EXPIRY)
    path.rename(elsewhere)
    with pytest.raises(StoreUnavailable, match="put that back"):
        store.get(key)
    elsewhere.rename(path)
    assert store.get(key).data == b"data"


def test_a_write_to_a_log_that_was_deleted_is_not_acknowledged_and_the_next_one_is_seen_by_all(
    path: Path, store: SQLiteStore
) -> None:
    first, second = new_key(), new_key()
    store.get(first)
    for file in files_of(path)[1:]:
        file.unlink()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        store.add(first, b"first", expires_at=EXPIRY)
    store.add(second, b"second", expires_at=EXPIRY)
    assert in_another_process(path, second) == b"second"
    assert not any("(deleted)" in name for name in open_files(path))


@pytest.mark.usefixtures("looks_at_once")
def test_an_index_of_the_log_that_was_deleted_is_noticed_and_all_connections_are_closed(
    path: Path, store: SQLiteStore
) -> None:
    key, other = new_key(), SQLiteStore(path)
    other.get(key)
    store.get(key)
    files_of(path)[2].unlink()
    store.add(key, b"data", expires_at=EXPIRY)
    assert in_another_process(path, key) == b"data"
    assert not any("(deleted)" in name for name in open_files(path))


@pytest.mark.usefixtures("looks_at_once")
def test_a_replaced_file_is_opened_when_no_other_thread_uses_the_old_one(path: Path, store: SQLiteStore) -> None:
    impatient = SQLiteStore(path, timeout=0.01)
    with call_under_way(store) as done:
        for file in files_of(path):
            file.unlink()
        with pytest.raises(StoreBusy, match="other threads still use the old one"):
            impatient.get(new_key())
        done.set()
    SQLiteStore(path)
    assert impatient.get(new_key()) is None


def test_a_file_that_is_replaced_while_it_is_opened_is_not_used(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = path.with_name("copy")
    SQLiteStore(copy)
    prepare = SQLiteStore._prepare

    def replace(*arguments: Any) -> None:
        prepare(*arguments)
        copy.rename(path)

    monkeypatch.setattr(SQLiteStore, "_prepare", replace)
    with pytest.raises(StoreUnavailable, match="deleted or replaced while it was opened"):
        store.get(new_key())
    monkeypatch.undo()
    assert store.get(new_key()) is None


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_the_log_and_its_index_get_the_permissions_of_the_file(path: Path, store: SQLiteStore) -> None:
    other = sqlite3.connect(path)
    other.execute("SELECT * FROM gaesess_record").fetchall()
    path.chmod(0o640)
    for file in files_of(path)[1:]:
        file.chmod(0o400)
    store.get(new_key())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files_of(path)} == {0o640}
    other.close()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_the_permissions_of_what_a_link_in_place_of_the_log_leads_to_stay(path: Path, store: SQLiteStore) -> None:
    other = path.with_name("other")
    other.touch(0o400)
    files_of(path)[1].symlink_to(other)
    store._repair_permissions()
    assert stat.S_IMODE(other.stat().st_mode) == 0o400


def test_a_file_system_without_write_ahead_logging_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite.sqlite3, "connect", lambda name, **o: connect(f"{name}&vfs=unix-dotfile", **o))
    with pytest.raises(StoreUnavailable, match=r"file system without write-ahead logging.*put it on a local disk"):
        SQLiteStore(path)


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE customer (id INTEGER PRIMARY KEY)",
        "CREATE TABLE gaesess_record (key TEXT PRIMARY KEY, expires_at INTEGER, version INTEGER, data BLOB)",
        "CREATE VIEW gaesess_record AS SELECT 1 AS key",
    ],
    ids=["of another application", "of DjangoStore", "a view"],
)
def test_a_database_of_another_application_is_refused_and_not_written_to(path: Path, schema: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(schema)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="tables of another application"):
        SQLiteStore(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_backup_that_is_not_in_wal_mode_is_used(path: Path) -> None:
    SQLiteStore(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    store, key = SQLiteStore(path), new_key()
    store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key).data == b"data"
    store.close()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 1e9, "5", None])
def test_a_timeout_that_is_none_is_refused(path: Path, timeout: Any) -> None:
    with pytest.raises(ValueError, match=r"^timeout must be"):
        SQLiteStore(path, timeout=timeout)


# -- one timeout, and a bounded number of connections


def test_a_burst_shares_a_bounded_number_of_connections(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite.sqlite3, "connect", lambda *a, **o: made.append(a) or connect(*a, **o))
    race(lambda key: store.get(key.decode()), [new_key().encode() for _ in range(3 * _sqlite_file.MAX_CONNECTIONS)])
    assert len(made) <= _sqlite_file.MAX_CONNECTIONS


def test_a_connection_that_is_opened_for_a_write_waits_for_what_is_left_of_the_timeout(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float] = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite.sqlite3,
        "connect",
        lambda *a, timeout, **o: timeouts.append(timeout) or connect(*a, timeout=timeout, **o),
    )
    turn = store._file.turn
    turn.acquire()
    threading.Timer(0.05, turn.release).start()
    store.add(new_key(), b"data", expires_at=EXPIRY)
    assert 0 < timeouts[0] < 4.96


def test_a_lock_that_another_program_holds_makes_a_write_busy_and_closes_no_connection(
    path: Path, store: SQLiteStore
) -> None:
    impatient, key = SQLiteStore(path, timeout=0.01), new_key()
    connection = impatient._lend(lambda connection: connection)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        impatient.add(key, b"data", expires_at=EXPIRY)
    other.execute("ROLLBACK")
    other.close()
    assert impatient._lend(lambda connection: connection) is connection
    impatient.add(key, b"data", expires_at=EXPIRY)
    impatient.close()


# -- forks


def in_child(use: Callable[[], object]) -> int:
    """Fork, and return 0 if that returned in the child; the test process has no more than its own threads."""
    child = os.fork()
    if child == 0:
        try:
            use()
            os._exit(0)
        except StoreUnavailable as error:
            os._exit(2 if "start this worker again" in str(error) else 3)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_fork_waits_for_the_call_of_another_thread(store: SQLiteStore) -> None:
    key = new_key()
    with call_under_way(store) as done:
        threading.Timer(0.05, done.set).start()
        assert in_child(lambda: store.add(key, b"of the child", expires_at=EXPIRY)) == 0
    assert store.get(key).data == b"of the child"


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_child_of_a_fork_that_could_not_wait_refuses_the_file(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_file, "FORK_SECONDS", 0.0)
    key, other = new_key(), SQLiteStore(path)
    with call_under_way(store):
        for use in (store.get, other.get, lambda key: SQLiteStore(path)):
            assert in_child(lambda use=use: use(key)) == 2
    store.add(key, b"of the parent", expires_at=EXPIRY)
    assert in_child(lambda: store.delete(key)) == 0
    assert store.get(key) is None


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_call_that_begins_during_a_fork_waits_for_it(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.get(new_key())
    _sqlite_file._before_fork()
    thread = threading.Thread(target=store.get, args=(new_key(),))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    _sqlite_file._after_fork_in_parent()
    thread.join()


UNTOLD = """
import ctypes, os, sys, threading
from gaesess.errors import StoreUnavailable
from gaesess.stores.sqlite import SQLiteStore
from gaesess.testing import EXPIRY, new_key

fork = ctypes.PyDLL(None).fork  # as uWSGI does: Python is not told
store, other, keys = SQLiteStore(sys.argv[1]), SQLiteStore(sys.argv[1]), [new_key() for _ in range(4)]
store.add(keys[0], b"parent", expires_at=EXPIRY)
other.get(keys[0])

def in_child(use):
    child = fork()
    if child == 0:
        try:
            use()
            os._exit(0)
        except StoreUnavailable as error:
            os._exit(2 if "start this worker again" in str(error) else 3)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def untold(path: Path, source: str) -> str:
    """Return what a program that forks without telling Python has printed."""
    env = os.environ | {"PYTHONPATH": services.python_path()}
    command = [sys.executable, "-c", UNTOLD + source, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_fork
def test_a_child_that_python_was_not_told_of_closes_what_it_has_inherited_and_leaves_the_log(path: Path) -> None:
    source = """
def write():
    store.add(keys[1], b"child", expires_at=EXPIRY)
    assert other.get(keys[1]).data == b"child"
    store.close(); other.close()

assert in_child(write) == 0
store.add(keys[2], b"parent again", expires_at=EXPIRY)
print([store.get(key).data.decode() for key in keys[:3]])
"""
    assert untold(path, source) == "['parent', 'child', 'parent again']"
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@needs_fork
def test_a_child_that_python_was_not_told_of_refuses_the_file_if_a_call_was_under_way(path: Path) -> None:
    source = """
began, done = threading.Event(), threading.Event()

def use(connection):
    began.set()
    done.wait()

thread = threading.Thread(target=store._lend, args=(use,))
thread.start()
began.wait()
print([in_child(lambda: each.get(keys[0])) for each in (store, other)])
done.set()
thread.join()
"""
    assert untold(path, source) == "[2, 2]"


def test_in_the_master_of_uwsgi_no_connection_stays_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = 0
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(worker_id=lambda: number))
    store = SQLiteStore(path)
    store.add(new_key(), b"data", expires_at=EXPIRY)
    assert open_files(path) == []
    number = 1
    store.get(new_key())
    assert open_files(path) != []
    store.close()


# -- the cleanup


def expired(store: SQLiteStore, number: int, size: int) -> None:
    for _ in range(number):
        store.add(new_key(), os.urandom(size), expires_at=1)


def test_a_batch_of_a_cleanup_is_bounded_by_records_and_by_bytes(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BATCH_RECORDS", 5)
    monkeypatch.setattr(sqlite, "BATCH_BYTES", 10_000)
    expired(store, 7, 4_000)
    expired(store, 2, 50_000)
    batches = list(store.delete_expired(now=1))
    assert sum(batches) == 9
    assert max(batches) == 2
    expired(store, 12, 10)
    assert list(store.delete_expired(now=1)) == [5, 5, 2]


def test_others_can_write_between_the_batches(store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BATCH_RECORDS", 1)
    expired(store, 3, 10)
    key, other = new_key(), sqlite3.connect(path, timeout=0, isolation_level=None)
    for _ in store.delete_expired(now=1):
        other.execute("BEGIN IMMEDIATE")
        other.execute("COMMIT")
        store.add(new_key(), b"live", expires_at=EXPIRY)
    other.close()
    assert store.get(key) is None


def test_a_record_that_was_used_since_it_was_found_expired_stays(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    version = store.add(key, b"expired", expires_at=1)
    one_batch = sqlite._one_batch

    def used_after(connection: sqlite3.Connection, now: int) -> list[str]:
        keys = one_batch(connection, now)
        if keys:
            SQLiteStore.replace(store, key, b"used", expires_at=EXPIRY, version=version)
        return keys

    monkeypatch.setattr(sqlite, "_one_batch", used_after)
    assert sum(store.delete_expired(now=1)) == 0
    assert store.get(key).data == b"used"


def test_a_cleanup_empties_a_large_log_before_it_goes_on(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_LOG_BYTES", 300_000)
    monkeypatch.setattr(sqlite, "BATCH_BYTES", 100_000)
    expired(store, 40, 100_000)
    log = files_of(path)[1]
    assert log.stat().st_size > 1_000_000
    sizes = [log.stat().st_size for _ in store.delete_expired(now=1)]
    assert max(sizes) < 600_000


def test_a_cleanup_stops_if_a_reader_keeps_the_log_from_being_emptied(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(path, timeout=0.01)
    monkeypatch.setattr(sqlite, "MAX_LOG_BYTES", 300_000)
    monkeypatch.setattr(sqlite, "BATCH_BYTES", 100_000)
    expired(store, 20, 100_000)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM gaesess_record").fetchone()
    with pytest.raises(StoreBusy, match="its log is large, and another program has read"):
        sum(store.delete_expired(now=1))
    assert files_of(path)[1].stat().st_size < 3_000_000
    reader.close()
    assert sum(store.delete_expired(now=1)) + 20 - store.count_expired(now=1) >= 20
    store.close()
