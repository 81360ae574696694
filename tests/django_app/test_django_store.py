"""DjangoStore: the contract by Django's connections to each database, and how a call ends that fails."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction
from django.utils.connection import ConnectionDoesNotExist
from django_databases import ENGINES, ClosingStore, added, elsewhere, empty, settings_of, without_table

from gaesess.errors import Conflict, KeyExists, SessionTooLarge, StoreBusy, StoreUnavailable
from gaesess.stores import django as module
from gaesess.stores.base import Stored
from gaesess.stores.django import DjangoStore
from gaesess.testing import EXPIRY, NOW, StoreContract, new_key

SECRET = "the record of somebody"


@pytest.fixture(scope="module", params=ENGINES)
def database(request, tmp_path_factory):
    """The alias of a database, which is the name of its engine."""
    with added(request.param, settings_of(request.param, request, tmp_path_factory.mktemp("database"))) as alias:
        yield alias


@pytest.fixture
def alias(database):
    yield database
    connections[database].close()
    empty(database)


@pytest.fixture
def store(alias):
    store = ClosingStore(alias)
    yield store
    store.close()


class TestDjangoStore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, store):
        return store


class TestDjangoStoreInATransaction(StoreContract):
    """Every call is in one transaction, and uses savepoints; as in the tests of a `TestCase`."""

    numeric_versions = True
    test_of_two_threads_that_add_one_wins = None  # each thread has a connection of its own
    test_of_two_threads_that_replace_one_version_one_wins = None
    test_threads_do_not_mix_up_their_keys = None

    @pytest.fixture
    def store(self, alias):
        with transaction.atomic(using=alias):
            yield DjangoStore(alias)


# -- how it is made


def test_it_can_be_made_before_there_are_settings():
    program = "from gaesess.stores.django import DjangoStore; print(DjangoStore('sessions').alias)"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "sessions\n"


@pytest.mark.parametrize("alias", ["", None, {"ENGINE": "x"}])
def test_an_alias_is_a_name(alias):
    with pytest.raises(ValueError, match=r'alias must be one of DATABASES, such as "default", got'):
        DjangoStore(alias)


def test_an_alias_that_does_not_exist_is_named():
    with pytest.raises(ConnectionDoesNotExist, match="nowhere"):
        DjangoStore("nowhere").get(new_key())


# -- the table


def test_keys_are_compared_byte_by_byte(store):
    store.add("a" * 42, b"small", expires_at=EXPIRY)
    store.add("A" * 42, b"capital", expires_at=EXPIRY)
    assert [store.get(letter * 42).data for letter in "aA"] == [b"small", b"capital"]


def test_the_table_has_one_index_beside_its_key(alias):
    connection = connections[alias]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "gaesess_record")
    indexes = [each["columns"] for each in found.values() if each["index"] or each["primary_key"] or each["unique"]]
    assert sorted(indexes) == [["expires_at"], ["key"]]


# -- cleanup


def test_a_batch_has_500_records(store):
    key = new_key(NOW)
    for number in range(501):
        store.add(f"{key[:-3]}{number:03}", b"", expires_at=NOW)
    assert list(store.delete_expired(now=NOW)) == [500, 1]


def test_a_batch_has_some_megabytes(store, monkeypatch):
    monkeypatch.setattr(module, "BATCH_BYTES", 1000)
    for _ in range(5):
        store.add(new_key(NOW), bytes(500), expires_at=NOW)
    assert list(store.delete_expired(now=NOW)) == [2, 2, 1]


def test_a_record_that_gets_a_later_expiry_meanwhile_is_not_deleted(store, alias):
    key, replaced = new_key(), []
    version = store.add(key, b"first", expires_at=NOW)

    def replace_first(execute, sql, params, many, context):
        if sql.startswith("DELETE") and not replaced:
            replaced.append(store.replace(key, b"second", expires_at=NOW + 1, version=version))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(replace_first):
        assert list(store.delete_expired(now=NOW)) == []
    assert store.get(key) == Stored(b"second", replaced[0])


# -- errors


def test_a_missing_table_says_what_to_do(alias):
    with without_table(alias), pytest.raises(StoreUnavailable) as raised:
        DjangoStore(alias).get(new_key())
    assert str(raised.value) == (
        f"Django's database '{alias}' has no table gaesess_record: add 'gaesess.django.database' to INSTALLED_APPS, and"
        f" run `python manage.py migrate --database={alias}`"
    )


def test_a_database_that_cannot_be_opened_is_an_outage(tmp_path):
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "database"}
    with added("gone", settings):
        connections["gone"].settings_dict["NAME"] = tmp_path / "missing" / "database"
        connections["gone"].close()
        with pytest.raises(StoreUnavailable, match="Django's database 'gone' cannot be used: unable to open"):
            DjangoStore("gone").get(new_key())


def test_a_database_that_cannot_be_reached_is_tried_once(alias, monkeypatch):
    tried = []
    connections[alias].close()

    def refuse(*arguments):
        tried.append(arguments)
        raise OperationalError("connection refused")

    monkeypatch.setattr(connections[alias], "get_new_connection", refuse)
    with pytest.raises(StoreUnavailable, match="connection refused"):
        DjangoStore(alias).get(new_key())
    assert len(tried) == 1


@contextmanager
def failing(alias, error, *, times=1, word="", after=False):
    """Let the next statements with that word fail, before or `after` they have been done."""
    left = [times]

    def execute(execute, sql, params, many, context):
        if not left[0] or word not in sql:
            return execute(sql, params, many, context)
        left[0] -= 1
        if after:
            execute(sql, params, many, context)
        raise error

    with connections[alias].execute_wrapper(execute):
        yield


def test_an_error_is_told_without_the_parameters(store, alias):
    with failing(alias, DatabaseError(f"invalid: {SECRET}")), pytest.raises(StoreUnavailable) as raised:
        store.get(new_key())
    assert str(raised.value) == f"Django's database '{alias}' cannot be used: DatabaseError"
    error = OperationalError(f"out of memory\nDETAIL: {SECRET}")
    with failing(alias, error, times=2), pytest.raises(StoreUnavailable) as raised:
        store.get(new_key())
    assert str(raised.value) == f"Django's database '{alias}' cannot be used: out of memory"


@pytest.mark.parametrize("after", [False, True])
def test_a_write_whose_reply_was_lost_is_sent_again(store, alias, after):
    key, lost = new_key(), OperationalError("server closed the connection unexpectedly")
    store.get(key)  # now there is a connection
    with failing(alias, lost, word="INSERT", after=after):
        version = store.add(key, b"first", expires_at=EXPIRY)
    assert store.get(key) == Stored(b"first", version)
    with failing(alias, lost, word="UPDATE", after=after):
        version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"second", version)
    with failing(alias, lost, word="DELETE", after=after):
        store.delete(key)
    assert store.get(key) is None


def test_a_call_that_fails_twice_is_an_outage(store, alias):
    store.get(new_key())
    with failing(alias, OperationalError("no"), times=2), pytest.raises(StoreUnavailable, match="cannot be used: no"):
        store.get(new_key())


def end_connection(alias):
    """Have the server close the connection of this thread."""
    number, end = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mysql": ("SELECT connection_id()", "KILL {}"),
    }[alias]
    with connections[alias].cursor() as cursor:
        cursor.execute(number)
        (mine,) = cursor.fetchone()

    def close():
        with connections[alias].cursor() as cursor:
            cursor.execute(end.format(mine))

    elsewhere(alias, close)


def test_a_connection_that_the_server_has_closed_is_replaced(store, alias):
    if alias == "sqlite3":
        pytest.skip("has no server")
    key = new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    before = connections[alias].connection
    end_connection(alias)
    assert store.get(key) == Stored(b"first", version)
    assert connections[alias].connection is not before


def test_a_connection_that_the_server_closes_in_a_transaction_is_an_outage_and_commits_nothing(store, alias):
    if alias != "postgresql":
        pytest.skip("one server is enough")
    key = new_key()

    def use():
        with transaction.atomic(using=alias):
            store.add(key, b"first", expires_at=EXPIRY)
            end_connection(alias)
            with pytest.raises(StoreUnavailable, match="cannot be used"):
                store.get(key)

    with pytest.raises(OperationalError):
        use()
    assert store.get(key) is None


IMPATIENT = {
    "sqlite3": "PRAGMA busy_timeout = 10",
    "postgresql": "SET lock_timeout = 10",
    "mysql": "SET innodb_lock_wait_timeout = 1",
}


def test_a_record_that_others_have_locked_for_too_long_is_busy(store, alias):
    key = new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)

    def replace():
        with connections[alias].cursor() as cursor:
            cursor.execute(IMPATIENT[alias])
        with pytest.raises(StoreBusy, match="is locked by others"):
            DjangoStore(alias).replace(key, b"other", expires_at=EXPIRY, version=version)

    with transaction.atomic(using=alias):
        new = store.replace(key, b"second", expires_at=EXPIRY, version=version)
        elsewhere(alias, replace)
    assert store.get(key) == Stored(b"second", new)


def test_a_record_that_the_server_does_not_take_is_too_large(store, alias):
    if alias != "mysql":
        pytest.skip("takes it")
    error = OperationalError(1153, "Got a packet bigger than 'max_allowed_packet' bytes")
    with failing(alias, error, times=2), pytest.raises(SessionTooLarge, match="error 1153"):
        store.add(new_key(), b"", expires_at=EXPIRY)


# -- in a transaction


def test_a_rollback_undoes_a_write(store, alias):
    key = new_key()
    with transaction.atomic(using=alias):
        store.add(key, b"first", expires_at=EXPIRY)
        assert store.get(key).data == b"first"
        transaction.set_rollback(True, using=alias)
    assert store.get(key) is None


def test_a_call_that_fails_leaves_the_transaction_usable(store, alias):
    key, other = new_key(), new_key()
    with transaction.atomic(using=alias):
        version = store.add(key, b"first", expires_at=EXPIRY)
        with pytest.raises(KeyExists):
            store.add(key, b"second", expires_at=EXPIRY)
        with pytest.raises(Conflict):
            store.replace(key, b"second", expires_at=EXPIRY, version=version + 1)
        connections[alias].introspection.table_names()  # of the user
        store.add(other, b"third", expires_at=EXPIRY)
    assert [stored.data for stored in store.get_many([key, other])] == [b"first", b"third"]


def test_a_missing_table_leaves_the_transaction_usable(store, alias):
    with without_table(alias), transaction.atomic(using=alias):
        for call in (store.get, store.delete):
            with pytest.raises(StoreUnavailable, match="migrate"):
                call(new_key())
        assert "gaesess_away" in connections[alias].introspection.table_names()


@pytest.fixture(params=["postgresql", "mysql"])
def snapshots(request, tmp_path):
    """The alias of a database whose transactions see what was there when they began."""
    settings: dict[str, Any] = settings_of(request.param, request, tmp_path)
    if request.param == "mysql":
        settings["OPTIONS"] = {"isolation_level": "repeatable read"}
    else:
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        settings["OPTIONS"] = {"isolation_level": IsolationLevel.REPEATABLE_READ}
    with added("snapshots", settings) as alias:
        yield alias


def overtaken(alias, many):
    """Have another transaction replace what ours has read; return what ours reads after the conflict."""
    key, store = new_key(), DjangoStore(alias)
    version = store.add(key, b"first", expires_at=EXPIRY)
    with transaction.atomic(using=alias):
        assert store.get(key).data == b"first"
        elsewhere(alias, lambda: DjangoStore(alias).replace(key, b"other", expires_at=EXPIRY, version=version))
        with pytest.raises(Conflict):
            store.replace(key, b"lost", expires_at=EXPIRY, version=version)
        stored = store.get_many([new_key(), key])[1] if many else store.get(key, fresh=True)
        store.replace(key, stored.data + b", ours", expires_at=EXPIRY, version=stored.version)
    return store.get(key).data


@pytest.mark.parametrize("many", [False, True])
def test_after_a_conflict_a_transaction_reads_what_is_there_now(alias, many):
    if alias == "sqlite3":
        pytest.skip("a transaction that reads keeps others from writing")
    assert overtaken(alias, many) == b"other, ours"


@pytest.mark.parametrize("many", [False, True])
def test_a_transaction_that_sees_a_snapshot_reads_past_it_or_gives_up(snapshots, many):
    if connections[snapshots].vendor == "mysql":
        assert overtaken(snapshots, many) == b"other, ours"
    else:  # PostgreSQL lets no such transaction write
        with pytest.raises(StoreUnavailable, match="could not serialize access"):
            overtaken(snapshots, many)


def test_an_add_in_a_snapshot_finds_the_record_that_it_cannot_see(snapshots):
    key, store = new_key(), DjangoStore(snapshots)
    with transaction.atomic(using=snapshots):
        assert store.get(key) is None
        elsewhere(snapshots, lambda: DjangoStore(snapshots).add(key, b"other", expires_at=EXPIRY))
        with pytest.raises((KeyExists, StoreUnavailable)):
            store.add(key, b"ours", expires_at=EXPIRY)
    assert store.get(key).data == b"other"


def test_records_are_locked_only_after_a_conflict(store, alias):
    statements = []

    def note(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    key = new_key()
    with connections[alias].execute_wrapper(note):
        with transaction.atomic(using=alias):
            version = store.add(key, b"first", expires_at=EXPIRY)
            store.get(key, fresh=True)
            with pytest.raises(Conflict):
                store.replace(key, b"second", expires_at=EXPIRY, version=version + 1)
        store.get(key, fresh=True)
    locks = ["FOR UPDATE" in sql for sql in statements if sql.startswith("SELECT")]
    assert locks == [False, alias != "sqlite3", False]


def test_a_cleanup_in_a_snapshot_ends(snapshots):
    key, store = new_key(NOW), DjangoStore(snapshots)
    store.add(key, b"over", expires_at=NOW)
    with transaction.atomic(using=snapshots):
        assert store.count_expired(now=NOW) == 1
        elsewhere(snapshots, lambda: list(DjangoStore(snapshots).delete_expired(now=NOW)))
        try:
            assert list(store.delete_expired(now=NOW)) == []
        except StoreUnavailable:
            assert connections[snapshots].vendor == "postgresql"
