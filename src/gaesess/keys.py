"""The keyring: what the application's secret keys are turned into, once, at start-up."""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias

from gaesess import _impl
from gaesess.sealer import Deadline, Key, Sealer, Suite

RetiredKey: TypeAlias = str | bytes | tuple[str | bytes, datetime]

MIN_KEY_BYTES = 32  # the strength of HMAC-SHA-256 (RFC 2104 section 3: no shorter than the hash)
_HASH = "sha256"
_HOW_TO_MAKE_ONE = "make one with `python -m gaesess genkey`, and keep it secret and the same in every process"


def generate_key() -> str:
    """Return a new cookie key: 32 bytes of the operating system's randomness, as 43 characters of base64url."""
    from secrets import token_urlsafe  # not for every process: with `random` and `math` it takes its time to import

    return token_urlsafe(MIN_KEY_BYTES)


class Keyring:
    """Derives the keys of each purpose from `cookie_key`, which seals, and `retired_keys`, which only verify.

    Keys are str or bytes of at least 32 bytes; a retired one may be a pair of the key and the datetime, with a time
    zone, until which it is good. `encrypt` has tokens encrypted, not only signed, and `compress` has them compressed.

    Raises ValueError for a key that is missing, short or one repeated character, and for two keys whose one-byte ids
    are the same (1 pair in 256).
    """

    def __init__(
        self,
        cookie_key: str | bytes | None,
        retired_keys: Iterable[RetiredKey] = (),
        *,
        cookie_name: str,
        encrypt: bool = False,
        compress: bool = False,
    ) -> None:
        retired = [_dated(f"retired_keys[{index}]", key) for index, key in enumerate(retired_keys)]
        secrets = [_checked("cookie_key", cookie_key), *(secret for secret, _ in retired)]
        # The version in the salt: a later scheme derives other keys from the same secret.
        extracted = [hmac.digest(b"gaesess/2", secret, _HASH) for secret in secrets]  # HKDF-Extract
        deadlines = [deadline for _, deadline in retired]
        suite = _encryption() if encrypt else _impl

        def sealer(purpose: bytes) -> Sealer:
            current, *others = _derive(suite, extracted, purpose, cookie_name.encode())
            return Sealer(suite, current, list(zip(others, deadlines, strict=True)), compress=compress)

        self.cookie = sealer(b"cookie")
        self.record = sealer(b"record")
        self.user = sealer(b"user")
        self._label_key = _expand(extracted[0], b"label", suite.SUITE, cookie_name.encode())

    def label(self, sid: bytes) -> str:
        """Return 8 characters by which logs may tell sessions apart: nobody gets from them to a session id."""
        return hmac.digest(self._label_key, sid, _HASH)[:4].hex()


def _encryption() -> Suite:
    try:
        from gaesess import encryption
    except ModuleNotFoundError as error:
        raise ValueError(f"encrypt=True needs {error.name}: pip install 'gaesess[encrypt]'") from error
    return encryption


def _dated(setting: str, key: RetiredKey) -> tuple[bytes, Deadline]:
    if not isinstance(key, tuple):
        return _checked(setting, key), math.inf
    if len(key) != 2 or not isinstance(key[1], datetime) or key[1].tzinfo is None:
        raise ValueError(f"{setting} is a key, or a key and the datetime with a time zone until which it is good")
    return _checked(setting, key[0]), key[1].timestamp()


def _checked(setting: str, key: str | bytes | None) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise ValueError(f"{setting} is missing, or neither str nor bytes; {_HOW_TO_MAKE_ONE}")
    secret = key.encode(errors="surrogatepass") if isinstance(key, str) else key  # its error would quote the key
    if len(secret) < MIN_KEY_BYTES:
        raise ValueError(f"{setting} has {len(secret)} bytes, and needs at least {MIN_KEY_BYTES}; {_HOW_TO_MAKE_ONE}")
    if len(set(secret)) == 1:
        raise ValueError(f"{setting} is one repeated character, which anybody can guess; {_HOW_TO_MAKE_ONE}")
    return secret


def _derive(suite: Suite, extracted: list[bytes], purpose: bytes, cookie_name: bytes) -> list[Key]:
    keys = [
        suite.prepare_key(_expand(key, b"key id", suite.SUITE, b"")[0], _expand(key, purpose, suite.SUITE, cookie_name))
        for key in extracted
    ]
    if len({key.id for key in keys}) < len(keys):
        raise ValueError(
            f"two of cookie_key and retired_keys are the same, or by chance share a one-byte id; {_HOW_TO_MAKE_ONE}"
        )
    return keys


def _expand(extracted: bytes, purpose: bytes, suite: int, cookie_name: bytes) -> bytes:
    """Return 32 bytes of HKDF-Expand (RFC 5869 section 2.3); the lengths keep two contexts from spelling the same."""
    info = b"".join(len(part).to_bytes(2, "big") + part for part in (purpose, bytes([suite]), cookie_name))
    return hmac.digest(extracted, info + b"\x01", _HASH)
