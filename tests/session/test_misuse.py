"""Wrong arguments and half-made objects never crash the interpreter. Each is tried in a process of its own."""

import subprocess
import sys

import pytest

START = """
import asyncio, contextlib
import gaesess
from gaesess.asgi import SessionMiddleware as ASGIMiddleware
from gaesess.stores.memory import MemoryStore
KEY = gaesess.generate_key()
manager = gaesess.SessionManager(KEY, store=MemoryStore(), revocable=True)
session = manager.open(None)
session["a"] = [1]

def call(app, start_response, environ={}):
    list(gaesess.SessionMiddleware(app, KEY)(environ, start_response))

class Session(gaesess.Session):
    def __init__(self): pass

class Manager(gaesess.SessionManager):
    def __init__(self): pass

refused = Manager()
with contextlib.suppress(ValueError):
    gaesess.SessionManager.__init__(refused, "a short key")
"""
COOKIE = '"__Host-gaesess=abc"'


def run(code):
    return subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("manager.open(5).get('a')", "TypeError"),
        ("manager.open(b'x=1').get('a')", "TypeError"),
        ("session.bind_user(None)", "TypeError"),
        ("manager.revoke_user(None)", "TypeError"),
        ("manager.list_sessions(None)", "TypeError"),
        ("manager.revoke_session(None)", "TypeError"),
        ("manager.load(None)", "TypeError"),
        ("call(lambda environ, start: start('200 OK', []) and None, lambda *_: None)", "TypeError"),
        ("call(lambda environ, start: start('200 OK', []) and [], None)", "TypeError"),
        (
            "call(lambda environ, start: environ['gaesess.session'].start() or start('200 OK', None), lambda *_: None)",
            "TypeError",
        ),
        ("call(lambda environ, start: [], None, None)", "AttributeError"),
        ("asyncio.run(ASGIMiddleware(None, KEY)(None, None, None))", "TypeError"),
    ],
)
def test_a_wrong_argument_is_an_error(code, error):
    done = run(code)
    assert (done.returncode, done.stderr.splitlines()[-1].partition(":")[0]) == (1, error)


@pytest.mark.parametrize(
    "code",
    [
        "gaesess.Session.__new__(gaesess.Session).get('a')",
        "gaesess.Session.__new__(gaesess.Session)['a'] = 1",
        "gaesess.Session.__new__(gaesess.Session).commit()",
        "Session().get('a')",
        "gaesess.SessionManager.__new__(gaesess.SessionManager).open(None).get('a')",
        f"gaesess.SessionManager.__new__(gaesess.SessionManager).open({COOKIE}).get('a')",
        "new = Manager().open(None); new['a'] = 1; new.commit()",
        f"Manager().open({COOKIE}).get('a')",
        "Manager().load('a')",
        f"refused.open({COOKIE}).get('a')",
        "manager.cookie = None; session.commit()",
        "manager.save(None)",
        "manager.save_waits(None)",
        "manager.set_cookies(None, 0)",
        "middleware = gaesess.SessionMiddleware(call, KEY); middleware.manager = None; middleware({}, call)",
    ],
)
def test_no_misuse_crashes_the_interpreter(code):
    assert run(code).returncode in (0, 1)
