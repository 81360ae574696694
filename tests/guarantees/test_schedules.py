"""Two threads of one request use its session: every schedule has the outcome of some sequence of their calls."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations, product
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from browser import Browser
from guarantees.schedules import Key, WatchedLock, WatchedSession, WatchedStore, schedules

from gaesess import Session, SessionClosed, SessionManager, _core, _impl, generate_key
from gaesess.stores.memory import MemoryStore

pytestmark = pytest.mark.skipif(_impl.IMPLEMENTATION != "python", reason="a compiled session cannot be watched")

NOW = 1_800_000_000
OLD, ITEMS, NEW = Key("old"), Key("items"), Key("new")

Calls = dict[str, Callable[[Session], object]]
READS: Calls = {
    "get": lambda s: s.get(OLD),
    "s[old]": lambda s: s[OLD],
    "new in": lambda s: NEW in s,
    "len": len,
    "list": list,
    "copy": lambda s: s.copy(),
    "is_active": lambda s: s.is_active(),
    "sid": lambda s: s.sid,
    "revision": lambda s: s.revision,
    "home": lambda s: s.home,
    "modified": lambda s: s.modified,
}
CHANGES: Calls = {
    "s[old] =": lambda s: s.__setitem__(OLD, 2),
    "s[new] =": lambda s: s.__setitem__(NEW, 2),
    "del s[old]": lambda s: s.__delitem__(OLD),
    "pop": lambda s: s.pop(OLD),
    "popitem": lambda s: s.popitem(),
    "pop_quick": lambda s: s.pop_quick(OLD),
    "set_quick": lambda s: s.set_quick(OLD, 3),
    "setdefault": lambda s: s.setdefault(NEW, 3),
    "update": lambda s: s.update({OLD: 4, NEW: 4}),
    "clear": lambda s: s.clear(),
    "increment": lambda s: s.increment(NEW),
    "append": lambda s: s.append(ITEMS, "b"),
    "start": lambda s: s.start(NOW + 1000),
    "terminate": lambda s: s.terminate(),
    "regenerate_id": lambda s: s.regenerate_id(),
}
SAVES: Calls = {
    "save": lambda s: s.save(),
    "save(True)": lambda s: s.save(True),
    "close": lambda s: [s.close()].clear(),
    "commit": lambda s: s.commit(),
    "abandon": lambda s: s.abandon(),
}
CALLS: Calls = {**READS, **CHANGES, **SAVES, "s[old] += 1": lambda s: s.__setitem__(OLD, s[OLD] + 1)}


def possible_errors(name: str, others: list[str]) -> list[Exception | None]:
    """Return what a call may raise, and do nothing, because of calls of the other program; None stands for no error."""
    if name in CHANGES or name.startswith("save"):
        return [None, SessionClosed()] if any(other in SAVES for other in others) else [None]
    return [None, RuntimeError()] if name == "list" else [None]  # as of a dictionary whose size changes


@dataclass(frozen=True)
class Raised:
    kind: str
    message: str = field(compare=False)

    def __repr__(self) -> str:
        return f"{self.kind}({self.message[:50]!r})"


class Outcome(NamedTuple):
    a: list[object]  # what the calls of A returned or raised
    b: list[object]
    end: list[object]  # the commit at the end, unless a program has made it
    data: dict[Hashable, Any] | None  # in the client's next request
    sid: str | None
    stored: list[dict[Hashable, Any] | None]  # under the id of that request, and under the old one
    records: int


class Case:
    """A client with a session, and two programs for its next request. More than `cookie_bytes` go to the store."""

    def __init__(
        self, a: str, b: str, *, data: bool = True, read: bool = False, cookie_bytes: int | None = None
    ) -> None:
        self.programs = (a.split(", "), b.split(", "))
        self.read, self.memory = read, MemoryStore()
        settings: dict[str, Any] = {}
        if cookie_bytes is not None:
            settings = {"store": WatchedStore(self.memory), "cookie_only_threshold": cookie_bytes}
        self.client = Browser(SessionManager(cookie_key=generate_key(), clock=lambda: NOW, **settings))
        if data:
            with self.client.request() as session:
                session.update({OLD: 1, ITEMS: ["a"]})
        self.sid = self.client.send().sid
        self.records = dict(self.memory._records)

    def sequences(self) -> list[Outcome]:
        """Return the outcomes of all sequences of the calls."""
        outcomes: list[Outcome] = []
        for order in set(permutations([who for who in (0, 1) for _ in self.programs[who]])):
            names = [iter(program) for program in self.programs]
            calls = [(who, next(names[who])) for who in order]
            for errors in product(*(possible_errors(name, self.programs[1 - who]) for who, name in calls)):
                request, goes_on = Request(self), [True, True]
                for (who, name), error in zip(calls, errors, strict=True):
                    goes_on[who] = goes_on[who] and request.call(who, name, error)
                outcome = request.outcome()
                if outcome not in outcomes:
                    outcomes.append(outcome)
        return outcomes


class Request:
    """The next request of a case."""

    def __init__(self, case: Case) -> None:
        case.memory._records = dict(case.records)
        self.case, self.client = case, case.client.copy()
        self.session = self.client.send()
        assert isinstance(vars(self.session).get("_lock"), WatchedLock | None)
        if case.read:
            len(self.session)
        self.session.__class__ = WatchedSession
        self.results: list[list[object]] = [[], [], []]
        self.set_cookies: list[str] | None = None
        self.programs = [[partial(self.call, who, name) for name in case.programs[who]] for who in (0, 1)]

    def call(self, who: int, name: str, error: Exception | None = None) -> bool:
        """Make a call, or raise the error in its place; return whether the program goes on."""
        try:
            if error:
                raise error
            result = CALLS[name](self.session)
        except Exception as raised:
            result = Raised(type(raised).__name__, str(raised))
        if name in ("commit", "abandon"):
            self.set_cookies = list(result) if isinstance(result, list) else self.session.abandon()
            result = None if isinstance(result, list) else result
        self.results[who].append(result)
        return not isinstance(result, Raised)

    def outcome(self) -> Outcome:
        """End the request, and return what came of it."""
        if self.set_cookies is None:
            self.call(2, "commit")
        self.client.take(self.set_cookies or [])
        found, records = self.client.send(), self.case.memory._records
        ids = {found.sid: "new id", self.case.sid: "old id", None: None}
        a, b, end = ([ids.get(r, "unknown id") if isinstance(r, str) else r for r in part] for part in self.results)
        stored = [data_of(found.manager.load(sid)) for sid in ids if sid and records]
        return Outcome(a, b, end, data_of(found), ids[found.sid], stored, len(records))


def data_of(session: Session) -> dict[Hashable, Any] | None:
    return dict(session) if session.is_active() else None


STARTS: dict[str, dict[str, Any]] = {
    "no session": {"data": False},
    "no session, store": {"data": False, "cookie_bytes": 0},
    "in its cookie": {},
    "in its cookie, read": {"read": True},
    "in its cookie, store, read": {"read": True, "cookie_bytes": 1000},
    "in the store": {"cookie_bytes": 0},
    "in the store, read": {"cookie_bytes": 0, "read": True},
}
ENDS = ["commit", "close, commit", "abandon"]
PAIRS: list[tuple[str, Iterable[str], Iterable[str]]] = [
    ("in its cookie, read", CHANGES, ["popitem", "update", "start", "terminate", "regenerate_id", "save", *ENDS]),
    ("in its cookie, read", ["clear", "setdefault", "increment"], ["clear", "s[new] =", "increment", "append"]),
    ("in its cookie, read", READS, ["s[new] =", "pop", "update", "clear", "start", "terminate", "commit"]),
    ("in its cookie, read", ["s[new] =, new in"], ["pop", "clear", "start", "terminate", "save", "commit"]),
    ("in its cookie, read", ["s[new] =, save", "regenerate_id, s[new] ="], ["increment", "terminate", "save", *ENDS]),
    ("in its cookie, read", ["save"], ["save", *ENDS]),
    ("in its cookie, store, read", ["save(True)"], ["s[new] =", "clear", "start", "terminate", "save", "commit"]),
    ("in the store, read", [*CHANGES, "revision"], ["save", "close, commit"]),
    ("in the store, read", ["save", "s[new] =", "start", "terminate", "regenerate_id"], ["commit"]),
    ("in its cookie", CHANGES, ["commit"]),
    ("in its cookie", ["get", "s[new] ="], ["s[old] =", "start", "terminate"]),
    ("in the store", ["get", "s[new] ="], ["s[old] =", "terminate", "commit"]),
    ("no session", CHANGES, ["commit"]),
    ("no session", ["s[new] ="], ["s[old] =", "start", "terminate", "save", "list"]),
    ("no session", ["len"], ["update"]),
    ("no session", ["start, s[new] ="], ["s[old] =", "terminate", "save", *ENDS]),
    ("no session, store", ["s[new] =", "increment", "start"], ["close, commit"]),
]
CASES = {
    f"{start}: {a} | {b}": (start, a, b)
    for start, first, second in PAIRS
    for a, b in product(first, second)
    if b != "abandon" or not {"save", "terminate"} & {*a.split(", ")}  # whose cookies it does not wait for
}


@pytest.fixture(autouse=True)
def _watched_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "threading", SimpleNamespace(RLock=WatchedLock))


@pytest.mark.parametrize(("start", "a", "b"), CASES.values(), ids=CASES)
def test_every_schedule_has_the_outcome_of_a_sequence(start: str, a: str, b: str) -> None:
    case = Case(a, b, **STARTS[start])
    right, wrong = case.sequences(), list[Outcome]()
    report = [f"A: {a}; B: {b}; the session at the start: {start}"]
    for request, schedule in schedules(partial(Request, case)):
        outcome = request.outcome()
        if outcome not in right and outcome not in wrong:
            wrong.append(outcome)
            report += [f"wrong: {outcome}", f"    {'; '.join(schedule.steps)}"]
    if wrong:
        pytest.fail("\n".join([*report, *(f"right: {outcome}" for outcome in right)]), pytrace=False)


def test_a_lost_update_is_found() -> None:
    """A read and a write are two calls, whatever the session does."""
    case = Case("s[old] += 1", "s[old] += 1")
    outcomes = [request.outcome() for request, _ in schedules(partial(Request, case))]
    assert {outcome.data[OLD] for outcome in outcomes if outcome.data} == {2, 3}
