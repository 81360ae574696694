"""What is derived from the application's keys, and which keys are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from gaesess import _impl, generate_key
from gaesess._core import ENCRYPTED, SIGNED, Key, Token
from gaesess.errors import BadSignature, MalformedToken, UnknownKey
from gaesess.keys import Keys, derive

KEY = "correct horse battery staple, and 32 bytes at least"
OLD_KEY = "an earlier one, retired, but still good for verifying"
TOKEN = Token(flags=0, expires=2_000_000_000, issued=1_900_000_000, revision=1, sid=bytes(16), payload=b"data")
NOW = 1_900_000_001


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA-256 as RFC 5869 section 2 defines it: what is derived is compared with this."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    block, expanded = b"", b""
    for number in range(1, math.ceil(length / 32) + 1):
        block = hmac.new(extracted, block + info + bytes([number]), hashlib.sha256).digest()
        expanded += block
    return expanded[:length]


def info(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def derived(*keys: Any, cookie_name: str = "gaesess", encrypt: bool = False) -> Keys:
    return derive(keys[0], keys[1:], cookie_name=cookie_name, encrypt=encrypt)


def current(keys: dict[int, Key]) -> Key:
    """Return the key that seals."""
    return next(iter(keys.values()))


def sealed(keys: dict[int, Key]) -> bytes:
    return _impl.seal(current(keys), TOKEN)


both_suites = pytest.mark.parametrize("encrypt", [False, True], ids=["signed", "encrypted"])
each_purpose = pytest.mark.parametrize("purpose", ["cookie", "record", "user"])


def test_the_hkdf_of_these_tests_is_the_one_of_rfc_5869() -> None:
    """Its test cases 1 and 3 (appendix A)."""
    secret = b"\x0b" * 22
    assert hkdf(secret, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf(secret, b"", b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@each_purpose
@pytest.mark.parametrize("cookie_name", ["gaesess", "__Host-shop"])
@pytest.mark.parametrize("suite", [SIGNED, ENCRYPTED])
def test_keys_are_hkdf_of_the_secret_for_suite_purpose_and_cookie_name(
    suite: int, purpose: str, cookie_name: str
) -> None:
    keys = getattr(derived(KEY, cookie_name=cookie_name, encrypt=suite == ENCRYPTED), purpose)
    context = info(purpose.encode(), bytes([suite]), cookie_name.encode())
    key_id = hkdf(KEY.encode(), b"gaesess/2", info(b"key id", bytes([suite]), b""), 32)[0]
    key = _impl.prepare_key(suite, key_id, hkdf(KEY.encode(), b"gaesess/2", context, 32))
    assert keys == {key_id: key}


def test_the_key_of_labels_is_hkdf_of_the_secret_too() -> None:
    context = info(b"label", bytes([SIGNED]), b"gaesess")
    assert derived(KEY, OLD_KEY).label == hkdf(KEY.encode(), b"gaesess/2", context, 32)


def test_each_purpose_and_each_cookie_name_has_a_key_of_its_own() -> None:
    rings = [derived(KEY, cookie_name=name) for name in ("a", "b", "cookie", "record", "a\0")]
    assert len({current(keys).inner for ring in rings for keys in (ring.cookie, ring.record, ring.user)}) == 15


def test_str_and_bytes_are_the_same_key() -> None:
    text = "schlüssel" * 4
    assert derived(text) == derived(text.encode())


@each_purpose
@both_suites
def test_the_first_key_seals_and_all_unseal(encrypt: bool, purpose: str) -> None:
    before, now = (getattr(derived(*keys, encrypt=encrypt), purpose) for keys in [(OLD_KEY,), (KEY, OLD_KEY)])
    assert [*now] == [current(now).id, current(before).id]
    assert current(now) == current(getattr(derived(KEY, encrypt=encrypt), purpose))
    assert sealed(now)[1] == current(now).id
    assert _impl.unseal(now, sealed(now), NOW) == _impl.unseal(now, sealed(before), NOW) == TOKEN


@both_suites
def test_a_retired_key_verifies_until_its_deadline(encrypt: bool) -> None:
    until = datetime.fromtimestamp(NOW, timezone(timedelta(hours=5)))
    keys = derived(KEY, (OLD_KEY, until), encrypt=encrypt).cookie
    old = sealed(derived(OLD_KEY, encrypt=encrypt).cookie)
    assert _impl.unseal(keys, old, NOW - 1) == TOKEN
    with pytest.raises(UnknownKey):
        _impl.unseal(keys, old, NOW)


@pytest.mark.parametrize(
    "key", [(OLD_KEY, datetime(2027, 1, 1)), (OLD_KEY, NOW), (OLD_KEY,), (OLD_KEY, datetime.max, 1)]
)
def test_a_retired_key_with_a_time_that_is_none_is_refused_without_quoting_it(key: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^retired_keys\[0\] must be a key, or a pair of a key and the datetime, with a time"
    ) as caught:
        derived(KEY, key)
    assert OLD_KEY not in str(caught.value)


@pytest.mark.parametrize("keys", [OLD_KEY, OLD_KEY.encode(), None, 1])
def test_retired_keys_that_are_no_list_are_refused_without_quoting_them(keys: Any) -> None:
    with pytest.raises(ValueError, match=r"^retired_keys must be a list of keys, got ") as caught:
        derive(KEY, keys, cookie_name="gaesess")
    assert OLD_KEY not in str(caught.value)


@both_suites
def test_a_key_that_is_not_derived_any_more_unseals_nothing(encrypt: bool) -> None:
    with pytest.raises(UnknownKey):
        _impl.unseal(derived(KEY, encrypt=encrypt).cookie, sealed(derived(OLD_KEY, encrypt=encrypt).cookie), NOW)


@both_suites
def test_a_token_of_one_purpose_is_not_believed_for_the_other(encrypt: bool) -> None:
    keys = derived(KEY, encrypt=encrypt)
    for other in (keys.record, keys.user):
        with pytest.raises(BadSignature):
            _impl.unseal(other, sealed(keys.cookie), NOW)


@both_suites
def test_a_token_of_one_suite_is_not_read_as_one_of_the_other(encrypt: bool) -> None:
    other = sealed(derived(KEY, encrypt=not encrypt).cookie)
    with pytest.raises(MalformedToken, match="of an unknown suite"):
        _impl.unseal(derived(KEY, encrypt=encrypt).cookie, other, NOW)


def test_where_nothing_can_encrypt_the_error_says_what_it_needs() -> None:
    """The compiled core may have a libcrypto."""
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        f"from gaesess.keys import derive; derive({KEY!r}, cookie_name='gaesess', encrypt=True)"
    )
    environ = os.environ | {"GAESESS_PURE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    message = done.stderr.splitlines()[-1]
    assert re.fullmatch(r"ValueError: encrypt=True needs cryptography.*: pip install 'gaesess\[encrypt\]'", message)


def test_the_key_id_is_the_same_whatever_the_purpose_and_the_cookie_name() -> None:
    rings = derived(KEY), derived(KEY, cookie_name="other")
    assert len({key_id for ring in rings for keys in (ring.cookie, ring.record, ring.user) for key_id in keys}) == 1


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
        (f"{KEY}\n", "begins or ends with white space, such as a file's newline: strip it"),
        (f" {KEY}".encode(), "begins or ends with white space"),
    ],
)
def test_a_bad_key_is_refused_naming_the_setting_and_the_remedy_but_not_the_key(key: Any, what: str) -> None:
    for setting, keys in (("cookie_key", [key]), (r"retired_keys\[1\]", [KEY, OLD_KEY, key])):
        with pytest.raises(ValueError, match=f"^{setting} {what}.*`python -m gaesess genkey`") as caught:
            derived(*keys)
        assert not key or str(key) not in str(caught.value)


def test_thirty_two_bytes_are_enough() -> None:
    keys = derived(bytes(range(32))).cookie
    assert _impl.unseal(keys, sealed(keys), NOW) == TOKEN


def test_a_key_of_surrogates_is_not_quoted_in_an_error_of_encoding() -> None:
    assert derived("\udcff\udc80" * 6) != derived("\udcff\udc81" * 6)


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^two of cookie_key and retired_keys are the same, or .*`python -m gaesess"):
        derived(KEY, OLD_KEY, KEY)


def test_two_keys_with_one_id_are_refused_without_quoting_them() -> None:
    ids: dict[int, bytes] = {}
    for number in range(1, 300):  # more keys than ids
        key = number.to_bytes(32, "big")
        (key_id,) = derived(key).cookie
        if key_id in ids:
            break
        ids[key_id] = key
    with pytest.raises(ValueError, match="share a one-byte id") as caught:
        derived(key, ids[key_id])
    assert repr(key) not in str(caught.value)


@both_suites
def test_representations_show_no_key(encrypt: bool) -> None:
    keys = derived(KEY, OLD_KEY, encrypt=encrypt)
    shown = [repr(each) for each in (keys, keys.cookie, current(keys.cookie))]
    assert re.fullmatch(r"<Keys \d+, \d+>", shown[0])
    assert re.fullmatch(r"<Key \d+>", shown[-1])
    assert not any(KEY in text or "\\x" in text for text in shown)


def test_generated_keys_are_32_random_bytes() -> None:
    first, second = generate_key(), generate_key()
    assert first != second
    assert len(base64.urlsafe_b64decode(first + "=")) == 32


def test_a_generated_key_is_taken() -> None:
    keys = derived(generate_key()).cookie
    assert _impl.unseal(keys, sealed(keys), NOW) == TOKEN
