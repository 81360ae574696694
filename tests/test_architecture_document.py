"""docs/explanation/architecture.md: the files, functions and classes it names exist, and a request takes its steps."""

import ast
import re
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

from gaesess import IMPLEMENTATION, SessionMiddleware, generate_key
from gaesess.stores.memory import MemoryStore

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "gaesess"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
PICTURES = "".join(
    (PAGE.parent / path).read_text(encoding="utf-8") for path in re.findall(r"\]\((\S+\.svg)\)", TEXT.replace("\n", ""))
)

FILES = set(re.findall(r"\b(\w[\w/]*\.(?:pyx?|h))\b", TEXT + PICTURES))
ROWS = re.findall(r"^\|(?: \d* \|)? `([\w/]+\.py)` \| (`.+?) \|", TEXT, re.MULTILINE)
IN_PROSE = [(file, name) for name, file in re.findall(r"`([\w.]+)`\sin\s`([\w/]+\.py)`", TEXT)]
IN_PICTURES = re.findall(r'([\w/]+\.py)(?:  |</text>\s*<text class="d"[^>]*>)([\w.]+)', PICTURES)
NAMED = sorted(
    {(file, name) for file, names in ROWS for name in re.findall(r"`([\w.]+)`", names)} | {*IN_PROSE, *IN_PICTURES}
)


def names_in(file):
    """Return the functions and classes of a file, and of its classes the methods as `Class.method`."""
    names = set()
    for node in ast.parse((SOURCE / file).read_text(encoding="utf-8")).body:
        name = getattr(node, "name", None)
        names |= {name, *(f"{name}.{inner.name}" for inner in getattr(node, "body", ()) if hasattr(inner, "name"))}
    return names


def steps(heading):
    """Return the steps in the table under a heading: their numbers, and the code of their functions."""
    table = TEXT.partition(f" {heading}\n")[2].partition("\n#")[0]
    return [
        (number, code_of(file, name))
        for number, file, name in re.findall(r"^\| (\d?) ?\| `([\w/]+\.py)` \| `([\w.]+)` \|", table, re.MULTILINE)
    ]


def code_of(file, name):
    module = import_module(f"gaesess.{file.removesuffix('.py').replace('/', '.')}")
    return reduce(getattr, name.split("."), module).__code__


def walked(app, cookie):
    """Return the code of the Python functions that a request runs, in order, and the Set-Cookie header."""
    codes, headers = [], []
    environ = {"REQUEST_METHOD": "GET", **({"HTTP_COOKIE": cookie} if cookie else {})}
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: codes.append(frame.f_code) if event == "call" else None)
    try:
        app(environ, lambda status, sent, exc_info=None: headers.extend(sent))
    finally:
        sys.setprofile(before)
    return codes, dict(headers)["Set-Cookie"].partition(";")[0]


def counter(**settings):
    """Return an application that counts in its session."""

    def app(environ, start_response):
        session = environ["gaesess.session"]
        session["n"] = session.get("n", 0) + 1
        start_response("200 OK", [])
        return [b"counted"]

    return SessionMiddleware(app, cookie_key=generate_key(), **settings)


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_that_is_named_exists(file):
    assert (SOURCE / file).is_file() or (ROOT / file).is_file()


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{file}::{name}" for file, name in NAMED])
def test_a_function_or_class_that_is_named_exists(file, name):
    assert name in names_in(file)


@pytest.mark.skipif(IMPLEMENTATION != "python", reason="what is compiled cannot be watched")
@pytest.mark.parametrize(
    ("heading", "settings"),
    [
        ("The life of a request", {}),
        ("A session in the store", {"store": MemoryStore(), "cookie_only_threshold": 0}),
    ],
)
def test_a_request_that_changes_its_session_takes_the_steps_in_their_order(heading, settings):
    app = counter(**settings)
    _, cookie = walked(app, None)
    codes, _ = walked(app, cookie)
    taken = [code for _, code in steps(heading)]
    assert len(taken) >= 5
    firsts = [codes.index(code) for code in taken]
    assert firsts == sorted(firsts)


def test_a_request_takes_no_more_than_eight_steps():
    assert [number for number, _ in steps("The life of a request")] == [str(number) for number in range(1, 9)]


def test_every_module_has_its_row():
    table = TEXT.partition("| module | what it is for |\n")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    modules = {path.name for pattern in ("*.py", "*.pyx", "*.h") for path in SOURCE.glob(pattern)}
    assert named == packages | modules - {"__init__.py", "__main__.py"}


def test_every_store_has_its_engine():
    table = TEXT.partition("| store | engine | helpers |\n")[2].partition("\n\n")[0]
    told = set(re.findall(r"`stores/(\w+\.py)`", table))
    assert told == {path.name for path in (SOURCE / "stores").glob("*.py")} - {"__init__.py", "base.py"}
