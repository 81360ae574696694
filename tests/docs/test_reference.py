"""The reference is of what there is: every public name, setting, event and error."""

import ast
import inspect
import logging
import re
from pathlib import Path

import gaesess
from gaesess import config, errors, events

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md")}
SOURCE = ROOT / "src" / "gaesess"


def rows(page, columns):
    """Return the rows of the table whose header has these columns, as lists of cells."""
    header = "| " + " | ".join(columns) + " |\n"
    table = PAGES[page].partition(header)[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[1:]]


def code(cell):
    """Return what is in backticks."""
    return re.findall(r"`(.+?)`", cell)


def test_every_public_name_is_in_the_reference():
    documented = set(re.findall(r"(?:auto|py:)\w+:: gaesess\.(\w+)$", "\n".join(PAGES.values()), re.MULTILINE))
    of_errors = {name for name in gaesess.__all__ if hasattr(errors, name)}  # on their page all of the module is
    assert documented | of_errors >= set(gaesess.__all__)


def settings():
    """Return the rows of the table of settings: name, default and description."""
    return [
        (code(name)[0], default, doc)
        for name, _, default, doc in rows("settings", ["setting", "type", "default", "what it does"])
    ]


def test_every_setting_is_there_with_its_default():
    defaults = {name: default for name, default, _ in settings()}
    assert defaults.pop("cookie_key") == "required"
    assert {name: eval(code(default)[0], vars(config)) for name, default in defaults.items()} == {
        name: setting.default for name, setting in config.SETTINGS.items() if name != "cookie_key"
    }


def test_every_setting_says_what_it_does():
    assert [(name, doc) for name, _, doc in settings()] == [
        (name, setting.doc) for name, setting in config.SETTINGS.items()
    ]


def test_every_setting_has_a_section():
    assert re.findall(r"^### `(\w+)`$", PAGES["settings"], re.MULTILINE) == list(config.SETTINGS)


def test_every_event_is_there_with_its_level():
    table = rows("events", ["name", "level", "what happened", "fields"])
    assert [(code(name)[0], getattr(logging, level)) for name, level, _, _ in table] == list(events.LEVELS.items())


def test_every_field_of_an_event_is_explained():
    nodes = [node for path in SOURCE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    emits = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("emit")]
    given = {keyword.arg for call in emits for keyword in call.keywords if keyword.arg}
    assert {code(field)[0] for field, _, _ in rows("events", ["field", "type", "what it is"])} == given
    table = rows("events", ["name", "level", "what happened", "fields"])
    assert {field for *_, fields in table for field in code(fields)} == given


def test_every_error_is_in_the_tree():
    tree = PAGES["errors"].partition("```text\n")[2].partition("```")[0]
    assert set(re.findall(r"^[│├└─ ]*(\w+)", tree, re.MULTILINE)) == {
        name for name, kind in vars(errors).items() if inspect.isclass(kind)
    }
