"""seal and unseal: the token's bytes, and the order in which what is wrong with it is found."""

from __future__ import annotations

import hmac

import pytest
from core_samples import EXPIRES, KEY, KEYS, NOW, OTHER_KEY, POINTER, SECRET, SID, TOKEN, changed
from hypothesis import given, settings
from hypothesis import strategies as st

from gaesess import _impl
from gaesess._core import ENCRYPTED, SIGNED, Token
from gaesess.errors import BadSignature, ExpiredToken, InvalidToken, MalformedToken, UnknownKey

U32 = 0xFFFFFFFF

# Written out by hand from the table in the docstring of gaesess._core.
MESSAGE = bytes.fromhex(
    "21"  # suite
    "07"  # key id
    "0c"  # BROWSER | SECURE
    "03"  # carried by three cookies
    "6b49d200"  # expires 1800000000
    "6b49aaf0"  # issued 1799990000
    "01020304"  # revision
    "00112233445566778899aabbccddeeff"  # session id
    "68656c6c6f"  # payload "hello"
)
TAG = bytes.fromhex("d7faff7c8df81949b21f464b8826085ecd07582220f130507a63a44dd604b70d")

tokens = st.builds(
    Token,
    flags=st.sampled_from([0x00, 0x04, 0x08, 0x0C, 0x10, 0x1C]),
    expires=st.integers(1, U32),
    issued=st.integers(0, U32),
    revision=st.integers(0, U32),
    sid=st.binary(min_size=16, max_size=16),
    payload=st.binary(min_size=1, max_size=300),
)
pointers = tokens.map(lambda token: token._replace(flags=token.flags | 0x01, payload=b""))
secrets = st.binary(max_size=64)


def sealed(message: bytes, secret: bytes = SECRET) -> bytes:
    """Put a genuine tag behind bytes that `seal` would not write."""
    return message + hmac.digest(secret, message, "sha256")


def test_the_bytes_are_those_of_the_table():
    assert _impl.seal(KEY, TOKEN, 3) == MESSAGE + TAG


def test_the_tag_is_hmac_sha256_of_all_before_it():
    assert hmac.digest(SECRET, MESSAGE, "sha256") == TAG


def test_the_known_bytes_say_what_the_table_says():
    assert _impl.unseal(KEYS, MESSAGE + TAG, NOW) == TOKEN


def test_a_pointer_is_a_header_and_a_tag():
    message = bytes.fromhex("21070101ffffffff000000000000000100112233445566778899aabbccddeeff")
    assert _impl.seal(KEY, POINTER, 1) == sealed(message)


@settings(deadline=None)
@given(tokens | pointers, st.integers(1, 20), st.integers(0, 255), secrets, st.integers(0, U32))
def test_what_is_sealed_comes_back_until_it_expires(token, chunks, key_id, secret, now):
    key = _impl.prepare_key(SIGNED, key_id, secret)
    data = _impl.seal(key, token, chunks)
    if now < token.expires:
        assert _impl.unseal({key_id: key}, data, now) == token
    else:
        with pytest.raises(ExpiredToken):
            _impl.unseal({key_id: key}, data, now)


@settings(deadline=None)
@given(tokens | pointers, secrets)
def test_the_tag_agrees_with_the_standard_library_for_any_key(token, secret):
    data = _impl.seal(_impl.prepare_key(SIGNED, 1, secret), token, 1)
    assert data == sealed(data[:-32], secret)


def expected_of_a_flip(byte: int) -> type[InvalidToken] | tuple[type[InvalidToken], ...]:
    shape_is_checked_first = {0: MalformedToken, 1: UnknownKey, 2: (MalformedToken, BadSignature)}
    return shape_is_checked_first.get(byte, (MalformedToken, BadSignature) if byte == 3 else BadSignature)


@pytest.mark.parametrize("token", [TOKEN, POINTER], ids=["inline", "pointer"])
def test_a_flipped_bit_at_any_position_is_refused(token):
    data = _impl.seal(KEY, token, 3)
    for bit in range(8 * len(data)):
        byte, mask = bit // 8, 1 << bit % 8
        damaged = changed(data, byte, bytes([data[byte] ^ mask]))
        with pytest.raises(expected_of_a_flip(byte)):
            _impl.unseal(KEYS, damaged, NOW)


