"""docs/explanation/architecture.md: the files and functions it names are those there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "gaesess"
TEXT = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")

FILES = set(re.findall(r"`([\w/]+\.(?:py|pyx|h))`", TEXT))
ROWS = re.findall(r"^\| `([\w/]+\.py)` \| (`.+?) \|", TEXT, re.MULTILINE)
IN_PROSE = [(file, name) for name, file in re.findall(r"`([\w.]+)`\sin\s`([\w/]+\.py)`", TEXT)]
NAMED = [(file, name) for file, names in ROWS for name in re.findall(r"`([\w.]+)`", names)] + IN_PROSE


def names_in(file):
    """Return the functions and classes of a file, and of its classes the methods as `Class.method`."""
    names = set()
    for node in ast.parse((SOURCE / file).read_text(encoding="utf-8")).body:
        name = getattr(node, "name", None)
        names |= {name, *(f"{name}.{inner.name}" for inner in getattr(node, "body", ()) if hasattr(inner, "name"))}
    return names


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_that_is_named_exists(file):
    assert (SOURCE / file).is_file() or (ROOT / file).is_file()


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{file}::{name}" for file, name in NAMED])
def test_a_function_that_is_named_exists(file, name):
    assert name in names_in(file)


def test_every_module_has_its_noun():
    table = TEXT.partition("| module | its noun |\n")[2].partition("\n\n")[0]
    told = {name for row in table.splitlines() for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    modules = {path.name for path in SOURCE.glob("[!_]*.py")}
    assert told == packages | modules | {"_core.py", "_speedups.pyx", "_impl.py"}


def test_every_store_has_its_engine():
    table = TEXT.partition("| store | engine | helpers |\n")[2].partition("\n\n")[0]
    told = set(re.findall(r"`stores/(\w+\.py)`", table))
    assert told == {path.name for path in (SOURCE / "stores").glob("*.py")} - {"__init__.py", "base.py"}
