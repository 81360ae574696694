"""The removal of expired sessions from a store; for a cron job, as often as one likes."""

from __future__ import annotations

import time
from collections.abc import Callable

from gaesess.stores.base import Store


class _Deleted(int):
    """A number of sessions that is true even if it is 0.

    The cron job of gae-sessions 1.07 is `while not delete_expired_sessions(...): pass`. It must end.
    """

    def __bool__(self) -> bool:
        return True


def delete_expired_sessions(
    store: Store,
    *,
    clock: Callable[[], float] = lambda: time.time(),
    progress: Callable[[int], object] = lambda deleted: None,
) -> int:
    """Delete the records of all sessions that expired more than an hour ago, batch by batch, and return how many.

    `progress` is called with the number deleted so far after each batch; what it raises ends the cleanup. One
    that was interrupted is just called again. The number returned is true even if it is 0. Raises StoreUnavailable.
    """
    deleted = 0
    for batch in store.delete_expired(now=int(clock())):
        deleted += batch
        progress(deleted)
    return _Deleted(deleted)
