"""`--store URL`: what commands do with Redis, Valkey, PostgreSQL and MariaDB."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import services
from psycopg.sql import SQL, Identifier

from gaesess import cli
from gaesess.cli.engines import engine_name, open_store
from gaesess.stores.base import record_key

PAST = 1_000_000_000  # Unix seconds

Findings = dict[str, tuple[str, str]]


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Findings]:
    """Return what doctor finds at a URL, by what it is of."""

    def examine(url: str) -> Findings:
        cli.main(["doctor", "--json", "--store", url])
        return {each["what"]: (each["state"], each["text"]) for each in json.loads(capsys.readouterr().out)}

    return examine


@pytest.fixture
def own_redis(tmp_path: Path) -> Any:
    """Start a Redis with these options."""

    @contextmanager
    def start(*options: str) -> Iterator[str]:
        with services.run_redis(tmp_path, *options) as (port, _):
            yield f"redis://127.0.0.1:{port}"

    return start


def states(findings: Findings, engine: str) -> dict[str, str]:
    return {what: state for what, (state, _) in findings.items() if what.startswith(engine)}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost", "Redis"),
        ("rediss://localhost", "Redis"),
        ("valkeys://localhost", "Valkey"),
        ("postgresql://localhost/a", "PostgreSQL"),
        ("mysql+pymysql://localhost/a", "MySQL"),
        ("mariadb+pymysql://localhost/a", "MariaDB"),
    ],
)
def test_an_engine_is_named_by_the_scheme_of_its_url(url: str, name: str) -> None:
    assert engine_name(url) == name


@pytest.mark.parametrize("url", ["mongodb://localhost", "localhost:6379", "redis+x://localhost", ""])
def test_a_url_of_nothing_that_is_known_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^--store must be a URL that begins with redis://, "):
        engine_name(url)


def test_an_unknown_url_is_shown_without_what_may_be_a_password() -> None:
    with pytest.raises(ValueError, match=r"got mongodb$") as refused:
        engine_name("mongodb://user:secret@localhost")
    assert "secret" not in str(refused.value)


def test_a_redis_that_keeps_what_it_takes_is_ok(examine: Any, own_redis: Any) -> None:
    with own_redis("--appendonly", "yes", "--maxmemory", "100mb") as url:
        assert set(states(examine(url), "Redis").values()) == {"ok"}


def test_a_redis_that_drops_records_and_writes_nothing_to_disk_is_told(examine: Any, own_redis: Any) -> None:
    with own_redis("--maxmemory-policy", "volatile-ttl") as url:
        findings = examine(url)
    assert findings["Redis: memory"] == (
        "slow",
        "volatile-ttl drops sessions and sign-outs, 0 so far: good for a cache; for a store set maxmemory-policy"
        " noeviction",
    )
    assert findings["Redis: disk"][0] == "slow"


def test_a_redis_without_a_limit_of_memory_is_told(examine: Any, redis_url: str) -> None:
    assert "the kernel kills it when memory is full" in examine(redis_url)["Redis: memory"][1]


def test_a_replica_has_failed(examine: Any, own_redis: Any) -> None:
    with own_redis("--replicaof", "127.0.0.1 1", "--replica-read-only", "no") as url:
        findings = examine(url)
    assert findings["Redis: replicas"] == ("failed", "it is a replica, which refuses writes: name the primary")


def test_a_valkey_is_called_by_its_name(examine: Any, valkey_url: str) -> None:
    findings = examine(valkey_url)
    assert findings["Valkey: version"] == ("ok", findings["Valkey: version"][1])
    assert findings["Valkey: version"][1][0] in "89"


def test_a_redis_that_is_away_has_failed(examine: Any) -> None:
    assert states(examine(f"redis://127.0.0.1:{services.free_port()}"), "Redis") == {"Redis": "failed"}


def test_a_postgres_is_looked_at(examine: Any, postgres_url: str) -> None:
    assert states(examine(postgres_url), "PostgreSQL") == {
        "PostgreSQL": "ok",
        "PostgreSQL: largest": "ok",
        "PostgreSQL: version": "ok",
        "PostgreSQL: replicas": "ok",
        "PostgreSQL: disk": "slow",  # the tests turn fsync off
        "PostgreSQL: connections": "ok",
        "PostgreSQL: rights": "ok",
    }


def test_what_a_role_may_not_do_is_told(examine: Any, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    role = Identifier("doctors_reader")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE doctors")  # in the first one other tests grant rights
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(role))
    url = postgres_url.rpartition("/")[0] + "/doctors"
    cli.main(["cleanup", "--store", url])  # makes the table
    capsys.readouterr()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("GRANT SELECT, INSERT, UPDATE ON gaesess_record TO {}").format(role))
    findings = examine(url.replace("postgres@", "doctors_reader@"))
    assert findings["PostgreSQL: rights"] == ("failed", "the role lacks DELETE on gaesess_record")


def test_a_mariadb_is_probed(examine: Any, mariadb_url: str) -> None:
    assert states(examine(mariadb_url), "MySQL") == {"MySQL": "ok", "MySQL: largest": "ok"}


@pytest.mark.parametrize("fixture", ["postgres_url", "mariadb_url"])
def test_expired_sessions_are_deleted_from_a_database(
    fixture: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    url = request.getfixturevalue(fixture)
    store: Any = open_store(url)
    store.add(record_key(PAST, bytes(16)), b"over", expires_at=PAST)
    assert cli.main(["cleanup", "--json", "--store", url]) == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": 1}
    assert store.count_expired(now=int(time.time())) == 0
    if hasattr(store, "close"):
        store.close()


def test_the_bench_measures_a_server_too(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--json", "--seconds", "0.01", "--store", redis_url]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert all("Redis" in table for title, table in tables.items() if not title.startswith("the core"))
