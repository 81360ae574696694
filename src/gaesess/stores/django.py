"""Records in a Django project's own database, by Django's own connection: no other server to run."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import Error, IntegrityError, InterfaceError, OperationalError, connections, transaction

from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge, StoreBusy, StoreUnavailable
from gaesess.stores.base import Store, Stored

T = TypeVar("T")

APP = "gaesess.django.database"  # has the model and its migration
BATCH_RECORDS = 500  # of a statement: SQLite before 3.32 takes 999 parameters
BATCH_BYTES = 8_000_000  # of data: what a database writes for one commit has to be flushed and replicated as a whole

# {key} is the column's quoted name: it is a reserved word in MySQL.
_GET = "SELECT {key}, data, version FROM gaesess_record WHERE {key} IN ({marks}){lock}"
_VERSION = "SELECT version FROM gaesess_record WHERE {key} = %s{lock}"
_ADD = "INSERT INTO gaesess_record ({key}, expires_at, version, data) VALUES (%s, %s, %s, %s)"
_REPLACE = "UPDATE gaesess_record SET data = %s, expires_at = %s, version = %s WHERE {key} = %s AND version = %s"
_DELETE = "DELETE FROM gaesess_record WHERE {key} = %s"
_COUNT_EXPIRED = "SELECT COUNT(*) FROM gaesess_record WHERE expires_at <= %s"
_EXPIRED = "SELECT {key}, LENGTH(data) FROM gaesess_record WHERE expires_at <= %s ORDER BY expires_at LIMIT %s"
_DELETE_EXPIRED = "DELETE FROM gaesess_record WHERE expires_at <= %s AND {key} IN ({marks})"

# SQLSTATEs of PostgreSQL, error numbers of MySQL and MariaDB; SQLite has only messages.
_NO_TABLE = ("42P01", 1146)
_BUSY = ("55P03", 1205)  # waited for a lock for as long as the database allows
_TOO_LARGE = (1153, 1406)  # larger than max_allowed_packet, or than the column


class DjangoStore(Store):
    """Keeps records in the database `alias` of Django's DATABASES: in PostgreSQL, SQLite, MySQL or MariaDB.

    It needs "gaesess.django.database" in INSTALLED_APPS, and `manage.py migrate`. It can be made in the settings: it
    uses the database at the first call only. It opens no connection of its own: each call uses Django's connection of
    its thread, and so belongs to the transaction, if there is one. A call that fails leaves that transaction usable.

    Outside of a transaction each write is on disk when it has returned, if the database is set up to do so. A call that
    finds the connection closed by the server is repeated once, by a new one.
    """

    def __init__(self, alias: str = "default") -> None:
        if not isinstance(alias, str) or not alias:
            raise ValueError(f'alias must be one of DATABASES, such as "default", got {alias!r}')
        self.alias = alias
        self._local = threading.local()

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return self._read([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        found: dict[str, Stored] = {}
        for first in range(0, len(keys), BATCH_RECORDS):
            found |= self._read(keys[first : first + BATCH_RECORDS])
        return [found.get(key) for key in keys]

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        version = _new_version()
        try:
            self._execute(_ADD, key, expires_at, version, data)
        except IntegrityError:
            self._outdated().add(key)
            if self._version(key) != version:  # else it was sent twice
                raise KeyExists("DjangoStore has a record under this key already") from None
        return version

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        new = _new_version()
        if self._execute(_REPLACE, data, expires_at, new, key, version):
            return new
        self._outdated().add(key)
        found = self._version(key)
        if found == new:  # it was sent twice
            return new
        if found is None:
            raise Gone("DjangoStore has no record under this key")
        raise Conflict("the record in DjangoStore was replaced since it was read")

    def delete(self, key: str) -> None:
        self._execute(_DELETE, key)

    def count_expired(self, *, now: int) -> int:
        return int(self._select(_COUNT_EXPIRED, now)[0][0])

    def delete_expired(self, *, now: int) -> Iterator[int]:
        while expired := self._select(_EXPIRED, now, BATCH_RECORDS):
            batch, size = [], 0
            for key, length in expired:
                batch.append(key)
                size += length
                if size >= BATCH_BYTES:
                    break
            deleted = self._execute(_DELETE_EXPIRED, now, *batch, marks=_marks(batch))
            if deleted:
                yield deleted
            elif self.in_transaction():  # which may go on seeing what another cleanup has deleted
                return

    # -- how an integration uses it

    def in_transaction(self) -> bool:
        """Return whether a write of this thread would be part of a transaction, which may be rolled back."""
        return bool(connections[self.alias].in_atomic_block)

    def on_commit(self, function: Callable[[], object]) -> None:
        """Call a function when this thread's transaction is committed; what it raises is logged."""
        transaction.on_commit(function, using=self.alias, robust=True)

    @staticmethod
    async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the thread where Django's asynchronous ORM works for this request.

        Django closes its connections there. In a thread of gaesess nobody would, and the transaction around each test
        of a `TestCase` would be another connection's.
        """
        result: T = await sync_to_async(function, thread_sensitive=True)(*arguments)
        return result

    # -- statements

    def _read(self, keys: Sequence[str]) -> dict[str, Stored]:
        rows = self._select(_GET, *keys, marks=_marks(keys), lock=self._lock(keys))
        return {key: Stored(bytes(data), version) for key, data, version in rows}

    def _version(self, key: str) -> int | None:
        rows = self._select(_VERSION, key, lock=self._lock([key]))
        return rows[0][0] if rows else None

    def _select(self, statement: str, *parameters: object, **parts: str) -> list[Any]:
        return self._run(statement, parameters, parts, lambda cursor: list(cursor.fetchall()))

    def _execute(self, statement: str, *parameters: object, **parts: str) -> int:
        return self._run(statement, parameters, parts, lambda cursor: int(cursor.rowcount))

    def _run(
        self, statement: str, parameters: Sequence[object], parts: dict[str, str], result: Callable[[Any], T]
    ) -> T:
        connection: Any = connections[self.alias]
        statement = statement.format(key=connection.ops.quote_name("key"), **parts)
        values = [connection.Database.Binary(each) if isinstance(each, bytes) else each for each in parameters]

        def use() -> T:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return result(cursor)

        is_open = connection.connection is not None
        try:
            if connection.in_atomic_block:
                with transaction.atomic(using=self.alias):  # a savepoint
                    return use()
            try:
                return use()
            except (InterfaceError, OperationalError) as error:
                if not is_open or isinstance(self._described(error), StoreBusy):
                    raise
            connection.close_if_unusable_or_obsolete()
            return use()  # each write has an id of its own, by which it knows itself if it was done before
        except IntegrityError:
            raise
        except Error as error:
            raise self._described(error) from error

    def _described(self, error: Error) -> StoreUnavailable | SessionTooLarge:
        """Return what is raised in place of a database's error, without the parameters, which that may contain."""
        code, text = _code(error), str(error).partition("\n")[0]
        database = f"Django's database {self.alias!r}"
        if code in _NO_TABLE or text.startswith("no such table"):
            return StoreUnavailable(
                f"{database} has no table gaesess_record: add {APP!r} to INSTALLED_APPS, and run"
                f" `python manage.py migrate{'' if self.alias == 'default' else f' --database={self.alias}'}`"
            )
        if code in _TOO_LARGE:
            return SessionTooLarge(f"{database} does not take a record of that size: error {code}")
        if code in _BUSY or text.endswith("is locked"):
            return StoreBusy(f"{database} is locked by others: {text}")
        if isinstance(error, (InterfaceError, OperationalError)):
            return StoreUnavailable(f"{database} cannot be used: {text}")
        return StoreUnavailable(f"{database} cannot be used: {type(error).__name__} {code or ''}".rstrip())

    # -- rereading in a transaction

    def _outdated(self) -> set[str]:
        """Return the keys whose records this thread's transaction may have read as they were before."""
        if not self.in_transaction() or not hasattr(self._local, "keys"):
            self._local.keys = set()
        keys: set[str] = self._local.keys
        return keys

    def _lock(self, keys: Sequence[str]) -> str:
        """Return what a SELECT needs to see the latest versions.

        With MySQL's isolation level REPEATABLE READ a plain SELECT goes on returning what was there when the
        transaction began, while an UPDATE meets what is there now: a session would be saved at a version that it
        cannot read, again and again.
        """
        connection = connections[self.alias]
        if not connection.in_atomic_block or self._outdated().isdisjoint(keys):
            return ""
        return f" {connection.ops.for_update_sql()}" if connection.features.has_select_for_update else ""


def _new_version() -> int:
    """Return a version that no write has had: at the same time the id of this write. A column holds 63 bits."""
    return secrets.randbits(63)


def _marks(parameters: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(parameters))


def _code(error: Error) -> object:
    """Return the error number of MySQL, or PostgreSQL's SQLSTATE; None if there is none."""
    if error.args and isinstance(error.args[0], int):
        return error.args[0]
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)  # of psycopg, and of psycopg2
