"""The compiled core and the pure-Python one: the same answers and the same errors, whatever they are given."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core_samples import (
    CIPHER_KEY,
    CIPHER_KEYS,
    KEY,
    KEYS,
    NOW,
    OTHER_KEY,
    POINTER,
    RIGHT,
    SID,
    TOKEN,
    cookie_text,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sameness import same
from value_samples import REFUSED, SAMPLES, damaged_payloads, nested, sessions, values

from gaesess import _core
from gaesess._core import ASGI, ENCRYPTED, SIGNED, WSGI, Key, Token
from gaesess.cookies import cookie_attributes

if importlib.util.find_spec("gaesess._speedups") is None:
    required = os.environ.get("GAESESS_REQUIRE_EXTENSION") == "1" or os.environ.get("CI") == "true"
    if required and os.environ.get("GAESESS_PURE") != "1":
        pytest.fail("the extension gaesess._speedups is not built, and has to be here", pytrace=False)
    pytest.skip("the extension gaesess._speedups is not built: there is one core only", allow_module_level=True)

from gaesess import _speedups

many = settings(deadline=None, max_examples=300)
FUNCTIONS = [
    "decode",
    "dumps",
    "encode",
    "format_sid",
    "loads",
    "parse_sid",
    "prepare_key",
    "read_cookies",
    "seal",
    "unseal",
    "unseal_cookies",
    "with_session",
    "write_cookies",
]
CLASSES = ["CookieConfig", "CookieSession"]  # of which all tests of sessions are, with either core


def outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the result with the types of its parts, or the error's class and, if it is a ValueError, its text."""
    try:
        result = as_pure(function(*arguments))
    except ValueError as error:
        return ("raises", type(error), str(error))
    except Exception as error:
        return ("raises", type(error))
    parts = result if isinstance(result, (tuple, list)) else ()
    return ("returns", result, type(result), [type(part) for part in parts])


def as_pure(result: Any) -> Any:
    return Key(*map(result.__getattribute__, Key._fields)) if isinstance(result, _speedups.Key) else result


def as_compiled(argument: Any) -> Any:
    """Return keys as the compiled core prepares them."""
    if type(argument) is Key and argument in (KEY, OTHER_KEY, CIPHER_KEY):
        return _speedups.Key(*argument)
    if type(argument) is dict:
        return {key_id: as_compiled(key) for key_id, key in argument.items()}
    return argument


def agree(name: str, *arguments: Any) -> tuple[Any, ...]:
    """Compare the twins, and return what they agree on. The compiled one takes the pure one's keys too."""
    pure = outcome(getattr(_core, name), arguments)
    compiled = getattr(_speedups, name)
    assert outcome(compiled, tuple(as_compiled(argument) for argument in arguments)) == pure
    assert outcome(compiled, arguments) == pure
    return pure


def test_the_functions_compared_here_are_all_that_the_selector_takes():
    from gaesess import _impl

    taken = {name for name, value in vars(_impl).items() if callable(value) and name in dir(_speedups)}
    assert taken == {*FUNCTIONS, *CLASSES}


def test_the_functions_of_the_twins_are_not_the_same_ones():
    assert all(getattr(_core, name) is not getattr(_speedups, name) for name in [*FUNCTIONS, *CLASSES])


# Text: our alphabet and what is like it, every width of character that CPython stores, lone surrogates, NUL.
any_text = st.text(st.characters(exclude_categories=()), max_size=40)
near_base64url = st.text(
    st.sampled_from(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" * 3 + "+/=. \n\0\xff\u0100\ud800\U0001f36a"
    ),
    max_size=90,
)
u32 = st.integers(-1, 2**32)
any_int = st.one_of(
    st.integers(-3, 25), u32, st.integers(-(2**70), 2**70), st.sampled_from([2**31, 2**32, 2**63, 2**64])
)
wrong = st.one_of(
    st.none(),
    st.booleans(),
    any_int,
    st.floats(),
    any_text,
    st.binary(max_size=80),
    st.binary(max_size=80).map(bytearray),
    st.binary(max_size=80).map(memoryview),
    st.just(()),
    st.just(TOKEN),
    st.just(tuple(TOKEN)),
    st.just(KEY),
    st.just({}),
    st.just(str),
)

