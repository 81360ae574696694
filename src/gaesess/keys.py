"""The keyring: what the application's secret keys are turned into, once, at start-up."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import NamedTuple

from gaesess import _impl
from gaesess._core import SUITE, MacKey

MIN_KEY_BYTES = 32  # the strength of HMAC-SHA-256 (RFC 2104 section 3: no shorter than the hash)
_HASH = "sha256"
_HOW_TO_MAKE_ONE = "make one with `python -m gaesess genkey`, and keep it secret and the same in every process"


def generate_key() -> str:
    """Return a new cookie key: 32 bytes of the operating system's randomness, as 43 characters of base64url."""
    from secrets import token_urlsafe  # not for every process: with `random` and `math` it takes its time to import

    return token_urlsafe(MIN_KEY_BYTES)


class KeySet(NamedTuple):
    """The keys of one purpose: the one that seals, and by their ids all that may verify."""

    sealing: MacKey
    verifying: dict[int, MacKey]

    def __repr__(self) -> str:
        return f"<KeySet of {len(self.verifying)}>"  # no keys: representations end up in logs


class Keyring:
    """Derives the keys of each purpose from `cookie_key`, which seals, and `retired_keys`, which only verify.

    Keys are str or bytes of at least 32 bytes. Raises ValueError for a key that is missing, short or one repeated
    character, and for two keys whose one-byte ids are the same (1 pair in 256).
    """

    def __init__(
        self, cookie_key: str | bytes | None, retired_keys: Iterable[str | bytes] = (), *, cookie_name: str
    ) -> None:
        keys = [_checked("cookie_key", cookie_key)]
        keys += [_checked(f"retired_keys[{index}]", key) for index, key in enumerate(retired_keys)]
        # The version in the salt: a later scheme derives other keys from the same secret.
        extracted = [hmac.digest(b"gaesess/2", key, _HASH) for key in keys]  # HKDF-Extract
        self.cookie = _derive(extracted, b"cookie", cookie_name.encode())
        self.record = _derive(extracted, b"record", cookie_name.encode())
        self._label_key = _expand(extracted[0], b"label", cookie_name.encode())

    def label(self, sid: bytes) -> str:
        """Return 8 characters by which logs may tell sessions apart: nobody gets from them to a session id."""
        return hmac.digest(self._label_key, sid, _HASH)[:4].hex()


def _checked(setting: str, key: str | bytes | None) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise ValueError(f"{setting} is missing, or neither str nor bytes; {_HOW_TO_MAKE_ONE}")
    secret = key.encode(errors="surrogatepass") if isinstance(key, str) else key  # its error would quote the key
    if len(secret) < MIN_KEY_BYTES:
        raise ValueError(f"{setting} has {len(secret)} bytes, and needs at least {MIN_KEY_BYTES}; {_HOW_TO_MAKE_ONE}")
    if len(set(secret)) == 1:
        raise ValueError(f"{setting} is one repeated character, which anybody can guess; {_HOW_TO_MAKE_ONE}")
    return secret


def _derive(extracted: list[bytes], purpose: bytes, cookie_name: bytes) -> KeySet:
    keys = [_impl.prepare_key(_expand(key, b"key id", b"")[0], _expand(key, purpose, cookie_name)) for key in extracted]
    verifying = {key.id: key for key in keys}
    if len(verifying) < len(keys):
        raise ValueError(
            f"two of cookie_key and retired_keys are the same, or by chance share a one-byte id; {_HOW_TO_MAKE_ONE}"
        )
    return KeySet(keys[0], verifying)


def _expand(extracted: bytes, purpose: bytes, cookie_name: bytes) -> bytes:
    """Return 32 bytes of HKDF-Expand (RFC 5869 section 2.3); the lengths keep two contexts from spelling the same."""
    info = b"".join(len(part).to_bytes(2, "big") + part for part in (purpose, bytes([SUITE]), cookie_name))
    return hmac.digest(extracted, info + b"\x01", _HASH)
