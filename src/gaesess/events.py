"""What happens to sessions, for the log and for listeners of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from logging import Logger

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40  # as `logging` numbers them
LEVELS: Mapping[str, int] = {
    "committed": DEBUG,  # a session was saved
    "terminated": DEBUG,  # the record of a session was ended
    "conflict_merged": INFO,  # the changes of a concurrent request were taken up
    "outcome_settled": INFO,  # a write whose reply was lost was looked up in the record
    "token_expired": INFO,  # a genuine cookie of a session that is over
    "token_refused": WARNING,  # a cookie that is not to be believed
    "stale_record": INFO,  # a cache had an older record than the client has seen
    "poisoned_record": WARNING,  # a record that is not to be believed
    "store_unavailable": WARNING,  # a store, or the cache in front of one, did not answer
    "store_recovered": INFO,  # the cache answers again
    "degraded": WARNING,  # a session was written to the cache alone, by outage="degrade"
    "insecure_cookie": WARNING,  # cookie_secure=False
    "oversize": WARNING,  # a session is too large to be saved
    "data_loss": ERROR,  # the store does not have what a client was told was saved
    "session_taken_over": INFO,  # one of another library goes on as ours
    "value_left_out": WARNING,  # such a one had a value that a session cannot hold
    "response_refused": ERROR,  # a middleware answered 503 or 409 in the application's place
}


class Event(NamedTuple):
    """Something that happened: its name and level as in LEVELS, a sentence, and what else is known of it.

    The field `session`, where there is one, is a short keyed hash of the session's id: it tells sessions apart, and is
    of no use as a cookie or as a key of the store. No field has an id, a cookie, a store's key or session data in it.
    """

    name: str
    level: int
    message: str
    fields: Mapping[str, object]


Listener = Callable[[Event], object]

_listeners: tuple[Listener, ...] = ()
_log: Logger | None = None


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call `listener` with each event from now on, in the thread where it happens; return what ends that.

    It is called while a response waits, so it is to be quick. What it raises is logged and does no more harm.
    """
    global _listeners
    _listeners = (*_listeners, listener)

    def unsubscribe() -> None:
        global _listeners
        _listeners = tuple(other for other in _listeners if other is not listener)

    return unsubscribe


def wanted(name: str) -> bool:
    """Return whether anybody would hear of an event of that name: to ask before a frequent one is made."""
    return bool(_listeners) or (_log or _logger()).isEnabledFor(LEVELS[name])


def emit(name: str, message: str, **fields: object) -> None:
    """Tell the listeners and the logger "gaesess", whose record has the name and the fields as attribute `gaesess`."""
    level = LEVELS[name]
    _logger().log(level, "%s", message, extra={"gaesess": {"event": name, **fields}})
    for listener in _listeners:
        try:
            listener(Event(name, level, message, fields))
        except Exception:  # somebody else's code, on the way of a response that has nothing to do with it
            _logger().exception("a listener failed at the event %s", name)


def _logger() -> Logger:
    global _log
    if _log is None:
        from logging import getLogger  # not at import of the package, of which it would be a fifth of the time

        _log = getLogger("gaesess")
    return _log
