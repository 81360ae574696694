"""Processes around the engines of the model, what is there at the start of a script, and one step of a schedule."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from gaesess import SessionManager, _impl, events
from gaesess.errors import StoreError, StoreUnavailable
from gaesess.stores._breaker import Breaker
from gaesess.stores.base import Stored
from gaesess.stores.tiered import CACHE_SECONDS, TieredStore
from gaesess.users import CHECKED_SECONDS
from model.engines import CACHE, DURABLE, TURN, WORK, Call, Engine, ModelCache, ModelDriver, ModelStore
from model.requests import FILLER, OPS, Request

KEY = "a key of the model, of which there is no other use"
NOW = 1_800_000_000
COOKIE_BYTES = 150  # a session with FILLER has more
SLOW = 0.3  # seconds: more than the breaker and the retries take
MAX_CALLS = 200  # of one request

# What may become of a call, beside an answer: each counts as one fault.
READ_FAULTS = ("fail", "gone", "cancel")
WRITE_FAULTS = ("fail", "lost", "late", "hung", "twice", "gone", "cancel", "cancelled")
FAULTS = {
    "fail": "StoreUnavailable, and nothing was done",
    "lost": "StoreUnavailable, but it was done",
    "late": "StoreUnavailable after 0.3 s, and it is done later",
    "hung": "StoreUnavailable after 0.3 s, but it was done",
    "slow": "answered after 0.3 s",
    "twice": "sent twice, and the second answer came back",
    "gone": "done, and the process dies",
    "cancel": "the task is cancelled, and nothing was done",
    "cancelled": "the task is cancelled, but it was done",
    "timeout": "goes on without its turn",
}
UNAVAILABLE = frozenset(["fail", "lost", "late", "hung"])
CLOCKS = {"back": (-3600, 0), "60": (CACHE_SECONDS + 1, CACHE_SECONDS + 1), "5": (CHECKED_SECONDS + 0.5,) * 2}


PURE = ("seal", "unseal", "unseal_cookies")  # to seal again what is the same in a million schedules takes most time


class Time:
    """The clocks of every process: of the wall, and one that never steps back."""

    def __init__(self) -> None:
        self.wall, self.steady = float(NOW), 0.0

    def set(self, wall: float, steady: float) -> None:
        self.wall, self.steady = wall, steady

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


TIME = Time()


def _steady() -> float:
    return TIME.steady


_current: list[Request] = []


def _note(what: Any) -> None:
    """Note what the request that goes on was shown of its process's memory."""
    _current[-1].note(what)


class NotingBreaker(Breaker):
    """A breaker whose answers are part of a request's history."""

    def allows(self) -> bool:
        allows = super().allows()
        _note(allows)
        return allows


def _urandom(size: int) -> bytes:
    """Return bytes that depend only on the request, and on how many it has asked for."""
    request = _current[-1]
    request.randoms += 1
    return _digest(request.name, request.randoms)[:size]


@lru_cache(10_000)
def _digest(name: str, number: int) -> bytes:
    return sha256(f"{name} {number}".encode()).digest()


