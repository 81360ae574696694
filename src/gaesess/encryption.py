"""Suite 0x22: tokens whose payload only the application can read. Same header, same size, same names as in `_core.py`.

    offset  bytes
    0       32     header, as in `_core.py`; the first byte is 0x22
    32      16     salt, from the operating system's random source
    48      n      payload, encrypted with AES-256-GCM (NIST SP 800-38D)
    48+n    16     the tag of GCM, which holds for all that is before it

Every token has an AES key of its own: HMAC-SHA-256, under the key of the purpose, of its header and salt. GCM must
never see one nonce twice under one key, and with random nonces a key is good for 2^32 messages (SP 800-38D section
8.3). Here each key seals one token, so that the nonce may be constant: two tokens would have to have the same session
id, second, revision and salt. So there is no limit to how many tokens one `cookie_key` may seal.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gaesess import _core, _impl
from gaesess._core import HEADER_BYTES, Token
from gaesess.errors import BadSignature
from gaesess.pickling import refuse_keys

SUITE = 0x22
SALT_BYTES = 16
_NONCE = bytes(12)


class CipherKey(NamedTuple):
    """The secret that the keys of tokens are made of, and the id that tokens name it by."""

    id: int
    secret: bytes

    def __repr__(self) -> str:
        return f"<CipherKey {self.id}>"  # no key: representations end up in logs

    def __reduce__(self) -> NoReturn:
        refuse_keys(self)


def prepare_key(key_id: int, key: bytes) -> CipherKey:
    """Return a key of 32 bytes with its id."""
    return CipherKey(key_id, key)


def seal(key: CipherKey, token: Token, chunks: int) -> bytes:
    """Return the bytes of a token, to be carried by that many cookies. Raises ValueError as `_core.seal` does."""
    start = _core.pack_header(SUITE, key, token, chunks) + os.urandom(SALT_BYTES)
    return start + _cipher(key, start).encrypt(_NONCE, token.payload, start)


def unseal(keys: Mapping[int, CipherKey], untrusted: bytes, now: int) -> Token:
    """Verify and decrypt a token with the one key it names. Raises as `_core.unseal` does."""
    key = _core.find_key(SUITE, keys, untrusted)
    start = untrusted[: HEADER_BYTES + SALT_BYTES]
    try:
        payload = _cipher(key, start).decrypt(_NONCE, untrusted[len(start) :], start)
    except InvalidTag:
        raise BadSignature("token has a tag that does not fit") from None
    return _core.verified(untrusted, payload, now)


def unseal_cookies(keys: Mapping[int, CipherKey], untrusted: str, name: str, now: int) -> tuple[Token, int] | None:
    """Read, decode and unseal the token of a Cookie header, as `_core.unseal_cookies` does."""
    found = _impl.read_cookies(untrusted, name)
    if found is None:
        return None
    text, taken = found
    return unseal(keys, _impl.decode(text), now), taken


def _cipher(key: CipherKey, start: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key.secret, start, "sha256"))
