"""Whether a session that a genuine cookie brings was ended meanwhile: asked of the store, but not at every request."""

from __future__ import annotations

from collections.abc import Callable

from gaesess import events
from gaesess.active import ActiveSession, Home
from gaesess.errors import MalformedToken, RecordGone, StoreUnavailable
from gaesess.records import Records
from gaesess.users import USER_KEY, Users, bound_in

CHECKED_SECONDS = 5  # for so long another process may let an ended session in: all requests of a page cost one check
SHARDS = 256  # of what is remembered: by the first byte of the session's id, which is random
MAX_CHECKED = 40  # sessions in each: about 10,000 in all, which is 1.5 MB


class Revocation:
    """Keeps out sessions that were terminated, given a new id, or signed out with all others of their user.

    What this process ends is kept out at once, what another one ends CHECKED_SECONDS later at most. Where the store
    cannot answer, sessions are let in if it `degrades`; or else StoreUnavailable is raised.
    """

    def __init__(self, records: Records, users: Users, now: Callable[[], int], *, degrades: bool) -> None:
        self._records = records
        self._users = users
        self._now = now
        self._degrades = degrades
        self._checked: list[dict[bytes, int]] = [{} for _ in range(SHARDS)]  # until when nothing need be asked, by id

    def waits(self, sid: bytes) -> bool:
        """Return whether `check` would ask the store."""
        return self._checked[sid[0]].get(sid, 0) <= self._now()

    def check(self, active: ActiveSession) -> None:
        """Raise RecordGone if the session has ended, MalformedToken if its data do not tell whose it is.

        Raises StoreUnavailable if nobody can tell.
        """
        sid = active.token.sid
        if not self.waits(sid):
            return
        if len(self._checked[sid[0]]) >= MAX_CHECKED:
            self.forget(sid)
        checked = self._checked[sid[0]]  # if the session ends while the store is asked, this one is out of use
        try:
            self._ask(active)
            checked[sid] = self._now() + CHECKED_SECONDS
        except StoreUnavailable:
            if not self._degrades:
                raise
            events.emit("degraded", "believed a cookie without asking whether its session has ended")

    def forget(self, sid: bytes) -> None:
        """Ask the store again: the session was just ended."""
        self._checked[sid[0]] = {}

    def forget_all(self) -> None:
        """Ask the store again for every session: those of a user were just ended."""
        self._checked = [{} for _ in range(SHARDS)]

    def _ask(self, active: ActiveSession) -> None:
        if active.home is Home.COOKIE and self._records.has_ended(active.token):
            raise RecordGone("the session has ended")
        if USER_KEY in active.contents.data:
            bound = bound_in(active.contents.data)
            if bound is None:
                raise MalformedToken(f"session data have under {USER_KEY!r} what bind_user does not write")
            user_id, generation = bound
            if not self._users.get(user_id).allows(generation, active.token.sid):
                raise RecordGone("the user has signed out everywhere else")
