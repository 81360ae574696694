"""The keys of each purpose, derived from the application's secrets once, at start-up."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import datetime
from math import inf
from typing import NamedTuple, TypeAlias

from gaesess import _impl
from gaesess._core import ENCRYPTED, SIGNED, Key

RetiredKey: TypeAlias = str | bytes | tuple[str | bytes, datetime]

MIN_KEY_BYTES = 32  # the strength of HMAC-SHA-256 (RFC 2104 section 3: no shorter than the hash)
_HASH = "sha256"
_HOW_TO_MAKE_ONE = "make one with `python -m gaesess genkey`, and keep it secret and the same in every process"


def generate_key() -> str:
    """Return a new cookie key: 32 bytes of the operating system's randomness, as 43 characters of base64url."""
    from secrets import token_urlsafe  # not for every process: with `random` and `math` it takes its time to import

    return token_urlsafe(MIN_KEY_BYTES)


class Keys(NamedTuple):
    """The keys of cookies, of records and of users' records, each by its id, today's first; and of other purposes.

    `handles` lead to users' records, each until a time in Unix seconds; `cache` signs the times of a cache's entries.
    """

    cookie: dict[int, Key]
    record: dict[int, Key]
    user: dict[int, Key]
    handles: list[tuple[bytes, float]]
    cache: list[bytes]
    label: bytes

    def __repr__(self) -> str:
        return f"<Keys {', '.join(map(str, self.cookie))}>"  # no secret: representations end up in logs


def derive(
    cookie_key: str | bytes | None, retired_keys: Iterable[RetiredKey] = (), *, cookie_name: str, encrypt: bool = False
) -> Keys:
    """Derive the keys from `cookie_key`, which seals, and `retired_keys`, which only verify.

    Keys are str or bytes of at least 32 bytes; a retired one may be a pair of the key and the datetime, with a time
    zone, until which it is valid. `encrypt` makes them keys of the suite that encrypts.

    Raises ValueError for a key that is missing, short or one repeated character, and for two keys whose one-byte ids
    are the same (1 pair in 256).
    """
    if isinstance(retired_keys, (str, bytes)) or not isinstance(retired_keys, Iterable):
        raise ValueError(f"retired_keys must be a list of keys, got {type(retired_keys).__name__}")
    dated = [(_checked("cookie_key", cookie_key), inf)]
    dated += [_dated(f"retired_keys[{index}]", key) for index, key in enumerate(retired_keys)]
    suite, name = ENCRYPTED if encrypt else SIGNED, cookie_name.encode()
    # The version in the salt: a later scheme derives other keys from the same secret.
    extracted = [(hmac.digest(b"gaesess/2", secret, _HASH), until) for secret, until in dated]  # HKDF-Extract

    def purpose(label: bytes) -> dict[int, Key]:
        keys = [
            _impl.prepare_key(suite, _expand(key, b"key id", suite, b"")[0], _expand(key, label, suite, name), until)
            for key, until in extracted
        ]
        by_id = {key.id: key for key in keys}
        if len(by_id) < len(keys):
            raise ValueError(
                f"two of cookie_key and retired_keys are the same, or by chance share a one-byte id; {_HOW_TO_MAKE_ONE}"
            )
        return by_id

    try:
        keys = purpose(b"cookie"), purpose(b"record"), purpose(b"user")
    except ModuleNotFoundError as error:
        raise ValueError(f"encrypt=True needs {error.name}: pip install 'gaesess[encrypt]'") from error
    handles = [(_expand(key, b"handle", 0, name), until) for key, until in extracted]
    cache = [_expand(key, b"cache", 0, name) for key, _ in extracted]
    return Keys(*keys, handles, cache, _expand(extracted[0][0], b"label", suite, name))


def _dated(setting: str, key: RetiredKey) -> tuple[bytes, float]:
    if not isinstance(key, tuple):
        return _checked(setting, key), inf
    if len(key) != 2 or not isinstance(key[1], datetime) or key[1].tzinfo is None:
        raise ValueError(f"{setting} must be a key, or a pair of a key and the datetime, with a time zone, of its end")
    return _checked(setting, key[0]), key[1].timestamp()


def _checked(setting: str, key: str | bytes | None) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise ValueError(f"{setting} is missing, or neither str nor bytes; {_HOW_TO_MAKE_ONE}")
    secret = key.encode(errors="surrogatepass") if isinstance(key, str) else key  # its error would quote the key
    if len(secret) < MIN_KEY_BYTES:
        raise ValueError(f"{setting} has {len(secret)} bytes, and needs at least {MIN_KEY_BYTES}; {_HOW_TO_MAKE_ONE}")
    if secret != secret.strip() and secret.isascii() and secret.strip().decode().isprintable():  # it is no random bytes
        raise ValueError(
            f"{setting} begins or ends with white space, such as a file's newline: strip it; {_HOW_TO_MAKE_ONE}"
        )
    if len(set(secret)) == 1:
        raise ValueError(f"{setting} is one repeated character, which anyone can guess; {_HOW_TO_MAKE_ONE}")
    return secret


def _expand(extracted: bytes, purpose: bytes, suite: int, cookie_name: bytes) -> bytes:
    """Return 32 bytes of HKDF-Expand (RFC 5869 section 2.3); the lengths keep two contexts from spelling the same."""
    info = b"".join(len(part).to_bytes(2, "big") + part for part in (purpose, bytes([suite]), cookie_name))
    return hmac.digest(extracted, info + b"\x01", _HASH)
