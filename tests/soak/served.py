"""The application for gunicorn to serve, over the stores that SOAK_STORE names: /plain/VERB and /revocable/VERB.

gunicorn is to preload it: the stores then outlive the fork, and all workers have the same keys.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from engines.app import application as app

from gaesess import SessionMiddleware, generate_key
from gaesess.errors import StoreUnavailable
from gaesess.stores.base import Store
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore

T = TypeVar("T")


class Lying(FaultyStore):
    """While a file is there, every fifth write or so lands and is said to have failed, and as many are sent twice."""

    def __init__(self, store: Store, switch: Path) -> None:
        super().__init__(store)
        self._switch = switch

    def _write(self, method: Callable[..., T], *arguments: Any, **options: Any) -> T:
        luck = random.random() if self._switch.exists() else 1.0
        result = method(*arguments, **options)
        if luck < 0.2:
            raise StoreUnavailable("the reply is lost")
        return method(*arguments, **options) if luck < 0.4 else result


def durable() -> Any:
    """Return the store that must not lose anything."""
    if KIND == "datastore":
        from google.cloud import ndb

        from gaesess.stores.datastore import DatastoreStore

        return DatastoreStore(lambda: ndb.Client(project=os.environ["DATASTORE_PROJECT_ID"]), timeout=SECONDS)
    directory = Path(os.environ["SOAK_DIRECTORY"])
    return Lying(lying_about(directory), directory / "lying")


def lying_about(directory: Path) -> Store:
    if KIND in ("redis", "failover", "failover-wait"):
        from gaesess.stores.redis import RedisStore

        replicas = 1 if KIND == "failover-wait" else 0
        return RedisStore(os.environ["SOAK_URL"], timeout=SECONDS, may_forget=False, wait_replicas=replicas)
    if KIND == "postgres":
        from gaesess.stores.postgres import PostgresStore

        return PostgresStore(os.environ["SOAK_URL"], timeout=SECONDS)
    return SQLiteStore(directory / "sessions.sqlite3", timeout=SECONDS)


KIND = os.environ["SOAK_STORE"]
SECONDS = float(os.environ["SOAK_SECONDS"])  # that a call of the durable store may take
STORE = durable()
if "SOAK_MEMCACHED" in os.environ:
    STORE = TieredStore(MemcacheStore(os.environ["SOAK_MEMCACHED"]), STORE)
MOUNTED = {
    "/plain": SessionMiddleware(app, cookie_key=generate_key(), store=STORE),
    "/revocable": SessionMiddleware(app, cookie_key=generate_key(), store=STORE, revocable=True),
}


def application(environ: dict[str, Any], start_response: Any) -> Any:
    mount, verb = environ["PATH_INFO"].rsplit("/", 1)
    return MOUNTED[mount](environ | {"PATH_INFO": f"/{verb}"}, start_response)
