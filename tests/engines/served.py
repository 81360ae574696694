"""The application for gunicorn to serve, from stores that the environment names: /sqlite/VERB and /datastore/VERB.

gunicorn is to preload it: the stores then outlive the fork, and all workers have the same key.
"""

from __future__ import annotations

import os
from typing import Any

from engines.app import application as app
from google.cloud import ndb

from gaesess import SessionMiddleware, generate_key
from gaesess.stores.base import Store
from gaesess.stores.datastore import DatastoreStore
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.stores.tiered import TieredStore

KEY = generate_key()


def sessions(durable: Store) -> SessionMiddleware:
    cache = MemcacheStore(os.environ["ENGINES_MEMCACHED"])
    return SessionMiddleware(app, cookie_key=KEY, store=TieredStore(cache, durable))


MOUNTED = {
    "/sqlite": sessions(SQLiteStore(os.environ["ENGINES_SQLITE"])),
    "/datastore": sessions(
        DatastoreStore(
            lambda: ndb.Client(project=os.environ["DATASTORE_PROJECT_ID"]),
            timeout=float(os.environ["ENGINES_DATASTORE_SECONDS"]),
        )
    ),
}


def application(environ: dict[str, Any], start_response: Any) -> Any:
    mount, verb = environ["PATH_INFO"].rsplit("/", 1)
    return MOUNTED[mount](environ | {"PATH_INFO": f"/{verb}"}, start_response)
