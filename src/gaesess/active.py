"""An active session, between being read and being saved."""

from __future__ import annotations

from enum import Enum

from gaesess._core import POINTER, Token
from gaesess.contents import Contents


class Home(Enum):
    """Where a session lives."""

    COOKIE = "cookie"
    STORE = "store"


class ActiveSession:
    """Who it is, what it holds, where it lives.

    `token` is its identity, and what was last read or saved. `version` is that of its record in the store, None if it
    is not known to have one. `replaced` are the identities given up in this request, whose records go once the new one
    is safe; with a version where the new one goes on from that record. `unsaved` says that it is new, or that a save
    failed on the way. `cookie` is the token that the client has to hear of, if there is one.
    """

    __slots__ = ("contents", "cookie", "home", "replaced", "token", "unsaved", "version")

    def __init__(
        self,
        token: Token,
        contents: Contents | None = None,
        home: Home = Home.COOKIE,
        version: int | None = None,
        *,
        replaced: list[tuple[Token, int | None]] | None = None,
        unsaved: bool = True,
        cookie: Token | None = None,
    ) -> None:
        self.token = token
        self.contents = contents or Contents()
        self.home = home
        self.version = version
        self.replaced = replaced or []
        self.unsaved = unsaved
        self.cookie = cookie

    def all_tokens(self) -> list[Token]:
        """Return every identity under which the store may have a record."""
        return [self.token, *(token for token, _ in self.replaced)]

    def as_cookie(self) -> Token:
        """Return the token as its cookie carries it: whole, or as a pointer into the store."""
        if self.home is Home.COOKIE:
            return self.token
        return self.token._replace(flags=self.token.flags | POINTER, payload=b"")