@contextmanager
def patched() -> Iterator[None]:
    """Make what is random a function of the request, and events nobody's."""
    urandom, emit, functions = os.urandom, events.emit, {name: getattr(_impl, name) for name in PURE}
    os.urandom, events.emit = _urandom, lambda *arguments, **fields: None  # type: ignore[assignment]
    for name, function in functions.items():
        setattr(_impl, name, _remembering(function))
    try:
        yield
    finally:
        os.urandom, events.emit = urandom, emit
        for name, function in functions.items():
            setattr(_impl, name, function)


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of constant keys and of values that cannot change, which remembers its results."""
    results: dict[Any, Any] = {}

    def remembered(keys: Any, *arguments: Any) -> Any:
        try:
            return results[id(keys), arguments]
        except KeyError:
            pass
        result = function(keys, *arguments)
        if len(results) > 100_000:
            results.clear()
        results[id(keys), arguments] = result
        _kept[id(keys)] = keys  # so that no others get its id
        return result

    return remembered


_kept: dict[int, Any] = {}


class Case(NamedTuple):
    """A script and the configuration that it runs in."""

    ops: tuple[str, ...]
    home: str  # of the session at the start: "cookie" or "store"
    kind: str  # "memory" may forget, "durable" may not, "tiered" has a cache in front
    revocable: bool
    processes: int  # in which the requests run: 1, which has checked the session just before, or one for each

    def __str__(self) -> str:
        return f"{self.script} {self.config}"

    @property
    def script(self) -> str:
        return f"{'|'.join(self.ops)}@{self.home}"

    @property
    def config(self) -> str:
        return f"{self.kind}{',revocable' if self.revocable else ''},{self.processes}p"

    @classmethod
    def parse(cls, script: str, config: str) -> Case:
        ops, _, home = script.partition("@")
        kind, *rest = config.split(",")
        return cls(tuple(ops.split("|")), home, kind, "revocable" in rest, int(rest[-1][0]))

    @property
    def bound(self) -> bool:
        return self.revocable and any(op in ("bind", "login", "revoke_user") for op in self.ops)

    @property
    def bound_seconds(self) -> int:
        """For so long an ended session may be believed."""
        return CHECKED_SECONDS if self.revocable else CACHE_SECONDS


class Shards(dict[int, dict[bytes, Any]]):
    """In the place of a list of 256 dictionaries, to make which takes longer than some schedules."""

    def __missing__(self, number: int) -> dict[bytes, Any]:
        return self.setdefault(number, {})


class Process:
    """A session manager with what it remembers."""

    def __init__(self, case: Case) -> None:
        self.store: Any
        self.breaker = None
        if case.kind == "tiered":
            self.store = TieredStore(ModelCache(), ModelStore(), clock=_steady)
            self.breaker = self.store.breaker = NotingBreaker(1.0, _steady)
        else:
            self.store = ModelStore(may_forget=case.kind == "memory")
        self.manager = SessionManager(
            cookie_key=KEY,
            store=self.store,
            revocable=case.revocable,
            cookie_only_threshold=COOKIE_BYTES,
            clock=lambda: TIME.wall,
        )
        self.driver = self.manager.config.driver = ModelDriver(_steady, _note)
        self.users = self.manager.config.users
        self.warm: list[tuple[int, Any, Any]] = []

    def keep(self) -> None:
        """Begin each schedule with what is remembered now."""
        if self.users:
            self.warm = [(sid[0], sid, checked) for shard in self._shards() for sid, checked in shard.items()]

    def _shards(self) -> list[dict[bytes, Any]]:
        checked = self.users._checked
        return [checked[number] for number in sorted(checked)] if isinstance(checked, Shards) else checked

    def reset(self) -> None:
        self.driver.reset()
        if self.breaker:
            self.breaker._retry_at = None
        if self.users:
            self.users._checked = Shards()
            for number, sid, checked in self.warm:
                self.users._checked[number][sid] = checked

    def memory(self) -> tuple[Any, ...]:
        """Return what it remembers, as far as another request of it can see that."""
        return self.checked(), self.driver.taken(), self.breaker and self.breaker._retry_at

    def checked(self) -> tuple[Any, ...]:
        """Return which sessions it has checked, and when."""
        return () if not self.users else tuple(tuple(shard.items()) for shard in self._shards() if shard)


class Start:
    """What is there when the requests of a case begin: made once, and the same for each schedule."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.engines = {DURABLE: Engine(), CACHE: Engine()}
        self.cookies: list[str] = []  # those that the client had, the present one last
        self.setup = Process(case)
        self.reader = Process(case)
        self.processes = [Process(case) for _ in (case.ops if case.processes > 1 else [1])]
        TIME.set(NOW, 0.0)
        self.run(self.make(self.setup.manager), self.setup)
        TIME.set(NOW + 10, 10.0)
        if case.processes == 1:
            self.run(self.look(self.processes[0].manager), self.processes[0])
        for process in self.processes:
            process.keep()
        config = self.setup.manager.config
        token = token_of(self.setup.manager, self.cookies[-1])
        self.sid, self.sid_text = token.sid, _impl.format_sid(token.expires, False, token.sid)
        self.names = {config.records.key(token): "the record"}
        if config.users:
            user = config.users._identities("ada")[0]
            self.names[config.users._records.key(user)] = "the user"

    def run(self, coroutine: Coroutine[Any, Any, Any], process: Process) -> Any:
        return run_alone(coroutine, self.engines, "setup")

    async def make(self, manager: SessionManager) -> None:
        session = manager.open(None)
        session.update(n=1, items=[0], x="", z="")
        if self.case.bound:
            session.bind_user("ada")
        await self.send(session)
        if self.case.home == "store":
            session = await self.look(manager)
            session["f"] = FILLER
            await self.send(session)
        session = await self.look(manager)
        session["x"] = session["z"] = "0"
        await self.send(session)
        TIME.set(NOW + 8, 8.0)
        await self.look(manager)  # now the cache has it

    async def look(self, manager: SessionManager) -> Any:
        session = manager.open(self.cookies[-1])
        await session.aload()
        return session

    async def send(self, session: Any) -> None:
        self.cookies.append((await session.acommit())[0].partition(";")[0])


