"""The removal of expired sessions from a store; for a cron job, as often as one likes."""

from __future__ import annotations

import time
from collections.abc import Callable

from gaesess.stores.base import Store


def delete_expired_sessions(
    store: Store,
    *,
    clock: Callable[[], float] = lambda: time.time(),
    progress: Callable[[int], object] = lambda deleted: None,
) -> int:
    """Delete the records of all expired sessions, batch by batch, and return how many; live ones are never touched.

    `progress` is called with the number deleted so far after each batch; what it raises ends the cleanup. One that was
    interrupted is just called again. Raises StoreUnavailable.
    """
    deleted = 0
    for batch in store.delete_expired(now=int(clock())):
        deleted += batch
        progress(deleted)
    return deleted
