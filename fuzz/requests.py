"""The same requests to both forms of the package: what they answer, and leave in the store, must be the same.

A program is played to each form, with a clock and a random source of its own, and all that can be seen is noted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from datetime import timedelta
from hashlib import sha256
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from fuzz.packages import PACKAGES, Package
from fuzz.programs import (
    CHARACTERS,
    COOKIES,
    EDITS,
    ERRORS,
    EXPIRATIONS,
    FLAGS,
    GAE_SESSIONS,
    HEADERS,
    KEYS,
    MANAGER_CALLS,
    NOW,
    OPERATIONS,
    PATHS,
    PAYLOADS,
    PROTOCOLS,
    REVISIONS,
    SECONDS,
    SECRETS,
    SEPARATORS,
    SETTINGS,
    SIZED,
    SIZES,
    STORE_EVENTS,
    TIMES,
    UNTIL,
    USERS,
    VALUES,
    Odd,
    Program,
    program,
)
from gaesess import _core, events
from gaesess.errors import StoreUnavailable
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore


class Engine(MemoryStore):
    """A store that fails on request, and that others write to."""

    may_forget = True

    def __init__(self) -> None:
        super().__init__()
        self.failing = 0  # calls from now on
        self.late = False  # whether a write that fails is done all the same
        self.broken = False  # whether they fail with an error that no store should raise
        self.old: dict[str, Any] = {}

    def _fails(self) -> bool:
        self.failing -= self.failing > 0
        if self.failing and self.broken:
            raise RuntimeError("of the store")
        return self.failing > 0

    def get(self, key: str, *, fresh: bool = False) -> Any:
        if self._fails():
            raise StoreUnavailable("down")
        return super().get(key, fresh=fresh)

    def _write(self, key: str, data: bytes, expires_at: int) -> int:
        fails = self._fails()
        if fails and not self.late:
            raise StoreUnavailable("down")
        if key in self._records:
            self.old[key] = self._records[key]
        version = super()._write(key, data, expires_at)
        if fails:
            raise StoreUnavailable("no reply")
        return version

    def disturb(self, event: str, number: int) -> None:
        keys = sorted(self._records)
        key = keys[number % len(keys)] if keys else ""
        if event in ("fail", "fail after", "break"):
            self.failing, self.late, self.broken = 2 + number, event == "fail after", event == "break"
        elif event == "clear":
            self._records.clear()
        elif event == "evict":
            self._records.pop(key, None)
        elif event == "old" and key in self.old:
            self._records[key] = self.old[key]
        elif event == "exchange" and keys:
            self._records[key] = self._records[keys[0]]
        elif event == "flip" and keys:
            record = self._records[key]
            place = (1, 40, len(record.data) - 1)[number] % len(record.data)
            data = record.data[:place] + bytes([record.data[place] ^ 1]) + record.data[place + 1 :]
            self._records[key] = record._replace(data=data)


class Durable(Engine):
    may_forget = False


class Inline(Executor):
    """Threads in whose place the caller works."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)
        return future


