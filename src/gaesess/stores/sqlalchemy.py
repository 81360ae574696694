"""Records in a database of SQLAlchemy: for MySQL and MariaDB, and for applications that have an Engine already."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.schema import CreateIndex, CreateTable

from gaesess.errors import Conflict, GaesessError, Gone, KeyExists, SessionTooLarge, StoreBusy, StoreUnavailable
from gaesess.stores.base import Store, Stored

T = TypeVar("T")

TABLE = "gaesess_record"
TRIES = 2
MAX_PARAMETERS = 500  # of one statement; every database takes so many
BATCH_RECORDS, BATCH_BYTES = 500, 8_000_000

# Numbers of errors of MySQL, SQLSTATEs of PostgreSQL
GAVE_WAY = {1213, "40001", "40P01"}  # a deadlock, or Galera's certification: nothing was written
LOCKED = {1205, "55P03", "57014"}  # for as long as the database waits: nothing was written
TOO_LARGE = {1153, 1406, "22001", "23514", "54000"}


class SQLAlchemyStore(Store):
    """Keeps records in a table of MySQL, MariaDB, PostgreSQL or SQLite, through an Engine of SQLAlchemy 2.

    The Engine may be shared: it brings the connections, their number, their timeouts and their credentials. A call
    takes a connection from its pool, and has one statement in it, or two, each its own transaction.
    PostgresStore and SQLiteStore do the same in less time: a read takes a third of it, or less.

    `table` may be "schema.name". It is made at the first use if it is not there; until then the database is not
    needed. Set the timeouts of the driver: a call waits up to twice as long for a server that hangs, and without them
    for as long as it hangs.

    Raises TypeError for what is no Engine; SessionTooLarge for a record that the database refuses for its size.
    """

    def __init__(self, engine: Engine, *, table: str = TABLE) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(f"engine must be what sqlalchemy.create_engine returns, got a {type(engine).__name__}")
        if not table.rpartition(".")[2]:
            raise ValueError(f"table must be NAME or SCHEMA.NAME, got {table!r}")
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._name = table
        self._table = records = make_table(MetaData(), table)
        self._is_checked = False
        column, at_key = records.c, records.c.key == bindparam("at_key")
        self._get = select(column.data, column.version).where(at_key)
        self._get_many = select(column.key, column.data, column.version).where(
            column.key.in_(bindparam("keys", expanding=True))
        )
        self._add = insert(records)
        self._replace = update(records).where(at_key, column.version == bindparam("old"))
        self._delete = delete(records).where(at_key)
        is_expired = column.expires_at <= bindparam("now")
        self._count_expired = select(func.count()).select_from(records).where(is_expired)
        self._expired = (
            select(column.key, func.length(column.data))
            .where(is_expired)
            .order_by(column.expires_at)
            .limit(BATCH_RECORDS)
        )
        self._delete_expired = delete(records).where(is_expired, column.key.in_(bindparam("keys", expanding=True)))

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        rows = self._read(self._get, at_key=key)
        return Stored(*rows[0]) if rows else None

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        found: dict[str, Stored] = {}
        for first in range(0, len(keys), MAX_PARAMETERS):
            rows = self._read(self._get_many, keys=keys[first : first + MAX_PARAMETERS])
            found.update({key: Stored(data, version) for key, data, version in rows})
        return [found.get(key) for key in keys]

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        version = secrets.randbits(63)  # the write's own id: one that was sent twice finds it
        values = {"key": key, "expires_at": expires_at, "version": version, "data": data}
        refusal: str | None = None

        def put(connection: Connection) -> None:
            nonlocal refusal
            try:
                connection.execute(self._add, values)
            except IntegrityError as error:
                if _code(error) in TOO_LARGE:
                    raise
                refusal = _reason(error)

        self._call(put)
        if refusal is not None:
            found = self.get(key)
            if found is None:
                raise StoreUnavailable(f"the database refused a new record in {self._name}: {refusal}")
            if found.version != version:
                raise KeyExists("the database has a record under this key already")
        return version

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        new = secrets.randbits(63)
        values = {"expires_at": expires_at, "version": new, "data": data}
        if not self._write(self._replace, at_key=key, old=version, **values):
            found = self.get(key)
            if found is None:
                raise Gone("the database has no record under this key")
            if found.version != new:
                raise Conflict("the record in the database was replaced since it was read")
        return new

    def delete(self, key: str) -> None:
        self._write(self._delete, at_key=key)

    def count_expired(self, *, now: int) -> int:
        return int(self._read(self._count_expired, now=now)[0][0])

    def delete_expired(self, *, now: int) -> Iterator[int]:
        while expired := self._read(self._expired, now=now):
            keys, size = [], 0
            for key, length in expired:
                if size < BATCH_BYTES:
                    keys.append(key)
                size += length
            yield self._write(self._delete_expired, now=now, keys=keys)

    def _read(self, statement: Any, **parameters: Any) -> Sequence[Any]:
        return self._call(lambda connection: connection.execute(statement, parameters).all())

    def _write(self, statement: Any, **parameters: Any) -> int:
        return self._call(lambda connection: connection.execute(statement, parameters).rowcount)

    def _call(self, use: Callable[[Connection], T]) -> T:
        if not self._is_checked:
            self._check_table()
        return self._try(use)

    def _check_table(self) -> None:
        """Make the table if it is not there. Raises StoreUnavailable if it is not one of ours, or cannot be made."""
        columns, refusal = self._try(self._look), None
        if columns is None:
            try:
                self._try(self._table.create)
            except StoreUnavailable as error:
                refusal = error
            columns = self._try(self._look)  # maybe another process was faster
            if columns is None:
                raise StoreUnavailable(f"there is no table {self._name}, and it cannot be made: {refusal}")
        expected = set(self._table.columns.keys())
        if not columns >= expected:
            raise StoreUnavailable(
                f"the table {self._name} is not one of gaesess: it lacks one of the columns"
                f" {', '.join(sorted(expected))}; choose another name with SQLAlchemyStore(..., table=...)"
            )
        self._is_checked = True

    def _look(self, connection: Connection) -> set[str] | None:
        found, where = inspect(connection), (self._table.name, self._table.schema)
        return {column["name"] for column in found.get_columns(*where)} if found.has_table(*where) else None

    def _try(self, use: Callable[[Connection], T]) -> T:
        """Return what `use` returns with a connection. If that breaks, or a deadlock ends it, it is called again."""
        dialect = self._engine.dialect
        for _ in range(TRIES):
            try:
                with self._engine.connect() as connection:
                    return use(connection)
            except SQLAlchemyError as error:
                failure = self._failure(error)
                if not (getattr(error, "connection_invalidated", False) or _code(error) in GAVE_WAY):
                    break
            except dialect.loaded_dbapi.Error as error:  # some drivers ask the server for AUTOCOMMIT
                failure = self._failure(error)
                if not dialect.is_disconnect(error, None, None):
                    break
                self._engine.dispose()  # as SQLAlchemy does with the idle ones if a statement finds one broken
        raise failure  # not where it is caught: the text of a DBAPIError has the record

    def _failure(self, error: Exception) -> GaesessError:
        code, reason = _code(error), _reason(error)
        if isinstance(error, DataError) or code in TOO_LARGE:
            return SessionTooLarge(f"the database refused the record: {reason}; keep less in the session")
        is_busy = isinstance(error, NoneFree) or code in LOCKED or "is locked" in reason
        return (StoreBusy if is_busy else StoreUnavailable)(f"the database failed, table {self._name}: {reason}")


def make_table(metadata: MetaData, table: str = TABLE) -> Table:
    """Return the table of records, for migrations by Alembic. `table` may be "schema.name"."""
    schema, _, name = table.rpartition(".")
    ascii_key = mysql.CHAR(42, charset="ascii", collation="ascii_bin")  # the usual collation ignores case
    big = mysql.MEDIUMBLOB()  # a BLOB ends at 64 KB
    return Table(
        name,
        metadata,
        Column(
            "key",
            String(42).with_variant(ascii_key, "mysql", "mariadb").with_variant(Text(collation="C"), "postgresql"),
            primary_key=True,
        ),
        Column("expires_at", BigInteger, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("data", LargeBinary().with_variant(big, "mysql", "mariadb"), nullable=False),
        Index(f"{name}_by_expiry", "expires_at"),
        schema=schema or None,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )


def mysql_schema(table: str = TABLE) -> str:
    """Return the SQL that makes the table in MySQL or MariaDB."""
    made, dialect = make_table(MetaData(), table), mysql.dialect()
    create: list[Any] = [CreateTable(made), *map(CreateIndex, made.indexes)]
    return "".join(f"{str(statement.compile(dialect=dialect)).strip()};\n" for statement in create)


def _code(error: Exception) -> object:
    """Return the number of the driver's error, the SQLSTATE, or None."""
    cause = getattr(error, "orig", error)
    number = next(iter(getattr(cause, "args", ())), None)
    return number if isinstance(number, int) else getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def _reason(error: Exception) -> str:
    """Say what went wrong, without statements and parameters."""
    if isinstance(error, NoneFree):
        return str(error)
    cause = getattr(error, "orig", error)
    of_connection = isinstance(error, (OperationalError, InterfaceError)) or not isinstance(error, SQLAlchemyError)
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0] if of_connection else _code(error)}"
