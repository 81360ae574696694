"""Interpreters in which an application may find itself: several in one process, and such that lie in odd places."""

import importlib.util
import subprocess
import sys

import pytest

USE = """
import gaesess
from gaesess.stores.memory import MemoryStore
for settings in ({}, {"store": MemoryStore(), "cookie_only_threshold": 0, "revocable": True}):
    manager = gaesess.SessionManager("k" * 31 + "x", **settings)
    session = manager.open(None)
    session["user"] = {"name": "ada"}
    cookie = session.commit()[0].partition(";")[0]
    assert manager.open(cookie)["user"] == {"name": "ada"}
    assert manager.open(cookie + "x").get("user") is None
"""


def run(source):
    """Return what a process of its own says that runs this."""
    command = [sys.executable, "-W", "ignore", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- several interpreters in one process, as mod_wsgi and uWSGI have them

HAS_SUBINTERPRETERS = any(map(importlib.util.find_spec, ("_interpreters", "_xxsubinterpreters")))
IN_ANOTHER = f"""
USE = {USE!r}
try:
    import _interpreters as interpreters
    run, create = interpreters.exec, lambda: interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    run, create = interpreters.run_string, lambda: interpreters.create(isolated=False)

def use_in_another():
    number = create()
    failed = run(number, USE)
    assert failed is None, getattr(failed, "formatted", failed)
    return number
"""


@pytest.mark.skipif(not HAS_SUBINTERPRETERS, reason="this Python cannot make interpreters")
@pytest.mark.parametrize(
    "source",
    [
        "use_in_another()",
        "exec(USE); use_in_another()",
        "use_in_another(); exec(USE)",
        "use_in_another(); use_in_another()",
        "interpreters.destroy(use_in_another()); use_in_another()",
        "exec(USE); interpreters.destroy(use_in_another()); exec(USE)",
    ],
    ids=[
        "alone",
        "after the main one",
        "before the main one",
        "two",
        "one after the other",
        "around one that has ended",
    ],
)
def test_sessions_work_in_every_interpreter_of_a_process(source):
    assert run(f"{IN_ANOTHER}{source}\nprint('works')") == "works\n"


# -- where Python's module of hashes lies, by which the compiled core finds OpenSSL


@pytest.mark.skipif(importlib.util.find_spec("_hashlib") is None, reason="this Python has no OpenSSL")
@pytest.mark.parametrize(
    "place",
    [
        "sys.modules['_hashlib'].__file__ = '/opt/\\udcff/_hashlib.so'",
        "sys.modules['_hashlib'].__file__ = '/dev/null'",
        "sys.modules['_hashlib'].__file__ = '/no/such/file'",
        "sys.modules['_hashlib'].__file__ = None",
        "vars(sys.modules['_hashlib']).pop('__file__', None)",
        "sys.modules.pop('_hashlib')",
    ],
    ids=["not UTF-8", "another file", "no such file", "None", "no file", "no module"],
)
def test_sessions_work_wherever_python_lies(place):
    assert run(f"import sys, hashlib, hmac\n{place}\n{USE}\nprint('works')") == "works\n"