@pytest.mark.parametrize("token", [TOKEN, POINTER], ids=["inline", "pointer"])
def test_a_changed_character_at_any_position_of_its_text_is_refused(token):
    text = _impl.encode(_impl.seal(KEY, token, 3))
    for position, right in enumerate(text):
        for bit in range(8):
            damaged = text[:position] + chr(ord(right) ^ (1 << bit)) + text[position + 1 :]
            with pytest.raises(InvalidToken):
                _impl.unseal(KEYS, _impl.decode(damaged), NOW)


@pytest.mark.parametrize("token", [TOKEN, POINTER], ids=["inline", "pointer"])
def test_a_cut_at_any_length_is_refused(token):
    data = _impl.seal(KEY, token, 1)
    for size in range(len(data)):
        with pytest.raises(MalformedToken if size < 64 else BadSignature):
            _impl.unseal(KEYS, data[:size], NOW)


@pytest.mark.parametrize("more", [b"\0", b"x", TAG, MESSAGE + TAG])
def test_an_extension_is_refused(more):
    with pytest.raises(BadSignature):
        _impl.unseal(KEYS, MESSAGE + TAG + more, NOW)


def test_a_key_that_is_not_in_the_keyring_is_unknown():
    with pytest.raises(UnknownKey):
        _impl.unseal(KEYS, _impl.seal(OTHER_KEY, TOKEN, 1), NOW)


def test_another_key_under_the_same_id_does_not_fit():
    impostor = _impl.prepare_key(SIGNED, KEY.id, b"another secret")
    with pytest.raises(BadSignature):
        _impl.unseal(KEYS, _impl.seal(impostor, TOKEN, 1), NOW)


def test_only_the_key_that_the_token_names_is_tried():
    renamed = changed(MESSAGE, 1, bytes([OTHER_KEY.id]))
    with pytest.raises(BadSignature):
        _impl.unseal({KEY.id: KEY, OTHER_KEY.id: OTHER_KEY}, sealed(renamed, SECRET), NOW)


@pytest.mark.parametrize("suite", [SIGNED, ENCRYPTED])
def test_a_key_verifies_until_its_deadline(suite):
    keys = {7: _impl.prepare_key(suite, 7, SECRET, float(NOW))}
    data = _impl.seal(keys[7], TOKEN, 1)
    assert _impl.unseal(keys, data, NOW - 1) == TOKEN
    with pytest.raises(UnknownKey):
        _impl.unseal(keys, data, NOW)


@pytest.mark.parametrize("now", [0, EXPIRES - 1])
def test_it_is_valid_until_the_second_before_its_expiry(now):
    assert _impl.unseal(KEYS, MESSAGE + TAG, now) == TOKEN


@pytest.mark.parametrize("now", [EXPIRES, EXPIRES + 1, U32 + 1, 10**30])
def test_it_is_over_from_its_expiry_on(now):
    with pytest.raises(ExpiredToken):
        _impl.unseal(KEYS, MESSAGE + TAG, now)


def test_an_expiry_of_zero_is_no_eternity():
    with pytest.raises(ExpiredToken):
        _impl.unseal(KEYS, sealed(changed(MESSAGE, 4, bytes(4))), 0)


@pytest.mark.parametrize(
    "message",
    [changed(MESSAGE, 2, b"\x0d"), MESSAGE[:32]],
    ids=["a pointer with a payload", "neither a pointer nor a payload"],
)
def test_a_payload_is_there_if_and_only_if_it_is_no_pointer(message):
    with pytest.raises(MalformedToken, match="neither a pointer"):
        _impl.unseal(KEYS, sealed(message), NOW)


