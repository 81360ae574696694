"""Sessions with a clock and stores that are set by hand, and Django with its settings."""

import sys
from pathlib import Path

from session.conftest import browser, clock, engines, make_manager, manager, store

sys.path.append(str(Path(__file__).parents[1] / "django_app"))  # as pytest does for the tests there

from django_app.conftest import pytest_configure

__all__ = ["browser", "clock", "engines", "make_manager", "manager", "pytest_configure", "store"]