class World:
    """All there is while a program is played to one form of the package."""

    def __init__(self, package: Package, sites: list[list[int]]) -> None:
        self.package = package
        self.now: float = NOW
        self.seen: list[Any] = []  # all that can be seen
        self.randoms = 0
        self.cache, self.durable = Engine(), Durable()
        self.engines = [self.cache, self.durable]
        tiered = TieredStore(self.cache, self.durable, clock=self.clock)
        self.stores = {"memory": self.cache, "durable": self.durable, "tiered": tiered}
        self.jar: dict[str, str] = {}
        self.old_jars: list[dict[str, str]] = []
        self.sids: list[str] = ["no id"]
        self.sites = [self.site(choices) for choices in sites]
        self.loop: Any = None

    def clock(self) -> float:
        return self.now

    def urandom(self, size: int) -> bytes:
        self.randoms += 1
        return sha256(str(self.randoms).encode()).digest()[:size]

    def site(self, choices: list[int]) -> Any:
        """Return the middlewares with these settings, None if they contradict each other."""
        settings: dict[str, Any] = {"clock": self.clock}
        for row, choice in zip(SETTINGS, choices, strict=True):
            settings |= row[choice]
        if settings.get("clock") is None:
            del settings["clock"]
        if "store" in settings:
            settings["store"] = self.stores[settings["store"]]
        if "legacy" in settings:
            with self.package.imported():
                from gaesess.legacy import accept

                settings["legacy"] = accept(cookie_key=SECRETS[0], until=UNTIL + timedelta(days=99))
        try:
            site = SimpleNamespace(
                wsgi=self.package.wsgi.SessionMiddleware(self.wsgi_app, **settings),
                asgi=self.package.asgi.SessionMiddleware(self.asgi_app, **settings),
            )
        except ValueError as error:
            self.note("settings", error)
            return None
        site.manager = site.wsgi.manager
        for manager in (site.manager, site.asgi.manager):
            manager.config.driver.clock = self.clock
        site.asgi.manager.config.driver._executor = os.getpid(), Inline()
        return site

    def note(self, *seen: Any) -> None:
        self.seen.append(view(seen))

    def attempt(self, name: str, call: Callable[[], Any]) -> Any:
        """Note what a call returns or raises, and return it."""
        try:
            result = call()
        except (Exception, KeyboardInterrupt) as error:
            self.note(name, error)
            return None
        self.note(name, result)
        return result

    # -- the steps

    def play(self, step: tuple[Any, ...]) -> None:
        self.seen.append(step)
        kind, *arguments = step
        getattr(self, kind)(*arguments)
        for engine in self.engines:
            self.seen.append(sorted(engine._records.items()))

    def wait(self, seconds: int) -> None:
        self.now += SECONDS[seconds]

    def store(self, event: int, number: int) -> None:
        for engine in self.engines:
            engine.disturb(STORE_EVENTS[event], number)

    def manager(self, site: int, call: int, number: int) -> None:
        chosen = self.sites[site % len(self.sites)]
        if chosen is None:
            return
        manager, sid, user = chosen.manager, self.sids[-1 - number % len(self.sids)], USERS[number]
        name = MANAGER_CALLS[call]
        if name == "load":
            session = self.attempt(name, lambda: manager.load(sid))
            if session is not None:
                self.attempt("loaded", lambda: (dict(session), session.sid, session.revision, session.home))
                self.attempt("change", lambda: session.increment("n"))
                self.attempt("commit", session.commit)
        elif name == "revoke_session":
            self.attempt(name, lambda: manager.revoke_session(sid))
        elif name == "revoke_user":
            self.attempt(name, lambda: manager.revoke_user(user))
        else:
            self.attempt(name, lambda: [tuple(session) for session in manager.list_sessions(user)])

    def request(
        self, site: int, protocol: int, path: int, edits: list[tuple[int, ...]], script: list[tuple[Any, ...]]
    ) -> None:
        chosen = self.sites[site % len(self.sites)]
        if chosen is None:
            return
        request = Request(self, chosen, PATHS[path], edits, script)
        name = PROTOCOLS[protocol]
        serve = {"open": request.open, "ASGI": request.asgi, "websocket": request.asgi}.get(name, request.wsgi)
        try:
            serve(name)
        except (Exception, KeyboardInterrupt) as error:
            self.note("server", error)
        request.end()

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Any:
        return environ["request"].wsgi_app(environ, start_response)

    async def asgi_app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await scope["request"].asgi_app(scope, send)

    def run(self, coroutine: Any) -> None:
        self.loop = self.loop or asyncio.new_event_loop()
        self.loop.run_until_complete(coroutine)


