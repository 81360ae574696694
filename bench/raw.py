"""The least that a get, an add and a replace of a record take with the clients that the stores use, without a store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from secrets import token_bytes, token_hex
from typing import Any

import psycopg
import redis
import valkey

from bench.interleaved import Call
from bench.stores import LIFETIME_SECONDS, Opened

TABLE = "CREATE TABLE IF NOT EXISTS raw_record (key text PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL)"
SELECT = "SELECT data, version FROM raw_record WHERE key = %s"
INSERT = "INSERT INTO raw_record (key, version, data) VALUES (%s, %s, %s)"
UPDATE = "UPDATE raw_record SET data = %s, version = version + 1 WHERE key = %s"


@contextmanager
def raw_operations(opened: Opened, name: str, record_bytes: int) -> Iterator[dict[str, Call]]:
    """Give the raw calls beside those of `bench.stores.operations`, on the same server."""
    url, record = opened.urls[name], token_bytes(record_bytes)
    if name == "PostgreSQL":
        with psycopg.connect(url, autocommit=True) as connection:
            yield _postgres(connection, record)
    else:
        connect = (valkey.Valkey if name == "Valkey" else redis.Redis).from_url
        with closing(connect(url, socket_timeout=0.5, socket_connect_timeout=0.5)) as client:  # as RedisStore's
            yield _redis(client, record)


def _redis(client: Any, record: bytes) -> dict[str, Call]:
    expires_ms = (int(time.time()) + LIFETIME_SECONDS) * 1000
    key = _new_key()
    client.set(key, record, pxat=expires_ms)
    return {
        "get": lambda: client.get(key),
        "add": lambda: client.set(_new_key(), record, pxat=expires_ms, nx=True),
        "replace": lambda: client.set(key, record, pxat=expires_ms),
    }


def _postgres(connection: psycopg.Connection, record: bytes) -> dict[str, Call]:
    connection.execute(TABLE)
    key = _new_key()
    connection.execute(INSERT, (key, 0, record))
    cursor = connection.cursor(binary=True)
    return {
        "get": lambda: cursor.execute(SELECT, (key,), prepare=True).fetchone(),
        "add": lambda: cursor.execute(INSERT, (_new_key(), 0, record), prepare=True),
        "replace": lambda: cursor.execute(UPDATE, (record, key), prepare=True),
    }


def _new_key() -> str:
    return f"raw:{token_hex(16)}"
