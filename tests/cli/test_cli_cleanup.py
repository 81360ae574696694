"""`gaesess cleanup`: what it deletes, prints and returns."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fcntl import ioctl
from pathlib import Path

import pytest
from commands import run

from gaesess import cli
from gaesess.stores.base import CLOCK_MARGIN, record_key
from gaesess.stores.sqlite import BATCH_RECORDS, SQLiteStore

PAST, FUTURE = 1_000_000_000, 4_000_000_000  # Unix seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


def fill(path: Path, expired: int, live: int = 0) -> None:
    with closing(SQLiteStore(path)) as store:
        for expires, records in ((PAST, expired), (FUTURE, live)):
            for number in range(records):
                store.add(record_key(expires, number.to_bytes(16, "big")), b"data", expires_at=expires)


def expiries(path: Path) -> list[int]:
    """Return when what is left in the file expires."""
    with closing(sqlite3.connect(path)) as connection:
        return [expires for (expires,) in connection.execute("SELECT expires_at FROM gaesess_record")]


def on_terminal(monkeypatch: pytest.MonkeyPatch, command: Callable[[], int]) -> tuple[int, str]:
    """Run a command whose standard error is a terminal; return its status and what the terminal got."""
    master, slave = os.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # it has no lines and columns at first
    try:
        with monkeypatch.context() as patch, open(slave, "w", encoding="utf-8", buffering=1) as terminal:
            patch.setattr(sys, "stderr", terminal)
            status = command()
            terminal.write("\x03")  # tells where it ends: a terminal hands on what is written a little later
            terminal.flush()
            written = b""
            while not written.endswith(b"\x03"):
                written += os.read(master, 65536)
        return status, written[:-1].decode()
    finally:
        os.close(master)


def test_cleanup_deletes_the_expired_alone_and_prints_how_many(path: Path) -> None:
    fill(path, expired=BATCH_RECORDS + 734, live=3)
    result = run("cleanup", "--sqlite", str(path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "expired sessions deleted: 1,234\n", "")
    assert expiries(path) == [FUTURE] * 3


def test_cleanup_with_nothing_to_do_says_so(path: Path) -> None:
    fill(path, expired=0, live=1)
    result = run("cleanup", "--sqlite", str(path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "expired sessions deleted: 0\n", "")


def test_cleanup_prints_its_number_as_json(path: Path) -> None:
    fill(path, expired=3)
    result = run("cleanup", "--sqlite", str(path), "--json")
    assert (result.returncode, json.loads(result.stdout), result.stderr) == (0, {"deleted": 3}, "")


def test_a_large_cleanup_prints_lines_where_there_is_no_terminal(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gaesess.cli.cleanup.DELETIONS_PER_LINE", BATCH_RECORDS)
    fill(path, expired=BATCH_RECORDS + 1)
    assert cli.main(["cleanup", "--sqlite", str(path)]) == 0
    assert capsys.readouterr() == ("expired sessions deleted: 501\n", "expired sessions deleted so far: 500\n")


@pytest.mark.parametrize("expired", [1, BATCH_RECORDS + 1])
def test_cleanup_on_a_terminal_shows_a_bar_to_the_end(
    path: Path, expired: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    fill(path, expired)
    status, terminal = on_terminal(monkeypatch, lambda: cli.main(["cleanup", "--sqlite", str(path)]))
    assert status == 0
    assert f"{expired}/{expired}" in terminal
    assert capsys.readouterr().out == f"expired sessions deleted: {expired}\n"


def test_cleanup_on_a_terminal_prints_no_bar_without_tqdm(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gaesess.cli.cleanup.find_spec", lambda name: None)
    fill(path, expired=1)
    assert on_terminal(monkeypatch, lambda: cli.main(["cleanup", "--sqlite", str(path)])) == (0, "")
    assert capsys.readouterr().out == "expired sessions deleted: 1\n"


def test_the_bar_counts_what_will_be_deleted_and_not_what_is_kept_for_an_hour_more(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    fill(path, expired=2)
    kept_until = int(time.time()) - 60 + CLOCK_MARGIN  # of a session that has expired a minute ago
    with closing(SQLiteStore(path)) as store:
        store.add(record_key(kept_until, bytes(16)), b"data", expires_at=kept_until)
    _, terminal = on_terminal(monkeypatch, lambda: cli.main(["cleanup", "--sqlite", str(path)]))
    assert "2/2" in terminal
    assert expiries(path) == [kept_until]


def test_cleanup_of_a_file_that_is_not_there_says_so_and_makes_none(path: Path) -> None:
    result = run("cleanup", "--sqlite", str(path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"gaesess: there is no file {str(path)!r}\n"
    assert not path.exists()


def test_cleanup_of_a_directory_fails_with_a_message(tmp_path: Path) -> None:
    result = run("cleanup", "--sqlite", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"gaesess: there is no file {str(tmp_path)!r}\n"


def test_cleanup_of_another_kind_of_file_fails_with_a_message_and_leaves_it(path: Path) -> None:
    path.write_text("shopping list\n" * 100)
    result = run("cleanup", "--sqlite", str(path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"gaesess: SQLite file {path} cannot be used: file is not a database\n"
    assert path.read_text() == "shopping list\n" * 100


def test_cleanup_that_cannot_write_fails_with_a_message(path: Path) -> None:
    """Refused by the file itself, for permissions mean nothing to root."""
    fill(path, expired=1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE DELETE ON gaesess_record BEGIN SELECT RAISE(ABORT, 'no'); END")
    result = run("cleanup", "--sqlite", str(path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"gaesess: SQLite file {path} cannot be used: no\n"


def test_a_message_on_a_terminal_has_a_line_of_its_own_below_the_bar(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, expired=1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE DELETE ON gaesess_record BEGIN SELECT RAISE(ABORT, 'no'); END")
    status, terminal = on_terminal(monkeypatch, lambda: cli.main(["cleanup", "--sqlite", str(path)]))
    assert status == 1
    assert terminal.splitlines()[-1].startswith("gaesess: SQLite file ")


def test_cleanup_of_a_datastore_without_credentials_fails_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("google.cloud.ndb")
    monkeypatch.delenv("DATASTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "no/such/file.json")
    assert cli.main(["cleanup", "--datastore"]) == 1
    assert capsys.readouterr().err.startswith("gaesess: Datastore cannot be used: ")


def test_cleanup_of_a_datastore_without_its_package_fails_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gaesess.stores.datastore", None)  # what its import then raises is the real error
    assert cli.main(["cleanup", "--datastore"]) == 1
    assert "gaesess.stores.datastore" in capsys.readouterr().err


def test_interrupted_it_says_how_many_are_deleted_and_ends_with_the_status_of_an_interrupt(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(store: SQLiteStore, *, now: int) -> Iterator[int]:
        yield 500
        raise KeyboardInterrupt

    fill(path, expired=1)
    monkeypatch.setattr(SQLiteStore, "delete_expired", interrupted)
    assert cli.main(["cleanup", "--sqlite", str(path)]) == 130
    assert capsys.readouterr() == ("", "\ninterrupted, with 500 deleted; call it again to go on\n")
