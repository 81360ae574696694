"""Sessions of gae-sessions 1.07 in the bundled services of App Engine, for an application that still has these."""

from __future__ import annotations

from google.appengine.api import datastore
from google.appengine.api.datastore_types import Key

from gaesess.legacy.gae_sessions import checked_pdump
from gaesess.stores.appengine import AppEngineMemcache, _outages
from gaesess.stores.base import checked_seconds


class MemcacheSource:
    """Reads App Engine's memcache in the default namespace, where 1.07 has its sessions.

    A call may take `timeout` seconds.
    """

    def __init__(self, *, timeout: float = 0.5) -> None:
        self._cache = AppEngineMemcache(namespace="", timeout=timeout)

    def get(self, sid: str) -> bytes | None:
        """Return the pickle of a session, or None. Raises StoreUnavailable."""
        item = self._cache._get(sid)
        return None if item is None else item.value


class DatastoreSource:
    """Reads entities of the kind SessionModel in the default namespace, where 1.07 has them.

    A call may take `timeout` seconds. A transaction of the application plays no part.
    """

    # Not by a model: its class would take the place of one that the application has for this kind.

    def __init__(self, *, timeout: float = 5.0) -> None:
        self._config = datastore.CreateConfig(deadline=checked_seconds("timeout", timeout))

    def get(self, sid: str) -> bytes | None:
        """Return the pickle of a session, or None. Raises StoreUnavailable, and MalformedToken if it has no data."""
        key = Key.from_path("SessionModel", sid, namespace="")
        with _outages("Datastore"):
            (found,) = datastore.NonTransactional(datastore.Get)([key], config=self._config)
        return None if found is None else checked_pdump(found.get("pdump"))