STEPS = [
    (0, b"\x22", MalformedToken, "suite"),
    (2, b"\x2d", MalformedToken, "flags"),  # with the pointer bit too: a payload where none may be
    (3, b"\x15", MalformedToken, "number of chunks"),
    (1, b"\x09", UnknownKey, "not in the keyring"),
    (-1, b"\xff", BadSignature, "tag"),
    (4, bytes(4), ExpiredToken, "expired"),
    (2, b"\x0d", MalformedToken, "neither a pointer"),
]


@pytest.mark.parametrize("first", range(len(STEPS)), ids=[step[3] for step in STEPS])
def test_what_is_wrong_in_many_ways_reports_the_earliest_check(first):
    message = MESSAGE
    for offset, value, _, _ in reversed(STEPS[first:]):
        if offset >= 0:
            message = changed(message, offset, value)
    data = sealed(message)
    if any(offset < 0 for offset, *_ in STEPS[first:]):
        data = data[:-1] + bytes([data[-1] ^ 0xFF])
    _, _, error, says = STEPS[first]
    with pytest.raises(error, match=says):
        _impl.unseal(KEYS, data, NOW)


def test_too_short_is_found_before_all_else():
    with pytest.raises(MalformedToken, match="cut short"):
        _impl.unseal(KEYS, b"\x22" * 63, NOW)


@pytest.mark.parametrize("chunks", [0, 21, 255])
def test_no_token_is_carried_by_none_or_by_more_than_twenty(chunks):
    with pytest.raises(MalformedToken, match="number of chunks"):
        _impl.unseal(KEYS, sealed(changed(MESSAGE, 3, bytes([chunks]))), NOW)


@pytest.mark.parametrize("flag", [0x20, 0x40, 0x80])
def test_a_flag_without_a_meaning_is_refused(flag):
    with pytest.raises(MalformedToken, match="unknown flags"):
        _impl.unseal(KEYS, sealed(changed(MESSAGE, 2, bytes([flag]))), NOW)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"flags": 0x20}, "unknown flags: 0x20"),
        ({"flags": 0x100}, "unknown flags: 0x100"),
        ({"flags": -1}, "unknown flags: -0x1"),
        ({"expires": 0}, "expiry is not a Unix time"),
        ({"expires": -1}, "expiry is not a Unix time"),
        ({"expires": U32 + 1}, "expiry is not a Unix time"),
        ({"issued": -1}, "unsigned 32-bit"),
        ({"issued": U32 + 1}, "unsigned 32-bit"),
        ({"revision": -1}, "unsigned 32-bit"),
        ({"revision": 2**64}, "unsigned 32-bit"),
        ({"sid": SID[:15]}, "has 16 bytes, not 15"),
        ({"sid": SID + b"x"}, "has 16 bytes, not 17"),
        ({"payload": b""}, "a pointer has no payload"),
        ({"flags": 0x01}, "a pointer has no payload"),
    ],
)
def test_a_token_that_would_never_come_back_is_not_sealed(change, says):
    with pytest.raises(ValueError, match=says):
        _impl.seal(KEY, TOKEN._replace(**change), 1)


@pytest.mark.parametrize("chunks", [-1, 0, 21, 2**64])
def test_a_number_of_cookies_that_is_never_read_is_not_sealed(chunks):
    with pytest.raises(ValueError, match="carried by 1 to 20 cookies"):
        _impl.seal(KEY, TOKEN, chunks)


@pytest.mark.parametrize("suite", [0, 0x20, 0x23, -1, 2**64])
def test_a_key_of_no_suite_is_refused(suite):
    with pytest.raises(ValueError, match=f"suite must be 0x21 or 0x22, got {suite:#x}"):
        _impl.prepare_key(suite, 1, SECRET)


@pytest.mark.parametrize("key_id", [-1, 256, 2**64])
def test_a_key_id_is_one_byte(key_id):
    with pytest.raises(ValueError, match=f"key_id must be one byte, got {key_id}"):
        _impl.prepare_key(SIGNED, key_id, SECRET)


def test_a_key_of_more_than_a_block_is_refused():
    with pytest.raises(ValueError, match="secret must have at most 64 bytes, got 65"):
        _impl.prepare_key(SIGNED, 1, bytes(65))
