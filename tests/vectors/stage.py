"""Scenes: scripts that an application, its visitors, a store and the clock follow step by step, and the results.

A step has Python code. `do` executes it, `show` records the value of an expression, and `request` runs it in the
application while that serves a visitor. The visitors' cookie jars are `ada`, `bob` and `eve`; `given` adds cookies to
them. `open(jar)` begins a request, `commit(jar, session)` ends it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import asgi.client
import wsgi.client
from clock import NOW
from vectors import today
from vectors.notation import KEY, abridged, hexed, unhexed, value_of

import gaesess.asgi
from gaesess import Session, SessionManager, get_current_session, legacy
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore

INPUTS = {"at", "settings", "given", "do", "show", "request", "visitor", "path", "headers"}

FILE = "sessions.sqlite3"

Step = dict[str, Any]


def play(scene: dict[str, Any], folder: Path, interface: str = "wsgi") -> list[Step]:
    """Return the result of each step of a scene. `interface` is "wsgi" or "asgi"."""
    with closing(Stage(scene, folder, interface)) as stage:
        return [stage.play(step) for step in scene["steps"]]


def read_back(scene: dict[str, Any], folder: Path) -> Iterator[tuple[Step, Step]]:
    """Yield what requests see after each step, and what they should see, with the recorded cookies and records only."""
    if scene["store"] == "sqlite":
        SQLiteFile(folder / FILE).create(scene["schema"])
    with closing(Stage(scene, folder)) as stage:
        for step in scene["steps"]:
            stage.set(step)
            stage.put(step.get("records", {}))
            for name, lines in step.get("cookies", {}).items():
                stage.jars[name].receive(lines)
            set_cookie = [value for name, value in step.get("response", ()) if name == "Set-Cookie"]
            stage.jars[step.get("visitor", "ada")].receive(set_cookie)
            shown = {"shown": repr(value_of(step["show"], **stage.names))} if "show" in step else {}
            yield shown | stage.reads(), {key: step[key] for key in ("shown", "reads") if key in step}


def refusal(vector: dict[str, Any], folder: Path) -> Step:
    """Return what a request sees of its session, and the events that a refusal emits."""
    with closing(Stage(vector, folder)) as stage, today.refusals() as events:
        stage.put(vector.get("records", {}))
        try:
            seen = today.seen(stage.manager.open(vector["header"]))
        except gaesess.GaesessError as error:
            seen = today.refused(error)
    return {"session": seen, "events": events}


class Jar(wsgi.client.CookieJar):
    """The cookies of a visitor, and the Set-Cookie headers received in this step."""

    def __init__(self) -> None:
        self.received: list[str] = []

    def receive(self, set_cookie: Iterable[str]) -> None:
        lines = list(set_cookie)
        self.received += lines
        super().receive(lines)


class Stage:
    """Everything a scene needs: a store, the settings of an application, a clock, a random source, cookie jars."""

    def __init__(self, scene: dict[str, Any], folder: Path, interface: str = "wsgi") -> None:
        self.now = NOW
        self.interface = interface
        self.jars = {name: Jar() for name in ("ada", "bob", "eve")}
        self.names: dict[str, Any] = {**self.jars, "open": self.open, "commit": self.commit, "legacy": legacy}
        self._calls: dict[int, int] = {}
        self._before: dict[str, Any] = {}
        self._seen: dict[str, Any] = dict.fromkeys(self.jars)
        self._request: Step = {}
        self._faulty: list[FaultyStore] = []
        self.store, self.engines = self._stores(scene["store"], folder)
        self._use(scene["settings"])

    def _stores(self, kind: str, folder: Path) -> tuple[Any, dict[str, Any]]:
        if kind == "none":
            return None, {}
        if kind == "sqlite":
            return SQLiteStore(folder / FILE), {"": SQLiteFile(folder / FILE)}
        if kind == "memory":
            memory = self._faulty_store()
            return memory, {"": Memory(memory)}
        cache, durable = self._faulty_store(), self._faulty_store()
        durable.may_forget = False
        self.names |= {"cache": cache, "durable": durable}
        tiered = TieredStore(cache, durable, clock=self.clock)
        return tiered, {"cache ": Memory(cache), "durable ": Memory(durable)}

    def _faulty_store(self) -> FaultyStore:
        self._faulty.append(FaultyStore(MemoryStore()))
        return self._faulty[-1]

    def close(self) -> None:
        if isinstance(self.store, SQLiteStore):
            self.store.close()

    def clock(self) -> float:
        return float(self.now)

    def random(self, size: int) -> bytes:
        """Return bytes that depend only on the size, and on how many of that size were asked for before."""
        number = self._calls[size] = self._calls.get(size, 0) + 1
        return sha256(f"{size} bytes, number {number}".encode()).digest()[:size]

    def open(self, jar: Jar) -> Session:
        return self.manager.open(jar.header() or None)

    def commit(self, jar: Jar, session: Session) -> None:
        jar.receive(session.commit())

    # -- a step

    def set(self, step: Step) -> None:
        self.now = NOW + step.get("at", self.now - NOW)
        if "settings" in step:
            self._use(step["settings"])
        for name, jar in self.jars.items():
            jar.update(step.get("given", {}).get(name, {}))
            jar.received = []

    def _use(self, settings: str) -> None:
        self.settings = {
            "cookie_key": KEY,
            "store": self.store,
            "clock": self.clock,
            **value_of(settings, legacy=legacy),
        }
        self.manager = SessionManager(**self.settings)
        if self.interface == "wsgi":
            self.client: Any = wsgi.client.Client(gaesess.SessionMiddleware(self._wsgi, **self.settings))
        else:
            self.client = asgi.client.Client(gaesess.asgi.SessionMiddleware(self._asgi, **self.settings))
        for manager in (self.manager, self.client.app.manager):
            today.set_clock(manager, self.clock)
        self.names |= {"manager": self.manager, "store": self.store}

    def play(self, step: Step) -> Step:
        """Run a step and return its result."""
        self.set(step)
        with today.random_source(self.random):
            result = self._outcome(step)
        cookies = {name: list(map(_abridged_value, jar.received)) for name, jar in self.jars.items() if jar.received}
        if cookies and "response" not in result:
            result["cookies"] = cookies
        if records := self._records():
            result["records"] = records
        return result | self.reads()

    def _outcome(self, step: Step) -> Step:
        try:
            if "request" in step:
                return self._answer(step)
            if "show" in step:
                return {"shown": repr(value_of(step["show"], **self.names))}
            exec(step.get("do", ""), self.names)
        except Exception as error:
            return {"raises": today.refused(error)}
        return {}

    def reads(self) -> Step:
        """Return what the visitors' next requests would see of their sessions, where this step changed it."""
        with self._repaired():
            seen = {name: self._read(jar) for name, jar in self.jars.items()}
        changed = {name: what for name, what in seen.items() if what != self._seen[name]}
        self._seen = seen
        return {"reads": changed} if changed else {}

    @contextmanager
    def _repaired(self) -> Iterator[None]:
        """Switch the faults of the stores off for a moment."""
        faults = [(store.down, store.deaf) for store in self._faulty]
        for store in self._faulty:
            store.down = store.deaf = False
        yield
        for store, (down, deaf) in zip(self._faulty, faults, strict=True):
            store.down, store.deaf = down, deaf

    def _read(self, jar: Jar) -> Any:
        try:
            with today.random_source(bytes):  # reading must not shift the random bytes of the next step
                seen = today.seen(SessionManager(**self.settings).open(jar.header() or None))
            return seen and seen | {"data": abridged(seen["data"])}
        except gaesess.GaesessError as error:
            return today.refused(error)

    def _records(self) -> dict[str, Any]:
        """Return the records that this step changed, each with its expiry; None for a deleted one."""
        now = {
            prefix + key: [expires_at, hexed(data)]
            for prefix, engine in self.engines.items()
            for key, (expires_at, data) in engine.contents().items()
        }
        changed = {
            key: now.get(key) for key in sorted(now.keys() | self._before) if now.get(key) != self._before.get(key)
        }
        self._before = now
        return changed

    def put(self, records: dict[str, Any]) -> None:
        """Put records into the store, in the form in which `_records` returns them."""
        for name, record in records.items():
            prefix, space, key = name.rpartition(" ")
            engine = self.engines[prefix + space]
            if record is None:
                engine.delete(key)
            else:
                engine.put(key, record[0], unhexed(record[1]))

    # -- a request

    def _answer(self, step: Step) -> Step:
        self._request = step
        self.client.cookies = self.jars[step["visitor"]]
        exchange = self.client.send(path=step.get("path", "/"))
        if self.interface == "wsgi":
            status, headers = int(exchange.status[:3]), exchange.headers.items()
        else:
            pairs = exchange.started["headers"]
            status, headers = exchange.status, [(name.decode(), value.decode("latin-1")) for name, value in pairs]
        answer = {"status": status, "response": [[name, _abridged_value(value)] for name, value in headers]}
        return answer if exchange.body == b"ok" else answer | {"body": exchange.body.decode()}

    def _headers(self) -> list[tuple[str, str]]:
        """Run the application's code, and return the headers it sends."""
        exec(self._request["request"], self.names | {"session": get_current_session()})
        return [("Content-Type", "text/plain"), *((name, value) for name, value in self._request.get("headers", ()))]

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", self._headers())
        return [b"ok"]

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in self._headers()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def _abridged_value(line: str) -> str:
    pair, semicolon, attributes = line.partition(";")
    return abridged(pair) + semicolon + attributes