def token_of(manager: SessionManager, header: str) -> Any:
    config = manager.config
    return _unsealed(header, config.cookie.name, id(manager), lambda: config)


_tokens: dict[tuple[str, int], Any] = {}


def _unsealed(header: str, name: str, owner: int, config: Callable[[], Any]) -> Any:
    key = header, owner
    if key not in _tokens:
        if len(_tokens) > 20_000:
            _tokens.clear()
        found = _impl.unseal_cookies(config().keys, header, name, NOW)
        _tokens[key] = found and found[0]
    return _tokens[key]


def run_alone(coroutine: Coroutine[Any, Any, Any], engines: dict[str, Engine], name: str) -> Any:
    """Return the result of a coroutine for which all goes well, and which nobody disturbs."""
    _current.append(Request(name))
    try:
        answer, error = None, None
        for _ in range(MAX_CALLS):
            try:
                call = coroutine.throw(error) if error else coroutine.send(answer)
            except StopIteration as done:
                return done.value
            answer, error = None, None
            try:
                answer = True if call.engine in (TURN, WORK) else engines[call.engine].apply(call)
            except StoreError as raised:
                error = raised
        raise AssertionError("it does not end")
    finally:
        _current.pop()


def _gate(call: Call | None) -> tuple[bool, bool] | None:
    if call is None or call.engine != TURN:
        return None
    return call.arguments[0].is_open, call.arguments[0].hung


class Token(NamedTuple):
    """A choice of the scheduler. Two with footprints that do not meet commute; `None` commutes with nothing."""

    text: str
    footprint: tuple[str, str, frozenset[Any], bool] | None
    cost: int


