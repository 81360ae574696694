"""The engines and the driver of the model: every call stops, and the scheduler decides when and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any

from gaesess.drivers import Driver, Turn, run
from gaesess.errors import Conflict, Gone, KeyExists
from gaesess.stores.base import AsyncCache, AsyncStore, Stored

DURABLE, CACHE, TURN, WORK = "durable", "cache", "turn", "work"
READS = frozenset(["get", "get_many", "gets", "work"])


class Call:
    """A call of an engine, or the wait for a lock, that a request has stopped at."""

    __slots__ = ("arguments", "engine", "keys", "method")

    def __init__(self, engine: str, method: str, keys: tuple[Hashable, ...], *arguments: Any) -> None:
        self.engine, self.method, self.keys, self.arguments = engine, method, keys, arguments

    def __await__(self) -> Generator[Call, Any, Any]:
        return (yield self)

    @property
    def writes(self) -> bool:
        return self.method not in READS

    def identity(self) -> tuple[Any, ...]:
        return self.engine, self.method, self.keys, self.arguments


class ModelStore(AsyncStore):
    """The durable store, or with `may_forget` a store like MemoryStore."""

    engine = DURABLE

    def __init__(self, may_forget: bool = False) -> None:
        self.may_forget = may_forget

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return await Call(self.engine, "get", (key,))

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        return await Call(self.engine, "get_many", tuple(keys))

    async def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        return await Call(self.engine, "add", (key,), data)

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        return await Call(self.engine, "replace", (key,), data, version)

    async def delete(self, key: str) -> None:
        return await Call(self.engine, "delete", (key,))


class ModelCache(ModelStore, AsyncCache):
    """The cache in front of it."""

    engine = CACHE

    def __init__(self) -> None:
        super().__init__(may_forget=True)

    async def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        return await Call(self.engine, "put", (key,), data)

    async def gets(self, key: str) -> Stored | None:
        return await Call(self.engine, "gets", (key,))

    async def cas(self, key: str, data: bytes, *, expires_at: int, ticket: int) -> None:
        return await Call(self.engine, "cas", (key,), data, ticket)


class Engine:
    """What an engine has. Versions are counted by key, so that calls of other keys do not change them."""

    __slots__ = ("counts", "records")

    def __init__(self, records: dict[str, tuple[bytes, int]] | None = None, counts: dict[str, int] | None = None):
        self.records, self.counts = dict(records or {}), dict(counts or {})

    def copy(self) -> Engine:
        return Engine(self.records, self.counts)

    def apply(self, call: Call) -> Any:
        """Return the answer. Raises KeyExists, Conflict or Gone as a store does."""
        method, records = call.method, self.records
        if method == "get_many":
            return [records[key] and Stored(*records[key]) if key in records else None for key in call.keys]
        (key,) = call.keys
        found = records.get(key)
        if method in ("get", "gets"):
            return found and Stored(*found)
        if method == "delete":
            records.pop(key, None)
            return None
        if method == "add" and found:
            raise KeyExists("there is a record")
        if method in ("replace", "cas"):
            if not found:
                raise Gone("there is no record")
            if found[1] != call.arguments[1]:
                raise Conflict("it was replaced since")
        self.counts[key] = version = self.counts.get(key, 0) + 1
        records[key] = call.arguments[0], version
        return None if method in ("cas", "put") else version


class ModelDriver(Driver):
    """Runs nothing itself: the scheduler does. Who need not wait for a lock does not stop."""

    is_async = True

    def __init__(self, clock: Callable[[], float], note: Callable[[Any], None]) -> None:
        super().__init__()
        self.clock, self._note = clock, note

    def run(self, coroutine: Any) -> Any:
        return run(coroutine)  # which raises RuntimeError if it waits

    def turn(self, name: Hashable) -> Turn:
        return ModelTurn(self._turns, name, self.clock, self._note)

    async def sleep(self, seconds: float) -> None:
        """Others may go on at the next call as well as here, so that there is no need to stop."""

    def reset(self) -> None:
        """Forget all turns."""
        self._turns.clear()

    def taken(self) -> tuple[Any, ...]:
        """Return the sessions and users whose turn somebody has."""
        return tuple(sorted(name for name in self._turns if type(name) is bytes))


class Gate:
    """What those wait at who wait for a turn."""

    __slots__ = ("hung", "is_open")

    def __init__(self) -> None:
        self.is_open = self.hung = False

    def set(self) -> None:
        self.is_open = True


class ModelTurn(Turn):
    """A turn for which one waits as long as the scheduler likes."""

    def __init__(self, turns: Any, name: Hashable, clock: Callable[[], float], note: Callable[[Any], None]) -> None:
        super().__init__(turns, name, clock)
        self._note = note

    async def __aenter__(self) -> bool:
        self._note(self._name in self._turns)
        return await super().__aenter__()

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await super().__aexit__(kind, error, trace)
        if gate := vars(self).get("gate"):
            gate.hung = self.hung

    def _new_gate(self) -> Gate:
        return Gate()

    async def _wait(self, gate: Gate, seconds: float) -> None:
        await Call(TURN, "wait", (), gate)
        self._note((gate.is_open, gate.hung, self._name in self._turns))
