"""Whole requests, through the middleware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vectors.make.scenes import Scene, Step, played, scene

DAY = 24 * 3600
STORED = "cookie_only_threshold=0"


def content(folder: Path) -> dict[str, Any]:
    return {
        "about": "Requests and responses, with headers as WSGI has them. Times are in seconds after 1,800,000,000.",
        "scenes": [played(each, folder) for each in scenes()],
    }


def scenes() -> list[Scene]:
    usual = visit()
    return [
        scene("as it comes", "", [*usual, *headers()]),
        scene("encrypted", "encrypt=True", usual),
        scene(
            "compressed",
            "compress=True",
            [*usual, request("session['text'] = 'ab' * 100"), request("session['n'] = 3")],
        ),
        scene("not secure, with a domain", "cookie_secure=False, cookie_domain='example.com'", usual),
        scene("lifetime zero", "lifetime=timedelta(0)", usual),
        scene("in a MemoryStore", STORED, [*usual, *unavailable()], "memory"),
        scene("in an SQLite file", STORED, usual, "sqlite"),
        scene("revocable", "revocable=True", [*usual, *of_users()], "memory"),
        scene("revocable, in the store", f"revocable=True, {STORED}", [*usual, *of_users()], "memory"),
        scene("idle timeout", "idle_timeout=timedelta(minutes=10), passive_paths=['/poll']", idle()),
        scene("idle timeout, in the store", f"idle_timeout=timedelta(minutes=10), {STORED}", idle(), "memory"),
        scene("retired keys", "cookie_key=OLD_KEY", rotation("")),
        scene("retired keys, encrypted", "cookie_key=OLD_KEY, encrypt=True", rotation("encrypt=True")),
        scene("retired keys, in the store", f"cookie_key=OLD_KEY, {STORED}", rotation(STORED), "memory"),
        scene("grown into the store", "cookie_only_threshold=30", growth(), "memory"),
    ]


def request(code: str, **more: Any) -> Step:
    return {"request": code, "visitor": "ada", **more}


def visit() -> list[Step]:
    return [
        request("pass"),
        request("session.get('n')"),
        request("session['n'] = 1"),
        request("pass"),
        request("session['n']"),
        request("session['n'] = session['n']"),
        request("session['list'] = [1]"),
        request("session['list'].append(2)"),
        request("del session['list']", at=60),
        request("session.regenerate_id()", at=120),
        request("session['n'] += 1"),
        request("session.clear()"),
        request("session.start(ssl_only=True)"),
        request("session.terminate()"),
        request("session.get('n')"),
        request("session.start(0); session['n'] = 1", visitor="bob"),
        request("session['n'] = 2", visitor="bob", at=7 * DAY + 119),
        request("session.get('n')", visitor="bob", at=7 * DAY + 120),
    ]


def headers() -> list[Step]:
    given = [
        [["Vary", "Accept-Encoding"], ["Cache-Control", "public, max-age=60"]],
        [["vary", "cookie"], ["cache-control", "no-store"]],
        [["Vary", "*"], ["Cache-Control", "private"]],
        [["Set-Cookie", "theme=dark"], ["Vary", "Accept"], ["Vary", "Origin"]],
    ]
    return [
        request(code, headers=each, visitor="eve")
        for code in ("pass", "session.get('n')", "session.increment('n')")
        for each in given
    ]


def unavailable() -> list[Step]:
    return [
        request("session['n'] = 1", at=8 * DAY),
        request("session['n'] = 2; store.down = True"),
        {"do": "store.down = False"},
        request("session['n'] = 3; elsewhere = open(ada); elsewhere.terminate()"),
        request("session.get('n')"),
        {"do": "store.down = True"},
        request("session['n'] = 4"),
        {"do": "store.down = False"},
    ]


def of_users() -> list[Step]:
    start = 8 * DAY
    return [
        request("session['n'] = 1; session.bind_user('ada')", at=start),
        request("session['n'] = 1; session.bind_user('ada')", visitor="bob"),
        request("session.manager.revoke_user('ada', except_=session)", at=start + 10),
        request("session.get('n')", visitor="bob", at=start + 20),
        request("session['n'] = 2"),
        {"show": "[tuple(each) for each in manager.list_sessions('ada')]"},
        request("session.manager.revoke_session(session.sid)"),
        request("session.get('n')", at=start + 30),
    ]


def idle() -> list[Step]:
    return [
        request("session['n'] = 1"),
        request("session['n']", at=59),
        request("session['n']", at=60),
        request("session['n']", at=65),
        request("pass", at=300),
        request("session['n']", at=300, path="/poll"),
        request("session['n'] = 2", at=310, path="/poll/news"),
        request("session['n']", at=659),
        request("session['n']", at=1258),
        request("session.get('n')", at=1858),
    ]


def rotation(settings: str) -> list[Step]:
    until = "datetime.fromtimestamp(1_800_001_000, timezone.utc)"
    new = f"dict({settings}{', ' if settings else ''}retired_keys=[(OLD_KEY, {until})])"
    return [
        request("session['n'] = 1"),
        request("session['n'] = 1", visitor="bob"),
        request("session['n'] = 1", visitor="eve"),
        request("pass", settings=new, at=100),
        request("session['n']"),
        request("session['n']"),
        request("session['n'] = 2", visitor="bob"),
        request("session.get('n')", visitor="eve", at=1000),
        request("session['n']", visitor="ada"),
    ]


def growth() -> list[Step]:
    return [
        request("session['text'] = 'short'"),
        request("session['text'] = 'x' * 60"),
        request("session['text']"),
        request("session['text'] = 'short'"),
        request("session.terminate()"),
    ]