class World:
    """One schedule of a case, as far as it has come."""

    def __init__(self, start: Start) -> None:
        self.start, self.case = start, start.case
        self.engines = {name: engine.copy() for name, engine in start.engines.items()}
        TIME.set(NOW + 10, 10.0)
        for process in start.processes:
            process.reset()
        self.names = dict(start.names)
        self.requests: dict[str, Request] = {}
        self.told: list[tuple[str, str]] = []
        for number, op in enumerate(self.case.ops):
            request = Request("ABCDEFGH"[number], 10**number, op)
            request.clock, request.told = _steady, self.told
            request.process = start.processes[number if self.case.processes > 1 else 0]
            request.cookie, request.sid, request.sid_text = start.cookies[-1], start.sid, start.sid_text
            if op.startswith("old_"):
                request.cookie = start.cookies[0]
            self.requests[request.name] = request
        self.late: list[Call] = []
        self.used = 0
        self.soft = False  # the cache failed: what it has may be old, for a while
        self.evicted: frozenset[str] = frozenset()  # what the only store has forgotten
        self.stepped = False  # the clock
        self.last = ""
        self.story: list[str] | None = None
        self.wrong: str | None = None
        self.one_process = self.case.processes == 1

    # -- what can come next

    def alternatives(self, budget: int, kinds: frozenset[str] | None = None) -> list[Token]:
        """Return what can come next, with at most `budget` faults in all."""
        tokens: list[Token] = []
        live = [request for request in self.requests.values() if request.state in ("new", "live")]
        if not live:
            return tokens
        live.sort(key=lambda request: request.name != self.last)
        faults = self.used < budget
        for request in live:
            call = request.call
            if call is None:
                tokens.append(Token(request.name, None, 0))
            elif call.engine == TURN:
                if call.arguments[0].is_open:
                    tokens.append(Token(request.name, None, 0))
                elif faults:
                    tokens.append(Token(f"{request.name}:timeout", None, 1))
            else:
                tokens.append(Token(request.name, self._footprint(request, call), 0))
        for request in live:
            call = request.call
            if call is None or call.engine in (TURN, WORK) or request.answered:
                continue
            if self._may_delay(call, live):
                tokens.append(Token(f"{request.name}:answer", self._footprint(request, call), 0))
        tokens += [Token(f"land:{number}", None, 0) for number in range(len(self.late))]
        if faults:
            for request in live:
                if request.call and request.call.engine not in (TURN, WORK) and not request.answered:
                    tokens += self._faults(request, request.call)
            tokens += self._disturbances(live)
            if kinds is not None:
                tokens = [
                    token
                    for token in tokens
                    if not token.cost or token.text.partition(":")[2] in kinds or token.text.partition(":")[0] in kinds
                ]
        return tokens

    def _may_delay(self, call: Call, live: list[Request]) -> bool:
        """Return whether it matters when an answer arrives: only beside another request of the same process."""
        return self.one_process and self.case.revocable and len(live) > 1 and call.method == "get_many"

    def _footprint(self, request: Request, call: Call) -> tuple[str, str, frozenset[Any], bool] | None:
        if self.one_process:
            return None
        return request.name, call.engine, frozenset(call.keys), call.writes

    def _faults(self, request: Request, call: Call) -> Iterator[Token]:
        footprint = self._footprint(request, call)
        for fault in WRITE_FAULTS if call.writes else READ_FAULTS:
            if fault == "gone" and self.one_process:
                continue
            if fault == "hung" and call.engine == CACHE:
                fault = "slow"
            if fault == "twice" and not self._succeeds(call):
                continue
            timed = fault in ("late", "hung", "slow")
            yield Token(f"{request.name}:{fault}", None if timed else footprint, 1)
        if call.engine == CACHE and not call.writes:
            yield Token(f"{request.name}:slow", None, 1)

    def _succeeds(self, call: Call) -> bool:
        """Return whether a write would be made, and not a second time."""
        found = self.engines[call.engine].records.get(call.keys[0])
        if call.method == "add":
            return found is None
        return call.method in ("replace", "cas") and found is not None and found[1] == call.arguments[1]

    def _disturbances(self, live: list[Request]) -> Iterator[Token]:
        engine = DURABLE if self.case.kind == "memory" else CACHE
        keys = {
            key: None
            for request in live
            if request.call and request.call.engine == engine
            for key in request.call.keys
            if key in self.engines[engine].records
        }
        for key in keys:
            yield Token(f"evict:{self.names.get(key, key).replace(' ', '-')}", None, 1)
        if any(request.state == "live" for request in live) or len(live) < len(self.requests):
            for clock in CLOCKS:
                if clock != "5" or self.case.revocable:
                    yield Token(f"clock:{clock}", None, 1)

    # -- a step

    def do(self, token: Token | str, cost: int | None = None) -> None:
        """Take a step."""
        text = token if isinstance(token, str) else token.text
        self.used += (token.cost if isinstance(token, Token) else cost) or 0
        name, _, fault = text.partition(":")
        if name == "land":
            self._land(int(fault))
        elif name == "evict":
            self._evict(fault)
        elif name == "clock":
            self._step_clock(*CLOCKS[fault])
            self.stepped = True
            self.tell(f"the clock steps by {CLOCKS[fault][0]} s")
        else:
            self._step(self.requests[name], fault)

    def _step_clock(self, wall: float, steady: float) -> None:
        TIME.set(TIME.wall + wall, TIME.steady + steady)
        # A call of the cache that lasts so long makes the breaker open.
        self.soft |= any(each.call and each.call.engine == CACHE for each in self.requests.values())

    def _land(self, number: int) -> None:
        call = self.late.pop(number)
        try:
            self.engines[call.engine].apply(call)
            outcome = "done"
        except StoreError as error:
            outcome = type(error).__name__
        self.tell(f"late: {self.describe(call)}: {outcome}")

    def _evict(self, name: str) -> None:
        engine = DURABLE if self.case.kind == "memory" else CACHE
        for key in list(self.engines[engine].records):
            if self.names.get(key, key).replace(" ", "-") == name:
                del self.engines[engine].records[key]
        if engine == DURABLE:
            self.evicted |= {name}
        self.tell(f"{engine} forgets {name.replace('-', ' ')}")

    def _step(self, request: Request, fault: str) -> None:
        self.last = request.name
        call = request.call
        if call is None:
            request.begin(OPS[request.op], self.milestones())
            self.tell(f"{request.name} begins: {request.op}")
            self._resume(request, None, None)
            return
        if call.engine == TURN:
            if fault:
                self._step_clock(5, 5)
                self.stepped = True  # a save may take no longer
            self.tell(f"{request.name}: {'goes on without its turn' if fault else 'has its turn'}")
            self._resume(request, not fault, None)
            return
        if call.engine == WORK:
            self.tell(f"{request.name} works")
            self._resume(request, None, None)
            return
        if request.answered:
            answer, error = request.answered.pop()
            self.tell(f"{request.name}: the answer arrives")
            self._resume(request, answer, error)
            return
        request.calls += 1
        if request.calls > MAX_CALLS:
            self.wrong = f"{request.name} makes more than {MAX_CALLS} calls"
            request.state = "dead"
            return
        answer, error = self._answer(request, call, fault)
        if self.story is not None:
            self.tell(f"{request.name}: {self.describe(call)}: {self._outcome(answer, error, fault)}")
        if fault == "gone":
            request.state, request.outcome = "dead", "died"
            self.soft |= call.engine == CACHE or self.case.kind == "tiered"
        elif fault == "answer":
            request.answered.append((answer, error))
            request.note("delayed")
        else:
            self._resume(request, answer, error)

    def _answer(self, request: Request, call: Call, fault: str) -> tuple[Any, BaseException | None]:
        if fault in UNAVAILABLE:
            request.failed |= call.engine == DURABLE
        if fault and fault != "twice" and (call.engine == CACHE or fault in ("gone", "cancel", "cancelled")):
            self.soft = True  # at the latest when the breaker is open it is not marked
        if fault in ("late", "hung", "slow"):
            self._step_clock(SLOW, SLOW)
        if fault == "late":
            self.late.append(call)
        answer, error = None, None
        if fault not in ("fail", "late", "cancel"):
            try:
                if fault == "twice":
                    self.engines[call.engine].apply(call)
                answer = self.engines[call.engine].apply(call)
                if call.method == "add":
                    self.names.setdefault(call.keys[0], f"the record of {request.name}'s new id")
            except StoreError as raised:
                error = raised
        if fault in UNAVAILABLE:
            return None, StoreUnavailable("a fault")
        if fault in ("cancel", "cancelled"):
            from asyncio import CancelledError

            request.cancelled = True
            return None, CancelledError()
        return answer, error

    def _resume(self, request: Request, answer: Any, error: BaseException | None) -> None:
        shown = type(error).__name__ if error else tuple(answer) if type(answer) is list else answer
        request.note((shown, TIME.wall, TIME.steady, request.process.checked() if self.one_process else None))
        _current.append(request)
        try:
            coroutine = request.coroutine
            request.call = coroutine.throw(error) if error else coroutine.send(answer)
            request.state = "live"
            if self.one_process and request.process.users:
                request.shard = request.process.users._checked[request.sid[0]]
        except StopIteration:
            request.state, request.call = "done", None
            self.tell(f"{request.name} ends: {request.outcome}")
            if request.outcome not in ("ok", "unavailable", "terminated", "cancelled"):
                self.wrong = f"{request.name} raises {request.outcome}"
        finally:
            _current.pop()

    def milestones(self) -> dict[str, float]:
        """Return what requests have been told by now, and when."""
        return {f"{each.name} {what}": when for each in self.requests.values() for what, when in each.heard.items()}

    # -- what is so by now

    def digest(self) -> int:
        """Return a hash of all that the rest of the schedule depends on, but the number of faults."""
        requests = tuple(
            (request.state, request.history, len(request.answered), self._holds_current(request), _gate(request.call))
            for request in self.requests.values()
        )
        engines = tuple(
            hash((frozenset(engine.records.items()), frozenset(engine.counts.items())))
            for engine in self.engines.values()
        )
        late = tuple(call.identity() for call in self.late)
        memory = self.start.processes[0].memory() if self.one_process else None
        flags = self.soft, self.evicted, self.stepped, tuple(self.told) if self.case.kind == "memory" else None
        return hash((engines, requests, late, memory, flags, TIME.wall, TIME.steady))

    def _holds_current(self, request: Request) -> bool:
        """Return whether the checks that a request may be about to note are still in use."""
        users = request.process.users
        return not users or request.shard is None or request.shard is users._checked[request.sid[0]]

    def finish(self) -> None:
        """Let all that is late land."""
        while self.late:
            self._land(0)

    def close(self) -> None:
        """End the coroutines, before the processes are used again."""
        for request in self.requests.values():
            while request.coroutine is not None:
                try:
                    _current.append(request)
                    request.coroutine.close()
                    request.coroutine = None
                except RuntimeError:  # it waits again, on its way out
                    pass
                finally:
                    _current.pop()

    # -- the story

    def tell(self, line: str) -> None:
        if self.story is not None:
            self.story.append(line)

    def describe(self, call: Call) -> str:
        names = ", ".join(self.names.get(key, "the record of a new id") for key in call.keys)
        return f"{call.engine}.{call.method}({names})"

    def _outcome(self, answer: Any, error: BaseException | None, fault: str) -> str:
        if fault and fault != "answer":
            return FAULTS[fault]
        late = " (the answer is on its way)" if fault else ""
        if error:
            return type(error).__name__ + late
        if isinstance(answer, list):
            return ", ".join(f"version {each.version}" if each else "nothing" for each in answer) + late
        return (
            f"version {answer.version}"
            if isinstance(answer, Stored)
            else "nothing"
            if answer is None
            else f"version {answer}"
        ) + late
