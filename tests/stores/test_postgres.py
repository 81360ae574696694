"""PostgresStore on a real PostgreSQL: the contract, the table, rights, errors, and connections."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import services
from psycopg.conninfo import make_conninfo

from gaesess import SessionManager, generate_key
from gaesess.asgi import SessionMiddleware
from gaesess.drivers import run
from gaesess.errors import SessionTooLarge, StoreBusy, StoreUnavailable
from gaesess.stores import _postgres_calls, postgres
from gaesess.stores.base import Stored
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.postgres import AsyncPostgresStore, PostgresStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import EXPIRY, NOW, AsyncStoreContract, StoreContract, new_key

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
FORK_IN_THREADS = "ignore:.* is multi-threaded, use of fork:DeprecationWarning"  # of the threads of gRPC


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection, in a database without tables."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        yield admin


@pytest.fixture
def url(postgres_url: str, admin: psycopg.Connection[Any]) -> str:
    return postgres_url


Make = Callable[..., PostgresStore]


@pytest.fixture
def make() -> Iterator[Make]:
    """What makes stores, which are closed at the end of the test."""
    made: list[PostgresStore] = []

    def make(*arguments: Any, **settings: Any) -> PostgresStore:
        made.append(PostgresStore(*arguments, **settings))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(url: str, make: Make) -> PostgresStore:
    return make(url)


class TestPostgresStore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, url: str, make: Make) -> PostgresStore:
        return make(url)


class TestThroughAPooler(TestPostgresStore):
    @pytest.fixture
    def store(self, url: str, make: Make) -> PostgresStore:
        return make(url, pooler=True)


class TestInASchemaUnlogged(TestPostgresStore):
    @pytest.fixture
    def store(self, url: str, admin: psycopg.Connection[Any], make: Make) -> PostgresStore:
        admin.execute('DROP SCHEMA IF EXISTS "our-app" CASCADE; CREATE SCHEMA "our-app"')
        return make(url, table="our-app.Sessions", unlogged=True)


class TestBehindMemcached(TestPostgresStore):
    numeric_versions = False  # a TieredStore's are not

    @pytest.fixture
    def store(self, url: str, memcached: str) -> Iterator[TieredStore]:
        cache, durable = MemcacheStore(memcached), PostgresStore(url)
        yield TieredStore(cache, durable)
        cache.close()
        durable.close()


class TestAsyncPostgresStore(AsyncStoreContract):
    numeric_versions = True

    @pytest.fixture
    def async_store(self, url: str) -> Iterator[AsyncPostgresStore]:
        store = AsyncPostgresStore(url)
        yield store
        store.close()


def execute(store: PostgresStore, statement: str) -> Any:
    """Return the rows of a statement in a connection of the store."""
    return store._calls._rows(run(store._calls._try(statement)))


# -- What is stored


def test_another_store_sees_the_record(store: PostgresStore, url: str, make: Make) -> None:
    key, other = new_key(), make(url)
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert other.get(key) == Stored(b"data", version)


def test_the_asynchronous_store_sees_the_record(store: PostgresStore, url: str) -> None:
    key, other = new_key(), AsyncPostgresStore(url)
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert asyncio.run(other.get(key)) == Stored(b"data", version)
    other.close()


def test_replace_moves_the_expiry(store: PostgresStore) -> None:
    key = new_key()
    version = store.add(key, b"short", expires_at=NOW)
    store.replace(key, b"long", expires_at=NOW + 1, version=version)
    assert list(store.delete_expired(now=NOW)) == []


@pytest.mark.parametrize("is_tiered", [False, True])
def test_increments_of_eight_threads_add_up(url: str, make: Make, memcached: str, is_tiered: bool) -> None:
    cookie_key, cache = generate_key(), MemcacheStore(memcached)

    def manager() -> SessionManager:
        durable = make(url)
        store = TieredStore(cache, durable) if is_tiered else durable
        return SessionManager(cookie_key, store=store, cookie_only_threshold=0)

    session = manager().open(None)
    session["visits"] = 0
    cookie = str(session.commit()[0]).split(";")[0]

    def visit(_: int) -> None:
        own = manager()
        for _ in range(50):
            session = own.open(cookie)
            session.increment("visits")
            session.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(8)))
    assert manager().open(cookie)["visits"] == 400
    cache.close()


def test_increments_of_requests_under_asgi_add_up(url: str) -> None:
    store = AsyncPostgresStore(url, max_connections=4)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].increment("visits")
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = SessionMiddleware(app, cookie_key=generate_key(), store=store, cookie_only_threshold=0)

    async def request(cookie: bytes) -> bytes:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": "/", "scheme": "https", "headers": [(b"cookie", cookie)]}
        await app(scope, None, send)
        assert sent[0]["status"] == 200
        cookies = [value for name, value in sent[0]["headers"] if name == b"set-cookie"]
        return bytes(cookies[0]).split(b";")[0] if cookies else cookie

    async def main() -> int:
        cookie = await request(b"")
        for _ in range(4):
            await asyncio.gather(*(request(cookie) for _ in range(16)))
        session = app.manager.open(cookie.decode())
        await session.aload()
        return int(session["visits"])

    assert asyncio.run(main()) == 1 + 4 * 16
    store.close()


def test_updates_are_made_within_their_page(store: PostgresStore, admin: psycopg.Connection[Any]) -> None:
    """Then no index grows: PostgreSQL calls them HOT."""
    for size in (600, 1_500, 4_000, 20_000):
        key = new_key()
        version = store.add(key, os.urandom(size), expires_at=EXPIRY)
        for _ in range(50):
            version = store.replace(key, os.urandom(size), expires_at=EXPIRY, version=version)
    execute(store, "SELECT pg_stat_force_next_flush()")
    counted = admin.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'gaesess_record'"
    ).fetchone()
    assert counted == (200, 200)


# -- Cleanup


def test_a_batch_of_the_cleanup_is_bounded_by_rows_and_by_bytes(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_postgres_calls, "BATCH_RECORDS", 4)
    monkeypatch.setattr(_postgres_calls, "BATCH_BYTES", 1000)
    for size in [10] * 6 + [600] * 5:
        store.add(new_key(NOW), bytes(size), expires_at=NOW - size)
    assert list(store.delete_expired(now=NOW)) == [2, 2, 4, 3]


def test_a_record_larger_than_a_batch_is_deleted(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_postgres_calls, "BATCH_BYTES", 1000)
    store.add(new_key(NOW), bytes(5000), expires_at=NOW)
    assert list(store.delete_expired(now=NOW)) == [1]


def test_a_cleanup_does_not_wait_for_a_record_that_another_one_deletes(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    keys = [new_key(NOW) for _ in range(3)]
    for key in keys:
        store.add(key, b"over", expires_at=NOW)
    with admin.transaction():
        admin.execute("DELETE FROM gaesess_record WHERE key = %s", (keys[0],))
        assert list(store.delete_expired(now=NOW)) == [2]


def test_a_cleanup_spares_a_record_whose_expiry_moves_meanwhile(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    key = new_key(NOW)
    store.add(key, b"over", expires_at=NOW)
    with admin.transaction():
        admin.execute("UPDATE gaesess_record SET expires_at = %s", (NOW + 1,))
        assert list(store.delete_expired(now=NOW)) == []
    assert list(store.delete_expired(now=NOW)) == []


# -- The table


def test_stores_that_start_together_make_the_table_together(
    url: str, admin: psycopg.Connection[Any], make: Make
) -> None:
    for _ in range(10):
        admin.execute("DROP TABLE IF EXISTS gaesess_record")
        stores = [make(url) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            versions = list(pool.map(lambda store: store.add(new_key(), b"data", expires_at=EXPIRY), stores))
        assert len(versions) == 8


def test_the_table_is_as_the_printed_sql_makes_it(store: PostgresStore, admin: psycopg.Connection[Any]) -> None:
    store.get(new_key())
    described = describe(admin)
    admin.execute("DROP TABLE gaesess_record")
    admin.execute(postgres.schema())
    assert describe(admin) == described


def describe(admin: psycopg.Connection[Any]) -> list[Any]:
    columns = "SELECT attname, attstorage, attnotnull FROM pg_attribute WHERE attrelid = 'gaesess_record'::regclass"
    table = "SELECT reloptions, relpersistence FROM pg_class WHERE oid = 'gaesess_record'::regclass"
    indexes = "SELECT indexdef FROM pg_indexes WHERE tablename = 'gaesess_record' ORDER BY 1"
    return [admin.execute(query).fetchall() for query in (columns, table, indexes)]


def role(admin: psycopg.Connection[Any], url: str, *rights: str) -> str:
    """Return the URL of a role that may do only this."""
    admin.execute("DROP ROLE IF EXISTS app")
    admin.execute("CREATE ROLE app LOGIN")
    admin.execute("GRANT USAGE ON SCHEMA public TO app")
    for right in rights:
        admin.execute(f"GRANT {right} TO app")  # type: ignore[call-overload]
    return make_conninfo(url, user="app")


class TestLeastRights(TestPostgresStore):
    """A role that may use an existing table, and make none."""

    @pytest.fixture
    def store(self, url: str, admin: psycopg.Connection[Any], make: Make) -> Iterator[PostgresStore]:
        admin.execute(postgres.schema())
        yield make(role(admin, url, "SELECT, INSERT, UPDATE, DELETE ON gaesess_record"))
        admin.execute("DROP OWNED BY app")


def test_a_role_that_may_not_make_the_table_gets_the_command_that_prints_it(
    url: str, admin: psycopg.Connection[Any], make: Make
) -> None:
    store = make(role(admin, url))
    with pytest.raises(StoreUnavailable, match=r"no table gaesess_record .* permission denied .* gaesess sql postgres"):
        store.get(new_key())
    admin.execute("DROP OWNED BY app")


def test_a_role_without_rights_on_the_table_is_told_which_it_needs(
    url: str, admin: psycopg.Connection[Any], make: Make
) -> None:
    admin.execute(postgres.schema())
    store = make(role(admin, url))
    with pytest.raises(StoreUnavailable, match=r"permission denied .* needs SELECT, INSERT, UPDATE and DELETE"):
        store.get(new_key())
    admin.execute("DROP OWNED BY app")


def test_a_table_that_is_dropped_later_is_named_with_the_command(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    store.get(new_key())
    admin.execute("DROP TABLE gaesess_record")
    with pytest.raises(StoreUnavailable, match="gaesess sql postgres"):
        store.get(new_key())


@pytest.mark.parametrize(
    "columns", ["id int, expires_at bigint", "key text, expires_at timestamp, version bigint, data bytea"]
)
def test_a_table_of_another_application_is_refused_and_left_alone(
    store: PostgresStore, admin: psycopg.Connection[Any], columns: str
) -> None:
    admin.execute(f"CREATE TABLE gaesess_record ({columns})")  # type: ignore[call-overload]
    admin.execute("INSERT INTO gaesess_record DEFAULT VALUES")
    before = describe(admin)
    for call in (lambda: store.get(new_key()), lambda: next(store.delete_expired(now=NOW))):
        with pytest.raises(StoreUnavailable, match="gaesess_record in PostgreSQL is not one of gaesess"):
            call()
    assert describe(admin) == before
    assert admin.execute("SELECT count(*) FROM gaesess_record").fetchone() == (1,)


def test_an_unlogged_table_is_refused_unless_it_is_asked_for(
    url: str, admin: psycopg.Connection[Any], make: Make
) -> None:
    admin.execute(postgres.schema(unlogged=True))
    durable, forgetful = make(url), make(url, unlogged=True)
    with pytest.raises(StoreUnavailable, match="UNLOGGED"):
        durable.get(new_key())
    assert forgetful.get(new_key()) is None
    assert (durable.may_forget, forgetful.may_forget) == (False, True)


# -- Errors


def test_a_record_that_a_check_refuses_is_too_large_and_the_old_one_stays(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    key = new_key()
    version = store.add(key, b"small", expires_at=EXPIRY)
    admin.execute("ALTER TABLE gaesess_record ADD CHECK (octet_length(data) < 100)")
    with pytest.raises(SessionTooLarge, match="keep less") as raised:
        store.replace(key, b"secret" * 100, expires_at=EXPIRY, version=version)
    assert b"secret".hex() not in everything(raised.value)
    assert store.get(key) == Stored(b"small", version)


def everything(error: BaseException | None) -> str:
    """Return what a log has of an error, those before it included."""
    return "" if error is None else f"{error!r} {everything(error.__cause__)} {everything(error.__context__)}"


def test_a_lock_that_is_held_too_long_is_a_busy_store(url: str, admin: psycopg.Connection[Any], make: Make) -> None:
    key, store = new_key(), make(url, timeout=0.5)
    version = store.add(key, b"data", expires_at=EXPIRY)
    with admin.transaction():
        admin.execute("UPDATE gaesess_record SET version = version")
        with pytest.raises(StoreBusy, match="statement timeout"):
            store.replace(key, b"new", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"data", version)


@pytest.mark.parametrize("error", ["deadlock_detected", "serialization_failure"])
def test_a_write_that_gave_way_is_made_again(store: PostgresStore, admin: psycopg.Connection[Any], error: str) -> None:
    key = new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    admin.execute(
        "CREATE SEQUENCE attempts; CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('attempts') = 1 THEN RAISE {error}; END IF; RETURN new; END $$;"  # type: ignore[arg-type]
        " CREATE TRIGGER fail_once BEFORE UPDATE ON gaesess_record FOR EACH ROW EXECUTE FUNCTION fail_once()"
    )
    version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"second", version)


def test_a_role_whose_transactions_are_serializable_gets_conflicts_too(
    url: str, admin: psycopg.Connection[Any], make: Make
) -> None:
    """A stale write is a Conflict, and no serialization failure, whatever the defaults of the database are."""
    admin.execute("ALTER DATABASE postgres SET default_transaction_isolation = serializable")
    try:
        store = make(url)
        assert execute(store, "SHOW transaction_isolation") == [("read committed",)]
    finally:
        admin.execute("ALTER DATABASE postgres RESET default_transaction_isolation")


def test_a_server_that_takes_no_writes_is_named_with_what_finds_the_primary(
    store: PostgresStore, admin: psycopg.Connection[Any], url: str, make: Make
) -> None:
    store.get(new_key())
    read_only = make(make_conninfo(url, options="-c default_transaction_read_only=on"))
    with pytest.raises(StoreUnavailable, match=r"25006.*target_session_attrs=read-write"):
        read_only.add(new_key(), b"data", expires_at=EXPIRY)


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://app:secret/word@host/db",
        "postgresql://app:secret@word@host/db",
        "secret",
    ],
)
def test_a_conninfo_that_cannot_be_is_refused_at_once_and_not_repeated(conninfo: str) -> None:
    with pytest.raises(ValueError, match="percent-encode") as raised:
        PostgresStore(conninfo)
    assert "sec" not in str(raised.value)


def test_a_conninfo_that_is_missing_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="conninfo must be a string, or a function that returns one, got a NoneType"):
        PostgresStore(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 0}, "timeout must be"),
        ({"max_connections": 0}, "max_connections must be"),
        ({"max_connections": "10"}, "max_connections must be"),
        ({"table": "a.b.c"}, "table must be"),
        ({"table": ""}, "table must be"),
        ({"table": "a; DROP TABLE b"}, "table must be"),
        ({"table": "a" * 54}, "table must be"),
    ],
)
@pytest.mark.parametrize("kind", [PostgresStore, AsyncPostgresStore])
def test_a_setting_that_cannot_be_is_refused_at_once(kind: type, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind("host=localhost", **settings)


def test_settings_of_the_conninfo_go_before_the_store_s_own(
    url: str, admin: psycopg.Connection[Any], make: Make
) -> None:
    store = make(make_conninfo(url, application_name="shop", options="-c statement_timeout=1234"))
    store.get(new_key())
    assert execute(store, "SHOW statement_timeout") == [("1234ms",)]
    assert ("shop",) in admin.execute("SELECT application_name FROM pg_stat_activity").fetchall()


def test_a_function_gives_the_conninfo_of_each_connection(url: str, make: Make) -> None:
    given: list[str] = []

    def conninfo() -> str:
        given.append(url)
        return url

    store = make(conninfo)
    for _ in range(2):
        store.get(new_key())
        store.close()
    assert len(given) == 2


# -- Connections


def test_a_pooler_gets_nothing_that_stays_in_its_connection(url: str, make: Make) -> None:
    direct, pooled = make(url), make(url, pooler=True)
    for store in (direct, pooled):
        for _ in range(10):
            store.get(new_key())
    left = "SELECT EXISTS (SELECT FROM pg_prepared_statements), current_setting('statement_timeout')"
    assert execute(direct, left) == [(True, "4500ms")]
    assert execute(pooled, left) == [(False, "0")]


def test_a_statement_that_a_pooler_has_forgotten_is_prepared_again(store: PostgresStore) -> None:
    key = new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    for _ in range(3):
        store.get(key)
    execute(store, "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")  # unseen by psycopg
    assert store.get(key) == Stored(b"data", version)


def test_a_store_is_made_while_its_server_is_down(make: Make) -> None:
    store = make(f"postgresql://postgres@127.0.0.1:{services.free_port()}/postgres")
    with pytest.raises(StoreUnavailable, match="refused"):
        store.get(new_key())


def test_no_more_connections_are_made_than_there_may_be(url: str, admin: psycopg.Connection[Any], make: Make) -> None:
    store = make(make_conninfo(url, application_name="few"), max_connections=2)
    store.get(new_key())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.get(new_key()), range(100)))
    count = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'few'").fetchone()
    assert 1 <= count[0] <= 2


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_forked_child_has_connections_of_its_own_and_leaves_its_parent_s_alone(store: PostgresStore) -> None:
    ours, theirs = new_key(), new_key()
    store.add(ours, b"parent" * 1000, expires_at=EXPIRY)
    store.add(theirs, b"child" * 1000, expires_at=EXPIRY)
    session = backend(store)
    child = os.fork()
    if child == 0:
        try:
            only_theirs = all(store.get(theirs).data == b"child" * 1000 for _ in range(100))
            os._exit(0 if only_theirs and backend(store) != session else 1)
        finally:
            os._exit(2)
    assert all(store.get(ours).data == b"parent" * 1000 for _ in range(100))
    assert os.waitpid(child, 0) == (child, 0)
    assert backend(store) == session


def backend(store: PostgresStore) -> int:
    """Return the id of the server's process that has the idle connection."""
    return int(execute(store, "SELECT pg_backend_pid()")[0][0])


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_child_does_not_end_the_connections_of_its_parent_s_closed_loop(url: str) -> None:
    """As under `gunicorn --preload`, where the application has used the store before the fork."""
    store = AsyncPostgresStore(url)
    asyncio.run(store.get(new_key()))
    ((idle, _),) = store._pool._loops.values()
    (connection,) = idle
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(store.get(new_key()))
            os._exit(0 if connection.closed else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0) == (child, 0)
    assert connection.pgconn.exec_(b"SELECT 1").status == psycopg.pq.ExecStatus.TUPLES_OK
    store.close()


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
from gaesess.drivers import run
from gaesess.stores.postgres import PostgresStore
from gaesess.testing import EXPIRY, new_key

store = PostgresStore(sys.argv[1], timeout=float(sys.argv[2]))
keys = {new_key(): b"record %d" % number for number in range(8)}
for key, data in keys.items():
    store.add(key, data, expires_at=EXPIRY)
greenlets = [gevent.spawn(store.get, key) for key in keys for _ in range(10)]
gevent.joinall(greenlets, raise_error=True)
print([greenlet.value.data for greenlet in greenlets] == [data for data in keys.values() for _ in range(10)])
ticks = []
ticking = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.01)) for _ in range(1000)])
calls = store._calls
print(type(run(calls._try("SELECT pg_sleep(60)"))).__name__, len(ticks) > 10)
try:
    with gevent.Timeout(0.1):
        run(calls._try("SELECT pg_sleep(60)"))
except gevent.Timeout:
    print("timed out", store.get(key).data == data)
"""


def test_greenlets_wait_without_stopping_the_others(url: str) -> None:
    pytest.importorskip("gevent")
    output = subprocess.run(
        [sys.executable, "-c", GREENLETS, url, "1"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": services.python_path()},
    ).stdout
    assert output.splitlines() == ["True", "QueryCanceled True", "timed out True"]
