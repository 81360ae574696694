"""From a session of another library to one of ours."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from gaesess import _impl, codec, events
from gaesess._core import SECURE, Token
from gaesess.active import CONVERTED, ActiveSession
from gaesess.contents import Contents
from gaesess.cookies import CookiePolicy, HeaderFields, join_cookie_fields
from gaesess.errors import ExpiredToken, InvalidToken, RecordGone, SessionTooLarge
from gaesess.legacy.reader import OldSession, Reader, leave_out
from gaesess.records import Records


class Takeover:
    """Finds old sessions by their readers, each by its own cookie name, and makes ours of them.

    `cookie` is our own; `newborn` makes the token of a session that begins now, for TLS only or not; `max_bytes` is
    what a session may have. Raises ValueError for a reader whose cookie has our own name, or cannot be deleted.
    """

    def __init__(
        self,
        readers: Reader | Iterable[Reader],
        cookie: CookiePolicy,
        records: Records | None,
        newborn: Callable[[bool], Token],
        now: Callable[[], int],
        max_bytes: int,
    ) -> None:
        self._readers = (readers,) if isinstance(readers, Reader) else tuple(readers)
        self._cookie = cookie
        self._records = records
        self._newborn = newborn
        self._now = now
        self._max_bytes = max_bytes
        for reader in self._readers:
            self._policy(reader, reader.cookie_name)
            if reader.cookie_name == cookie.name:
                raise ValueError(f"cookie_name is {cookie.name!r}, that of sessions to be taken over; choose another")

    def find(self, cookie_header: str | HeaderFields | None) -> OldSession | None:
        """Return the old session of a request, not read yet; None if there is none to be believed."""
        if cookie_header is None:
            return None
        if not isinstance(cookie_header, str):
            cookie_header = join_cookie_fields(cookie_header)
        now = self._now()
        readers = [reader for reader in self._readers if now < reader.until and reader.cookie_name in cookie_header]
        if not readers:
            return None
        cookies, outdated = _cookies(cookie_header), self._has_ours(cookie_header)
        for reader in readers:
            try:
                old = reader.find(cookies, now)
            except InvalidToken as error:
                if not outdated:
                    _refuse(reader, error)
                continue
            if old:
                return old._replace(outdated=outdated)
        return None

    def adopt(self, old: OldSession) -> ActiveSession | None:
        """Return a session of ours with the data of an old one, or None if it may not be taken over.

        To save it bars the old id. Raises StoreUnavailable.
        """
        if old.outdated:
            return None
        try:
            if old.identity and self._records and self._records.is_barred(old.identity):
                raise RecordGone("session was taken over before, or has ended")
            payload = self._payload(old.read())
        except InvalidToken as error:
            _refuse(old.reader, error)
            return None
        except SessionTooLarge as error:
            events.emit("oversize", str(error))
            return None
        token = self._newborn(bool(old.flags & SECURE))
        ends = min(token.expires, old.ends or token.expires)
        token = token._replace(flags=token.flags | old.flags, expires=ends)
        cookie = old.reader.cookie_name
        events.emit("session_taken_over", f"began a session with the data of the cookie {cookie}", cookie=cookie)
        return ActiveSession(token, Contents(payload), replaced=[(old.identity, CONVERTED)] if old.identity else [])

    def delete(self, old: OldSession) -> list[str]:
        """Return Set-Cookie values that make the browser drop the old cookies."""
        return [line for name in old.cookies for line in self._policy(old.reader, name).delete(0, 1)]

    def _policy(self, reader: Reader, name: str) -> CookiePolicy:
        return CookiePolicy(name, path=reader.path, domain=reader.domain, secure=self._cookie.secure)

    def _has_ours(self, cookie_header: str) -> bool:
        try:
            return _impl.read_cookies(cookie_header, self._cookie.name) is not None
        except InvalidToken:
            return True

    def _payload(self, data: dict[Hashable, Any]) -> bytes:
        """Encode the data, but for what a session cannot hold. Raises SessionTooLarge if nobody could save them."""
        try:
            payload = codec.dumps(data)
        except (TypeError, ValueError):
            payload = codec.dumps({key: value for key, value in data.items() if _can_be_held(key, value)})
        if len(payload) > self._max_bytes:
            raise SessionTooLarge(f"a session to be taken over has {len(payload)} bytes, and {self._max_bytes} can be")
        return payload


def _can_be_held(key: Hashable, value: Any) -> bool:
    try:
        codec.dumps({key: value})
    except (TypeError, ValueError) as error:
        leave_out(str(error.__cause__))
        return False
    return True


def _cookies(cookie_header: str) -> dict[str, str]:
    """Return the cookies of a header, but none whose name is there twice; quotes around a value are none of it."""
    found: dict[str, str] = {}
    twice = set()
    for pair in cookie_header.split(";"):
        name, _, value = pair.strip(" \t").partition("=")
        if name in found:
            twice.add(name)
        found[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return {name: value for name, value in found.items() if name not in twice}


def _refuse(reader: Reader, error: InvalidToken) -> None:
    name = "token_expired" if isinstance(error, ExpiredToken | RecordGone) else "token_refused"
    events.emit(name, f"ignored the cookie {reader.cookie_name}: {error}", cookie=reader.cookie_name)
