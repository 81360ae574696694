"""SQLAlchemyStore on MariaDB, PostgreSQL and SQLite: the contract, the table, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import services
from proxy import Proxy
from sqlalchemy import Engine, MetaData, create_engine, event, text
from sqlalchemy.engine import make_url

from gaesess import SessionManager, generate_key
from gaesess.errors import SessionTooLarge, StoreBusy, StoreUnavailable
from gaesess.stores import sqlalchemy
from gaesess.stores.base import Stored
from gaesess.stores.sqlalchemy import SQLAlchemyStore, make_table
from gaesess.testing import EXPIRY, NOW, StoreContract, new_key

DIALECTS = ["mariadb", "postgresql", "sqlite"]


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.sqlite3"
    if request.param == "mariadb":
        return str(request.getfixturevalue("mariadb_url"))
    return str(request.getfixturevalue("postgres_url")).replace("postgresql:", "postgresql+psycopg:")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An Engine of a database without the table."""
    engine = create_engine(url, max_overflow=20)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS gaesess_record"))
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> SQLAlchemyStore:
    return SQLAlchemyStore(engine)


class TestSQLAlchemyStore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, engine: Engine) -> SQLAlchemyStore:
        return SQLAlchemyStore(engine)


# -- What is stored


def test_increments_of_eight_threads_add_up(engine: Engine) -> None:
    cookie_key = generate_key()

    def manager() -> SessionManager:
        return SessionManager(cookie_key, store=SQLAlchemyStore(engine), cookie_only_threshold=0)

    session = manager().open(None)
    session["visits"] = 0
    cookie = str(session.commit()[0]).split(";")[0]

    def visit(_: int) -> None:
        own = manager()
        for _ in range(10):
            session = own.open(cookie)
            session.increment("visits")
            session.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(8)))
    assert manager().open(cookie)["visits"] == 80


def test_keys_differ_by_case(store: SQLAlchemyStore) -> None:
    key = new_key()[:-1] + "a"
    store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key[:-1] + "A") is None


def test_a_cleanup_and_new_records_do_not_disturb_each_other(store: SQLAlchemyStore) -> None:
    for _ in range(600):
        store.add(new_key(NOW), b"over", expires_at=NOW)
    with ThreadPoolExecutor(4) as pool:
        cleanups = [pool.submit(lambda: sum(store.delete_expired(now=NOW))) for _ in range(2)]
        added = list(pool.map(lambda _: store.add(new_key(), b"live", expires_at=NOW + 1), range(100)))
    assert sum(cleanup.result() for cleanup in cleanups) == 600
    assert len(added) == 100
    assert store.count_expired(now=NOW + 1) == 100


def test_a_batch_of_the_cleanup_is_bounded_by_bytes(store: SQLAlchemyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlalchemy, "BATCH_BYTES", 1000)
    for size in [10] * 3 + [600] * 3:
        store.add(new_key(NOW), bytes(size), expires_at=NOW - size)
    assert list(store.delete_expired(now=NOW)) == [2, 4]


# -- Writes that are sent twice


@pytest.mark.parametrize("url", ["mariadb", "postgresql"], indirect=True)
@pytest.mark.parametrize("call", ["add", "replace"])
def test_a_write_whose_reply_is_lost_finds_itself(url: str, engine: Engine, call: str) -> None:
    there = make_url(url)
    with Proxy(f"{there.host}:{there.port}") as proxy:
        through = create_engine(there.set(port=proxy.port))
        store, key = SQLAlchemyStore(through), new_key()
        version = store.add(key, b"first", expires_at=EXPIRY)
        lose_the_reply(through, proxy, "INSERT" if call == "add" else "UPDATE")
        if call == "add":
            key = new_key()
            version = store.add(key, b"second", expires_at=EXPIRY)
        else:
            version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
        assert store.get(key) == Stored(b"second", version)
        assert proxy.faults == 1
        through.dispose()


