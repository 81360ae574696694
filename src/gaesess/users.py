"""Sign-out elsewhere: what the store knows of a user, and whether a session was ended since it was last checked."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gaesess import _impl, events
from gaesess._core import MAX_U32, RECORDED, SECURE, SID_BYTES, Token
from gaesess.errors import Conflict, Gone, KeyExists, MalformedToken, RecordGone, StoreUnavailable
from gaesess.records import MAX_REPLAYS, History, Record, Records
from gaesess.stores.base import Stored

if TYPE_CHECKING:
    from gaesess.config import SessionConfig

USER_KEY = "gaesess.user"  # of a session's data: whose session it is, and of which generation
MAX_LISTED = 100  # sessions of one user: about 30 bytes each
CHECKED_SECONDS = 5  # for so long another process may let an ended session in: all requests of a page cost one check
SHARDS = 256  # of what is remembered: by the first byte of the session's id, which is random
MAX_CHECKED = 40  # sessions in each: about 10,000 in all, which is 2 MB
IN_STORE = MAX_U32 + 1  # above any revision

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


class _Checked(NamedTuple):
    """When a session was last found not to have ended, by the wall clock and by a clock that never steps back.

    That holds for cookies of at least `revision`: an older one may be from before the session moved to the store.
    """

    now: float
    clock: float
    revision: int


class Users:
    """Keeps the records of users, and keeps out sessions that were terminated, given a new id, or signed out.

    What this process ends is kept out at once; what another one ends, after CHECKED_SECONDS at most, because no cache
    is queried. Every method raises StoreUnavailable if the store cannot answer, except that `check` accepts the session
    if the settings say so.

    A user has a record, which is never deleted. Its key is derived from the cookie key and the cookie's name, so that
    applications can share a store. Each retired key leads to a record of its own: all of them are read, and `revoke`
    writes all of them. A record that was tampered with signs all of the user's sessions out, until the next sign-in
    replaces it.
    """

    def __init__(self, records: Records, sessions: Records, handle_keys: Sequence[tuple[bytes, float]]) -> None:
        self._records = records
        self._sessions = sessions
        self._handle_keys = handle_keys
        self._config: SessionConfig = records.config
        self._checked: list[dict[bytes, _Checked]] = [{} for _ in range(SHARDS)]

    # -- a user's record

    async def bind(self, user_id: UserId, session: Token, earlier: tuple[int, bytes] | None = None) -> int:
        """Add a session to a user's, and return the generation that it is of: the latest.

        One that was theirs before, of an `earlier` generation and under that id, is added only if it is not signed out.
        """

        def add(user: User) -> User:
            if earlier and not user.allows(*earlier):
                return user
            now = self._config.now()
            row = session.flags & SECURE, session.expires, session.sid, now
            others = [other for other in user.sessions if other[2] != session.sid and other[1] > now]
            return user._replace(sessions=(*others, row)[-MAX_LISTED:])

        user = await self._change(self._identities(user_id)[:1], user_id, add)
        return earlier[0] if earlier and not user.allows(*earlier) else user.generation

    async def revoke(self, user_id: UserId, kept: bytes | None) -> int:
        """Sign out all of a user's sessions but the one with the id `kept`; return the generation from now on."""

        def revoke(user: User) -> User:
            return User(user.generation + 1, kept, tuple(row for row in user.sessions if row[2] == kept))

        try:
            return (await self._change(self._identities(user_id), user_id, revoke)).generation
        finally:  # it may have landed also if it failed
            self._checked = [{} for _ in range(SHARDS)]

    async def sessions(self, user_id: UserId) -> list[UserSession]:
        """Return a user's sessions that have not ended, the latest last."""
        now, user = self._config.now(), (await self._read(user_id))[0]
        tokens = [Token(flags, expires, 0, 0, sid, b"") for flags, expires, sid, _ in user.sessions]
        found = await self._sessions.get_many([self._sessions.key(token) for token in tokens])
        return [
            UserSession(_impl.format_sid(token.expires, bool(token.flags & SECURE), token.sid), row[3], token.expires)
            for token, row, stored in zip(tokens, user.sessions, found, strict=True)
            if token.expires > now and not self._has_ended(token, stored)
        ]

    async def _change(self, identities: Sequence[Token], user_id: UserId, change: Callable[[User], User]) -> User:
        """Make a change in the record of each identity, and return the user after the last one."""
        for identity in identities:
            async with self._config.driver.turn(identity.sid):
                user = await self._change_one(identity, user_id, change)
        return user

    async def _change_one(self, identity: Token, user_id: UserId, change: Callable[[User], User]) -> User:
        user, write_id = User(), b""  # of the last try
        for _ in range(MAX_REPLAYS):
            before, records = await self._read(user_id)
            revision, history, version = records[identity.sid]
            if write_id in history.writes:  # it was sent twice, and refused the second time
                return user
            user, history = change(before), history.continued(self._config.now())
            write_id = history.latest
            payload = _impl.dumps({"user": user[:]})
            token = identity._replace(issued=self._config.now(), revision=revision + 1, payload=payload)
            try:
                await self._records.write(token, version, history)
                return user
            except (KeyExists, Conflict, Gone):
                pass
        raise StoreUnavailable(f"the user's record changed {MAX_REPLAYS} times while it was to be written")

    async def _read(self, user_id: UserId) -> tuple[User, dict[bytes, tuple[int, History, Any]]]:
        """Return a user, and of each of their records the revision, history and version, by its identity's id."""
        identities = self._identities(user_id)
        found = await self._records.get_many([self._records.key(identity) for identity in identities])
        records = {}
        for identity, stored in zip(identities, found, strict=True):
            record = self._records.verified(identity, stored)
            revision, history = (record.token.revision, record.history) if record else (0, History())
            records[identity.sid] = revision, history, stored and stored.version
        return self._merged(identities, found), records

    def _merged(self, identities: Sequence[Token], found: Sequence[Stored | None]) -> User:
        users = [self._user(identity, stored) for identity, stored in zip(identities, found, strict=True)]
        latest = max(users, key=lambda user: user.generation)
        rows = {row[2]: row for user in users for row in user.sessions if user.generation == latest.generation}
        return latest._replace(sessions=tuple(sorted(rows.values(), key=lambda row: row[3])))

    def _user(self, identity: Token, stored: Stored | None) -> User:
        record = self._records.verified(identity, stored)
        try:
            if record:
                return User(*_impl.loads(record.token.payload)["user"])
        except (MalformedToken, TypeError, KeyError):  # written by something else under the same key
            pass
        return User(generation=self._config.now() if stored else 0)  # the time is above any count

    def _identities(self, user_id: UserId) -> list[Token]:
        """Return the identities of a user's records: by today's key, then by the retired ones."""
        packed, now = _impl.dumps({"id": checked(user_id)}), self._config.now()
        return [
            Token(RECORDED, MAX_U32, 0, 0, hmac.digest(key, packed, "sha256")[:SID_BYTES], b"")
            for key, until in self._handle_keys
            if now < until
        ]

    # -- whether a session has ended

    def waits(self, token: Token, *, in_cookie: bool) -> bool:
        """Return whether `check` would query the store."""
        checked = self._checked[token.sid[0]].get(token.sid)
        if checked is None or (in_cookie and token.revision < checked.revision):
            return True
        age, elapsed = self._config.now() - checked.now, self._config.driver.clock() - checked.clock
        return not (0 <= age < CHECKED_SECONDS and elapsed < CHECKED_SECONDS)

    async def check(self, token: Token, data: Mapping[Hashable, Any], *, in_cookie: bool) -> Record | None:
        """Raise RecordGone if the session has ended, MalformedToken if its data name no user in the right way.

        If the session has moved to the store since its cookie was made, return its record; then the user is not checked
        yet.
        """
        sid = token.sid
        if not self.waits(token, in_cookie=in_cookie):
            if not in_cookie and (known := self._checked[sid[0]].get(sid)):  # any cookie is from before it moved
                self._checked[sid[0]][sid] = known._replace(revision=IN_STORE)
            return None
        if len(self._checked[sid[0]]) >= MAX_CHECKED:
            self.forget(sid)
        shard = self._checked[sid[0]]  # if the session ends while the store is queried, this one is out of use
        checked = _Checked(self._config.now(), self._config.driver.clock(), token.revision if in_cookie else IN_STORE)
        bound = _bound_in(data)
        identities = self._identities(bound[0]) if bound else []
        keys = [self._sessions.key(token)] * in_cookie + [self._records.key(identity) for identity in identities]
        try:
            found = await self._sessions.get_many(keys) if keys else []
        except StoreUnavailable:
            if not self._config.degrades:
                raise
            events.emit("degraded", "believed a cookie without asking whether its session has ended")
            return None
        if in_cookie:
            own = found.pop(0)
            if self._has_ended(token, own):
                raise RecordGone("the session has ended")
            record = self._sessions.verified(token._replace(revision=0), own)
            if record and token.revision <= record.history.cookie_revision and token.revision < record.token.revision:
                return record
        if bound and not self._merged(identities, found).allows(bound[1], sid):
            raise RecordGone("the user has signed out everywhere else")
        shard[sid] = checked
        return None

    def forget(self, sid: bytes) -> None:
        """Query the store again: the session was just ended."""
        self._checked[sid[0]] = {}

    def _has_ended(self, token: Token, stored: Stored | None) -> bool:
        """Return whether there is a tombstone of a session, or something that cannot be read in its place."""
        record = self._sessions.verified(token._replace(revision=0), stored)
        return stored is not None and (record is None or record.ended)


def checked(user_id: UserId) -> UserId:
    """Return a user's id. Raises TypeError for one of a type that might be written in several ways."""
    if type(user_id) not in (str, int):
        raise TypeError(f"a user's id is a str or an int, not {type(user_id).__name__}")
    return user_id


def rebound(data: Mapping[Hashable, Any], sid: bytes) -> Binding | None:
    """Return the binding that a session with these data needs under a new id; None if it is no user's."""
    try:
        bound = _bound_in(data)
    except MalformedToken:
        return None
    return bound and (bound[0], (bound[1], sid))


def _bound_in(data: Mapping[Hashable, Any]) -> tuple[UserId, int] | None:
    """Return whose session it is by its data, and of which generation; None if it is no user's.

    Raises MalformedToken if the data were not written by `bind_user`.
    """
    bound = data.get(USER_KEY)
    if USER_KEY not in data:
        return None
    if type(bound) is tuple and [type(part) for part in bound] in ([str, int], [int, int]):
        return bound
    raise MalformedToken(f"session data have under {USER_KEY!r} what bind_user does not write")
