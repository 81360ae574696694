"""Records in PostgreSQL: durable, for all machines, by psycopg 3."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen

from gaesess.drivers import run
from gaesess.errors import StoreUnavailable
from gaesess.stores._pool import AsyncPool, Pool, is_readable
from gaesess.stores._postgres_calls import TABLE, Calls, Conninfo, Rows, answer_of, schema
from gaesess.stores.base import AsyncStore, Store, Stored

__all__ = ["AsyncPostgresStore", "PostgresStore", "schema"]

C = TypeVar("C", bound="_Connection | _AsyncConnection")
T = TypeVar("T")

WAIT_SECONDS = 0.1  # after which a wait looks at its deadline, and Python at signals


class _Deadline:
    """What both kinds of connection have besides."""

    opened_by = 0  # a process id
    timeout = 0.0  # seconds
    work: Any  # a cursor, which takes longer to make than a query


class _Connection(_Deadline, psycopg.Connection[tuple[Any, ...]]):
    def wait(self, gen: PQGen[T], interval: float = WAIT_SECONDS, timeout: float | None = None) -> T:
        return waiting.wait(_within(self.timeout, gen), self.pgconn.socket, interval)


class _AsyncConnection(_Deadline, psycopg.AsyncConnection[tuple[Any, ...]]):
    async def wait(self, gen: PQGen[T], interval: float = WAIT_SECONDS, timeout: float | None = None) -> T:
        return await waiting.wait_async(_within(self.timeout, gen), self.pgconn.socket, interval)


class _BlockingCalls(Calls):
    def _new_pool(self, **limits: Any) -> Pool[_Connection]:
        return Pool(self._connect, abandon=_discard, is_stale=_is_stale, **limits)

    def _connect(self) -> _Connection:
        try:
            return _opened(self._timeout, _Connection.connect(**self.connection_settings()))
        except psycopg.Error as error:
            raise self.failure(error) from None

    async def _send(self, statement: str, parameters: tuple[object, ...]) -> Rows | psycopg.Error:
        def use(connection: _Connection) -> Rows | psycopg.Error:
            try:
                cursor = connection.work.execute(statement, parameters or None, binary=bool(parameters))
                return [] if cursor.rownumber is None else cursor.fetchall()
            except psycopg.Error as error:
                return answer_of(error)

        answer: Rows | psycopg.Error = self._pool.lend(use)
        return answer


class AsyncPostgresStore(Calls, AsyncStore):
    """A PostgresStore whose methods are coroutines, with the same arguments. Each loop has connections of its own."""

    def _new_pool(self, **limits: Any) -> AsyncPool[_AsyncConnection]:
        return AsyncPool(self._connect, discard=_discard, is_stale=_is_stale, **limits)

    async def _connect(self) -> _AsyncConnection:
        try:
            return _opened(self._timeout, await _AsyncConnection.connect(**self.connection_settings()))
        except psycopg.Error as error:
            raise self.failure(error) from None

    async def _send(self, statement: str, parameters: tuple[object, ...]) -> Rows | psycopg.Error:
        async def use(connection: _AsyncConnection) -> Rows | psycopg.Error:
            try:
                cursor = await connection.work.execute(statement, parameters or None, binary=bool(parameters))
                return [] if cursor.rownumber is None else await cursor.fetchall()
            except psycopg.Error as error:
                return answer_of(error)

        answer: Rows | psycopg.Error = await self._pool.lend(use)
        return answer


class PostgresStore(Store):
    """Keeps records in a table of PostgreSQL 12 or later.

    `conninfo` is a libpq connection string or URL, or a function that returns one, which is called for each new
    connection: for a password that changes. `table` may be "schema.name". The table is made at the first use if it is
    not there, by the SQL that `python -m gaesess sql postgres` prints. Until then the server is not needed.

    `timeout` is how many seconds each may take before StoreUnavailable: to wait for one of the `max_connections` of
    this process, to connect (whole seconds, at least 2, for each server in `conninfo`), and to get an answer. If a
    connection breaks, the statement is sent once more over a new one.

    `pooler=True` is for connections through PgBouncer or another pooler: then nothing is prepared, and no setting is
    sent when a connection begins. `unlogged=True` makes the table UNLOGGED: faster, and emptied by a crash of the
    server, so the store may forget.

    A write that has returned survives a crash, unless the server has `synchronous_commit=off`. Raises ValueError for a
    setting that cannot be; SessionTooLarge for a record that a CHECK constraint of yours refuses.
    """

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
        self._calls = _BlockingCalls(
            conninfo, table=table, timeout=timeout, max_connections=max_connections, pooler=pooler, unlogged=unlogged
        )
        self.may_forget = unlogged

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return run(self._calls.get(key))

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        return run(self._calls.get_many(keys))

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        return run(self._calls.add(key, data, expires_at=expires_at))

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        return run(self._calls.replace(key, data, expires_at=expires_at, version=version))

    def delete(self, key: str) -> None:
        run(self._calls.delete(key))

    def count_expired(self, *, now: int) -> int:
        return run(self._calls.count_expired(now=now))

    def delete_expired(self, *, now: int) -> Iterator[int]:
        while deleted := run(self._calls.delete_batch(now=now)):
            yield deleted

    def close(self) -> None:
        """Close the connections that are not in use. The store stays usable, and opens them again when needed."""
        self._calls.close()


def _within(seconds: float, gen: PQGen[T]) -> PQGen[T]:
    """Wait for what psycopg waits for, but give up after that many seconds: libpq has no timeout for an answer."""
    deadline = time.monotonic() + seconds
    try:
        wait = next(gen)
        while True:
            wait = gen.send((yield wait))
            if time.monotonic() >= deadline:
                raise StoreUnavailable(f"PostgreSQL has not answered within {seconds} seconds")
    except StopIteration as done:
        result: T = done.value
        return result


def _opened(timeout: float, connection: C) -> C:
    connection.opened_by, connection.timeout, connection.work = os.getpid(), timeout, connection.cursor()
    return connection


def _is_stale(connection: _Connection | _AsyncConnection) -> bool:
    return connection.closed or is_readable(connection.fileno())


def _discard(connection: _Connection | _AsyncConnection) -> None:
    """Close a connection without waiting. A forked child sends nothing: at the server it is its parent's session."""
    if connection.opened_by != os.getpid() and not connection.closed:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, connection.fileno())
        os.close(nowhere)
    connection.pgconn.finish()