def lose_the_reply(engine: Engine, proxy: Proxy, verb: str) -> None:
    @event.listens_for(engine, "before_cursor_execute", once=True)
    def before(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        assert statement.startswith(verb)
        proxy.inject(cuts_after=0)


@pytest.mark.parametrize("url", ["mariadb", "postgresql"], indirect=True)
def test_a_write_that_a_deadlock_ended_is_made_again(engine: Engine, store: SQLAlchemyStore) -> None:
    key = new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    with engine.begin() as connection:
        for statement in FAIL_ONCE[engine.dialect.name]:
            connection.execute(text(statement))
    version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"second", version)


FAIL_ONCE = {
    "postgresql": [
        "DROP SEQUENCE IF EXISTS tries",
        "CREATE SEQUENCE tries",
        "CREATE OR REPLACE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('tries') = 1 THEN RAISE deadlock_detected; END IF; RETURN new; END $$",
        "CREATE TRIGGER fail_once BEFORE UPDATE ON gaesess_record FOR EACH ROW EXECUTE FUNCTION fail_once()",
    ],
    "mysql": [
        "DROP SEQUENCE IF EXISTS tries",
        "CREATE SEQUENCE tries",
        "CREATE TRIGGER fail_once BEFORE UPDATE ON gaesess_record FOR EACH ROW"
        " IF NEXTVAL(tries) = 1 THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END IF",
    ],
}


# -- The table


def test_stores_that_start_together_make_the_table_together(engine: Engine) -> None:
    with engine.connect():  # SQLite's file
        stores = [SQLAlchemyStore(engine) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda store: store.add(new_key(), b"data", expires_at=EXPIRY), stores))) == 8


def test_the_table_of_a_migration_is_used(engine: Engine, store: SQLAlchemyStore) -> None:
    metadata = MetaData()
    make_table(metadata)
    metadata.create_all(engine)
    assert store.get(new_key()) is None


def test_a_table_of_another_application_is_refused_and_left_alone(engine: Engine, store: SQLAlchemyStore) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE gaesess_record (id INTEGER, expires_at INTEGER)"))
        connection.execute(text("INSERT INTO gaesess_record VALUES (1, 1)"))
    for call in (lambda: store.get(new_key()), lambda: next(store.delete_expired(now=NOW))):
        with pytest.raises(StoreUnavailable, match="gaesess_record is not one of gaesess"):
            call()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT * FROM gaesess_record")).all() == [(1, 1)]


@pytest.fixture
def small_role(mariadb_url: str) -> Iterator[Engine]:
    """An Engine of a role that may use the table, and make none."""
    admin = create_engine(mariadb_url)
    with admin.begin() as connection:
        for statement in (
            "DROP TABLE IF EXISTS gaesess_record",
            "CREATE OR REPLACE USER app IDENTIFIED BY 'secret'",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO app",
        ):
            connection.execute(text(statement))
    engine = create_engine(make_url(mariadb_url).set(username="app", password="secret"))
    yield engine
    engine.dispose()
    admin.dispose()


def test_a_role_with_four_rights_does(small_role: Engine, mariadb_url: str) -> None:
    admin = create_engine(mariadb_url)
    SQLAlchemyStore(admin).get(new_key())
    admin.dispose()
    store, key = SQLAlchemyStore(small_role), new_key()
    version = store.replace(key, b"2", expires_at=EXPIRY, version=store.add(key, b"1", expires_at=EXPIRY))
    assert store.get(key) == Stored(b"2", version)
    store.delete(key)
    assert list(store.delete_expired(now=NOW)) == []


def test_a_role_that_may_not_make_the_table_is_told(small_role: Engine) -> None:
    with pytest.raises(StoreUnavailable, match=r"no table gaesess_record, and it cannot be made: .*denied") as raised:
        SQLAlchemyStore(small_role).get(new_key())
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_table_may_be_in_a_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS shop CASCADE"))
        connection.execute(text("CREATE SCHEMA shop"))
    store, key = SQLAlchemyStore(engine, table="shop.sessions"), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key) == Stored(b"data", version)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM shop.sessions")).scalar() == 1


