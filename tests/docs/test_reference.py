"""The tables of the reference: they name what there is, and nothing else."""

import logging
import re
from pathlib import Path

from gaesess.events import LEVELS
from gaesess.settings import NAMES

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(page, columns):
    """Return the first cells of the rows of a page's tables that begin with a name in backquotes."""
    lines = (REFERENCE / page).read_text(encoding="utf-8").splitlines()
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if re.match(r"\| `\w+` \|", line))
    return [tuple(row[:columns]) for row in cells]


def test_every_event_is_listed_with_its_level():
    levels = {name: logging.getLevelName(level).lower() for name, level in LEVELS.items()}
    assert dict(rows("events.md", 2)) == {f"`{name}`": level for name, level in levels.items()}


def test_every_setting_is_listed():
    assert sorted(rows("settings.md", 1)) == sorted((f"`{name}`",) for name in NAMES)
