"""`gaesess doctor`: what it finds, on engines that are well and on ones that are not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import services
from pymemcache.client.base import Client

from gaesess import cli
from gaesess.cli import doctor
from gaesess.errors import StoreUnavailable
from gaesess.stores.base import record_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore

PAST = 1_000_000_000  # Unix seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.sqlite3"
    SQLiteStore(path).close()
    return path


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the status, and the findings by what they are of."""

    def examine(*options: str) -> tuple[int, dict[str, tuple[str, str]]]:
        status = cli.main(["doctor", "--json", *options])
        findings = json.loads(capsys.readouterr().out)
        return status, {finding["what"]: (finding["state"], finding["text"]) for finding in findings}

    return examine


@pytest.fixture
def own_memcached(tmp_path: Path) -> Any:
    """Start another memcached than the one of all tests."""

    @contextmanager
    def start(*options: str) -> Iterator[str]:
        with services.memcached_server(tmp_path, *options) as (address, _):
            yield address

    return start


def test_the_installation_is_told_without_any_engine(examine: Any) -> None:
    status, findings = examine()
    assert status == 0
    assert findings.keys() >= {"gaesess", "core"}


def test_a_core_in_python_is_slow(examine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaesess._impl.IMPLEMENTATION", "python")
    status, findings = examine()
    assert (status, findings["core"][0]) == (0, "slow")


def test_a_file_that_is_well_is_ok_and_has_no_record_left(examine: Any, path: Path) -> None:
    status, findings = examine("--sqlite", str(path))
    assert (status, findings["SQLite"][0], findings["SQLite: largest"][0]) == (0, "ok", "ok")
    with closing(SQLiteStore(path)) as store:
        assert store.count_expired(now=2**32) == 0


def test_expired_sessions_are_counted(examine: Any, path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.add(record_key(PAST, bytes(16)), b"over", expires_at=PAST)
    _, findings = examine("--sqlite", str(path))
    assert findings["SQLite: cleanup"][1].startswith("1 expired sessions")


def test_a_file_that_is_not_there_has_failed(examine: Any, tmp_path: Path) -> None:
    status, findings = examine("--sqlite", str(tmp_path / "none"))
    assert (status, findings["SQLite"][0]) == (1, "failed")


def test_a_file_that_others_can_open_has_failed(examine: Any, path: Path) -> None:
    path.chmod(0o644)
    status, findings = examine("--sqlite", str(path))
    assert (status, findings["SQLite: file"]) == (1, ("failed", f"others can open it: chmod 600 {path}"))


def test_a_file_on_a_network_file_system_has_failed(examine: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_file_system", lambda path: "nfs4")
    status, findings = examine("--sqlite", str(path))
    assert (status, findings["SQLite: disk"][0]) == (1, "failed")


def test_a_memcached_that_is_well_is_ok_and_has_no_record_left(examine: Any, own_memcached: Any) -> None:
    with own_memcached() as address, closing(Client(address)) as client:
        status, findings = examine("--memcache", address)
        assert status == 0
        assert findings["memcached: largest"][0] == findings["memcached: memory"][0] == "ok"
        assert int(client.stats()[b"curr_items"]) == 0


def test_a_memcached_that_takes_no_large_records_has_failed(examine: Any, own_memcached: Any) -> None:
    with own_memcached("-I", "512k") as address:
        status, findings = examine("--memcache", address)
    assert (status, findings["memcached"][0]) == (1, "failed")
    state, text = findings["memcached: item size"]
    assert state == "slow"
    assert text.startswith("at most 524,288 bytes: a TieredStore reads larger sessions from its durable store")


def test_the_largest_item_of_a_memcached_is_told(examine: Any, memcached: str) -> None:
    _, findings = examine("--memcache", memcached)
    assert findings["memcached: item size"] == ("ok", "at most 1,048,576 bytes")


def test_an_engine_that_is_away_has_failed_and_the_others_are_looked_at(examine: Any, path: Path) -> None:
    status, findings = examine("--sqlite", str(path), "--memcache", f"127.0.0.1:{services.free_port()}")
    assert (status, findings["memcached"][0], findings["SQLite"][0]) == (1, "failed", "ok")


def test_an_engine_whose_package_is_not_there_is_missing(examine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gaesess.stores.memcache", None)  # what its import then raises is the real error
    status, findings = examine("--memcache", "localhost:11211")
    assert (status, findings["memcached"][0]) == (1, "missing")


def test_a_datastore_that_is_well_is_ok(examine: Any, datastore_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", datastore_emulator)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", services.PROJECT)
    status, findings = examine("--datastore", "doctor")
    assert (status, findings["Datastore: largest"][0]) == (0, "ok")


@pytest.mark.parametrize("is_installed", [True, False])
def test_where_gevent_is_installed_what_datastore_needs_with_it_is_said(
    examine: Any, datastore_emulator: str, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    def version(package: str) -> str:
        if package == "gevent" and not is_installed:
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", datastore_emulator)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", services.PROJECT)
    status, findings = examine("--datastore", "doctor")
    assert status == 0
    assert ("init_gevent()" in findings.get("Datastore: gevent", ("", ""))[1]) is is_installed


def probe(store: Any) -> doctor.Finding:
    return next(doctor._probe("it", store, slow_seconds=doctor.SLOW_STORE_SECONDS))


def test_an_engine_that_takes_stale_writes_has_failed() -> None:
    class Careless(MemoryStore):
        def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
            self.put(key, data, expires_at=expires_at)
            return version

    assert "overwrites another" in probe(Careless()).text


def test_an_engine_that_forgets_at_once_has_failed() -> None:
    class Forgetful(MemoryStore):
        def get(self, key: str, *, fresh: bool = False) -> None:
            return None

    assert "does not have what was just written" in probe(Forgetful()).text


def test_an_engine_that_is_slow_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "repeat", lambda call, number, repeat: [0.3] * repeat)
    assert probe(MemoryStore()).state == "slow"


def test_a_probe_that_fails_half_way_is_deleted() -> None:
    class Broken(MemoryStore):
        def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
            raise StoreUnavailable("away")

    store = Broken()
    with pytest.raises(StoreUnavailable, match="away"):
        probe(store)
    assert store.count_expired(now=2**32) == 0


def test_lines_for_people_begin_with_the_state(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--sqlite", str(path)]) == 0
    assert "ok      SQLite                  a read takes " in capsys.readouterr().out
