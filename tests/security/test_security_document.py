"""security.md and guarantees.md in docs/explanation, and SECURITY.md: what they name is there, and nothing is open."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "explanation"
DOCUMENTS = [PAGES / "security.md", PAGES / "guarantees.md", ROOT / "SECURITY.md"]
TEXTS = {document: document.read_text(encoding="utf-8") for document in DOCUMENTS}
NAMED = sorted({match for text in TEXTS.values() for match in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?", text)})

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)


@cache
def functions_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=["::".join(test) for test in NAMED])
def test_a_test_that_is_named_exists(path, name):
    assert (ROOT / path).is_file()
    assert not name or name in functions_of(ROOT / path)


def test_every_test_of_an_attack_is_named():
    tests = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for name in functions_of(path)
    }
    named_as_a_whole = {path for path, name in NAMED if not name}
    assert {test for test in tests - set(NAMED) if test[0] not in named_as_a_whole} == set()


@every_document
def test_nothing_is_left_to_do(document):
    assert [line for line in TEXTS[document].splitlines() if "TODO" in line] == []


def headings(path):
    """Return the fragments by which GitHub links to the headings of a document."""
    lines = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@every_document
def test_what_it_links_to_in_this_repository_is_there(document):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", TEXTS[document])
    for path, fragment in links:
        target = document.parent / path if path else document
        assert target.exists()
        assert not fragment or fragment in headings(target)
