"""An active session, as the manager keeps it between reading and saving."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gaesess._core import Token
from gaesess.contents import Contents


class Home(Enum):
    """Where a session lives."""

    COOKIE = "cookie"
    STORE = "store"


@dataclass(slots=True)
class ActiveSession:
    """Who it is, what it holds, where it lives.

    `token` tells the identity and the revision; the payload is with `contents`. `version` is that of the session's
    record in the store, None if it is not known to have one. `replaced` are the identities given up in this request,
    whose records go once the new one is safe; with a version where the new one goes on from that record. `cookie_due`
    says that the client has to hear of what was saved.
    """

    token: Token
    contents: Contents = field(default_factory=Contents)
    home: Home = Home.COOKIE
    version: int | None = None
    replaced: list[tuple[Token, int | None]] = field(default_factory=list)
    cookie_due: bool = False

    def all_tokens(self) -> list[Token]:
        """Return every identity under which the store may have a record."""
        return [self.token, *(token for token, _ in self.replaced)]
