"""The stores that commands are given by options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gaesess.errors import StoreUnavailable
from gaesess.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from gaesess.stores.base import Store
    from gaesess.stores.datastore import DatastoreStore
    from gaesess.stores.memcache import MemcacheStore

# What servers are called, by the schemes of their URLs.
REDIS = {"redis": "Redis", "rediss": "Redis", "unix": "Redis", "valkey": "Valkey", "valkeys": "Valkey"}
POSTGRES = {"postgresql": "PostgreSQL", "postgres": "PostgreSQL"}
SQLALCHEMY = {"mysql": "MySQL", "mariadb": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}


def engine_name(url: str) -> str:
    """Return what is at a URL, such as "Redis". Raises ValueError for a URL of nothing that is known here."""
    scheme, has_scheme, _ = url.partition("://")
    dialect, has_driver, _ = scheme.partition("+")
    name = (SQLALCHEMY if has_driver else REDIS | POSTGRES).get(dialect)
    if name is None or not has_scheme:
        known = [f"{scheme}://" for scheme in (*REDIS, *POSTGRES)]
        shown = scheme if has_scheme else "no scheme"  # the rest may have a password
        raise ValueError(f"--store must be a URL that begins with {', '.join(known)} or mysql+pymysql://, got {shown}")
    return name


def open_store(url: str) -> Store:
    """Open the store at a URL. Raises ModuleNotFoundError without its package, ValueError as `engine_name` does."""
    engine_name(url)
    scheme = url.partition("://")[0]
    if scheme in REDIS:
        from gaesess.stores.redis import RedisStore

        return RedisStore(url)
    if scheme in POSTGRES:
        from gaesess.stores.postgres import PostgresStore

        return PostgresStore(url)
    from sqlalchemy import create_engine

    from gaesess.stores.sqlalchemy import SQLAlchemyStore

    return SQLAlchemyStore(create_engine(url))


def open_sqlite(path: str) -> SQLiteStore:
    """Open the store in an SQLite file. Raises StoreUnavailable if there is none: a mistyped name makes no new one."""
    if not Path(path).is_file():
        raise StoreUnavailable(f"there is no file {path!r}")
    return SQLiteStore(path)


def open_datastore(namespace: str | None = None) -> DatastoreStore:
    """Open the Datastore of the environment's project. Raises ModuleNotFoundError without its package."""
    from gaesess.stores.datastore import DatastoreStore

    return DatastoreStore(namespace=namespace)


def open_memcache(address: str) -> MemcacheStore:
    """Open a memcached, at "host:port". Raises ModuleNotFoundError without its package."""
    from gaesess.stores.memcache import MemcacheStore

    return MemcacheStore(address)
