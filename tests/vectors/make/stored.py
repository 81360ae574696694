"""Records in stores, after sessions were saved, moved, changed by several requests at once, and ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vectors.make.scenes import Scene, Step, end, played, scene, visit, write

STORED = "cookie_only_threshold=0"
WEEK = 7 * 24 * 3600
LETTERS = "text='abcdefghijklmnopqrstuvwxyz0123456789' * {}"
BOTH_READ = "one = open(ada); two = open(ada)"
BOTH_SAVE = "commit(ada, one); commit(ada, two)"
OLD_SITE = "legacy.accept(cookie_key=bytes(range(64)), until=datetime(2027, 2, 1, tzinfo=timezone.utc))"
OLD_COOKIE = {  # of the real gae-sessions 1.07: tests/legacy/gae_sessions_cookies.json, "login"
    "DgU00": "8+z6PNC0JRpGgFPJfvtu9WVD3SVGL+FRked7F7fqqRA=4102444800_d3aca0c23cea6e12241c4bd28dd5c5de"
    "gAJ9cQB9cQEoVQVhZG1pbnECiVUHdXNlcl9pZHEDSkDiAQBVBG5hbWVxBFgMAAAAQWRhIExvdmVsYWNlcQV1hnEGLg=="
}


def content(folder: Path) -> dict[str, Any]:
    return {
        "about": "Set-Cookie headers, and records with their expiry. Times are in seconds after 1,800,000,000.",
        "scenes": [played(each, folder) for each in (*alone(), *at_once(), *revocable(), *elsewhere())],
    }


def do(code: str, **more: Any) -> Step:
    return {"do": code, **more}


def alone() -> list[Scene]:
    new_id = visit("s.regenerate_id()")
    usual = [write("n=1"), write("n=2"), new_id, end()]
    last_second = visit("del s['n']", at=WEEK - 1)
    kept = [write("n=1"), write("n=2"), visit("s['n']"), last_second, write("n=1"), end(), end(), write("n=2", at=WEEK)]
    starts = [visit(f"s.start({start}); s['n'] = 1") for start in ("ssl_only=True", "0", "0, True", "2**32 - 1")]
    compressed = [
        write("text='ab' * 100"),
        write("text='a'"),
        write(LETTERS.format(3)),
        write(LETTERS.format(30)),
        end(),
    ]
    short, long = write("text='short'"), write("text='x' * 60")
    persist = visit("s.save(persist_even_if_using_cookie=True)")
    load = {"show": "dict(manager.load('1800604800_c81a3cf42d01e5bea00dfd860ff49b6a'))"}
    ids = [
        new_id,
        visit("s.regenerate_id(); s['n'] = 2; s.regenerate_id()"),
        visit("s.regenerate_id(1800000900)"),
        visit("s.start(); s['n'] = 3"),
        visit("s.regenerate_id(1800000900)", "bob"),
    ]
    rotation = [
        write("n=1"),
        write("n=1", "bob"),
        visit("s['n']", settings=f"dict(retired_keys=[OLD_KEY], {STORED})"),
        end("bob"),
        write("n=2", settings=f"dict({STORED})"),
    ]
    return [
        scene("saved in the store", STORED, kept, "memory"),
        scene("saved in the store, started in several ways", STORED, [*starts, end()], "memory"),
        scene("saved in the store, encrypted", f"{STORED}, encrypt=True", usual, "memory"),
        scene("compressed", "cookie_only_threshold=30, compress=True", compressed, "memory"),
        scene("saved in the store, lifetime zero", f"{STORED}, lifetime=timedelta(0)", usual, "memory"),
        scene(
            "moved to the store and back",
            "cookie_only_threshold=40",
            [short, long, short, write("n=1"), long, end()],
            "memory",
        ),
        scene(
            "saved in the store too",
            "",
            [write("n=1"), persist, load, write("n=2"), load, persist, load, end(), load],
            "memory",
        ),
        scene("given new ids", STORED, [write("n=1"), *ids], "memory"),
        scene("sealed with a key that is retired later", f"cookie_key=OLD_KEY, {STORED}", rotation, "memory"),
        scene("empty", STORED, [write("n=1"), visit("s.clear()"), visit("s.start()", "bob")], "memory"),
        scene("too large", STORED, [write("n=1"), write("text='x' * 1_000_000"), write("n=2")], "memory"),
        scene("in an SQLite file", STORED, usual, "sqlite"),
    ]


def at_once() -> list[Scene]:
    """Overlapping requests. Each changes one key, because the order in which a replay adds several is not specified."""
    changes = [
        "one['a'] = 1; two['b'] = 2",
        "one['n'] = 10; two['n'] = 20",
        "one.increment('n', 5); two.increment('n', -7)",
        "one.append('list', 'first'); two.append('list', 'second')",
        "one.append('list', 'third'); two['list'] = []",
        "del one['a']; two['c'] = 3",
        "one['b'] = 1; del two['b']",
        "one['n'] = 1; two.clear()",
        "one.clear(); two['n'] = 2",
    ]
    conflicts = [do(f"{BOTH_READ}; {change}; {BOTH_SAVE}") for change in changes]
    ended = [
        do(f"{BOTH_READ}; one['n'] = 2; two.terminate(); commit(bob, two)"),
        do("commit(ada, one)"),
        write("n=3"),
    ]
    new_id = [
        do(f"{BOTH_READ}; one['n'] = 2; two.regenerate_id(); commit(ada, one); commit(bob, two)"),
        end(),
        visit("s['n'] = 3", "bob"),
    ]
    return [
        scene("changed by two requests at once", STORED, [write("n=0"), *conflicts, end()], "memory"),
        scene("ended while another request is at work", STORED, [write("n=1"), *ended], "memory"),
        scene(
            "given a new id at the same time, and ended under the old one", STORED, [write("n=1"), *new_id], "memory"
        ),
    ]


def revocable() -> list[Scene]:
    in_cookies = [
        write("n=1"),
        write("n=1", "bob"),
        visit("s.regenerate_id()"),
        do("manager.revoke_session(open(bob).sid)"),
        visit("s.get('n')", "bob", at=6),
        visit("s.terminate(clear_data=False)"),
        write("n=2"),
        end(),
    ]
    listed = {"show": "[tuple(each) for each in manager.list_sessions('ada')]"}
    sign_in = "s.regenerate_id(); s.bind_user({})"
    of_users = [
        write("n=1"),
        visit(sign_in.format("'ada'")),
        visit(sign_in.format("'ada'"), "bob", at=10),
        listed,
        visit(sign_in.format("2**70"), "eve", at=20),
        visit("manager.revoke_user('ada', except_=s)", at=30),
        listed | {"at": 40},
        visit("s.regenerate_id()"),
        visit(sign_in.format("'ada'"), "bob"),
        listed | {"at": 50},
        end("bob"),
        listed | {"at": 60},
        do("manager.revoke_user('ada')"),
        do("manager.revoke_user(2**70)"),
        listed | {"at": 70},
    ]
    bind = "s['n'] = 1; s.bind_user(7)"
    in_the_store = [visit(bind), write("n=2"), do("manager.revoke_user(7)"), visit(bind, at=6), end()]
    return [
        scene("revocable", "revocable=True", in_cookies, "memory"),
        scene("of users", "revocable=True", of_users, "memory"),
        scene("of a user, encrypted", f"revocable=True, {STORED}, encrypt=True", in_the_store, "memory"),
    ]


def elsewhere() -> list[Scene]:
    """Stores that fail, two stores, and another library."""
    faults = [
        do("s = open(ada); s['n'] = 1; store.deaf = True; commit(ada, s)"),
        do("store.deaf = False; commit(ada, s)"),
        do("s = open(ada); s.increment('n'); store.deaf = True; commit(ada, s)"),
        do("store.deaf = False; two = open(ada); two.increment('n'); commit(ada, two)"),
        do("commit(ada, s)"),
        do("s = open(ada); s['n'] = 9; store.down = True; commit(ada, s)"),
        do("store.down = False; commit(ada, s)"),
        do("s = open(ada); store.deaf = True; s.terminate()"),
        do("store.deaf = False; commit(ada, s)"),
    ]
    quick = ["s.set_quick('seen', 1)", "s.set_quick('seen', 2)", "s.pop_quick('seen')", "s.set_quick('seen', 3)"]
    tiered = [write("n=1"), *map(visit, quick), write("n=2"), visit("s.regenerate_id()"), end()]
    outage = [
        write("n=1"),
        do("durable.down = True; s = open(ada); s['n'] = 2; commit(ada, s)"),
        write("n=1", "bob"),
        do("s = open(eve); s['n'] = 1; commit(eve, s); eves = open(eve)"),
        do("eves.terminate()"),
        do("durable.down = False; s = open(ada); s['n'] = 3; commit(ada, s)"),
        write("n=2", "bob"),
        do("commit(eve, eves)"),
    ]
    old = {"ada": OLD_COOKIE}
    migrated = [{"given": old | {"bob": OLD_COOKIE}}, write("n=1"), end("bob"), {"given": old}, write("n=2")]
    return [
        scene("in a store that loses replies, or is down", STORED, faults, "memory"),
        scene("in a cache and a durable store", STORED, tiered, "tiered"),
        scene("in a cache while the durable store is down", f"{STORED}, outage='degrade'", outage, "tiered"),
        scene("migrated from gae-sessions 1.07", f"legacy={OLD_SITE}, {STORED}", migrated, "memory"),
    ]