class Request:
    """One request."""

    def __init__(
        self, world: World, site: Any, path: str, edits: list[tuple[int, ...]], script: list[tuple[Any, ...]]
    ) -> None:
        self.world, self.site, self.path, self.script = world, site, path, script
        self.session: Any = None
        self.held: list[Any] = []  # values that can be changed in place
        self.set_cookies: list[str] = []
        self.form = 0  # of the Cookie header
        self.header = self.cookies(edits)

    # -- its cookies

    def cookies(self, edits: list[tuple[int, ...]]) -> str | None:
        """Return the Cookie header: what the browser has, and what was done to it."""
        pairs, separator, missing = list(self.world.jar.items()), "; ", not self.world.jar
        for kind, which, where, what in edits:
            edit, place = EDITS[kind], which % len(pairs) if pairs else 0
            name, value = pairs[place] if pairs else ("", "")
            position = where * 31 % (len(value) + 1)
            if edit == "none":
                missing = True
            elif edit == "form":
                self.form = which
            elif edit == "separator":
                separator = SEPARATORS[what % len(SEPARATORS)]
            elif edit == "other":
                pairs.insert(place, tuple(COOKIES[what % len(COOKIES)].partition("=")[::2]))
                missing = False
            elif edit == "gae-sessions":
                pairs.insert(place, tuple(GAE_SESSIONS.partition("=")[::2]))
                missing = False
            elif edit == "forge":
                pairs, missing = self.forged(which, where, what), False
            elif edit == "old" and self.world.old_jars:
                pairs = list(self.world.old_jars[-1 - where % len(self.world.old_jars)].items())
            elif not pairs:
                pass
            elif edit == "flip":
                changed = CHARACTERS[what % len(CHARACTERS)]
                pairs[place] = name, value[:position] + changed + value[position + 1 :]
            elif edit == "cut":
                pairs[place] = name, value[:position]
            elif edit == "extend":
                pairs[place] = name, value + "A" * (what % 5 or 5000)
            elif edit == "drop":
                del pairs[place]
            elif edit == "double":
                pairs.insert(what % (len(pairs) + 1), (name, value))
            elif edit == "swap":
                pairs.insert(what % len(pairs), pairs.pop(place))
            elif edit == "space":
                pairs[place] = ("\t " if what % 2 else "") + name, value + ("" if what % 2 else " \t")
        return None if missing else separator.join(f"{name}={value}" for name, value in pairs)

    def forged(self, which: int, where: int, what: int) -> list[tuple[str, str]]:
        """Return the cookies of a token whose tag holds, whatever it says."""
        config = self.site.manager.config
        key, sid = _core.Key(*(getattr(config.key, field) for field in _core.Key._fields)), bytes(range(16))
        flags, expires = FLAGS[where % len(FLAGS)], TIMES[rare(where // len(FLAGS), len(TIMES))]
        payload = b"" if flags & _core.POINTER and which else PAYLOADS[what % len(PAYLOADS)]
        revision = REVISIONS[rare(what // len(PAYLOADS), len(REVISIONS))]
        chunks = config.cookie.chunks_for(len(payload)) + 20 * (which == 2 and what % 2)
        issued = (NOW - 60, NOW, 2**32 - 1)[which]
        start = _core._HEADER.pack(key.suite, key.id, flags, chunks, expires, issued, revision, sid)
        if key.suite == _core.SIGNED:
            sealed = start + payload + _core.mac(key, start + payload)
        else:
            start += bytes(_core.SALT_BYTES)
            sealed = start + _core._cipher(key, start).encrypt(_core._NONCE, payload, start)
        lines = config.cookie.write(_core.encode(sealed), now=NOW, expires=None, secure=False, taken=0)
        return [tuple(line.partition(";")[0].partition("=")[::2]) for line in lines]

    # -- by each protocol

    def open(self, name: str) -> None:
        """Serve without a middleware."""
        self.session = self.site.manager.open(self.typed_header())
        for action in self.script:
            if action[0] in ("start", "chunk"):
                continue
            self.perform(action)
        self.set_cookies = self.world.attempt("commit", self.session.commit) or []

    def typed_header(self) -> Any:
        """Return the Cookie header as a str, or as all fields of a request."""
        if self.header is None or self.form == 0:
            return self.header
        parts = self.header.encode("latin-1", "replace").split(b"; ", self.form)
        return [(b"host", b"localhost"), *((b"cookie", part) for part in parts)]

    def wsgi(self, name: str) -> None:
        self.how = name
        environ: dict[str, Any] = {"request": self, "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": self.path}
        if self.header is not None:
            environ["HTTP_COOKIE"] = self.header
        body = self.site.wsgi(environ, self.server_start)
        try:
            for chunk in body:
                self.world.note("chunk", chunk)
        finally:
            if hasattr(body, "close"):
                body.close()

    def server_start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.world.note("response", status, headers, exc_info and exc_info[1])
        self.set_cookies = [value for name, value in headers if name == "Set-Cookie"]
        return lambda data: self.world.note("written", data)

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.session = environ["gaesess.session"]
        if self.how == "WSGI in chunks":
            return self.wsgi_chunks(start_response)
        if self.how == "WSGI write":
            return self.wsgi_writes(start_response)
        return list(self.wsgi_chunks(start_response))

    def wsgi_writes(self, start_response: Any) -> list[bytes]:
        self.write = None
        for chunk in self.wsgi_chunks(start_response):
            if self.write:
                self.write(chunk)
        return [b"end"]

    def wsgi_chunks(self, start_response: Any) -> Iterator[bytes]:
        started = False
        for kind, *details in self.script:
            if kind == "start":
                if not started or details[1]:
                    headers, again = details
                    fields = [tuple(HEADERS[header].split(": ")) for header in headers]
                    error = RuntimeError("again")
                    exc_info = (RuntimeError, error, None) if again else None
                    self.write = start_response("200 OK", fields, exc_info)
                    started = True
            elif kind == "chunk":
                if started:
                    yield b"chunk"[: 5 * details[0]]
            else:
                self.perform((kind, *details))
        if not started:
            self.write = start_response("200 OK", [])
        yield b"last"

    def asgi(self, name: str) -> None:
        headers: list[Any] = [(b"host", b"localhost"), (b"Cookie", b"of no server")]
        if self.header is not None:
            line = self.header.encode("latin-1", "replace")
            parts = line.split(b"; ", self.form)
            headers += [[b"cookie", part] if self.form == 2 else (b"cookie", part) for part in parts]
        scope = {"type": "http", "path": self.path, "headers": headers, "request": self}
        if name == "websocket":
            scope |= {
                "type": "websocket",
                "extensions": {"websocket.http.response": {}} if len(self.script) % 2 else {},
            }

        async def receive() -> Any:
            raise AssertionError("nobody receives")

        self.world.run(self.site.asgi(scope, receive, self.server_send))

    async def server_send(self, message: dict[str, Any]) -> None:
        headers = list(message.get("headers", ()))
        self.world.note("sent", message | {"headers": headers})
        for name, value in headers:
            if name == b"set-cookie":
                self.set_cookies.append(value.decode("latin-1"))

    async def asgi_app(self, scope: dict[str, Any], send: Any) -> None:
        self.session = scope["session"]
        started = False
        http = scope["type"] == "http"
        for kind, *details in self.script:
            if kind == "start":
                if not started:
                    started = True
                    await send(self.asgi_start(http, details[0], details[1]))
            elif kind == "chunk":
                if started:
                    await send({"type": "http.response.body", "body": b"chunk", "more_body": True})
            else:
                self.perform((kind, *details))
        if not started:
            await send(self.asgi_start(http, [], len(self.script) % 4 == 3))
        if http:
            await send({"type": "http.response.body", "body": b"last"})

    def asgi_start(self, http: bool, headers: list[int], odd: bool) -> dict[str, Any]:
        if not http and odd:
            return {"type": "websocket.close"}
        start: dict[str, Any] = {"type": "http.response.start" if http else "websocket.accept"}
        if http:
            start["status"] = 200
        fields: Any = [[part.encode("latin-1") for part in HEADERS[header].split(": ")] for header in headers]
        if fields or not odd:
            start["headers"] = (tuple(field) for field in fields) if odd else fields
        return start

    # -- what the application does

    def perform(self, action: tuple[Any, ...]) -> None:
        kind, *details = action
        if kind == "do":
            self.world.attempt(details[0][0], lambda: self.operate(*details[0]))
        elif kind == "dare":
            self.world.note("dared", self.operate(*details[0]))
        elif kind == "raise":
            raise ERRORS[details[0]]("of the application")
        elif kind == "meanwhile":
            inner = Request(self.world, self.site, self.path, [], details[0])
            inner.header = self.header
            inner.open("meanwhile")
        elif kind == "grow":
            self.world.attempt(
                "grow", lambda: self.session.__setitem__(KEYS[details[0]](), SIZED[details[1]](SIZES[details[2]]))
            )
        elif kind == "fill":
            self.world.attempt("fill", lambda: self.fill(details[0]))
        elif self.held:
            self.world.attempt("change", lambda: self.change(self.held[-1 - details[0] % len(self.held)], details[1]))

    def operate(self, name: str, *arguments: int) -> Any:
        kinds, function = OPERATIONS[name]
        made = [self.argument(kind, number) for kind, number in zip(kinds, arguments, strict=True)]
        result = function(self.session, *made)
        self.held += [value for value in [*made, result] if type(value) in (list, dict, set)]
        return result

    def argument(self, kind: str, number: int) -> Any:
        if kind == "key":
            return KEYS[number]()
        if kind == "value":
            return VALUES[number]()
        return EXPIRATIONS[number] if kind == "expiration" else USERS[number] if kind == "user" else number

    def fill(self, number: int) -> None:
        """Make the session as large as fits the cookie, or a little larger or smaller."""
        self.session["fill"] = b""
        room = self.site.manager.config.cookie_bytes - len(_core.dumps(dict(self.session)))
        self.session["fill"] = bytes(max(0, min(room - 4 + number, 20_000)))

    def change(self, value: Any, how: int) -> None:
        if type(value) is list:
            [lambda: value.append(1), value.clear, value.reverse, lambda: value.append(Odd()), value.pop][how]()
        elif type(value) is dict:
            value["changed"] = [0, how, {}, Odd(), value.get("a")][how]
        else:
            value.add(how)

    # -- afterwards

    def end(self) -> None:
        """Note what the session is like, and take its cookies as a browser does."""
        world, session = self.world, self.session
        if session is not None:
            if self.script and self.script[0][0] == "do":
                self.perform(self.script[0])  # too late
            world.note("after", session._written or {}, *(getattr(session, field) for field in FIELDS))
            if session._sid:
                world.sids.append(_core.format_sid(session._expires, False, session._sid))
        if self.set_cookies:
            world.old_jars.append(dict(world.jar))
            world.jar = dict(world.jar)
        for line in self.set_cookies:
            pair, *attributes = line.split("; ")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                world.jar.pop(name, None)
            else:
                world.jar[name] = value


FIELDS = [
    *["_state", "_flags", "_expires", "_issued", "_revision", "_sid", "_payload", "_data", "_cleared"],
    *["_exposed", "_unsaved", "_retired", "_passive", "_elsewhere", "_accessed", "_left", "_taken", "_cookies"],
]


def rare(number: int, count: int) -> int:
    """Return a number below `count`, 0 for most."""
    return number if number < count else 0


# -- what is seen of it


def view(value: Any) -> Any:
    """Return all that can be seen of a value, as what can be compared: its type at every level, and NaN is itself."""
    kind = type(value)
    if kind in (str, bytes, int, bool, type(None)):
        return kind.__name__, value
    if kind in (list, tuple):
        return kind.__name__, [view(item) for item in value]
    if kind is dict:
        return "dict", [(view(key), view(item)) for key, item in value.items()]
    if kind in (set, frozenset):
        return kind.__name__, sorted((view(item) for item in value), key=repr)
    if isinstance(value, BaseException):
        return "error", kind.__module__, kind.__qualname__, str(value), view(value.__cause__)
    return f"{kind.__module__}.{kind.__qualname__}", repr(value)


def play(package: Package, program: Program) -> list[Any]:
    """Return all that is seen of a program."""
    log = logging.getLogger("gaesess")
    world: Any = None
    was_disabled, log.disabled = log.disabled, True  # every cookie that is refused is logged
    with package.imported():
        world = World(package, program.sites)
        unsubscribe = events.subscribe(lambda event: world.note("event", *event[:3], dict(event.fields)))
        with patch("time.time", world.clock), patch("os.urandom", world.urandom):
            try:
                for step in program.steps:
                    world.play(step)
            finally:
                unsubscribe()
                log.disabled = was_disabled
                if world.loop:
                    world.loop.close()
    return world.seen


def difference(program: Program) -> str | None:
    """Return where the forms of the package differ, None if they do not."""
    step: tuple[Any, ...] = ()
    for seen in zip_longest(*[play(package, program) for package in PACKAGES]):
        if any(other != seen[0] for other in seen):
            sides = zip(PACKAGES, seen, strict=True)
            return "\n".join([f"in {step}", *(f"{package.impl.IMPLEMENTATION}: {side}" for package, side in sides)])
        step = seen[0] if seen[0] in program.steps else step
    return None


def requests(data: bytes) -> None:
    """Play the program that these bytes choose."""
    position = 0

    def choose(count: int) -> int:
        nonlocal position
        if count <= 1 or position >= len(data):
            return 0
        position += 1
        return data[position - 1] % count

    found = difference(program(choose))
    assert found is None, found
