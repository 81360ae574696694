"""The statements of PostgresStore, its table and its errors. Each operation is one statement, and its own transaction.

The version of a record is the random id of its last write. So a write that was sent twice, because its connection broke
before the reply, finds its own version there, and is done.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import Identifier

from gaesess.errors import Conflict, GaesessError, Gone, KeyExists, SessionTooLarge, StoreBusy, StoreUnavailable
from gaesess.stores.base import Stored, checked_seconds

Conninfo: TypeAlias = str | Callable[[], str]
Rows: TypeAlias = list[tuple[Any, ...]]

TABLE = "gaesess_record"
TABLE_NAME = re.compile(r"([\w-]{1,53}\.)?[\w-]{1,53}", re.ASCII)  # names have 63 bytes; that of the index is longer
TRIES = 2
READ_COMMITTED = "-c default_transaction_isolation=read\\ committed"
BATCH_RECORDS, BATCH_BYTES = 500, 8_000_000  # some milliseconds; a big record has a row for every 2,000 bytes

# SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html, or what they begin with
RECONNECT = ("08", "57P", "25006", "26000", "0A000")  # a fresh connection may do: it also finds the new primary
CONTENDED = "40"  # a deadlock, or no serial order: nothing was written
TIMED_OUT = ("57014", "55P03")  # of the statement or of a lock: nothing was written
TOO_LARGE = ("23514", "22001", "54000")  # by a check or a domain of the table, or by PostgreSQL
POOLER = "PostgresStore(..., pooler=True) is for connections through a pooler"
HINTS = {
    "08P01": POOLER,
    "26000": POOLER,
    "42P05": POOLER,
    "25006": "it is a standby: name all servers in conninfo, with target_session_attrs=read-write",
    "42P01": "create it by the SQL that `python -m gaesess sql postgres` prints",
    "42501": "the role needs SELECT, INSERT, UPDATE and DELETE on the table",
}

COLUMNS = {"key text", "expires_at bigint", "version bigint", "data bytea"}
_SCHEMA = """
CREATE {unlogged}TABLE IF NOT EXISTS {table} (
    key text COLLATE "C" PRIMARY KEY,
    expires_at bigint NOT NULL,
    version bigint NOT NULL,
    data bytea NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE {table} ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at);
