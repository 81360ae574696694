"""What the suites share: `pytest bench/` has readable groups, one row for each thing compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.stores import Opened, open_stores

OPTIONS = {"max_time": 0.5, "time_unit": "us", "sort": "median", "columns": ["median", "iqr", "ops", "rounds"]}


def pytest_configure(config: pytest.Config) -> None:
    """Let each row take a fraction of pytest-benchmark's second, and show less; what the command line says stands."""
    for name, value in OPTIONS.items():
        argument = f"--benchmark-{name.replace('_', '-')}"
        if not any(given.startswith(argument) for given in config.invocation_params.args):
            setattr(config.option, f"benchmark_{name}", value)


@pytest.fixture(scope="session")
def opened() -> Iterator[Opened]:
    with open_stores() as stores:
        yield stores
