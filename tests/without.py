"""Checks that the tests pass on a machine that lacks one of the programs that they run.

`.venv-test/bin/python tests/without.py`, after `make test`, hides each program in turn from the tests that use it. No
test may fail, at least one must be skipped, and none because another program is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "--quiet", *arguments]


ENGINES = ("tests/engines", "tests/examples/test_example_cloudrun.py", "tests/cli/test_cli_doctor.py")
CACHE = ("tests/stores/test_memcache.py", "tests/revocation/test_users.py")
DATASTORE = "tests/stores/test_datastore.py"
# In the order of `make test`: those of one server share its database.
DATABASES = (
    "tests/cli/test_cli_servers.py",
    "tests/django_app/test_django_store.py",
    "tests/stores/test_sqlalchemy.py",
)
DOCUMENTS = "tests/docs/test_documents.py"
BROWSER = (
    "tests/demo/test_in_browser.py",
    "tests/django_app/test_django_in_browser.py",
    "tests/examples/test_example_login_form.py",
)
# What runs without each program: the program's name and its aliases are given as prefixes.
RUNS = {
    ("memcached",): pytest(*ENGINES, *CACHE, "-k", "not appengine"),
    ("redis-server",): pytest("tests/cli/test_cli_servers.py", "tests/stores/test_redis.py"),
    ("redis-server", "redis"): pytest(DOCUMENTS, "-k", "redis"),
    ("postgres", "pg_"): pytest(*DATABASES, "tests/stores/test_postgres.py"),
    ("mariadbd",): pytest(*DATABASES),
    ("java",): pytest(*ENGINES, DATASTORE),
    ("gcloud", "gsutil", "bq", "dev_appserver"): pytest(*ENGINES, DATASTORE),
    ("chromium", "google-chrome"): pytest(*BROWSER),
    ("curl",): pytest(DOCUMENTS, "-k", "tutorial"),
    ("valgrind",): ["make", "count"],
}


def main() -> int:
    return max(run_without(names, command) for names, command in RUNS.items())


def run_without(names: tuple[str, ...], command: list[str]) -> int:
    """Run a command where no program has such a name, and return 1 if the result is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        hide(names, Path(folder))
        settings = {"GAESESS_REQUIRE_SERVICES": "0", "GAESESS_PURE": "1"}  # `make test` leaves the pure wheel
        environ = os.environ | {"PATH": folder} | settings
        done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    missing = [line for line in lines if "is not installed: " in line]
    if done.returncode == 0 and missing and all(names[0] in line.lower() for line in missing):
        print(f"without {names[0]}: {lines[-1]}", flush=True)
        return 0
    print(f"{done.stdout}\nWRONG without {names[0]}: exit status {done.returncode}, see what is skipped", flush=True)
    return 1


def hide(names: tuple[str, ...], folder: Path) -> None:
    """Fill a folder with links to the programs on PATH, except those with such names."""
    for directory in os.get_exec_path():
        for program in Path(directory).glob("*"):
            link = folder / program.name
            if not program.name.startswith(names) and not link.is_symlink():  # the first on PATH wins
                link.symlink_to(program)


if __name__ == "__main__":
    sys.exit(main())
