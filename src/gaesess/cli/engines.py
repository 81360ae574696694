"""The stores that commands are given by options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gaesess.errors import StoreUnavailable
from gaesess.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from gaesess.stores.datastore import DatastoreStore
    from gaesess.stores.memcache import MemcacheStore


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
