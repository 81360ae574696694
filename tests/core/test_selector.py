"""_impl: which core a process gets, seen from fresh processes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import gaesess

PACKAGE = Path(gaesess.__file__).parent
WHICH = "from gaesess import _impl; print(_impl.IMPLEMENTATION, _impl.unseal.__module__)"
built = pytest.mark.skipif(not importlib.util.find_spec("gaesess._speedups"), reason="the extension is not built")


def run(code: str, root: Path = PACKAGE.parent, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that finds gaesess in that folder."""
    inherited = {name: value for name, value in os.environ.items() if name != "GAESESS_PURE"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def uncompiled(tmp_path: Path) -> Path:
    """A folder with a gaesess in it of which nothing is compiled."""
    ignore = shutil.ignore_patterns("_speedups*", "*.so", "*.pyd", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "gaesess", ignore=ignore)
    return tmp_path


def test_gaesess_pure_forces_the_python_core():
    assert run(WHICH, GAESESS_PURE="1").stdout.split() == ["python", "gaesess._core"]


@built
def test_the_compiled_core_is_the_default():
    assert run(WHICH).stdout.split() == ["cython", "gaesess._speedups"]


@built
def test_gaesess_pure_takes_every_module_from_its_source():
    code = (
        "import sys, gaesess; print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'gaesess'))"
    )
    assert {Path(file).suffix for file in run(code, GAESESS_PURE="1").stdout.split()} == {".py"}
    assert {Path(file).suffix for file in run(code).stdout.split()} > {".py"}


@built
@pytest.mark.parametrize("value", ["", "0", "no"])
def test_only_the_value_1_forces_the_python_core(value):
    assert run(WHICH, GAESESS_PURE=value).stdout.split() == ["cython", "gaesess._speedups"]


def test_without_an_extension_the_python_core_is_taken_silently(uncompiled):
    done = run(WHICH, uncompiled)
    assert (done.stdout.split(), done.stderr) == (["python", "gaesess._core"], "")


def test_where_a_corrupt_extension_cannot_be_loaded_its_twin_runs_with_a_warning(uncompiled):
    (uncompiled / "gaesess" / f"_speedups{EXTENSION_SUFFIXES[0]}").write_bytes(b"not a shared library")
    done = run(WHICH, uncompiled)
    assert done.stdout.split() == ["python", "gaesess._core"]
    assert "UserWarning: the compiled core cannot be loaded, its twin in Python runs: " in done.stderr


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise ImportError('built for another Python')", "built for another Python"),
        ("import gaesess_needs_this", "No module named 'gaesess_needs_this'"),
        ("from gaesess._core import no_such_name", "cannot import name 'no_such_name' from 'gaesess._core'"),
    ],
)
def test_where_an_extension_cannot_be_imported_its_twin_runs_with_a_warning(uncompiled, source, error):
    (uncompiled / "gaesess" / "_speedups.py").write_text(source)
    done = run(WHICH, uncompiled)
    assert done.stdout.split() == ["python", "gaesess._core"]
    assert f"UserWarning: the compiled core cannot be loaded, its twin in Python runs: {error}" in done.stderr


def test_any_other_error_of_an_extension_is_raised(uncompiled):
    (uncompiled / "gaesess" / "_speedups.py").write_text("raise RuntimeError('broken')")
    done = run(WHICH, uncompiled)
    assert done.returncode != 0
    assert "RuntimeError: broken" in done.stderr


def test_gaesess_pure_does_not_even_look_at_a_broken_extension(uncompiled):
    (uncompiled / "gaesess" / f"_speedups{EXTENSION_SUFFIXES[0]}").write_bytes(b"not a shared library")
    assert run(WHICH, uncompiled, GAESESS_PURE="1").stdout.split() == ["python", "gaesess._core"]
