"""What reads the sessions of another library, and what it has to say of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from gaesess import events
from gaesess._core import MAX_U32, Token
from gaesess.pickling import refuse_keys


class OldSession(NamedTuple):
    """A session whose cookie is genuine and not over.

    `cookies` are the names it takes; `flags` those of a token that say the same; `ends` is its absolute end in Unix
    seconds, None if it has none. `identity` is under which it is barred from coming again, None if it has no id.
    `read` returns its data, or raises InvalidToken or StoreUnavailable. One that is `outdated` came beside a cookie of
    ours, and is only there to be ended.
    """

    reader: Reader
    cookies: list[str]
    flags: int
    ends: int | None
    identity: Token | None
    read: Callable[[], dict[Any, Any]]
    outdated: bool = False


class Reader:
    """Reads one library's sessions until a time, which has a time zone. `cookie_name` is that of the (first) cookie.

    Raises ValueError for a time without a zone.
    """

    def __init__(self, cookie_name: str, until: datetime, *, path: str = "/", domain: str | None = None) -> None:
        if not isinstance(until, datetime) or until.utcoffset() is None:
            raise ValueError(f"until is a datetime with a time zone, such as timezone.utc, not {until!r}")
        self.cookie_name = cookie_name
        self.path, self.domain = path, domain
        self.until = min(int(until.timestamp()), MAX_U32)

    __reduce__ = refuse_keys

    def find(self, cookies: Mapping[str, str], now: int) -> OldSession | None:
        """Return the session of a request with these cookies, or None if it has no cookie of that name.

        Raises InvalidToken for a cookie that is not to be believed.
        """
        raise NotImplementedError


def leave_out(reason: str) -> None:
    """Tell that a key of an old session is not taken over."""
    events.emit("value_left_out", f"left a key out of a session that was taken over: {reason}", reason=reason)
