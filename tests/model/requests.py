"""What a request does with its session, and what it was told."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from gaesess.errors import SessionTerminated, StoreUnavailable
from model.engines import WORK, Call

FILLER = "f" * 200
ABSENT = None


class Save:
    """Changes that were to be saved as one, and whether anybody was told that they were."""

    __slots__ = ("changes", "heard", "in_store", "number", "sid")

    def __init__(self, changes: list[tuple[Any, ...]], sid: str, number: int) -> None:
        self.changes, self.sid, self.number, self.heard, self.in_store = changes, sid, number, False, False


class Seen:
    """What a request, or a look at the end, was shown."""

    __slots__ = ("data", "in_store", "revision", "sid")

    data: frozenset[tuple[str, Any]]  # but its user; what can be looked up, as a million schedules are shown the same

    def __init__(self, session: Any) -> None:
        active = session.is_active()
        self.sid = session.sid if active else None
        self.revision = session.revision
        self.data = frozenset(
            (key, tuple(value) if type(value) is list else value)
            for key, value in session.items()
            if key != "gaesess.user"
        )
        self.in_store = bool(active and session.home and session.home.value == "store")


class Request:
    """One request: its coroutine, the call that it has stopped at, and what the oracle must know of it."""

    def __init__(self, name: str, number: int = 1, op: str = "") -> None:
        self.name, self.number, self.op = name, number, op
        self.process: Any = None
        self.clock: Callable[[], float] = float
        self.began = 0.0
        self.cookie, self.sid, self.sid_text = "", b"", ""
        self.coroutine: Any = None
        self.call: Any = None
        self.state = "new"  # then "live", and "done" or "dead"
        self.outcome: str | None = None
        self.history = hash((name, op))
        self.randoms = self.calls = 0
        self.answered: list[Any] = []  # an answer that is on its way to it
        self.shard: Any = None
        self.failed = self.cancelled = False  # the durable store failed it; its task was cancelled
        self.after: dict[str, float] = {}  # what others had been told when it began, and when
        # what it did
        self.session: Any = None
        self.changes: list[tuple[Any, ...]] = []
        self.saves: list[Save] = []
        self.seen: list[Seen] = []
        self.tried: set[str] = set()  # what it has begun that may end a session
        self.heard: dict[str, float] = {}  # what it was told is done, and when
        self.told: list[tuple[str, str]] = []  # what all requests were told, in that order
        self.heir: str | None = None
        self.begun: str | None = None  # the id of a session that it started
        self.held: str | None = None  # its client's cookie after the response
        self.answer: list[str] | None = None

    def begin(self, op: Callable[[Request], Coroutine[Any, Any, None]], after: dict[str, float]) -> None:
        self.after, self.began = after, self.clock()
        self.note(tuple(sorted(after.items())))
        self.coroutine = self._run(op)

    def note(self, what: Any) -> None:
        self.history = hash((self.history, what))

    async def _run(self, op: Callable[[Request], Coroutine[Any, Any, None]]) -> None:
        try:
            await op(self)
            self.outcome = "ok"
        except CancelledError:
            self.outcome = "cancelled"
        except SessionTerminated:
            self.outcome = "terminated"
            self.take(self.session.abandon())
        except StoreUnavailable as error:
            self.outcome = "unavailable" if type(error) is StoreUnavailable else type(error).__name__
            if self.session is not None:
                self.take(self.session.abandon())
        except Exception as error:  # what no application expects
            self.outcome = f"{type(error).__name__}: {error}"

    # -- for the operations

    async def load(self) -> Any:
        self.session = session = self.process.manager.open(self.cookie)
        await session.aload()
        self.seen.append(Seen(session))
        return session

    def set(self, key: str, value: Any) -> None:
        if value is ABSENT:
            self.session.pop(key)
        else:
            self.session[key] = value
        self.changes.append(("set", key, value))

    def increment(self) -> None:
        amount = self.number * (len(self.saves) + 1)
        self.session.increment("n", amount)
        self.changes.append(("add", "n", amount))

    def append(self) -> None:
        item = self.number * (len(self.saves) + 1)
        self.session.append("items", item)
        self.changes.append(("append", "items", item))

    async def save(self, *, last: bool = True) -> None:
        """Save, and with the `last` one send the response."""
        session, changes, self.changes = self.session, self.changes, []
        save = Save(changes, session.sid, len(self.saves) + 1)
        if changes:
            self.saves.append(save)
        if last:
            lines = await session.acommit()
            self.take(lines)
        else:
            await session.asave()
        save.heard, save.in_store = True, session._version is not None
        self.hear(f"saved{len(self.saves)}")

    def hear(self, what: str) -> None:
        """Be told that something is done."""
        self.heard[what] = self.clock()
        self.told.append((self.name, what))

    def take(self, lines: list[str]) -> None:
        """Be sent a response."""
        self.answer = lines
        for line in lines:
            pair = line.partition(";")[0]
            self.held = None if "Max-Age=0" in line else pair


async def read(request: Request) -> None:
    await request.load()
    await request.save()


def _changing(change: Callable[[Request], Any]) -> Callable[[Request], Coroutine[Any, Any, None]]:
    async def op(request: Request) -> None:
        if (await request.load()).is_active():
            change(request)
        await request.save()

    return op


def _write(request: Request) -> None:
    request.set("x", request.name)
    request.set("z", request.name)
    request.set(request.name, 1)


def _regenerate(request: Request) -> None:
    request.session.regenerate_id()
    request.heir = request.session.sid
    request.tried.add("regenerate")
    request.set(request.name, 1)


def _login(request: Request) -> None:
    _regenerate(request)
    _bind(request)


def _bind(request: Request) -> None:
    request.session.bind_user("ada")
    request.tried.add("bind")
    request.changes.append(("bind",))


def _quick(request: Request) -> None:
    request.session.set_quick("q", request.name)
    request.changes.append(("quick", "q", request.name))


async def twice(request: Request) -> None:
    if (await request.load()).is_active():
        request.increment()
        request.append()
        await request.save(last=False)
        request.increment()
        request.append()
    await request.save()


async def terminate(request: Request) -> None:
    session = await request.load()
    request.tried.add("end")
    await session.aterminate()
    request.hear("end")
    await request.save()


async def start(request: Request) -> None:
    session = await request.load()
    request.tried.add("start")
    if session.is_active():
        request.tried.add("end")
    session.start()
    request.begun = session.sid
    request.set("s", request.name)
    await request.save()
    if "end" in request.tried:
        request.hear("end")


async def revoke_user(request: Request) -> None:
    request.tried.add("revoke")
    await request.process.manager.arevoke_user("ada")
    request.hear("revoke")


async def revoke_session(request: Request) -> None:
    request.tried.add("end")
    await request.process.manager.arevoke_session(request.sid_text)
    request.hear("end")


def _slow(change: Callable[[Request], Any]) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """Return an operation that takes time between its read and its change."""

    async def op(request: Request) -> None:
        session = await request.load()
        await Call(WORK, "work", (request.name,))
        if session.is_active():
            change(request)
        await request.save()

    return op


OPS: dict[str, Callable[[Request], Awaitable[None]]] = {
    "read": read,
    "write": _changing(_write),
    "increment": _changing(Request.increment),
    "append": _changing(Request.append),
    "twice": twice,
    "regenerate": _changing(_regenerate),
    "login": _changing(_login),
    "terminate": terminate,
    "start": start,
    "bind": _changing(_bind),
    "revoke_user": revoke_user,
    "revoke_session": revoke_session,
    "grow": _changing(lambda request: request.set("f", FILLER + request.name)),
    "shrink": _changing(lambda request: request.set("f", ABSENT)),
    "quick": _changing(_quick),
    "slow_quick": _slow(_quick),
    "slow_increment": _slow(Request.increment),
    "old_read": read,
    "old_increment": _changing(Request.increment),
}