TEXTS = [cookie_text(bytes(size), chunks) for size, chunks in ((1, 1), (30, 1), (30, 2), (31, 3), (32, 20))]


def tagged(key: Key, data: bytes) -> bytes:
    """Return bytes of the size and with the header of a token, under a tag of that key that fits."""
    if key.suite == SIGNED:
        return data[:-32] + _core.mac(key, data[:-32])
    start = data[:48]
    return start + AESGCM(_core.mac(key, start)).encrypt(bytes(12), data[48:-16], start)


SEALED = [
    tagged(key, bytes([key.suite]) + signed[1:-32] + bytes(32))
    for key in (KEY, CIPHER_KEY)
    for signed in (_core.seal(KEY, token, chunks) for token in (TOKEN, POINTER) for chunks in (1, 20))
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A genuine token in which some bytes may have been changed, and which may then have got a new tag."""
    data = bytearray(draw(st.sampled_from(SEALED)))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.one_of(st.integers(0, 7), st.integers(0, len(data) - 1)))] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        data = bytearray(tagged(draw(st.sampled_from([KEY, OTHER_KEY, CIPHER_KEY])), bytes(data)))
    end = draw(st.sampled_from([len(data), len(data) - 1, 64, 63, 32, 0]))
    return bytes(data[:end]) + draw(st.sampled_from([b"", b"", b"\0"]))


seal_tokens = st.builds(
    Token,
    flags=st.one_of(st.sampled_from([0, 1, 4, 8, 13, 0x1D]), any_int),
    expires=u32,
    issued=u32,
    revision=u32,
    sid=st.one_of(st.just(SID), st.binary(min_size=15, max_size=17)),
    payload=st.binary(max_size=80),
)


@many
@given(seal_tokens, st.one_of(st.integers(0, 21), any_int))
def test_seal(token, chunks):
    agree("seal", KEY, token, chunks)


@many
@given(seal_tokens, st.one_of(st.integers(1, 20), any_int))
def test_seal_by_encryption(token, chunks):
    """What one has sealed the other unseals: no two are the same, as the salt is random."""
    pure, *compiled = (
        outcome(core.seal, (key, token, chunks))
        for core, key in [(_core, CIPHER_KEY), (_speedups, CIPHER_KEY), (_speedups, as_compiled(CIPHER_KEY))]
    )
    for other in compiled:
        if pure[0] == "raises":
            assert other == pure
        else:
            assert other[1][:32] == pure[1][:32]
            assert _core.unseal(CIPHER_KEYS, other[1], token.expires - 1) == token
    if pure[0] == "returns":
        assert agree("unseal", CIPHER_KEYS, pure[1], token.expires - 1)[1] == token


@many
@given(damaged(), st.sampled_from([0, NOW, NOW + 1, 2**32, -1, -(10**30), 10**30]))
def test_unseal(data, now):
    agree("unseal", KEYS, data, now)
    agree("unseal", CIPHER_KEYS, data, now)


@many
@given(st.sampled_from(SEALED), st.sampled_from([float(NOW), NOW + 0.5, float("nan"), float("-inf")]))
def test_unseal_with_a_key_of_limited_time(data, until):
    keys = {7: (KEY if data[0] == SIGNED else CIPHER_KEY)._replace(until=until)}
    for now in (NOW - 1, NOW, NOW + 1):
        agree("unseal", keys, data, now)


@many
@given(st.one_of(st.binary(max_size=200), wrong))
def test_encode(data):
    agree("encode", data)


@many
@given(st.one_of(near_base64url, any_text, st.binary(max_size=50).map(_core.encode), wrong))
@example("A")
@example("\u20ac")
@example("\u20ac\u20ac")
@example("\U0001f36a\U0001f36a\U0001f36a")
@example("AA\ud800")
def test_decode(text):
    agree("decode", text)


@pytest.mark.parametrize("prefix", ["", "AAAA"])
def test_decode_of_every_ending_of_two_characters_and_every_character(prefix):
    alphabet = [chr(code) for code in range(0x180)]
    for last in alphabet:
        for ending in [last, f"A{last}", f"{last}A", f"AA{last}", f"A{last}A", f"{last}AA", f"AAA{last}"]:
            agree("decode", prefix + ending)


OUR_NAMES = "gaesess gaesess gaesess= gaesess.1= gaesess.2= gaesess.19= gaesess.20= gaesess.01= gaesess. .1 .x gaes"
OUR_COOKIES = [f"; gaesess={text}" for text in TEXTS]
SEPARATORS = ["; ", "; ", "a=b", *'==;;; \t.,"\n\0\xa0\u20ac\ud800\U0001f36a']
fragments = st.sampled_from([*OUR_NAMES.split(), *SEPARATORS, *TEXTS, *OUR_COOKIES])
headers = st.lists(fragments, max_size=24).map("".join)
names = st.sampled_from(["gaesess"] * 3 + ["gaesess.1", "g", "", " ", ";", "=", "s", "a", "\u20ac", "\ud800"])


@many
@given(headers, names)
@example("", "")
@example("a; gaesess", "")
@example("gaesess", "gaesess")
@example("gaesess.", "gaesess")
@example(";" * 99, ";")
def test_read_cookies(header, name):
    agree("read_cookies", header, name)


@many
@given(headers, names)
@example("", "")
def test_unseal_cookies(header, name):
    agree("unseal_cookies", KEYS, header, name, NOW)


@many
@given(damaged(), st.integers(1, 3), st.sampled_from([NOW, NOW + 1]))
def test_unseal_cookies_of_what_is_sealed(data, chunks, now):
    written = _core.write_cookies("gaesess", _core.encode(data), "", max(8, len(data) * 2 // chunks))
    for keys in (KEYS, CIPHER_KEYS):
        agree("unseal_cookies", keys, "; ".join(["a=b", *written]), "gaesess", now)


@st.composite
def cut_headers(draw: st.DrawFn) -> str:
    """A token in chunks, of which some may be missing, doubled or left over, among other cookies."""
    text, size = draw(st.sampled_from(TEXTS)), draw(st.integers(8, 60))
    pairs = [value for value in _core.write_cookies("gaesess", text, "", size) if draw(st.integers(0, 15))]
    pairs += draw(st.lists(st.sampled_from([*pairs, "a=b", "gaesess.7=x", "gaesess.19=", "Xgaesess=1"]), max_size=2))
    return draw(st.sampled_from(["; ", ";", " ;"])).join(draw(st.permutations(pairs)))


@many
@given(cut_headers())
def test_read_cookies_of_chunks(header):
    agree("read_cookies", header, "gaesess")
    agree("unseal_cookies", KEYS, header, "gaesess", NOW)


@many
@given(st.one_of(any_text, headers, wrong), st.one_of(names, any_text, wrong))
def test_read_cookies_of_anything(header, name):
    agree("read_cookies", header, name)


@many
@given(any_text, st.one_of(any_text, near_base64url), any_text, any_int)
@example("n", "", "", 8)
@example("n", "x" * 200, "", 8)
@example("n", "x" * 9, "", 2**63 - 1)
@example("n", "x" * 9, "", 2**63)
def test_write_cookies(name, text, attributes, chunk_chars):
    agree("write_cookies", name, text, attributes, chunk_chars)


@many
@given(st.one_of(u32, any_int), st.one_of(st.booleans(), wrong), st.binary(min_size=15, max_size=17))
def test_format_sid(expires, secure, sid):
    agree("format_sid", expires, secure, sid)


HEX = "00112233445566778899aabbccddeeff"
sid_texts = st.tuples(
    st.sampled_from(["1800000000", "0000000001", "4294967296", "0000000000", "1_70000000", "+180000000", " 180000000"])
    | st.text("0123456789_+- \uff10\u0660\ud800", min_size=10, max_size=10),
    st.sampled_from(["S", "_", "s", "", "\uff33", "\0"]),
    st.sampled_from([HEX, HEX.upper(), HEX[:-1], HEX + "0", HEX[:16] + " " + HEX[16:]])
    | st.text("0123456789abcdefF \uff10\ud800", min_size=32, max_size=32),
).map("".join)


@many
@given(st.one_of(sid_texts, any_text, wrong))
def test_parse_sid(text):
    agree("parse_sid", text)


# The values of `values.py`, and what is none.


@many
@given(sessions)
def test_dumps(data):
    agree("dumps", data)


@pytest.mark.parametrize("value", [*SAMPLES, *REFUSED, *(nested(list, levels) for levels in (62, 63, 64, 65, 500))])
def test_dumps_of_each_kind_of_value(value):
    """In containers too; and the errors have the same text."""
    for wrapped in (value, [value], (1, value), {"a": {"b": [0, value]}}):
        assert text_of_error(_speedups.dumps, wrapped) == text_of_error(_core.dumps, wrapped)


def text_of_error(dumps: Callable[..., bytes], value: Any) -> bytes | str:
    try:
        return dumps({"key": value})
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error} from {error.__cause__!r}"


def loaded(loads: Callable[..., Any], payload: bytes) -> Any:
    try:
        return loads(payload)
    except _core.MalformedToken as error:
        return str(error)


@many
@given(st.one_of(sessions.map(_core.dumps), damaged_payloads(), st.binary()))
def test_loads(payload):
    assert same(loaded(_speedups.loads, payload), loaded(_core.loads, payload))


@many
@given(values(), st.data())
def test_loads_of_what_is_cut_short_or_too_long(value, data):
    payload = _core.dumps({"key": value})
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    for wrong_size in (cut, payload + b"\xc0"):
        assert loaded(_speedups.loads, wrong_size) == loaded(_core.loads, wrong_size)


header_names = st.sampled_from(["Vary", "vary", "Cache-Control", "cache-control", "Set-Cookie", "X", "Content-Length"])
header_names |= st.sampled_from(
    ["Content-Type", "Edge-Control", "edge-control", "CDN-Cache-Control", "X-Accel-Expires"]
)
header_values = st.sampled_from(
    ["", "*", "Cookie", "accept, cookie", "Accept", "public, no-cache", "no-store", 'private="a, b", max-age=1', "\xe4"]
)
header_fields = st.lists(st.tuples(header_names, header_values), max_size=5)
set_cookies = st.lists(st.sampled_from(["gaesess=x; Path=/", "s=\xe4"]), max_size=2)


@many
@given(header_fields, set_cookies, st.sampled_from([list, tuple, iter]))
def test_with_session(fields, cookies, iterable):
    as_bytes = [[part.encode("latin-1") for part in field] for field in fields]  # lists, as ASGI allows
    for given_fields, names in ((fields, WSGI), (as_bytes, ASGI)):
        pure, compiled = (
            core.with_session(iterable(given_fields), list(cookies), names) for core in (_core, _speedups)
        )
        assert compiled == pure


@pytest.mark.parametrize("pair", [("a",), ("a", "b", "c"), "ab", 5, (b"a", "b")], ids=repr)
def test_with_session_of_what_is_no_pair_of_text(pair):
    agree("with_session", [("Vary", "Cookie"), pair], ["s=x"], WSGI)
    agree("with_session", [(b"vary", b"Cookie"), pair], ["s=x"], ASGI)


class Text(str):
    __slots__ = ()


class Bytes(bytes):
    pass


def looked_up(core: Any, cookie_header: Any, clock: Callable[[], float] = lambda: NOW) -> tuple[Any, ...]:
    """Return what a session finds in a Cookie header."""
    config = core.CookieConfig()
    config.cookie, config.clock = cookie_attributes("gaesess", secure=False), clock
    config.key, config.keys, config.cookie_bytes = KEY, KEYS, 1000
    config.idle_seconds, config.compress, config.asks_store = 0.0, False, False
    session = core.CookieSession(config, cookie_header)
    found = outcome(lambda: list(session), ())
    return found, session._state, session._sid, session._payload, session._taken


COOKIE = f"gaesess={cookie_text(_core.dumps({'key': 'value'}))}"
FIELD = (b"cookie", COOKIE.encode())


@pytest.mark.parametrize(
    "header",
    [
        *[
            COOKIE,
            Text(COOKIE),
            Text(""),
            Text("gaesess=damaged"),
            COOKIE + "; \u20ac=1",
            [],
            [FIELD],
            (FIELD,),
            [list(FIELD)],
        ],
        *[[FIELD, (b"x", b"y"), (b"cookie", b"a=b")], [(Bytes(FIELD[0]), FIELD[1])], [(FIELD[0], Bytes(FIELD[1]))]],
        *[
            [(bytearray(FIELD[0]), FIELD[1])],
            [(FIELD[0], bytearray(FIELD[1]))],
            [(b"cookie", 5)],
            [(b"cookie", [1, 2])],
        ],
        *[[(b"cookie",)], [(b"cookie", b"a", b"b")], [5], 5, b"cookie", [("cookie", COOKIE)], {b"cookie": b"a=b"}],
    ],
    ids=repr,
)
def test_the_cookie_header_of_a_session(header):
    assert looked_up(_speedups, header) == looked_up(_core, header)


@pytest.mark.parametrize("now", [-1.0, -1.5, -2, 0, 2**40, float("nan"), float("inf"), None, "1"])
def test_what_a_clock_says(now):
    assert looked_up(_speedups, COOKIE, lambda: now) == looked_up(_core, COOKIE, lambda: now)


@many
@given(st.sampled_from([SIGNED, ENCRYPTED]), st.integers(-1, 256), st.binary(max_size=65), st.floats())
@example(SIGNED, 7, b"secret", math.nan)  # a key that would never end
def test_prepare_key(suite, key_id, secret, until):
    agree("prepare_key", suite, key_id, secret)
    agree("prepare_key", suite, key_id, secret, until)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_right_for_both(name):
    """Guards the other tests against twins that agree in refusing everything."""
    assert agree(name, *RIGHT[name])[0] == "returns"


@st.composite
def spoilt(draw: st.DrawFn, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of which one or two are replaced by anything."""
    arguments = list(right)
    for index in draw(st.lists(st.integers(0, len(right) - 1), min_size=1, max_size=2)):
        arguments[index] = draw(wrong)
    return tuple(arguments)


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "with_session"])  # which takes any headers
@many
@given(st.data())
def test_arguments_of_wrong_types(name, data):
    agree(name, *data.draw(spoilt(RIGHT[name])))


