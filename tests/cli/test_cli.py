"""The command line as a whole, and `gaesess genkey`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from commands import run

from gaesess import SessionManager, cli


def test_genkey_prints_one_line_a_session_manager_takes_and_another_each_time() -> None:
    first, second = run("genkey"), run("genkey")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout != second.stdout
    (key,) = first.stdout.splitlines()
    assert len(key) == 43
    SessionManager(cookie_key=key)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["genkey", "more"],
        ["cleanup"],
        ["cleanup", "--sqlite"],
        ["cleanup", "--sqlite", "file", "--datastore"],
        ["demo", "--port", "http"],
        ["inspect", "--key", "secret"],
        ["doctor", "--sqlite"],
    ],
)
def test_arguments_that_make_no_sense_end_with_two_and_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: gaesess")


def test_help_names_the_commands() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert all(command in result.stdout for command in ("genkey", "inspect", "cleanup", "doctor", "demo", "bench"))


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"gaesess {version('gaesess')}\n"


def test_a_reader_that_has_read_enough_gets_no_traceback() -> None:
    """As `head` does, but for certain before anything is written."""
    command = [sys.executable, "-m", "gaesess", "doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1
