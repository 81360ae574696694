"""The seal of one purpose: what today's key seals, and what a retired one has sealed, for as long as it is good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gaesess._core import ZLIB, Token
from gaesess.errors import UnknownKey

if TYPE_CHECKING:
    from collections.abc import Mapping

Key = Any  # of the suite's own making
Deadline = float  # Unix seconds


class Suite(Protocol):
    """How tokens are sealed: `_impl`, which signs them, or `encryption`."""

    SUITE: int

    def prepare_key(self, key_id: int, key: bytes, /) -> Key: ...
    def seal(self, key: Key, token: Token, chunks: int, /) -> bytes: ...
    def unseal(self, keys: Mapping[int, Key], untrusted: bytes, now: int, /) -> Token: ...
    def unseal_cookies(
        self, keys: Mapping[int, Key], untrusted: str, name: str, now: int, /
    ) -> tuple[Token, int] | None: ...


class Sealer:
    """Seals with the `current` key, and unseals what that or one of the `retired` ones has sealed before its deadline.

    `unseal` and `unseal_cookies` also say whether a retired key has sealed it: then it is to be sealed anew. They raise
    as those of `_core` do.
    """

    def __init__(self, suite: Suite, current: Key, retired: list[tuple[Key, Deadline]], *, compress: bool) -> None:
        self._seal, self._unseal, self._unseal_cookies = suite.seal, suite.unseal, suite.unseal_cookies
        self.current = current
        self._currents = {current.id: current}
        self._retired = retired
        self._compress = compress

    def shrink(self, token: Token) -> Token:
        """Return the token as it is to be sealed: compressed, if it is set so and saves anything."""
        if not self._compress:
            return token
        from gaesess import compression  # not in every process

        return compression.shrink(token)

    def seal(self, token: Token, chunks: int = 1) -> bytes:
        """Return the bytes of a token, to be carried by that many cookies."""
        return self._seal(self.current, token, chunks)

    def unseal(self, untrusted: bytes, now: int) -> tuple[Token, bool]:
        """Return a token, and whether a retired key has sealed it."""
        try:
            token, retired = self._unseal(self._currents, untrusted, now), False
        except UnknownKey:
            token, retired = self._unseal(self._still_good(now), untrusted, now), True
        return _expand(token) if token.flags & ZLIB else token, retired

    def unseal_cookies(self, untrusted: str, name: str, now: int) -> tuple[Token | None, int, bool]:
        """Return the token of a Cookie header, how many cookie names are taken, and whether a retired key sealed it.

        The token is None if there is no cookie of that name.
        """
        retired = False
        try:
            found = self._unseal_cookies(self._currents, untrusted, name, now)
        except UnknownKey:
            found = self._unseal_cookies(self._still_good(now), untrusted, name, now)
            retired = True
        if found is None:
            return None, 0, False
        token, taken = found
        return _expand(token) if token.flags & ZLIB else token, taken, retired

    def _still_good(self, now: int) -> dict[int, Key]:
        return {key.id: key for key, deadline in self._retired if now < deadline}


def _expand(token: Token) -> Token:
    from gaesess import compression  # not in every process

    return compression.expand(token)
