"""An active session, between being read and being saved."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gaesess._core import POINTER, Token
from gaesess.contents import Contents

if TYPE_CHECKING:
    from gaesess.record import History
    from gaesess.stores.base import Version
    from gaesess.users import Binding


CONVERTED = object()  # in the place of a version: the identity is of another library, and is to be barred


class Home(Enum):
    """Where a session lives."""

    COOKIE = "cookie"
    STORE = "store"


class ActiveSession:
    """Who it is, what it holds, where it lives.

    `token` is its identity, and what was last read or saved. `version` is that of its record in the store, None if it
    is not known to have one, and `history` is the record's, None if the session comes from its cookie. `replaced` are
    the identities given up in this request, whose records end once the new one is safe; with a version where the new
    one goes on from that record, or CONVERTED. `unsaved` says that it is new, or that a save failed on the way.
    `cookie` is the token that the client has to hear of, if there is one. `retired_key` says that a retired key has
    sealed it, `passive` that this request does not count as a use of it. `binding` is the user whose session it is to
    be from the next save on; with the generation (`users.User`) and id under which it was his, if it was.
    """

    __slots__ = (
        "binding",
        "contents",
        "cookie",
        "history",
        "home",
        "passive",
        "replaced",
        "retired_key",
        "token",
        "unsaved",
        "version",
    )

    def __init__(
        self,
        token: Token,
        contents: Contents | None = None,
        home: Home = Home.COOKIE,
        version: Version | None = None,
        *,
        history: History | None = None,
        replaced: list[tuple[Token, Version | None]] | None = None,
        unsaved: bool = True,
        cookie: Token | None = None,
        retired_key: bool = False,
    ) -> None:
        self.token = token
        self.contents = contents or Contents()
        self.home = home
        self.version = version
        self.history = history
        self.replaced = replaced or []
        self.unsaved = unsaved
        self.cookie = cookie
        self.retired_key = retired_key
        self.passive = False
        self.binding: Binding | None = None

    def identities(self) -> list[tuple[Token, Version | None]]:
        """Return every identity under which the store may have a record, with that record's version if it is known."""
        return [(self.token, self.version), *self.replaced]

    def as_cookie(self) -> Token:
        """Return the token as its cookie carries it: whole, or as a pointer into the store."""
        if self.home is Home.COOKIE:
            return self.token
        return self.token._replace(flags=self.token.flags | POINTER, payload=b"")
