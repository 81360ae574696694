"""The removal of expired sessions from a store; for a cron job, as often as one likes."""

from __future__ import annotations

import time
from collections.abc import Callable

from gaesess.stores.base import Store

BATCH_RECORDS = 500  # as many as Datastore takes in one commit


def delete_expired_sessions(
    store: Store, *, clock: Callable[[], float] = time.time, progress: Callable[[int], object] = lambda deleted: None
) -> int:
    """Delete the records of all expired sessions, batch by batch, and return how many; live ones are never touched.

    `progress` is called with the number deleted so far after each batch. Interrupted, it is just called again. Raises
    StoreUnavailable.
    """
    now, deleted = int(clock()), 0
    while True:
        batch = store.delete_expired(now=now, limit=BATCH_RECORDS)
        deleted += batch
        progress(deleted)
        if batch < BATCH_RECORDS:
            return deleted
