"""How long a session lasts: from its start, and from its last use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from gaesess._core import Token
from gaesess.cookies import MAX_AGE_SECONDS

DEFAULT_LIFETIME = timedelta(days=7)
MAX_LIFETIME = timedelta(seconds=MAX_AGE_SECONDS)
REFRESHES_PER_IDLE_TIMEOUT = 10  # an active session may end a tenth early, and sends that few cookies more


class Timeouts:
    """The settings `lifetime`, `idle_timeout` and `passive_paths` of SessionManager.

    `lifetime` zero lets the cookie end with the browser, and the session after the default lifetime. Raises ValueError
    for settings that are unsafe or contradict each other.
    """

    def __init__(self, lifetime: timedelta, idle_timeout: timedelta | None, passive_paths: Iterable[str]) -> None:
        for name, value in (("lifetime", lifetime), ("idle_timeout", idle_timeout or timedelta())):
            if not isinstance(value, timedelta):
                raise ValueError(f"{name} is a timedelta, such as timedelta(days=7), not {value!r}")
        if lifetime and not timedelta(seconds=1) <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"lifetime is zero, or from a second to {MAX_LIFETIME.days} days, not {lifetime}")
        if idle_timeout is not None and idle_timeout < timedelta(minutes=1):
            raise ValueError(f"idle_timeout is None or at least a minute, not {idle_timeout}")
        self.with_browser = not lifetime
        self.lifetime_seconds = int((lifetime or DEFAULT_LIFETIME).total_seconds())
        self._idle_seconds = idle_timeout.total_seconds() if idle_timeout else None
        self.passive_paths = _checked_paths(passive_paths)
        if self.passive_paths and idle_timeout is None:
            raise ValueError("passive_paths are for sessions with an idle_timeout")

    def is_passive(self, path: str) -> bool:
        """Return whether a request to that path of the URL is no use of its session."""
        return any(path == passive or path.startswith(f"{passive}/") for passive in self.passive_paths)

    def is_idle(self, token: Token, now: int) -> bool:
        """Return whether the session was not used for too long, at `now` (Unix seconds)."""
        return self._idle_seconds is not None and token.issued + self._idle_seconds <= now

    def wants_refresh(self, token: Token, now: int) -> bool:
        """Return whether the client is to have the token anew, at `now` (Unix seconds), as it is in use."""
        if self._idle_seconds is None:
            return False
        return now - token.issued >= self._idle_seconds / REFRESHES_PER_IDLE_TIMEOUT


def _checked_paths(paths: Iterable[str]) -> tuple[str, ...]:
    checked = tuple(paths)
    if isinstance(paths, str) or not all(isinstance(path, str) and path.startswith("/") for path in checked):
        raise ValueError(f'passive_paths are paths of URLs, such as ["/poll", "/news"], not {paths!r}')
    return tuple(path.rstrip("/") for path in checked)