# -- Errors


def test_what_is_no_engine_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"engine must be what sqlalchemy\.create_engine returns, got a str"):
        SQLAlchemyStore("sqlite://")  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["mariadb"], indirect=True)
def test_a_record_that_the_column_does_not_take_is_too_large(engine: Engine, store: SQLAlchemyStore) -> None:
    key = new_key()
    version = store.add(key, b"small", expires_at=EXPIRY)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE gaesess_record MODIFY data BLOB NOT NULL"))
    with pytest.raises(SessionTooLarge, match="1406"):
        store.replace(key, bytes(70_000), expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"small", version)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_errors_have_no_part_of_the_record(engine: Engine, store: SQLAlchemyStore) -> None:
    store.get(new_key())
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE gaesess_record ADD CHECK (octet_length(data) < 100)"))
    with pytest.raises(SessionTooLarge) as raised:
        store.add(new_key(), b"secret" * 100, expires_at=EXPIRY)
    everything = f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert "secret" not in everything
    assert b"secret".hex() not in everything


def test_a_database_that_is_not_there_is_an_outage_when_it_is_used() -> None:
    engine = create_engine(f"mysql+pymysql://app:secret@127.0.0.1:{services.free_port()}/test")
    store = SQLAlchemyStore(engine)
    with pytest.raises(StoreUnavailable, match="Can't connect") as raised:
        store.get(new_key())
    assert "secret" not in str(raised.value)


def test_a_table_without_a_name_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"table must be NAME or SCHEMA\.NAME"):
        SQLAlchemyStore(create_engine("sqlite://"), table="shop.")


@pytest.mark.parametrize("url", ["mariadb"], indirect=True)
def test_a_server_that_hangs_is_an_outage(url: str, engine: Engine) -> None:
    there = make_url(url)
    timeouts = {"connect_timeout": 1, "read_timeout": 0.1, "write_timeout": 0.1}
    with Proxy(f"{there.host}:{there.port}") as proxy:
        through = create_engine(there.set(port=proxy.port), connect_args=timeouts)
        store = SQLAlchemyStore(through)
        store.get(new_key())
        proxy.inject(drops="replies")
        with pytest.raises(StoreUnavailable):
            store.add(new_key(), b"data", expires_at=EXPIRY)
        proxy.restore()
        assert store.get(new_key()) is None
        through.dispose()


def test_a_lock_that_is_held_too_long_is_a_busy_store(mariadb_url: str) -> None:
    engine = create_engine(mariadb_url, connect_args={"init_command": "SET innodb_lock_wait_timeout = 1"})
    store, key = SQLAlchemyStore(engine), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    with engine.connect() as other, other.begin():
        other.execute(text("UPDATE gaesess_record SET version = version + 1"))
        with pytest.raises(StoreBusy, match="1205"):
            store.replace(key, b"new", expires_at=EXPIRY, version=version)
        other.rollback()
    assert store.get(key) == Stored(b"data", version)
    engine.dispose()


def test_a_pool_without_a_free_connection_is_a_busy_store(mariadb_url: str) -> None:
    engine = create_engine(mariadb_url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    store = SQLAlchemyStore(engine)
    store.get(new_key())
    with engine.connect(), pytest.raises(StoreBusy, match="QueuePool limit"):
        store.get(new_key())
    engine.dispose()


def test_after_a_crash_and_a_restart_no_call_fails(tmp_path: Path) -> None:
    with services.run_mariadb(tmp_path) as (url, process):
        engine = create_engine(url, pool_size=8)
        store, keys = SQLAlchemyStore(engine), [new_key() for _ in range(40)]
        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(lambda key: store.add(key, b"data", expires_at=EXPIRY), keys))
            process.kill()
            process.start()
            found = list(pool.map(store.get, keys))
        assert found == [Stored(b"data", version) for version in versions]
        engine.dispose()
