"""Sign-out elsewhere: what the store knows of a user, and whether a session in its cookie was ended meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from gaesess import _impl, events
from gaesess._core import MAX_U32, RECORDED, SECURE, SID_BYTES, Token
from gaesess.errors import Conflict, Gone, KeyExists, MalformedToken, RecordGone, StoreUnavailable
from gaesess.stored import MAX_REPLAYS, History, SealedStore
from gaesess.stores.base import Version

USER_KEY = "gaesess.user"  # of a session's data: whose session it is, and of which generation
MAX_LISTED = 1000  # sessions of one user: about 30 bytes each
CHECKED_SECONDS = 5  # for so long another process may let an ended session in: all requests of a page cost one check
SHARDS = 256  # of what is remembered: by the first byte of the session's id, which is random
MAX_CHECKED = 40  # sessions in each: about 10,000 in all, which is 1.5 MB

UserId = str | int
# Whose session it becomes; if it was theirs before, with the generation (`User`) and the id under which it was.
Binding = tuple[UserId, tuple[int, bytes] | None]


class UserSession(NamedTuple):
    """A session that was bound to a user: its id as text, and Unix times in seconds."""

    sid: str
    bound_at: int
    expires: int

    def __repr__(self) -> str:
        return f"<UserSession bound at {self.bound_at}>"  # no id: representations end up in logs


class User(NamedTuple):
    """A user's record.

    A session that was bound in an earlier `generation` is signed out, unless it is the one that was `kept` when the
    generation changed. `sessions` has a row for each: flags, expiry, id, and the time at which it was bound.
    """

    generation: int = 0
    kept: bytes | None = None
    sessions: tuple[tuple[int, int, bytes, int], ...] = ()

    def __repr__(self) -> str:
        return f"<User generation={self.generation}>"  # no ids of sessions

    def allows(self, generation: int, sid: bytes) -> bool:
        """Return whether a session of that generation and id is not signed out."""
        return generation >= self.generation or sid == self.kept


class Users:
    """Reads and writes the records of users: one each, which stays. Every method raises StoreUnavailable.

    One that nobody can read, as its key is gone or it was spoiled, signs all of the user's sessions out, and the next
    one that is bound begins a new one.
    """

    def __init__(self, records: SealedStore, sessions: SealedStore, now: Callable[[], int]) -> None:
        self._records = records
        self._sessions = sessions
        self._now = now

    def get(self, user_id: UserId) -> User:
        """Return what is known of a user, as a cache may have it."""
        return self._read(_identity(user_id), fresh=False)[0]

    def bind(self, user_id: UserId, session: Token, earlier: tuple[int, bytes] | None = None) -> int:
        """Add a session to a user's, and return the generation that it is of: the latest.

        One that was theirs before, of an `earlier` generation and under that id, is added only if it is not signed out.
        """

        def add(user: User) -> User:
            if earlier and not user.allows(*earlier):
                return user
            row = session.flags & SECURE, session.expires, session.sid, self._now()
            others = [other for other in user.sessions if other[2] != session.sid and other[1] > self._now()]
            return user._replace(sessions=(*others, row)[-MAX_LISTED:])

        user = self._change(user_id, add)
        return earlier[0] if earlier and not user.allows(*earlier) else user.generation

    def revoke(self, user_id: UserId, kept: bytes | None) -> int:
        """Sign out all of a user's sessions but the one with the id `kept`; return the generation from now on."""

        def revoke(user: User) -> User:
            sessions = tuple(row for row in user.sessions if row[2] == kept)
            return User(user.generation + 1, kept, sessions)

        generation = self._change(user_id, revoke).generation
        self._records.invalidate(_identity(user_id))
        return generation

    def sessions(self, user_id: UserId) -> list[UserSession]:
        """Return a user's sessions that have not ended, the latest last."""
        user = self._read(_identity(user_id))[0]
        return [
            UserSession(_impl.format_sid(expires, bool(flags & SECURE), sid), bound_at, expires)
            for flags, expires, sid, bound_at in user.sessions
            if expires > self._now() and not self._sessions.has_ended(Token(flags, expires, 0, 0, sid, b""))
        ]

    def _change(self, user_id: UserId, change: Callable[[User], User]) -> User:
        identity = _identity(user_id)
        user, write_id = User(), b""  # of the last try
        for _ in range(MAX_REPLAYS):
            before, revision, history, version = self._read(identity)
            if write_id in history.writes:  # it was sent twice, and refused the second time
                return user
            user, history = change(before), history.continued()
            write_id = history.writes[0]
            token = identity._replace(issued=self._now(), revision=revision + 1, payload=_impl.dumps({"user": user[:]}))
            try:
                self._records.write(token, version, history)
                return user
            except (KeyExists, Conflict, Gone):
                pass
        raise StoreUnavailable(f"the user's record changed {MAX_REPLAYS} times while it was to be written")

    def _read(self, identity: Token, *, fresh: bool = True) -> tuple[User, int, History, Version | None]:
        record, version = self._records.look(identity, fresh=fresh)
        if record is not None:
            with suppress(MalformedToken, TypeError, KeyError):  # written by something else under the same key
                user = User(*_impl.loads(record.token.payload)["user"])
                return user, record.token.revision, record.history, version
        unreadable = version is not None
        return User(generation=self._now() if unreadable else 0), 0, History(), version  # the time is above any count


