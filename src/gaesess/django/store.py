"""`SESSION_ENGINE = "gaesess.django"`: sessions for whatever makes its own by their keys."""

from __future__ import annotations

from django.contrib.sessions.backends.base import UpdateError

from gaesess.django.managers import one_cookie_manager
from gaesess.django.session import DjangoSession
from gaesess.errors import SessionTerminated
from gaesess.session import State


class SessionStore(DjangoSession):
    """A session whose key is the value of its cookie: for Django's own middleware and test client, and for Channels.

    The cookie is one alone, with the name and the attributes that Django's settings give it; a session that it cannot
    hold goes to the store. Raises ImproperlyConfigured if there is anything wrong with GAESESS.
    """

    def __init__(self, session_key: str | None = None) -> None:
        config = one_cookie_manager().config
        super().__init__(config, f"{config.cookie.name}={session_key}" if session_key else None)
        self._key = session_key

    @property
    def session_key(self) -> str | None:
        """The value of the cookie as of when the session was last read or saved, None if there is no session."""
        return self._key if self.is_active() else None

    def is_empty(self) -> bool:
        """Return whether there is no session, as far as the cookie tells before it is used."""
        self.read_waits()  # which verifies the cookie
        return super().is_empty() if self.state is not State.UNREAD else not self._sid

    def save(  # type: ignore[override]
        self, must_create: bool = False, *, persist_even_if_using_cookie: bool = False
    ) -> None:
        """Save the session; where there is none, start one. Raises UpdateError if another request terminated it."""
        try:
            super().save(must_create, persist_even_if_using_cookie=persist_even_if_using_cookie)
        except SessionTerminated as error:
            raise UpdateError(str(error)) from error
        if self._in_transaction():  # with a rollback it would be as before, so Django's middleware saves it once more
            self._unsaved = True
        if self._cookies:
            self._key = self._cookies[0].partition(";")[0].partition("=")[2]

    def _puts_off(self) -> bool:
        return False  # after a rollback nobody would do it

    def _other(self, session_key: str) -> SessionStore:
        return SessionStore(session_key)
