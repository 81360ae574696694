"""Sessions of gae-sessions 1.07, on Python 2.

Its cookies DgU00, DgU01, ... carry, put together: 44 characters of base64, the HMAC-SHA-256 of the pickle under
cookie_key + sid; 43 of sid, which are ten digits of expiry in Unix seconds, "S" if for TLS only or "_", 32 of hex; the
pickle in base64, nothing if it is in memcache and Datastore
(https://github.com/dound/gae-sessions, gaesessions/__init__.py).
"""

from __future__ import annotations

import hmac
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import Any, Protocol

from gaesess._core import BROWSER, MAX_U32, RECORDED, SECURE, Token
from gaesess.errors import BadSignature, ExpiredToken, MalformedToken, RecordGone
from gaesess.legacy.pickles import session_data
from gaesess.legacy.reader import OldSession, Reader

MAX_COOKIES = 100  # its names have two digits
FULL_COOKIE_CHARS = 3_000  # it cuts at 3,880, or 3,872 if for TLS only, and less by as much as COOKIE_PATH was changed
MIN_KEY_BYTES = 32  # as 1.07 itself asks for

_PARTS = re.compile(r"([A-Za-z0-9+/]{43}=)(([0-9]{10})([_S])([0-9a-f]{32}))([A-Za-z0-9+/=]*)")


class Source(Protocol):
    """Where 1.07 keeps the sessions that it does not keep in cookies."""

    def get(self, sid: str) -> bytes | None:
        """Return the pickle of a session, or None if there is none. Raises StoreUnavailable if it cannot tell."""
        ...


def accept(
    *,
    cookie_key: str | bytes,
    until: datetime,
    sources: Iterable[Source] = (),
    accept_browser_sessions: bool = False,
) -> Reader:
    """Take over the sessions of a running application with gae-sessions 1.07.

    - `cookie_key`: that of its SessionMiddleware.
    - `until`: when to stop, with a time zone. Best is the application's last day with 1.07, plus its `lifetime`.
    - `sources`: where its larger sessions are, in the order in which to look: see `gaesess.legacy.appengine` and
      `gaesess.legacy.datastore`. Without them these sessions are lost.
    - `accept_browser_sessions`: take over also those without an expiry, which in 1.07 never end; a thief has them
      forever.

    An old session becomes one of ours at the first use. From then on, with a store, its old cookie is worth nothing,
    but for a minute in which requests that were on their way with it are served, too. Without a store a copy of it
    stays good until it expires, or `until`.

    Raises ValueError for a key that is not 1.07's, or a time without a zone.
    """
    return _GaeSessions(cookie_key, until, tuple(sources), accept_browser_sessions)


def checked_pdump(pdump: object) -> bytes:
    """Return the pickle in the property `pdump` of an entity. Raises MalformedToken if there is none."""
    if not isinstance(pdump, bytes) or not pdump:
        raise MalformedToken("entity SessionModel of gae-sessions 1.07 has no session in its property pdump")
    return pdump


class _GaeSessions(Reader):
    def __init__(
        self, cookie_key: str | bytes, until: datetime, sources: tuple[Source, ...], accept_browser_sessions: bool
    ) -> None:
        super().__init__("DgU00", until)
        self._key = _checked(cookie_key)
        self._sources = sources
        self._accept_browser_sessions = accept_browser_sessions

    def find(self, cookies: Mapping[str, str], now: int) -> OldSession | None:
        names = _names(cookies)
        if not names:
            return None
        parts = _PARTS.fullmatch(_joined([cookies[name] for name in names]))
        if parts is None:
            raise MalformedToken("cookie is not of the form that gae-sessions 1.07 writes")
        tag, sid, digits, separator, name, text = parts.groups()
        pickle = _decoded(text)
        expected = b2a_base64(hmac.digest(self._key + sid.encode(), pickle, "sha256"), newline=False)
        if not hmac.compare_digest(tag.encode(), expected):
            raise BadSignature("cookie of gae-sessions 1.07 has a tag that does not fit")
        ends = int(digits)
        flags = SECURE if separator == "S" else 0
        if not ends:
            if not self._accept_browser_sessions:
                raise ExpiredToken("cookie of gae-sessions 1.07 has no expiry; see accept_browser_sessions")
            flags |= BROWSER
        elif ends <= now:
            raise ExpiredToken("cookie of gae-sessions 1.07 has expired")
        identity = Token(RECORDED, min(ends or self.until, MAX_U32), now, 0, bytes.fromhex(name), b"")
        read: Callable[[], dict[Any, Any]] = partial(session_data, pickle) if pickle else partial(self._fetch, sid)
        return OldSession(self, names, flags, ends or None, identity, read)

    def _fetch(self, sid: str) -> dict[Any, Any]:
        for source in self._sources:
            pickle = source.get(sid)
            if pickle is not None:
                return session_data(pickle)
        raise RecordGone("cookie of gae-sessions 1.07 points to data that none of the sources has")


def _names(cookies: Mapping[str, str]) -> list[str]:
    numbered = (f"DgU{number:02d}" for number in range(MAX_COOKIES))
    return list(takewhile(cookies.__contains__, numbered))


def _joined(chunks: list[str]) -> str:
    """Put the value together: what comes after a chunk that is not full was left over by a longer value."""
    full = list(takewhile(lambda chunk: len(chunk) >= FULL_COOKIE_CHARS, chunks))
    return "".join(chunks[: len(full) + 1])


def _decoded(text: str) -> bytes:
    try:
        data = a2b_base64(text)
    except ValueError:
        data = b""
    if b2a_base64(data, newline=False).decode() != text:  # the one canonical spelling, and nothing beside it
        raise MalformedToken("cookie of gae-sessions 1.07 is not base64")
    return data


def _checked(key: str | bytes) -> bytes:
    if isinstance(key, str) and key.isascii():
        key = key.encode()
    if not isinstance(key, bytes):
        raise ValueError("cookie_key is bytes, or str if all of it is ASCII: write the key of 1.07 as b'...'")
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"cookie_key has {len(key)} bytes, and 1.07 takes none of less than {MIN_KEY_BYTES}")
    return key
