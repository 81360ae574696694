"""The command `bench`: the rows it prints, and that it leaves nothing behind. What it measures is not asserted."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import closing
from inspect import isroutine
from pathlib import Path
from urllib.parse import unquote

import pytest
from pymemcache.client.base import Client

from gaesess import _core, _impl, cli

TOMBSTONE_BYTES = 150  # no record of the bench is as small

QUICKLY = ("bench", "--seconds", "0.01")
CORE = (
    "loads",
    "dumps",
    "with_session",
    "encode",
    "decode",
    "format_sid",
    "parse_sid",
    "read_cookies",
    "write_cookies",
    "seal",
    "unseal",
    "unseal_cookies",
)
NO_EXTENSION = "The compiled core is not installed: there was no wheel of it for this Python, and no compiler.\n"


def tables(text: str) -> dict[str, dict[str, list[str]]]:
    """Return the cells by row of every table, by the first words of its title."""
    found = {}
    blocks = [block.splitlines() for block in text.split("\n\n")[1:]]
    for title, *rows in (block for block in blocks if len(block) > 1):  # the others are sentences
        cells = {row[:36].strip(): row[36:].split() for row in rows}
        found[title[:36].strip()] = cells | {"columns": title[36:].split()}
    return found


def test_it_prints_the_core_the_stores_and_whole_requests(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(QUICKLY) == 0
    core, stores, requests = tables(capsys.readouterr().out).values()
    assert core.keys() == {"columns", *CORE}
    assert stores.keys() == {"columns", "memory", "SQLite"}
    assert requests.keys() == {"columns", "its cookie", "memory", "SQLite"}
    assert stores["columns"] == ["get", "add", "replace"]
    assert requests["columns"] == ["read", "modify", "ratio"]


def test_each_row_has_times_and_the_ratios_to_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(QUICKLY)
    _, stores, requests = tables(capsys.readouterr().out).values()
    assert all(float(time.replace(",", "")) > 0 for time in stores["SQLite"])
    read, modify, *ratios = requests["its cookie"]
    assert float(read) > 0
    assert float(modify) > 0
    assert ratios == ["1.0x", "1.0x"]


def test_it_prints_the_same_tables_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICKLY, "--json"]) == 0
    core, stores, requests = json.loads(capsys.readouterr().out).values()
    assert core.keys() == set(CORE)
    assert stores["SQLite"].keys() == {"get", "add", "replace"}
    assert requests["its cookie"]["read"] > 0


def test_it_says_which_core_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(QUICKLY)
    assert f"core in use: {_impl.IMPLEMENTATION};" in capsys.readouterr().out.splitlines()[0]


def test_both_twins_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gaesess._speedups")
    cli.main(QUICKLY)
    text = capsys.readouterr().out
    core, *_ = tables(text).values()
    assert core["columns"] == ["pure", "compiled", "ratio"]
    assert all(len(core[name]) == 3 for name in CORE)
    assert NO_EXTENSION not in text


def test_without_the_extension_it_says_so_and_shows_the_pure_core_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gaesess._speedups", None)  # what an import then raises is the real error
    assert cli.main(QUICKLY) == 0
    text = capsys.readouterr().out
    core, *_ = tables(text).values()
    assert NO_EXTENSION in text
    assert core["columns"] == ["pure"]
    assert all(len(core[name]) == 1 for name in CORE)


def test_every_function_of_the_core_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """But `prepare_key`, which is called once a start, and the classes."""
    cli.main(QUICKLY)
    core, *_ = tables(capsys.readouterr().out).values()
    chosen = {name for name in vars(_impl) if isroutine(getattr(_core, name, None))} - {"prepare_key"}
    assert core.keys() - {"columns"} == chosen


def test_the_cookie_is_held_against_the_store_that_was_asked_for(
    memcached: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*QUICKLY, "--memcache", memcached]) == 0
    text = capsys.readouterr().out
    _, stores, requests = tables(text).values()
    assert stores.keys() - {"columns"} == {"memory", "SQLite", "memcached", "memcached + SQLite"}
    assert requests.keys() - {"columns"} == {"its cookie", *stores.keys() - {"columns"}}
    assert text.endswith("x as fast as in memcached + SQLite.\n")


def test_in_memcached_only_tombstones_and_marks_are_left(memcached: str) -> None:
    with closing(Client(memcached)) as client:
        client.flush_all(noreply=False)
        assert cli.main([*QUICKLY, "--memcache", memcached]) == 0
        lines = client.raw_command("lru_crawler metadump all", b"END\r\n").splitlines()
        keys = [unquote(line.split()[0].removeprefix(b"key=").decode()) for line in lines]
        assert keys
        assert max(len(client.get(key)) for key in keys) < TOMBSTONE_BYTES


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cli.main(QUICKLY) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_memcached_that_is_not_there_fails_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICKLY, "--memcache", "127.0.0.1:9"]) == 1
    assert capsys.readouterr().err.startswith("gaesess: memcached ")


def test_as_a_program_it_needs_no_store_to_be_named() -> None:
    result = subprocess.run([sys.executable, "-m", "gaesess", *QUICKLY], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("x as fast as in SQLite.\n")
