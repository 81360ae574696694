"""Sessions of gae-sessions 1.07 in Google Cloud Datastore, or in Firestore in Datastore mode."""

from __future__ import annotations

from google.cloud.ndb import Client

from gaesess.legacy.gae_sessions import checked_pdump
from gaesess.stores._datastore_client import MakeClient
from gaesess.stores.datastore import DatastoreStore


class DatastoreSource:
    """Reads entities of the kind SessionModel in the default namespace, where 1.07 has them.

    `client` and `timeout` (seconds for one call) are those of DatastoreStore.
    """

    def __init__(self, client: Client | MakeClient | None = None, *, timeout: float = 5.0) -> None:
        self._store = DatastoreStore(client, kind="SessionModel", namespace="", timeout=timeout)

    def get(self, sid: str) -> bytes | None:
        """Return the pickle of a session, or None. Raises StoreUnavailable, and MalformedToken if it has no data."""
        found = self._store._calls.lookup(self._store._key(sid))
        return None if found is None else checked_pdump(found.entity.properties["pdump"].blob_value)