@many
@given(spoilt(tuple(TOKEN)), st.sampled_from([1, 0]))
@example(TOKEN._replace(expires=1.5), 1)
@example(TOKEN._replace(flags=True, payload=b""), 1)
@example(POINTER._replace(payload=None), 1)
@example(TOKEN._replace(sid=None), 1)
def test_a_token_of_wrong_types(fields, chunks):
    agree("seal", KEY, Token(*fields), chunks)


@pytest.mark.parametrize(
    "hidden",
    [
        "sys.modules['_hashlib'] = None",  # an interpreter without OpenSSL
        "import _hashlib; del _hashlib.__file__",  # one that has it built in
        "import _hashlib; _hashlib.__file__ = '/nowhere'",
    ],
)
def test_where_no_libcrypto_is_found_python_s_own_modules_do_the_same(hidden):
    code = f"""
import sys; {hidden}
from gaesess import _core, _speedups
from core_samples import CIPHER_KEYS, KEYS, NOW, SECRET, TOKEN
assert _speedups.HMAC == "hashlib"
for suite, pure in ((_core.SIGNED, KEYS), (_core.ENCRYPTED, CIPHER_KEYS)):
    keys = {{7: _speedups.prepare_key(suite, 7, SECRET)}}
    sealed = _speedups.seal(keys[7], TOKEN, 1)
    assert _core.unseal(pure, sealed, NOW) == TOKEN
    assert _speedups.unseal(keys, sealed, NOW) == TOKEN
    assert _speedups.unseal(keys, _core.seal(pure[7], TOKEN, 1), NOW) == TOKEN
    try:
        _speedups.unseal(keys, sealed[:-1] + bytes([sealed[-1] ^ 1]), NOW)
    except _core.BadSignature:
        print("refused")
"""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(_core.__file__).parents[1])])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert (done.stdout.split(), done.stderr) == ([b"refused"] * 2, b"")


def test_a_key_of_other_than_whole_blocks_is_refused():
    """Whose contexts would be prepared from what lies behind it in memory."""
    for blocks in [(KEY.inner, b""), (KEY.inner[:-1], KEY.outer), (KEY.inner, None)]:
        with pytest.raises(ValueError, match="64 bytes"):
            _speedups.Key(SIGNED, 7, math.inf, *blocks)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere hashlib may come without a libcrypto that can be found")
def test_the_libcrypto_of_the_interpreter_is_found():
    assert _speedups.HMAC == "libcrypto"
