"""The log of the package, under the name "gaesess"."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


def logger() -> Logger:
    """Return the logger. Not made at import, of which `logging` would be a fifth of the time."""
    from logging import getLogger

    return getLogger("gaesess")
