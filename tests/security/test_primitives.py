"""The cryptography is what it says: vectors of others, a second implementation, and a look at the source."""

import ast
import hmac
import os
import re
from pathlib import Path

import pytest
from browser import with_session
from core.core_samples import EXPIRES, TOKEN
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from gaesess import InvalidToken, SessionManager, _core, _impl, generate_key
from gaesess._core import ENCRYPTED, SIGNED
from gaesess.keys import derive

SOURCE = Path(__file__).parents[2] / "src" / "gaesess"
MODULES = sorted(SOURCE.rglob("*.py"))
KEY = b"a key of the application, of 32 bytes and more"

# RFC 4231 section 4: key, data, HMAC-SHA-256. Its cases 6 and 7 have keys of more than a block, which are refused here.
RFC_4231 = {
    1: (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    2: (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    3: (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    4: (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    5: (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),  # truncated to 128 bits
}
vectors = pytest.mark.parametrize(("key", "data", "mac"), RFC_4231.values(), ids=RFC_4231)


@vectors
def test_the_mac_is_that_of_rfc_4231(key, data, mac):
    assert _core.mac(_core.prepare_key(SIGNED, 0, key), data).hex().startswith(mac)


@vectors
def test_the_tag_of_a_token_is_that_mac_of_all_before_it(key, data, mac):
    """A token begins with its header, so that no vector is a token: the compiled core is held to the other one."""
    sealed = _impl.seal(_impl.prepare_key(SIGNED, 0, key), TOKEN._replace(payload=data), 1)
    assert sealed[-32:] == _core.mac(_core.prepare_key(SIGNED, 0, key), sealed[:-32])


def test_the_hkdf_that_the_keys_are_compared_with_is_that_of_rfc_5869():
    """Its test case 2 (appendix A)."""
    derived = HKDF(SHA256(), 82, bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100))).derive(bytes(range(0x50)))
    assert derived.hex() == (
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
    )


@pytest.mark.parametrize("purpose", ["cookie", "record", "user"])
@pytest.mark.parametrize(("encrypt", "suite"), [(False, SIGNED), (True, ENCRYPTED)], ids=["signed", "encrypted"])
def test_the_keys_are_those_that_another_implementation_of_hkdf_derives(purpose, encrypt, suite):
    def info(*parts):
        return b"".join(len(part).to_bytes(2, "big") + part for part in parts)

    def expand(*parts):
        return HKDFExpand(SHA256(), 32, info(*parts)).derive(hmac.digest(b"gaesess/2", KEY, "sha256"))

    suite_byte = bytes([suite])
    key_id = expand(b"key id", suite_byte, b"")[0]
    expected = _impl.prepare_key(suite, key_id, expand(purpose.encode(), suite_byte, b"gaesess"))
    assert getattr(derive(KEY, cookie_name="gaesess", encrypt=encrypt), purpose) == {key_id: expected}
    both_steps = HKDF(SHA256(), 32, b"gaesess/2", info(purpose.encode(), suite_byte, b"gaesess")).derive(KEY)
    assert _impl.prepare_key(suite, key_id, both_steps) == expected


# -- session ids


@pytest.mark.parametrize("give", [lambda session: session.start(), lambda session: session.regenerate_id()])
def test_a_session_id_is_16_bytes_from_the_operating_system(monkeypatch, give):
    """At least 128 bits of a CSPRNG (OWASP ASVS 5, 7.2.3)."""
    manager = SessionManager(KEY)
    session = manager.open(with_session(manager, user="ada").header())
    session.ensure_data_loaded()
    asked = []

    def urandom(size):
        asked.append(size)
        return bytes(range(size))

    monkeypatch.setattr(os, "urandom", urandom)
    give(session)
    monkeypatch.undo()
    assert asked == [16]
    assert session.sid[11:] == bytes(range(16)).hex()


def test_no_two_sessions_have_one_id():
    manager = SessionManager(KEY)
    assert len({with_session(manager, n=1).send().sid for _ in range(1000)}) == 1000


def test_no_two_generated_keys_are_the_same():
    assert len({generate_key() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("encrypt", [False, True], ids=["signed", "encrypted"])
def test_a_tag_is_compared_as_a_whole(encrypt):
    """Not only its beginning, nor only as much as there is of it."""
    keys = derive(KEY, cookie_name="gaesess", encrypt=encrypt).cookie
    (key,) = keys.values()
    sealed = _impl.seal(key, TOKEN, 1)
    assert _impl.unseal(keys, sealed, EXPIRES - 1) == TOKEN
    tag_bytes = 16 if encrypt else 32
    for position in range(len(sealed) - tag_bytes, len(sealed)):
        forged = bytearray(sealed)
        forged[position] ^= 1
        with pytest.raises(InvalidToken):
            _impl.unseal(keys, bytes(forged), EXPIRES - 1)


# -- the source

SECRET_NAMES = re.compile(r"(^|_)(tag|mac|digest|signature|hmac)s?(_|$)", re.IGNORECASE)
RUNS_CODE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "yaml", "jsonpickle"}
CALLS_CODE = {"eval", "exec", "compile", "__import__"}


def name_of(node):
    """Return what a comparison would name a value by, or ""."""
    while isinstance(node, (ast.Subscript, ast.Call)):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def careless_comparisons(source):
    """Return the lines on which == or != compares a tag, so that the time it takes tells how much of it was right."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(sign, (ast.Eq, ast.NotEq)) for sign in node.ops):
            names = [name_of(side) for side in (node.left, *node.comparators)]
            if any(SECRET_NAMES.search(name) and not name.isupper() for name in names):
                found.append(node.lineno)
    return found


def ways_to_run_code(source):
    """Return what a source imports or calls that makes code of data."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names} & RUNS_CODE
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0]} & RUNS_CODE
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found |= {node.func.id} & CALLS_CODE
    return found


@pytest.mark.parametrize(
    "careless", ["tag == x", "if x != self._mac(y): pass", "x == y.signature[:9]", "x == hmac_of(y)"]
)
def test_the_lint_sees_a_careless_comparison(careless):
    assert careless_comparisons(careless) == [1]


@pytest.mark.parametrize("careful", ["compare_digest(tag, x)", "len(data) == TAG_BYTES", "stage == 1", "macro != 2"])
def test_the_lint_passes_a_careful_one(careful):
    assert careless_comparisons(careful) == []


@pytest.mark.parametrize(
    "code", ["import pickle", "from yaml import load", "import marshal as m", "eval(x)", "exec(x)"]
)
def test_the_lint_sees_what_runs_code(code):
    assert ways_to_run_code(code)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_tags_are_compared_in_constant_time_and_data_are_never_code(module):
    """OWASP ASVS 5, 11.2.4."""
    source = module.read_text("utf-8")
    assert careless_comparisons(source) == []
    assert ways_to_run_code(source) == set()


def test_the_compiled_core_compares_tags_in_constant_time():
    source = (SOURCE / "_speedups.pyx").read_text("utf-8")
    compared = re.findall(r"^.*\bmemcmp\(.*$", source, re.MULTILINE)
    assert {line.split("memcmp(")[1].split(",")[0] for line in compared} == {
        "PyUnicode_DATA(<object> known)",  # keys of session data
        "found",  # names of cookies
        "b.data",  # session data as they were, and as they are
        "PyBytes_AS_STRING(name)",  # names of headers
    }
    assert re.findall(r"\b(?:tag|mac|digest)\b\s*[=!]=|[=!]=\s*\b(?:tag|mac|digest)\b", source) == []
    assert len(re.findall(r"\bconstant_time_compare\(one, other, TAG_BYTES\)|\bcompare_digest\(one", source)) == 2