class Memory:
    """The records in a MemoryStore."""

    def __init__(self, faulty: FaultyStore) -> None:
        self._store: Any = faulty.store

    def contents(self) -> dict[str, tuple[int, bytes]]:
        return today.contents(self._store)

    def put(self, key: str, expires_at: int, data: bytes) -> None:
        self._store.put(key, data, expires_at=expires_at)

    def delete(self, key: str) -> None:
        self._store.delete(key)


class SQLiteFile:
    """The records in the file of an SQLiteStore."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def contents(self) -> dict[str, tuple[int, bytes]]:
        rows = self._execute("SELECT key, expires_at, data FROM gaesess_record ORDER BY key")
        return {key: (expires_at, data) for key, expires_at, data in rows}

    def put(self, key: str, expires_at: int, data: bytes) -> None:
        self._execute("INSERT OR REPLACE INTO gaesess_record VALUES (?, ?, ?, ?)", key, expires_at, 1, data)

    def delete(self, key: str) -> None:
        self._execute("DELETE FROM gaesess_record WHERE key = ?", key)

    def create(self, schema: list[str]) -> None:
        for statement in schema:
            self._execute(statement)

    def schema(self) -> list[str]:
        return [sql for (sql,) in self._execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")]

    def _execute(self, statement: str, *parameters: Any) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            return connection.execute(statement, parameters).fetchall()
