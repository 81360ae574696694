"""Suite 0x22: what only the application can read, and nobody can change."""

import hmac

import pytest
from core_samples import CIPHER_KEY, CIPHER_KEYS, KEY, SECRET, changed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gaesess import _impl
from gaesess._core import POINTER, ZLIB, Token
from gaesess.errors import BadSignature, ExpiredToken, InvalidToken, MalformedToken, UnknownKey

NOW = 1_900_000_000
TOKEN = Token(0, NOW + 60, NOW, 3, bytes(range(16)), b"the payload")
EMPTY = TOKEN._replace(flags=POINTER, payload=b"")

tokens = st.builds(
    Token,
    st.sampled_from([0, ZLIB]),
    st.integers(NOW + 1, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=1, max_size=200),
)


@given(tokens | tokens.map(lambda token: token._replace(flags=POINTER, payload=b"")), st.integers(1, 20))
def test_what_is_sealed_comes_back(token, chunks):
    assert _impl.unseal(CIPHER_KEYS, _impl.seal(CIPHER_KEY, token, chunks), NOW) == token


@given(tokens)
def test_it_is_aes_256_gcm_under_a_key_made_of_secret_header_and_salt(token):
    sealed = _impl.seal(CIPHER_KEY, token, 1)
    start = sealed[:48]
    cipher = AESGCM(hmac.digest(SECRET, start, "sha256"))
    assert cipher.decrypt(bytes(12), sealed[48:], start) == token.payload


@given(tokens)
def test_it_is_as_long_as_a_signed_one_and_has_the_same_header_but_for_the_suite(token):
    sealed, signed = _impl.seal(CIPHER_KEY, token, 2), _impl.seal(KEY, token, 2)
    assert (len(sealed), sealed[1:32]) == (len(signed), signed[1:32])


def test_nothing_of_the_payload_is_to_be_seen():
    assert b"the payload" not in _impl.seal(CIPHER_KEY, TOKEN, 1)


def test_the_same_token_is_never_sealed_the_same_way_twice():
    sealed = [_impl.seal(CIPHER_KEY, TOKEN, 1) for _ in range(50)]
    assert len({data[32:48] for data in sealed}) == len({data[48:] for data in sealed}) == 50


@pytest.mark.parametrize("token", [TOKEN, EMPTY], ids=["inline", "pointer"])
def test_a_flipped_bit_at_any_position_is_refused(token):
    sealed = _impl.seal(CIPHER_KEY, token, 3)
    for bit in range(8 * len(sealed)):
        damaged = changed(sealed, bit // 8, bytes([sealed[bit // 8] ^ 1 << bit % 8]))
        with pytest.raises((BadSignature, MalformedToken, UnknownKey)):
            _impl.unseal(CIPHER_KEYS, damaged, NOW)


def test_a_cut_at_any_length_is_refused():
    sealed = _impl.seal(CIPHER_KEY, TOKEN, 1)
    for size in range(len(sealed)):
        with pytest.raises(InvalidToken):
            _impl.unseal(CIPHER_KEYS, sealed[:size], NOW)


def test_a_token_that_is_only_signed_is_refused_before_any_key_is_looked_for():
    signed = _impl.seal(KEY, TOKEN, 1)
    with pytest.raises(MalformedToken, match="unknown suite"):
        _impl.unseal({8: CIPHER_KEY}, signed, NOW)


def test_an_expired_token_is_told_from_a_forged_one():
    with pytest.raises(ExpiredToken):
        _impl.unseal(CIPHER_KEYS, _impl.seal(CIPHER_KEY, TOKEN, 1), TOKEN.expires)


def test_a_genuine_token_without_a_payload_that_is_no_pointer_is_refused():
    start = changed(_impl.seal(CIPHER_KEY, TOKEN, 1)[:48], 2, b"\x00")
    forged = start + AESGCM(hmac.digest(SECRET, start, "sha256")).encrypt(bytes(12), b"", start)
    with pytest.raises(MalformedToken, match="neither a pointer"):
        _impl.unseal(CIPHER_KEYS, forged, NOW)


@pytest.mark.parametrize("change", [{"flags": 0x20}, {"expires": 0}, {"sid": b""}, {"payload": b""}, {"issued": -1}])
def test_a_token_that_would_never_come_back_is_not_sealed(change):
    with pytest.raises(ValueError, match=r"."):
        _impl.seal(CIPHER_KEY, TOKEN._replace(**change), 1)


def test_cookies_are_read_as_those_that_are_signed():
    text = _impl.encode(_impl.seal(CIPHER_KEY, TOKEN._replace(payload=bytes(200)), 2))
    header = "; ".join(["a=b", *_impl.write_cookies("s", text, "", 200)])
    assert _impl.unseal_cookies(CIPHER_KEYS, header, "s", NOW) == (TOKEN._replace(payload=bytes(200)), 2, 7)
    assert _impl.unseal_cookies(CIPHER_KEYS, "a=b", "s", NOW) is None
