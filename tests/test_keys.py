"""The keyring: what is derived from the application's keys, and which keys it refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from gaesess import _impl, encryption, generate_key
from gaesess._core import Token
from gaesess.errors import BadSignature, MalformedToken, UnknownKey
from gaesess.keys import Keyring
from gaesess.sealer import Suite

KEY = "correct horse battery staple, and 32 bytes at least"
OLD_KEY = "an earlier one, retired, but still good for verifying"
TOKEN = Token(flags=0, expires=2_000_000_000, issued=1_900_000_000, revision=1, sid=bytes(16), payload=b"data")
NOW = 1_900_000_001


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA-256 as RFC 5869 section 2 defines it: the keys of the keyring are compared with this."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    block, expanded = b"", b""
    for number in range(1, math.ceil(length / 32) + 1):
        block = hmac.new(extracted, block + info + bytes([number]), hashlib.sha256).digest()
        expanded += block
    return expanded[:length]


def info(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def keyring(*keys: Any, cookie_name: str = "gaesess", encrypt: bool = False) -> Keyring:
    return Keyring(keys[0], keys[1:], cookie_name=cookie_name, encrypt=encrypt)


both_suites = pytest.mark.parametrize("encrypt", [False, True], ids=["signed", "encrypted"])


def test_the_hkdf_of_these_tests_is_the_one_of_rfc_5869() -> None:
    """Its test cases 1 and 3 (appendix A)."""
    secret = b"\x0b" * 22
    assert hkdf(secret, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf(secret, b"", b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@pytest.mark.parametrize("purpose", ["cookie", "record"])
@pytest.mark.parametrize("cookie_name", ["gaesess", "__Host-shop"])
@pytest.mark.parametrize("suite", [_impl, encryption])
def test_keys_are_hkdf_of_the_secret_for_suite_purpose_and_cookie_name(
    suite: Suite, purpose: str, cookie_name: str
) -> None:
    derived = getattr(keyring(KEY, cookie_name=cookie_name, encrypt=suite is encryption), purpose).current
    suite_byte = bytes([suite.SUITE])
    context = info(purpose.encode(), suite_byte, cookie_name.encode())
    key_id = hkdf(KEY.encode(), b"gaesess/2", info(b"key id", suite_byte, b""), 32)[0]
    assert derived == suite.prepare_key(key_id, hkdf(KEY.encode(), b"gaesess/2", context, 32))


def test_each_purpose_and_each_cookie_name_has_a_key_of_its_own() -> None:
    keyrings = [keyring(KEY, cookie_name=name) for name in ("a", "b", "cookie", "record", "a\0")]
    assert len({key.inner for each in keyrings for key in (each.cookie.current, each.record.current)}) == 10


def test_str_and_bytes_are_the_same_key() -> None:
    text = "schlüssel " * 4
    assert keyring(text).cookie.current == keyring(text.encode()).cookie.current


@both_suites
def test_the_first_key_seals_and_all_unseal(encrypt: bool) -> None:
    before, now = keyring(OLD_KEY, encrypt=encrypt), keyring(KEY, OLD_KEY, encrypt=encrypt)
    for purpose in ("cookie", "record"):
        sealer = getattr(now, purpose)
        assert sealer.current == getattr(keyring(KEY, encrypt=encrypt), purpose).current
        assert sealer.unseal(sealer.seal(TOKEN), NOW) == (TOKEN, False)
        assert sealer.unseal(getattr(before, purpose).seal(TOKEN), NOW) == (TOKEN, True)


@both_suites
def test_a_retired_key_is_good_until_its_time_is_over(encrypt: bool) -> None:
    until = datetime.fromtimestamp(NOW, timezone(timedelta(hours=5)))
    sealer = keyring(KEY, (OLD_KEY, until), encrypt=encrypt).cookie
    sealed = keyring(OLD_KEY, encrypt=encrypt).cookie.seal(TOKEN)
    assert sealer.unseal(sealed, NOW - 1) == (TOKEN, True)
    with pytest.raises(UnknownKey):
        sealer.unseal(sealed, NOW)


@pytest.mark.parametrize(
    "key", [(OLD_KEY, datetime(2027, 1, 1)), (OLD_KEY, NOW), (OLD_KEY,), (OLD_KEY, datetime.max, 1)]
)
def test_a_retired_key_with_a_time_that_is_none_is_refused_without_quoting_it(key: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^retired_keys\[0\] is a key, or a key and the datetime with a time"
    ) as caught:
        keyring(KEY, key)
    assert OLD_KEY not in str(caught.value)


@both_suites
def test_a_key_not_in_the_keyring_unseals_nothing(encrypt: bool) -> None:
    sealed = keyring(OLD_KEY, encrypt=encrypt).cookie.seal(TOKEN)
    with pytest.raises(UnknownKey):
        keyring(KEY, encrypt=encrypt).cookie.unseal(sealed, NOW)


@both_suites
def test_a_token_of_one_purpose_is_not_believed_for_the_other(encrypt: bool) -> None:
    keys = keyring(KEY, encrypt=encrypt)
    with pytest.raises(BadSignature):
        keys.record.unseal(keys.cookie.seal(TOKEN), NOW)


@both_suites
def test_a_token_of_one_suite_is_not_read_as_one_of_the_other(encrypt: bool) -> None:
    sealed = keyring(KEY, encrypt=not encrypt).cookie.seal(TOKEN)
    with pytest.raises(MalformedToken, match="of an unknown suite"):
        keyring(KEY, encrypt=encrypt).cookie.unseal(sealed, NOW)


def test_encryption_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gaesess.encryption")
    monkeypatch.delattr("gaesess.encryption")
    for name in ("cryptography", "cryptography.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"^encrypt=True needs cryptography.*: pip install 'gaesess\[encrypt\]'"):
        keyring(KEY, encrypt=True)


def test_the_key_id_is_the_same_whatever_the_purpose_and_the_cookie_name() -> None:
    keyrings = keyring(KEY), keyring(KEY, cookie_name="other")
    assert len({key.id for each in keyrings for key in (each.cookie.current, each.record.current)}) == 1


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (None, "is missing, or neither str nor bytes"),
        (12345, "is missing, or neither str nor bytes"),
        (bytearray(range(32)), "is missing, or neither str nor bytes"),
        ("", "has 0 bytes, and needs at least 32"),
        (b"", "has 0 bytes, and needs at least 32"),
        ("short but secret", "has 16 bytes, and needs at least 32"),
        (bytes(range(31)), "has 31 bytes, and needs at least 32"),
        ("x" * 32, "is one repeated character"),
        (bytes(64), "is one repeated character"),
    ],
)
def test_a_bad_key_is_refused_naming_the_setting_and_the_remedy_but_not_the_key(key: Any, what: str) -> None:
    for setting, keys in (("cookie_key", [key]), (r"retired_keys\[1\]", [KEY, OLD_KEY, key])):
        with pytest.raises(ValueError, match=f"^{setting} {what}.*`python -m gaesess genkey`") as caught:
            keyring(*keys)
        assert not key or str(key) not in str(caught.value)


def test_thirty_two_bytes_are_enough() -> None:
    assert keyring(bytes(range(32))).cookie.unseal(keyring(bytes(range(32))).cookie.seal(TOKEN), NOW)[0] == TOKEN


def test_a_key_of_surrogates_is_not_quoted_in_an_error_of_encoding() -> None:
    assert keyring("\udcff\udc80" * 6).cookie.current != keyring("\udcff\udc81" * 6).cookie.current


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^two of cookie_key and retired_keys are the same, or .*`python -m gaesess"):
        keyring(KEY, OLD_KEY, KEY)


def test_two_keys_with_one_id_are_refused_without_quoting_them() -> None:
    ids: dict[int, bytes] = {}
    for number in range(1, 300):  # more keys than ids
        key = number.to_bytes(32, "big")
        key_id = keyring(key).cookie.current.id
        if key_id in ids:
            break
        ids[key_id] = key
    with pytest.raises(ValueError, match="share a one-byte id") as caught:
        keyring(key, ids[key_id])
    assert repr(key) not in str(caught.value)


@both_suites
def test_representations_show_no_key(encrypt: bool) -> None:
    keys = keyring(KEY, OLD_KEY, encrypt=encrypt)
    shown = [repr(each) for each in (keys, keys.cookie, keys.cookie.current, [keys.cookie.current])]
    assert re.fullmatch(r"<(Mac|Cipher)Key \d+>", repr(keys.cookie.current))
    assert not any(KEY in text or "\\x" in text for text in shown)


def test_generated_keys_are_32_random_bytes() -> None:
    first, second = generate_key(), generate_key()
    assert first != second
    assert len(base64.urlsafe_b64decode(first + "=")) == 32


def test_a_generated_key_is_taken() -> None:
    sealer = keyring(generate_key()).cookie
    assert sealer.unseal(sealer.seal(TOKEN), NOW) == (TOKEN, False)