def checked(user_id: UserId) -> UserId:
    """Return a user's id. Raises TypeError for one of a type that might be written in several ways."""
    if type(user_id) not in (str, int):
        raise TypeError(f"a user's id is a str or an int, not {type(user_id).__name__}")
    return user_id


def bound_in(data: Mapping[Hashable, Any]) -> tuple[UserId, int] | None:
    """Return whose session it is by its data, and of which generation; None unless they say it as `bind_user` does."""
    bound = data.get(USER_KEY)
    return bound if type(bound) is tuple and [type(part) for part in bound] in ([str, int], [int, int]) else None


def rebound(data: Mapping[Hashable, Any], sid: bytes) -> Binding | None:
    """Return the binding that a session with these data needs under a new id; None if it is no user's."""
    bound = bound_in(data)
    return bound and (bound[0], (bound[1], sid))


def _identity(user_id: UserId) -> Token:
    """Return what stands for a user in the place of a session: for ever, and by a hash."""
    handle = sha256(b"gaesess/2 user" + _impl.dumps({"id": checked(user_id)})).digest()[:SID_BYTES]
    return Token(RECORDED, MAX_U32, 0, 0, handle, b"")


class Revocation:
    """Keeps out sessions that were terminated, given a new id, or signed out with all others of their user.

    What this process ends is kept out at once, what another one ends CHECKED_SECONDS later at most. Where the store
    cannot answer, sessions are let in if it `degrades`; or else StoreUnavailable is raised.
    """

    def __init__(self, records: SealedStore, users: Users, now: Callable[[], int], *, degrades: bool) -> None:
        self._records = records
        self.users = users
        self._now = now
        self._degrades = degrades
        self._checked: list[dict[bytes, int]] = [{} for _ in range(SHARDS)]  # until when nothing need be asked, by id

    def waits(self, sid: bytes) -> bool:
        """Return whether `check` would query the store."""
        return self._checked[sid[0]].get(sid, 0) <= self._now()

    def check(self, token: Token, data: Mapping[Hashable, Any], *, in_cookie: bool) -> None:
        """Raise RecordGone if the session has ended, MalformedToken if its data do not tell whose it is.

        Raises StoreUnavailable if nobody can tell.
        """
        sid = token.sid
        if not self.waits(sid):
            return
        if len(self._checked[sid[0]]) >= MAX_CHECKED:
            self.forget(sid)
        checked = self._checked[sid[0]]  # if the session ends while the store is queried, this one is out of use
        try:
            if in_cookie and self._records.has_ended(token):
                raise RecordGone("the session has ended")
            self._check_user(sid, data)
            checked[sid] = self._now() + CHECKED_SECONDS
        except StoreUnavailable:
            if not self._degrades:
                raise
            events.emit("degraded", "believed a cookie without asking whether its session has ended")

    def forget(self, sid: bytes) -> None:
        """Query the store again: the session was just ended."""
        self._checked[sid[0]] = {}

    def forget_all(self) -> None:
        """Query the store again for every session: those of a user were just ended."""
        self._checked = [{} for _ in range(SHARDS)]

    def _check_user(self, sid: bytes, data: Mapping[Hashable, Any]) -> None:
        if USER_KEY not in data:
            return
        bound = bound_in(data)
        if bound is None:
            raise MalformedToken(f"session data have under {USER_KEY!r} what bind_user does not write")
        user_id, generation = bound
        if not self.users.get(user_id).allows(generation, sid):
            raise RecordGone("the user has signed out everywhere else")
