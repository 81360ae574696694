"""Runs of the same tests with one mutant each: pytest collects them once, and each run is in a fork.

In the fork the functions get the code of the mutant. What is not in a function, such as a constant, other modules may
have imported already: then a new process runs the tests on a copy of the sources.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from _pytest.main import pytest_runtestloop
from mutation.mutants import Mutant

HANGS_SECONDS = 30  # and as many times as long as without a mutant: then it hangs, and is found
HANGS_FACTOR = 4


class Runs:
    """A plugin of pytest that takes the place of its loop."""

    def __init__(self, module: str, mutants: list[Mutant], until: float, jobs: int) -> None:
        self._path = Path("src/gaesess", module).absolute()
        self._mutants = mutants
        self._until = until
        self._jobs = jobs
        self._seconds = 600.0
        self._failed: list[str] = []
        self.tried = self.survived = 0

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            print(f"left out, as it fails without a mutant: {report.nodeid}", flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.testsfailed = 0  # files that cannot be collected
        self._leave_out_what_fails(session)
        running: dict[int, tuple[Mutant, float]] = {}
        left = iter(self._mutants)
        while True:
            while len(running) < self._jobs and time.monotonic() < self._until and (mutant := next(left, None)):
                running[self._fork(lambda mutant=mutant: self._run(session, mutant))] = mutant, time.monotonic()
            if not running:
                return True
            for child, (mutant, began) in list(running.items()):
                if (found := self._result(child, began)) is not None:
                    del running[child]
                    self._note(mutant, found)
            time.sleep(0.01)

    def _leave_out_what_fails(self, session: pytest.Session) -> None:
        names, began = Path(tempfile.mkstemp()[1]), time.monotonic()

        def run() -> bool:
            found = self._loop(session)
            names.write_text("\n".join(self._failed))
            return found

        child = self._fork(run)
        while self._result(child, began) is None:
            time.sleep(0.01)
        failed = set(names.read_text().splitlines())
        names.unlink()
        for name in failed:
            print(f"left out, as it fails without a mutant: {name}", flush=True)
        session.items = [item for item in session.items if item.nodeid not in failed]
        self._seconds = HANGS_SECONDS + HANGS_FACTOR * (time.monotonic() - began)

    def _note(self, mutant: Mutant, found: bool) -> None:
        self.tried += 1
        if not found:
            self.survived += 1
            print(f"SURVIVES: {mutant.name}\n{mutant.diff}", flush=True)

    def _fork(self, run: Callable[[], bool]) -> int:
        """Return the id of a process that ends with 1 if a test fails there."""
        child = os.fork()
        if child:
            return child
        found = True
        try:
            os.setsid()
            found = run()
        finally:
            os._exit(found)

    def _result(self, child: int, began: float) -> bool | None:
        """Return whether a test has failed in a process, None while that is open."""
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status != 0
        if time.monotonic() - began > self._seconds + HANGS_SECONDS:
            os.killpg(child, signal.SIGKILL)
        elif time.monotonic() - began > self._seconds:
            os.killpg(child, signal.SIGTERM)  # so that it stops the servers that it has started
        return None

    def _run(self, session: pytest.Session, mutant: Mutant) -> bool:
        """Return whether a test fails with a mutant."""
        session.config.option.maxfail = 1
        return self._loop(session) if self._put_in(mutant) else self._run_elsewhere(session, mutant)

    def _loop(self, session: pytest.Session) -> bool:
        try:
            pytest_runtestloop(session)
        except session.Failed:
            pass
        finally:
            session._setupstate.teardown_exact(None)
        return session.testsfailed > 0

    def _put_in(self, mutant: Mutant) -> bool:
        """Give the functions the code of a mutant; return whether that is all of it."""
        path = str(self._path)
        module = compile(mutant.source, path, "exec", dont_inherit=True)
        original = compile(self._path.read_text(), path, "exec", dont_inherit=True)
        before = {(code.co_qualname, code.co_firstlineno): code for code in functions(original)}
        changed = {}
        for code in functions(module):
            old = before.get((code.co_qualname, code.co_firstlineno))
            if old is None or old.co_freevars != code.co_freevars:
                return False
            if code != old:
                changed[code.co_qualname, code.co_firstlineno] = code
        live = [
            each for each in gc.get_objects() if isinstance(each, FunctionType) and each.__code__.co_filename == path
        ]
        for function in live:
            key = function.__code__.co_qualname, function.__code__.co_firstlineno
            if key in changed:
                function.__code__ = changed[key]

        names = {(function.__code__.co_qualname, function.__code__.co_firstlineno) for function in live}
        return bool(changed) and any(name in names for name in changed)

    def _run_elsewhere(self, session: pytest.Session, mutant: Mutant) -> bool:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, "src")
            shutil.copytree("src", copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
            (copy / self._path.relative_to(Path("src").absolute())).write_text(mutant.source)
            env = {"PYTHONPATH": f"{copy}{os.pathsep}tests", "GAESESS_PURE": "1"}
            items = Path(directory, "items")
            items.write_text("\n".join(item.nodeid for item in session.items))
            command = [
                sys.executable,
                "-B",
                "-m",
                "pytest",
                "-x",
                "-p",
                "no:cacheprovider",
                "--timeout=20",
                f"@{items}",
            ]
            return (
                subprocess.run(
                    command, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                ).returncode
                != 0
            )


def functions(code: CodeType) -> Iterator[CodeType]:
    """Return the code of all functions in a module or class, but not of those within functions."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            if each.co_flags & 0x2:  # CO_NEWLOCALS: a function, not a class
                yield each
            else:
                yield from functions(each)
