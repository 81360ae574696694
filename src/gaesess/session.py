"""The session that an application works with: a mutable mapping, plus the verbs of gae-sessions 1.07."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Hashable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any

from gaesess import _impl, events
from gaesess._core import (
    ACTIVE,
    ADDED,
    INACTIVE,
    NO_STORE,
    POINTER,
    QUICK,
    SECURE,
    TERMINATED,
    UNREAD,
    VERIFIED,
    WRITTEN,
    Token,
)
from gaesess.drivers import Threads
from gaesess.ending import end
from gaesess.errors import (
    InvalidToken,
    SessionDataLoss,
    SessionTerminated,
    SessionTooLarge,
    StoreUnavailable,
)
from gaesess.merging import changed_keys
from gaesess.pickling import refuse_session
from gaesess.records import History, Record
from gaesess.saving import CONVERTED, UNRELATED, Draft, Identity, save
from gaesess.users import USER_KEY, Binding, UserId, checked, rebound

if TYPE_CHECKING:
    from typing_extensions import Self

    from gaesess.legacy.reader import OldSession
    from gaesess.manager import SessionManager
    from gaesess.stores.base import Version

_MISSING = object()


class State(Enum):
    """What a request knows of its session.

    UNREAD becomes INACTIVE or ACTIVE at the first use. `start`, or the first write, makes any state ACTIVE; `terminate`
    makes any state TERMINATED.
    """

    UNREAD = "unread"
    INACTIVE = "inactive"
    ACTIVE = "active"
    TERMINATED = "terminated"


_STATES = {
    UNREAD: State.UNREAD,
    VERIFIED: State.UNREAD,
    INACTIVE: State.INACTIVE,
    ACTIVE: State.ACTIVE,
    TERMINATED: State.TERMINATED,
}


class Home(Enum):
    """Where a session is stored."""

    COOKIE = "cookie"
    STORE = "store"


class _Keys(KeysView[Hashable]):
    def __reversed__(self) -> Iterator[Hashable]:
        return reversed(self._mapping)  # type: ignore[attr-defined]


class _Values(ValuesView[Any]):
    def __reversed__(self) -> Iterator[Any]:
        return (self._mapping[key] for key in reversed(self._mapping))  # type: ignore[attr-defined]


class _Items(ItemsView[Hashable, Any]):
    def __contains__(self, item: object) -> bool:
        return isinstance(item, tuple) and len(item) == 2 and super().__contains__(item)

    def __reversed__(self) -> Iterator[tuple[Hashable, Any]]:
        return ((key, self._mapping[key]) for key in reversed(self._mapping))  # type: ignore[attr-defined]


class Session(_impl.CookieSession, MutableMapping[Hashable, Any]):
    """One request's view of one session. The cookie is parsed on first access.

    Changes, those inside nested values too, are saved when the response headers must go out. Any use may raise
    StoreUnavailable, if the session is in a store that cannot answer; any change raises SessionClosed once the headers
    are out. A session cannot be pickled or copied: its id is a secret. `dict(session)` is a copy of the data.
    """

    dict_pop = False  # whether `pop` of a missing key raises KeyError, as a dictionary's does

    # of few sessions
    _version: Version | None = None  # of its record
    _history: History | None = None  # of its record
    _known_at = 0.0  # when they were so, and the session had not ended, by the driver's clock; 0 if nobody has looked
    _base: History | None = None  # as in Draft
    _attempts: dict[bytes, Token] | None = None  # what saves that may have landed wrote, by the ids of the writes
    _replaced: list[Identity] | None = None  # identities given up in this request: they end once the new one is saved
    _ended: list[Identity] | None = None  # terminated in this request, and the store does not know yet
    _former: Token | None = None  # identity of its cookie, which was over before this request started another session
    _binding: Binding | None = None  # the user whose session it becomes with the next save
    _old: OldSession | None = None  # of another library's cookie
    _outage: StoreUnavailable | None = None  # raised by `read_ahead`, for the first use
    _is_checked = False  # for whether it has ended, before this request used it

    def __repr__(self) -> str:
        return f"<Session {self.state.value}>"  # no id and no data: representations end up in logs

    __reduce__ = refuse_session

    # -- a dictionary

    def keys(self) -> KeysView[Hashable]:
        """Return a view of the keys."""
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        """Return a view of the values."""
        return _Values(self)

    def items(self) -> ItemsView[Hashable, Any]:
        """Return a view of the keys with their values."""
        return _Items(self)

    def __eq__(self, other: object) -> bool:
        """Return whether they are one session, which reads neither, or the data are those of another mapping."""
        return self is other if isinstance(other, Session) else MutableMapping.__eq__(self, other)

    has_key = _impl.CookieSession.__contains__

    def copy(self) -> dict[Hashable, Any]:
        """Return the data as a dictionary of their own; the values are the session's."""
        data = self._view().copy()
        self._exposed = True  # some of the values may be changed in place
        return data

    def __or__(self, other: Mapping[Any, Any]) -> dict[Hashable, Any]:
        return self.copy() | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Hashable, Any]:
        return dict(other) | self.copy() if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Mapping[Any, Any] | Iterable[tuple[Hashable, Any]]) -> Self:
        self.update(other)
        return self

    def setdefault(self, key: Hashable, default: Any = None) -> Any:
        """Return a value; if the key is missing, set it to `default`, and return that."""
        value = self.get(key, _MISSING)
        if value is _MISSING:
            with self._changing():
                value = self.get(key, _MISSING)  # another thread may have set it
                if value is _MISSING:
                    self[key] = value = default
        return value

    def update(self, /, *others: Any, **changes: Any) -> None:
        """Set the values of another mapping, or of pairs of key and value, and of keyword arguments."""
        new = dict(*others, **changes)
        if new:
            with self._changing():
                data = self._writable()
                for key in new:
                    self._note(key, WRITTEN)
                self._exposed = True  # as above
                data.update(new)

    def clear(self) -> None:
        """Delete every key; the session itself goes on, and stays bound to its user."""
        if self.is_active():
            with self._changing():
                if self.is_active():  # else another thread has ended it
                    data = self._writable()
                    for key in data:
                        self._note(key, WRITTEN)
                    self._cleared = True
                    kept = {USER_KEY: data[USER_KEY]} if USER_KEY in data else {}
                    data.clear()
                    data.update(kept)

    def pop(self, key: Hashable, default: Any = _MISSING) -> Any:
        """Delete a key and return its value, or `default` if it is missing.

        By default that is None; for the sessions of a web framework it is a KeyError, as for a dictionary.
        """
        return self._pop(key, default, WRITTEN)

    def popitem(self) -> tuple[Hashable, Any]:
        """Delete the key that was added last, and return it and its value. Raises KeyError if there is none."""
        if self:
            with self._changing():
                for key in reversed(self):
                    return key, self._pop(key, None, WRITTEN)
        raise KeyError("popitem(): session is empty")

    def pop_quick(self, key: Hashable, default: Any = None) -> Any:
        """Like `pop`, but for a session in the store only its cache is written until something else is saved.

        Fast, and lost if the cache loses it or an overlapping request saves: the key is then there again. Never use it
        for a token that is valid once.
        """
        return self._pop(key, default, QUICK)

    def set_quick(self, key: Hashable, value: Any) -> None:
        """Set a value, but for a session in the store only its cache is written until something else is saved.

        Fast, and lost if the cache loses it or an overlapping request saves.
        """
        with self._changing():
            how = self._quick(key)
            self[key] = value
            self._note(key, how)

    def increment(self, key: Hashable, n: int = 1) -> None:
        """Add `n` to an integer; a missing one starts at 0.

        Where the session is in the store, overlapping requests add up. After `save` the value read is exact. Raises
        TypeError if `n`, or what the session has under this key, is not an int.
        """
        if type(n) is not int:
            raise TypeError(f"n must be an int, got {type(n).__name__}")
        self._add(key, n)

    def append(self, key: Hashable, item: Any) -> None:
        """Add an item to the end of a list; a missing one starts empty.

        Where the session is in the store, items of overlapping requests are all kept. Raises TypeError if what the
        session has under this key is not a list.
        """
        self._add(key, [item])

    def _add(self, key: Hashable, amount: Any) -> None:
        with self._changing():
            value = self._writable().get(key, type(amount)())
            if type(value) is not type(amount):
                wanted, found = type(amount).__name__, type(value).__name__
                raise TypeError(f"session[{key!r}] must be {wanted} to add to it, got {found}")
            how = (self._written or {}).get(key, ADDED)
            value += amount
            self[key] = value
            self._note(key, ADDED if how == ADDED and not self._cleared else WRITTEN)

    def _pop(self, key: Hashable, default: Any, how: int) -> Any:
        if key in self:
            with self._changing():
                if key in self:  # else another thread has taken it
                    if how == QUICK:
                        how = self._quick(key)
                    value = self[key]
                    del self[key]
                    self._note(key, how)
                    return value
        if default is _MISSING and self.dict_pop:
            raise KeyError(key)
        return None if default is _MISSING else default

    def _quick(self, key: Hashable) -> int:
        """Return how a quick write of a key is noted: one that was written otherwise stays so."""
        return QUICK if (self._written or {}).get(key, QUICK) == QUICK else WRITTEN

    # -- verbs

    def start(self, expiration_ts: int | None = None, ssl_only: bool = False) -> None:
        """Start a new, empty session with a new id; any earlier one of this client ends.

        `expiration_ts` is its absolute end in Unix seconds, by default the middleware's lifetime from now; 0 lets the
        cookie expire with the browser. Raises ValueError for a time that is over.
        """
        token = self._config.new_token(expiration_ts, ssl_only)
        with self._changing():
            self._check_open()
            is_over = self._state in (INACTIVE, TERMINATED)  # by then it is known elsewhere
            ended = [*(self._ended or ()), *([] if is_over else self._identities())]
            self._accessed = True
            if is_over and self._sid:
                self._former = self._token()
            self._replaced = [(old, UNRELATED) for old, _ in ended if self._config.leaves_tombstone(old)]
            self._ended = self._binding = self._attempts = None
            self._payload, self._data, self._written, self._exposed = b"", {}, None, False
            self._become(token)
            self._state = ACTIVE

    def terminate(self, clear_data: bool = True) -> None:
        """End the session: its record now, its cookie with this response.

        A tombstone takes the record's place until the session would have expired, so that no request that is on its way
        brings it back, nor one that gives it a new id meanwhile. With `clear_data=False` the record stays in the store,
        for `SessionManager.load`, and so a copy of the cookie stays valid. After StoreUnavailable the cookie is deleted
        all the same, and the record ends with the next call that succeeds.
        """
        with self._changing():
            self._terminate(clear_data)
            if self._ended:
                self._config.driver.run(self._end())

    async def aterminate(self, clear_data: bool = True) -> None:
        """`terminate` for a coroutine."""
        driver = self._config.driver
        if isinstance(driver, Threads):
            await driver.in_thread(self.terminate, clear_data)
            return
        self._terminate(clear_data)
        if self._ended:
            await self._end()

    def _terminate(self, clear_data: bool) -> None:
        """End the session, except for its records."""
        self._check_open()
        identities = self._identities()
        if clear_data:
            self._ended = [*(self._ended or ()), *identities]
        self._cookies = self._config.cookie.delete(0, self._taken) + self._delete_old()
        self._data, self._payload, self._sid, self._written = {}, b"", b"", None
        self._version = self._history = self._attempts = self._replaced = self._binding = self._former = None
        self._elsewhere, self._state = False, TERMINATED

    async def _end(self) -> None:
        """End the records of sessions that were terminated."""
        ended, self._ended = self._ended or [], None
        try:
            while ended:
                token, version = ended[-1]
                if self._config.records and self._config.leaves_tombstone(token):
                    await end(self._config.records, token, version)
                ended.pop()
        finally:
            if ended:  # the next call tries again
                self._ended = ended

    def regenerate_id(self, expiration_ts: int | None = None) -> None:
        """Give the session a new id and keep its data: do it at every login, against session fixation.

        The old record ends once the new one is saved. The expiry stays unless `expiration_ts` (Unix seconds) is given,
        and an inactive session is started if it is, and else left alone. If the store has lost the session, a new one
        is started.
        """
        with self._changing():
            self._check_open()
            if self.is_lost():
                self.start(expiration_ts)
            if not self.is_active():
                if expiration_ts is not None:
                    self.start(expiration_ts)
                return
            old = self._token()
            token = self._config.new_token(expiration_ts, bool(old.flags & SECURE), keep=old)
            if self._version is not None or self._config.leaves_tombstone(old):
                seconds = self._config.driver.clock() - self._known_at
                read_at = self._config.now() - int(seconds) if self._known_at else 0
                self._replaced = [*(self._replaced or ()), (old._replace(issued=read_at), self._version)]
            self._binding = self._binding or rebound(self._data, old.sid)
            self._become(token)

    async def aregenerate_id(self, expiration_ts: int | None = None) -> None:
        """`regenerate_id` for a coroutine."""
        await self.read_ahead()
        self.regenerate_id(expiration_ts)

    def bind_user(self, user_id: UserId) -> None:
        """Say whose session this is: at login, after `regenerate_id`. Then `SessionManager.revoke_user` signs it out.

        It is written to the store when the session is saved, and to its data under the key "gaesess.user". Raises
        RuntimeError without the setting `revocable`, TypeError for another type of id.
        """
        self._config.require_users()
        with self._changing():
            self._writable()
            self._bind((checked(user_id), None))

    def save(self, persist_even_if_using_cookie: bool = False) -> None:
        """Save now what is saved anyway when the headers go out: to know early that it was.

        `persist_even_if_using_cookie` also writes a session that is in its cookie to the store, for
        `SessionManager.load`.
        """
        with self._exclusive():
            self._check_open()
            if self.is_active():
                self._saving = True
                try:
                    self._save(persist_even_if_using_cookie)
                finally:
                    self._saving = False

    async def asave(self, persist_even_if_using_cookie: bool = False) -> None:
        """`save` for a coroutine; a second one waits for the first."""
        driver = self._config.driver
        if isinstance(driver, Threads):
            await driver.in_thread(lambda: self.save(persist_even_if_using_cookie=persist_even_if_using_cookie))
            return
        await self.aload()
        async with driver.turn(id(self)):
            self._check_open()
            if not (persist_even_if_using_cookie or (self.is_active() and self._save_waits())):
                self.save()
            elif self.is_active():
                self._saving = True
                try:
                    await self._store(persist_even_if_using_cookie)
                finally:
                    self._saving = False

    def ensure_data_loaded(self) -> None:
        """Read the session now."""
        self._view()

    async def aload(self) -> None:
        """Read the session now, so that its first use does not wait for the store; for a coroutine."""
        if not self.read_waits():
            return
        driver = self._config.driver
        if not isinstance(driver, Threads):
            try:
                await self._read_stored()
            except InvalidToken as error:
                self._state = INACTIVE
                self._refuse(error)
        elif driver.reads_at_once:
            self._load()
        else:
            await driver.in_thread(self._load)

    def _become(self, token: Token) -> None:
        """Go on under a new identity, which is not saved yet."""
        self._flags, self._expires, self._issued, self._revision, self._sid, _ = token
        self._version = self._history = self._base = None
        self._unsaved, self._retired = True, False
        self._elsewhere = bool(self._replaced or self._binding)

    def _bind(self, binding: Binding) -> None:
        self._binding = binding
        self._elsewhere = True

    def _token(self) -> Token:
        return Token(self._flags, self._expires, self._issued, self._revision, self._sid, b"")

    def _identities(self) -> list[Identity]:
        """Return the identities under which the store may have a record, and versions, without querying it."""
        self._accessed = True
        if self._state == UNREAD:
            self._verify()
        identities: list[Identity] = [(self._token(), self._version)] if self._sid else []
        for old, version in self._replaced or ():
            identities.append((old, None if version in (CONVERTED, UNRELATED) else version))
        for former in (self._former, self._old.identity if self._old else None):
            if former and all(former.sid != token.sid for token, _ in identities):
                identities.append((former, None))
        return identities

    # -- for middleware

    def read_waits(self) -> bool:
        """Return whether the first use would wait for the store."""
        with self._exclusive():
            if self._state == UNREAD:
                self._verify()
        if self._state != VERIFIED:
            return False
        if not self._sid or self._flags & POINTER:
            return bool(self._config.asks_store)
        users = self._config.users
        self._is_checked = users is None or not users.waits(self._token(), in_cookie=True)
        return not self._is_checked

    async def read_ahead(self) -> None:
        """Read the session now, which does not count as a use. A StoreUnavailable is raised at the first use."""
        try:
            await self.aload()
        except StoreUnavailable as error:
            self._outage = error

    async def acommit(self) -> list[str]:
        """`commit` for a coroutine."""
        driver = self._config.driver
        if isinstance(driver, Threads):
            return await driver.in_thread(self.commit) if self.close() else self.commit()
        if not self.close():
            return self.commit()
        async with driver.turn(id(self)):
            self._saving = True
            try:
                await self._store(False)
            finally:
                self._saving = False
        return self.abandon()

    def close(self) -> bool:
        """Close the session to changes. Returns True if `commit` may have to wait.

        Raises TypeError or ValueError as `commit` does.
        """
        lock = self._exclusive()
        if not lock.acquire(blocking=False):
            return True
        try:
            waits = self._accessed and self._state == ACTIVE and self._save_waits()
            self._saving = True
            return waits
        finally:
            lock.release()

    def _save_waits(self) -> bool:
        if self._config.records is None:
            return False
        payload = self._changed_payload()
        if payload is None and not (self._unsaved or self._retired or self._binding):
            return False
        return self._elsewhere or not self._config.fits(payload or self._payload)

    def point_to(self, token: Token) -> None:
        """Be the session of an identity in the store, which is not read yet."""
        self._set_token(token)
        self._cookie_header, self._state = None, VERIFIED

    def rebind(self, user_id: UserId, generation: int) -> None:
        """Keep a session of this user signed in, when their others were signed out by that generation."""
        with self._exclusive():
            binding = self._binding or rebound(self._data, self._sid)
            if binding and binding[0] == user_id:
                self._bind((user_id, (generation, self._sid)))

    # -- introspection

    @property
    def state(self) -> State:
        """What this request knows of its session by now."""
        return _STATES[self._state]

    def is_active(self) -> bool:
        """Return whether there is a session: read, genuine, not expired, and not terminated elsewhere."""
        self._view()
        return self._state == ACTIVE

    def is_lost(self) -> bool:
        """Return whether the store has lost the session, so that to use it raises SessionDataLoss."""
        try:
            self._view()
        except SessionDataLoss:
            return True
        return False

    def is_ssl_only(self) -> bool:
        """Return whether the session was started for TLS only."""
        return self.is_active() and bool(self._flags & SECURE)

    def get_expiration(self) -> int:
        """Return the absolute end of the session in Unix seconds, 0 if there is none."""
        return self._expires if self.is_active() else 0

    @property
    def manager(self) -> SessionManager:
        """The manager, which opens and ends other sessions."""
        manager: SessionManager = self._config.manager
        return manager

    @property
    def sid(self) -> str | None:
        """The session id as text: ten digits of expiry, "S" for TLS only or "_", 32 of hex. A secret: do not log it."""
        if self._saving:  # which may take long, and does not change it
            return self._sid_text()
        with self._exclusive():
            return self._sid_text()

    def _sid_text(self) -> str | None:
        if not self.is_active():
            return None
        return _impl.format_sid(self._expires, bool(self._flags & SECURE), self._sid)

    @property
    def home(self) -> Home | None:
        """Where the session is stored, as of when it was last read or saved."""
        if not self.is_active():
            return None
        return Home.STORE if self._flags & POINTER else Home.COOKIE

    @property
    def revision(self) -> int:
        """How many times the session was saved since it got its id."""
        return self._revision if self.is_active() else 0

    @property
    def modified(self) -> bool:
        """Whether there is anything to save or to send to the client. To set it does nothing: all changes are seen."""
        if self._state != ACTIVE:
            return bool(self._cookies)
        if self._unsaved or self._cookies or self._changed_payload() is not None:
            return True
        return not self._passive and self._config.wants_refresh(self._issued, self._config.now())

    @modified.setter
    def modified(self, value: bool) -> None:
        pass

    @property
    def accessed(self) -> bool:
        """Whether this request has used the session. To set it does nothing: every use is seen."""
        return self.is_accessed()

    @accessed.setter
    def accessed(self, value: bool) -> None:
        pass

    # -- the store, and other libraries: called by the core

    def _activate(self) -> None:
        """Read the data of a session whose cookie is genuine. Raises InvalidToken and StoreUnavailable."""
        self._config.driver.run(self._read_stored())

    async def _read_stored(self) -> None:
        """Read the session's record, and whether the session has ended."""
        if self._outage:
            raise self._outage.with_traceback(None)
        if not self._sid:
            await self._adopt()
            return
        users, record, began = self._config.users, None, self._config.driver.clock()
        try:
            if self._flags & POINTER:
                record = await self._record()
            data = _decoded(record) if record else _impl.loads(self._payload)
            if users and not self._is_checked:
                moved = await users.check(self._token(), data, in_cookie=not record)
                if moved:
                    record, data = moved, _decoded(moved)
                    await users.check(moved.token, data, in_cookie=False)
        except SessionDataLoss:
            if not self._config.restarts:
                raise
            data = None
        if self._state != VERIFIED:  # another coroutine was faster
            return
        if data is None:
            self._state = INACTIVE
            return
        if record:
            flags, self._expires, _, self._revision, self._sid, self._payload = record.token
            self._flags = flags | POINTER
            self._version, self._history, self._elsewhere = record.version, record.history, True
            self._retired = self._retired or record.retired
        if record or users:
            self._known_at = began
        self._data, self._state = data, ACTIVE

    async def _record(self) -> Record:
        if self._config.records is None:
            raise StoreUnavailable(NO_STORE)
        record: Record = await self._config.records.load(self._token())
        return record

    def _find_old(self, cookie_header: str) -> bool:
        """Look for another library's cookie, and return whether there is one."""
        if self._config.legacy is not None:
            self._old = self._config.legacy.find(cookie_header)
        return self._old is not None

    async def _adopt(self) -> None:
        """Go on with the data of another library's session."""
        assert self._old is not None
        adopted = await self._config.legacy.adopt(self._old)
        if adopted is None:
            self._state = INACTIVE
            return
        if self._old.identity and self._config.records:
            self._replaced = [(self._old.identity, CONVERTED)]
        self._become(adopted)
        self._payload, self._data, self._state = adopted.payload, _impl.loads(adopted.payload), ACTIVE

    def _delete_old(self) -> list[str]:
        """Delete another library's cookies: they must not bring their session back when ours is gone."""
        return self._config.legacy.delete(self._old) if self._old else []

    def _save_elsewhere(self, persist: bool, payload: bytes | None = None) -> None:
        self._config.driver.run(self._store(persist, payload))

    async def _store(self, persist: bool, payload: bytes | None = None) -> None:
        """Save a session of which the store has, or must get, a record; as `commit` does.

        `payload` are its data as bytes, if they have changed and this is known.
        """
        if self._binding:
            user_id, earlier = self._binding
            self._data[USER_KEY] = user_id, await self._config.users.bind(user_id, self._token(), earlier)
            self._written = {**(self._written or {}), USER_KEY: WRITTEN}
            self._binding = None
        if payload is None:
            payload = self._changed_payload()
        if payload is None and not self._unsaved and not (persist and self._version is None):
            if self._retired:
                with suppress(StoreUnavailable, SessionTerminated):  # if it cannot be now, a later request will
                    await self._save_draft(None, persist=False)
                    return
            self._refresh()
        elif payload is not None and await self._save_quick(payload):
            self._refresh()
        else:
            await self._save_draft(payload, persist)

    async def _save_quick(self, payload: bytes) -> bool:
        """Save quick changes in the cache alone; return False if the session must be saved like any other."""
        written = self._written or {}
        if self._cleared or self._unsaved or self._retired or set(written.values()) != {QUICK}:
            return False
        if not self._flags & POINTER or self._version is None:
            return False
        if changed_keys(self._data, _impl.loads(self._payload), written) != written.keys():
            return False
        token = self._token()._replace(payload=payload)
        version = await self._config.records.write_quick(token, self._version, self._history)
        if version is None:
            return False
        self._version, self._payload = version, payload
        self._saved()
        return True

    async def _save_draft(self, payload: bytes | None, persist: bool) -> None:
        draft = self._draft()
        self._unsaved = True
        try:
            await save(self._config, draft, payload, persist=persist)
        except SessionTerminated:
            self._cookies = None  # what an earlier save would have sent is void, too
            raise
        except SessionTooLarge as error:
            events.emit("oversize", str(error), session=self._config.label(self._sid))
            raise
        finally:
            self._take(draft)
        self._send(self._as_cookie(), self._config.now())
        self._saved()

    def _draft(self) -> Draft:
        draft = Draft()
        draft.token, draft.data, draft.payload, draft.passive = self._token(), self._data, self._payload, self._passive
        draft.written, draft.cleared = self._written or {}, self._cleared
        draft.version, draft.history, draft.known_at = self._version, self._history, self._known_at
        draft.attempts, draft.replaced, draft.base = self._attempts or {}, self._replaced or [], self._base
        return draft

    def _take(self, draft: Draft) -> None:
        self._flags, self._expires, self._issued, self._revision, self._sid, _ = draft.token
        self._data, self._payload = draft.data, draft.payload
        self._written, self._cleared = draft.written, draft.cleared
        self._version, self._history, self._known_at = draft.version, draft.history, draft.known_at
        self._attempts, self._replaced, self._base = draft.attempts, draft.replaced, draft.base
        self._elsewhere = draft.version is not None or bool(draft.replaced)

    def _tell_saved(self) -> None:
        home = "store" if self._flags & POINTER else "cookie"
        size = len(self._payload)
        events.emit(
            "committed",
            f"saved a session of {size} bytes in its {home}",
            session=self._config.label(self._sid),
            home=home,
            revision=self._revision,
            data_bytes=size,
        )


def _decoded(record: Record) -> dict[Hashable, Any]:
    try:
        data: dict[Hashable, Any] = _impl.loads(record.token.payload)
    except InvalidToken as error:  # a newer version of the application may hold types there that this one has not
        raise StoreUnavailable(f"another process has written what cannot be read here: {error}") from error
    return data


current_session: ContextVar[Session | None] = ContextVar("gaesess.current_session", default=None)
finders: list[Callable[[], Session | None]] = []  # of frameworks that keep track of the current request themselves


def get_current_session() -> Session:
    """Return the session of the request that is being answered. Raises LookupError outside of one."""
    session = current_session.get()
    if session is None:
        session = next((found for find in finders if (found := find()) is not None), None)
    if session is None:
        raise LookupError("there is no current session: this code does not run under a session middleware")
    return session


def set_current_session(session: Session | None) -> None:
    """Make a session the current one of this thread, greenlet or task: for tests, and for middleware."""
    current_session.set(session)


def leave(outer: Any) -> None:
    """Make current again what was before a request, by the token that `current_session.set` returned."""
    try:  # noqa: SIM105  # to make a `suppress` would take longer than all the rest
        current_session.reset(outer)
    except ValueError:  # a request that was given up, and is collected in another context
        pass