"""
_LOOK = """
SELECT relpersistence = 'u', ARRAY(
    SELECT attname || ' ' || format_type(atttypid, NULL) FROM pg_catalog.pg_attribute WHERE attrelid = pg_class.oid
) FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)
"""
_GET = "SELECT data, version FROM {table} WHERE key = %s"
_GET_MANY = "SELECT key, data, version FROM {table} WHERE key = ANY(%s)"
_ADD = """
INSERT INTO {table} (key, expires_at, version, data) VALUES (%s, %s, %s, %s) ON CONFLICT (key) DO NOTHING RETURNING 1
"""
_REPLACE = """
UPDATE {table} SET data = %s, expires_at = %s, version = %s WHERE key = %s AND version = %s RETURNING 1
"""
_VERSION = "SELECT version FROM {table} WHERE key = %s"
_DELETE = "DELETE FROM {table} WHERE key = %s"
_COUNT_EXPIRED = "SELECT count(*) FROM {table} WHERE expires_at <= %s"
# By their place in the table: with `key IN (...)` PostgreSQL reads all of it for each batch.
_DELETE_EXPIRED = """
WITH expired AS MATERIALIZED (
    SELECT ctid, octet_length(data) AS size FROM {table} WHERE expires_at <= %s ORDER BY expires_at LIMIT %s
    FOR UPDATE SKIP LOCKED
), sized AS (SELECT ctid, sum(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS before FROM expired)
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM sized WHERE before < %s)) RETURNING 1
"""


def schema(table: str = TABLE, *, unlogged: bool = False) -> str:
    """Return the SQL that makes the table, if it is not there. Raises ValueError for a name that cannot be one."""
    names = _names(table) | {"unlogged": "UNLOGGED " if unlogged else ""}
    return _SCHEMA.format(**names).lstrip()


class Calls:
    """The operations, as coroutines over `_send`, which may suspend or not."""

    def __init__(
        self,
        conninfo: Conninfo,
        *,
        table: str = TABLE,
        timeout: float = 5.0,
        max_connections: int = 10,
        pooler: bool = False,
        unlogged: bool = False,
    ) -> None:
        self.may_forget = unlogged
        self._table = table
        self._names = _names(table)
        self._schema = schema(table, unlogged=unlogged)
        self._timeout = checked_seconds("timeout", timeout)
        if not isinstance(max_connections, int) or max_connections < 1:
            raise ValueError(f"max_connections must be a whole number above 0, got {max_connections!r}")
        self._pooler = pooler
        self._given = conninfo
        self._conninfo = "" if callable(conninfo) else self._complete(conninfo)
        self._statements: dict[str, str] = {}
        self._is_checked = False
        limits: Any = {"max_connections": max_connections, "timeout": self._timeout}
        self._pool = self._new_pool(**limits)

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        rows = await self._call(_GET, key)
        return Stored(*rows[0]) if rows else None

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        found = {key: Stored(data, version) for key, data, version in await self._call(_GET_MANY, list(keys))}
        return [found.get(key) for key in keys]

    async def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        version = secrets.randbits(63)
        if not await self._call(_ADD, key, expires_at, version, data) and await self._version(key) != version:
            raise KeyExists("PostgreSQL has a record under this key already")
        return version

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        new = secrets.randbits(63)
        if not await self._call(_REPLACE, data, expires_at, new, key, version):
            found = await self._version(key)
            if found is None:
                raise Gone("PostgreSQL has no record under this key")
            if found != new:
                raise Conflict("the record in PostgreSQL was replaced since it was read")
        return new

    async def delete(self, key: str) -> None:
        await self._call(_DELETE, key)

    async def count_expired(self, *, now: int) -> int:
        ((count,),) = await self._call(_COUNT_EXPIRED, now)
        return int(count)

    async def delete_batch(self, *, now: int) -> int:
        return len(await self._call(_DELETE_EXPIRED, now, BATCH_RECORDS, BATCH_BYTES))

    def close(self) -> None:
        """Close the connections that are not in use. The store stays usable, and opens them again when needed."""
        self._pool.close()

    async def _version(self, key: str) -> int | None:
        rows = await self._call(_VERSION, key)
        return rows[0][0] if rows else None

    async def _call(self, template: str, *parameters: object) -> Rows:
        if not self._is_checked:
            await self._check_table()
        statement = self._statements.get(template)
        if statement is None:
            statement = self._statements[template] = template.format(**self._names)
        return self._rows(await self._try(statement, *parameters))

    async def _check_table(self) -> None:
        """Make the table if it is not there. Raises StoreUnavailable if it is not one of ours, or cannot be made."""
        found = self._rows(await self._try(_LOOK, self._names["table"]))
        if not found:
            made = await self._try(self._schema)
            found = self._rows(await self._try(_LOOK, self._names["table"]))  # maybe another process was faster
            if not found and isinstance(made, psycopg.Error):
                raise StoreUnavailable(
                    f"there is no table {self._table} in PostgreSQL, and it cannot be made: {_reason(made)};"
                    f" {HINTS['42P01']}"
                )
        ((is_unlogged, columns),) = found
        if not set(columns) >= COLUMNS:
            raise StoreUnavailable(
                f"the table {self._table} in PostgreSQL is not one of gaesess: it lacks one of the columns"
                f" {', '.join(sorted(COLUMNS))}; choose another name with PostgresStore(..., table=...)"
            )
        if is_unlogged and not self.may_forget:
            raise StoreUnavailable(
                f"the table {self._table} is UNLOGGED, so a crash of PostgreSQL empties it: allow that with"
                " PostgresStore(..., unlogged=True), or use ALTER TABLE ... SET LOGGED"
            )
        self._is_checked = True

    async def _try(self, statement: str, *parameters: object) -> Rows | psycopg.Error:
        """Return the rows, or the error that the statement had at last. It may be sent twice."""
        for _ in range(TRIES):
            try:
                answer = await self._send(statement, parameters)
            except psycopg.Error as lost:
                answer = lost.with_traceback(None)
            else:
                if not (isinstance(answer, psycopg.Error) and str(answer.sqlstate).startswith(CONTENDED)):
                    break
        return answer

    def _rows(self, answer: Rows | psycopg.Error) -> Rows:
        if isinstance(answer, psycopg.Error):
            raise self.failure(answer)  # not where it is caught: its text may have a part of the record
        return answer

    def failure(self, error: psycopg.Error) -> GaesessError:
        code, reason = error.sqlstate or "", _reason(error)
        if code in TOO_LARGE:
            return SessionTooLarge(f"PostgreSQL refused the record: {reason}; keep less in the session")
        kind = StoreBusy if code in TIMED_OUT else StoreUnavailable
        hint = HINTS.get(code) or (POOLER if "startup parameter" in reason else "")
        return kind(f"PostgreSQL failed, table {self._table}: {reason}{hint and '; '}{hint}")

    def _complete(self, conninfo: str) -> str:
        """Return the conninfo with the limits of time that it does not set itself."""
        if not isinstance(conninfo, str):
            raise TypeError(
                f"conninfo must be a string, or a function that returns one, got a {type(conninfo).__name__}"
            )
        try:
            given: dict[str, Any] = dict(conninfo_to_dict(conninfo))
        except psycopg.ProgrammingError:  # its message has parts of the conninfo, maybe of the password
            given = {"host": "@"}
        # The rest of a password that has a @ or / in it becomes the host or the port, which errors name.
        if "@" in str(given.get("host")) or not re.fullmatch(r"[\d,]*", str(given.get("port", ""))):
            raise ValueError(
                'conninfo must be like "postgresql://user@host/database" or "host=... dbname=...": in a URL,'
                " percent-encode the special characters of the password"
            )
        defaults: dict[str, Any] = {
            "connect_timeout": math.ceil(self._timeout),
            "tcp_user_timeout": math.ceil(self._timeout * 1000),
            "fallback_application_name": "gaesess",
        }
        if not self._pooler:  # the server's timeout is the shorter one: it says why, and the connection stays
            ours = f"-c statement_timeout={math.ceil(self._timeout * 900)} {READ_COMMITTED}"
            given["options"] = f"{ours} {given.get('options', '')}".strip()
        return make_conninfo("", **defaults | given)

    def connection_settings(self) -> dict[str, Any]:
        conninfo = self._complete(self._given()) if callable(self._given) else self._conninfo
        return {"conninfo": conninfo, "autocommit": True, "prepare_threshold": None if self._pooler else 1}

    def _new_pool(self, **limits: Any) -> Any:
        """Return the pool of connections for `_send`."""
        raise NotImplementedError

    async def _send(self, statement: str, parameters: tuple[object, ...]) -> Rows | psycopg.Error:
        """Return the rows, or the error that the server answers. Raises psycopg.Error if the connection is lost."""
        raise NotImplementedError


def answer_of(error: psycopg.Error) -> psycopg.Error:
    """Return an error that leaves its connection as it was. Raises the others."""
    if not error.sqlstate or error.sqlstate.startswith(RECONNECT):
        raise error
    return error.with_traceback(None)


def _names(table: str) -> dict[str, str]:
    if not isinstance(table, str) or not TABLE_NAME.fullmatch(table):
        raise ValueError(f"table must be NAME or SCHEMA.NAME, of up to 53 letters, digits, _ and - each, got {table!r}")
    parts = table.split(".")
    index = f"{parts[-1]}_by_expiry"
    return {"table": Identifier(*parts).as_string(None), "index": Identifier(index).as_string(None)}


def _reason(error: psycopg.Error) -> str:
    """Say what went wrong, without the details, which can have parts of the record."""
    if error.sqlstate:
        return f"{error.diag.message_primary} (SQLSTATE {error.sqlstate})"
    of_connection = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return " ".join(str(error).split()) if of_connection else type(error).__name__
