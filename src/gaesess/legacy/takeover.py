"""From a session of another library to one of ours."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

from gaesess import _impl, events
from gaesess._core import SECURE, CookieAttributes, Token
from gaesess.cookies import cookie_attributes
from gaesess.ending import may_migrate
from gaesess.errors import ExpiredToken, InvalidToken, RecordGone, SessionTooLarge
from gaesess.legacy.reader import OldSession, Reader, leave_out

if TYPE_CHECKING:
    from gaesess.config import SessionConfig


class Takeover:
    """Finds old sessions by their readers, each by its own cookie name, and makes ours of them.

    `config` is that of our own sessions; `max_bytes` is what a session may have. Raises ValueError for a reader whose
    cookie has our own name, or cannot be deleted.
    """

    def __init__(self, readers: Iterable[Reader], config: SessionConfig, max_bytes: int) -> None:
        self._readers = tuple(readers)
        self._config = config
        self._max_bytes = max_bytes
        for reader in self._readers:
            self._attributes(reader, reader.cookie_name)
            if reader.cookie_name == config.cookie.name:
                raise ValueError(f"cookie_name is {reader.cookie_name!r}, that of sessions to migrate; choose another")

    def find(self, cookie_header: str) -> OldSession | None:
        """Return the old session of a request, not read yet; None if there is none to be believed."""
        now = self._config.now()
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

    async def adopt(self, old: OldSession) -> Token | None:
        """Return the token of a session of ours with the data of an old one, or None if it may not be taken over.

        Raises StoreUnavailable.
        """
        if old.outdated:
            return None
        try:
            records = self._config.records
            if old.identity and records and not await may_migrate(records, old.identity):
                raise RecordGone("session was taken over before, or has ended")
            payload = self._payload(old.read())
        except InvalidToken as error:
            _refuse(old.reader, error)
            return None
        except SessionTooLarge as error:
            events.emit("oversize", str(error))
            return None
        token = self._config.new_token(None, bool(old.flags & SECURE))
        ends = min(token.expires, old.ends or token.expires)
        token = token._replace(flags=token.flags | old.flags, expires=ends, payload=payload)
        cookie = old.reader.cookie_name
        events.emit("session_taken_over", f"began a session with the data of the cookie {cookie}", cookie=cookie)
        return token

    def delete(self, old: OldSession) -> list[str]:
        """Return Set-Cookie values that make the browser drop the old cookies."""
        return [line for name in old.cookies for line in self._attributes(old.reader, name).delete(0, 1)]

    def _attributes(self, reader: Reader, name: str) -> CookieAttributes:
        secure = "; Secure" in self._config.cookie.after_age
        return cookie_attributes(name, path=reader.path, domain=reader.domain, secure=secure)

    def _has_ours(self, cookie_header: str) -> bool:
        try:
            return _impl.read_cookies(cookie_header, self._config.cookie.name) is not None
        except InvalidToken:
            return True

    def _payload(self, data: dict[Hashable, Any]) -> bytes:
        """Encode the data, but for what a session cannot hold. Raises SessionTooLarge if nobody could save them."""
        try:
            payload = _impl.dumps(data)
        except (TypeError, ValueError):
            payload = _impl.dumps({key: value for key, value in data.items() if _can_be_held(key, value)})
        if len(payload) > self._max_bytes:
            raise SessionTooLarge(f"a session to be taken over has {len(payload)} bytes, and {self._max_bytes} can be")
        return payload


def _can_be_held(key: Hashable, value: Any) -> bool:
    try:
        _impl.dumps({key: value})
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
    events.emit(
        name,
        f"ignored the cookie {reader.cookie_name}: {error}",
        cookie=reader.cookie_name,
        reason=type(error).__name__,
    )
