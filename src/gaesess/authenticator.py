"""The way in: from a Cookie header to the session that it may have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from gaesess import _impl, events
from gaesess._core import POINTER, Token
from gaesess.active import ActiveSession, Home
from gaesess.contents import Contents
from gaesess.cookies import HeaderFields, join_cookie_fields
from gaesess.errors import ExpiredToken, InvalidToken, RecordGone, StoreUnavailable
from gaesess.records import Records
from gaesess.revocation import Revocation
from gaesess.sealer import Sealer
from gaesess.timeouts import Timeouts


class Authenticator:
    """Believes a cookie that is genuine, of a session that is neither over nor idle, nor ended elsewhere."""

    def __init__(
        self,
        cookie_name: str,
        sealer: Sealer,
        timeouts: Timeouts,
        records: Records | None,
        revocation: Revocation | None,
        now: Callable[[], int],
    ) -> None:
        self._cookie_name = cookie_name
        self._sealer = sealer
        self._timeouts = timeouts
        self._records = records
        self._revocation = revocation
        self._now = now

    def authenticate(self, cookie_header: str | HeaderFields | None) -> tuple[Token | None, int, bool]:
        """Return the token of a Cookie header, how many cookie names are taken, and whether a retired key sealed it.

        The token is None if there is none to be believed. One that is not is logged, without its contents.
        """
        if cookie_header is None:
            return None, 0, False
        if not isinstance(cookie_header, str):
            cookie_header = join_cookie_fields(cookie_header)
        now = self._now()
        try:
            found = self._sealer.unseal_cookies(cookie_header, self._cookie_name, now)
            token = found[0]
            if token is not None and self._timeouts.is_idle(token, now):
                raise ExpiredToken("token has been idle for too long")
            return found
        except InvalidToken as error:
            self._refuse_cookie(error)
            return None, self._cookies_taken(cookie_header), False

    def _cookies_taken(self, cookie_header: str) -> int:
        with suppress(InvalidToken):
            found = _impl.read_cookies(cookie_header, self._cookie_name)
            return found[1] if found else 0
        return 0

    def activation_waits(self, token: Token) -> bool:
        """Return whether `activate` would wait for the store."""
        return bool(token.flags & POINTER) or (self._revocation is not None and self._revocation.waits(token.sid))

    def activate(self, token: Token, retired_key: bool = False) -> ActiveSession | None:
        """Return the session of a verified token, from the store if the token points there; None if there is none.

        Raises StoreUnavailable.
        """
        try:
            if token.flags & POINTER:
                active = self._read_record(token, retired_key)
            else:
                active = ActiveSession(token, Contents(token.payload), unsaved=False, retired_key=retired_key)
            if self._revocation is not None:
                self._revocation.check(active)
            return active
        except InvalidToken as error:
            self._refuse_cookie(error)
            return None

    def _read_record(self, pointer: Token, retired_key: bool) -> ActiveSession:
        if self._records is None:
            raise RecordGone("token points into a store, and there is none")
        record = self._records.read(pointer)
        try:
            contents = Contents(record.token.payload)
        except InvalidToken as error:  # a newer version of the application may hold types there that this one has not
            raise StoreUnavailable(f"another process has written what cannot be read here: {error}") from error
        token = record.token._replace(issued=pointer.issued)
        return ActiveSession(
            token,
            contents,
            Home.STORE,
            record.version,
            history=record.history,
            unsaved=False,
            retired_key=retired_key or record.retired_key,
        )

    def _refuse_cookie(self, error: InvalidToken) -> None:
        name = "token_expired" if isinstance(error, ExpiredToken | RecordGone) else "token_refused"
        events.emit(name, f"ignored the cookie {self._cookie_name}: {error}", cookie=self._cookie_name)
