"""Processes around one cache and one durable store, and what the guarantees ask of these when all is quiet."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from functools import partial
from typing import Any

from guarantees.history import Lineage, frozen
from guarantees.linearizability import explains
from guarantees.tasks import Engine, Line

from gaesess import SessionManager, _core, generate_key
from gaesess.stores.base import record_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import new_key

PROCESSES = 2


class DurableMemory(MemoryStore):
    may_forget = False


class World:
    """Everything there is, and the time."""

    def __init__(self, cookie_bytes: int = 0) -> None:
        self.now = 1_800_000_000.0
        self.cache, self.durable = Engine(MemoryStore()), Engine(DurableMemory())
        common = {"cookie_key": generate_key(), "cookie_only_threshold": cookie_bytes, "clock": self.clock}
        self.make_manager = partial(SessionManager, **common)
        self.stores = [self.new_store() for _ in range(PROCESSES)]
        self.managers = [self.make_manager(store=store) for store in self.stores]
        self.exited: list[TieredStore] = []
        self.durable_alone = self.make_manager(store=self.durable.store)
        self.ticks = 0
        self.lineages: dict[str, Lineage] = {}  # by session id
        self.cookies: dict[str, Lineage] = {}  # every Cookie header that was ever sent out

    def clock(self) -> float:
        return self.now

    def new_store(self) -> TieredStore:
        return TieredStore(Line(self.cache), Line(self.durable), clock=self.clock)

    def is_over(self, lineage: Lineage, sid: str) -> bool:
        """Return whether an id of a session has ended, and the cache was told.

        That the cache failed when it was to be told, and has not been told since, is the one stated limit.
        """
        expires, _, raw_sid = _core.parse_sid(sid)
        key = record_key(expires, raw_sid)
        owed = lineage.untold and any(key in store._owed for store in [*self.stores, *self.exited])
        return (lineage.ended or sid in lineage.retired) and not owed

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def land_everything(self) -> None:
        """Let the engines do what they have yet to do, and work from then on."""
        for engine in (self.cache, self.durable):
            engine.down = False
            while engine.late:
                engine.land()
        self.now += 10  # the breakers try again
        for store in self.stores:
            store.get(new_key())  # and tell the cache what it was not there to hear

    def check_end(self) -> None:
        """Check what is left of every session, when all is quiet, against what was asked and answered."""
        for lineage in set(self.lineages.values()):
            found = self.alive(lineage.sent)
            if not found and lineage.adrift and not lineage.ended:
                found = self.alive(reversed(lineage.sids))[:1]
            assert len(found) <= 1, "a session lives under two ids"
            if lineage.ended:
                assert not found, "a terminated session lives on in the durable store"
            elif not (found or lineage.ending):
                assert not any(operation.certain for operation in lineage.operations), "a session is lost"
            self.check_explained(lineage, frozen(found[0]) if found else None)
        for header, lineage in self.cookies.items():
            for manager in self.managers:
                session = manager.open(header)
                if lineage.ended and session.is_active():
                    assert not self.is_over(lineage, session.sid), "a terminated session lives on in the cache"

    def check_client(self, header: str | None) -> None:
        """Check what a client has in the end, and of every other session only whether what was shown can be explained.

        For sessions that may live in their cookie, where a client's last cookie is what counts.
        """
        current = self.cookies.get(header) if header else None
        for lineage in set(self.lineages.values()):
            final = None
            if lineage is current:
                session = self.durable_alone.open(header)
                assert session.is_active() or lineage.ending or lineage.adrift, "a session is lost"
                final = frozen(dict(session)) if session.is_active() else None
            self.check_explained(lineage, final)

    def check_explained(self, lineage: Lineage, final: Any) -> None:
        """Check whether what was asked and answered, and what it has in the end if that is known, fit together."""

        def ends(state: Any) -> bool:
            return final in (None, state)

        assert explains(lineage.operations, frozen({}), ends), "what is saved, or was shown, has no explanation"

    def disturb(self, event: str, choice: int) -> None:
        """Do something to the engines."""
        cached = self.cache.store._records
        keys = list(cached)
        if event == "cache down":
            self.cache.down = True
        elif event == "durable down":
            self.durable.down = True
        elif event == "all up":
            self.cache.down = self.durable.down = False
        elif event == "land":
            for engine in (self.durable, self.cache):
                if engine.late:
                    engine.land(choice % len(engine.late))
        elif event == "evict" and keys:
            self.cache.store.delete(keys[choice % len(keys)])
        elif event == "restart":
            cached.clear()
        elif event == "poison" and keys:
            key, other = keys[choice % len(keys)], keys[(choice + 1) % len(keys)]
            self.cache.store.put(key, poison(choice, cached[other].data, own=key == other), expires_at=2_000_000_000)
        elif event == "process exits":
            process = choice % PROCESSES
            self.exited.append(self.stores[process])
            self.stores[process] = self.new_store()
            self.managers[process] = self.make_manager(store=self.stores[process])
        elif event == "time passes":
            self.now += 1 + choice % 3

    def alive(self, sids: Iterable[str]) -> list[dict[Any, Any]]:
        return [data for sid in sids if (data := self.durable_data(sid)) is not None]

    def durable_data(self, sid: str) -> dict[Any, Any] | None:
        session = self.durable_alone.load(sid)
        return dict(session) if session.is_active() else None


def poison(choice: int, other: bytes, *, own: bool) -> bytes:
    """Return what somebody who can write to the cache puts there. (An older record of its own is a stated limit.)"""
    kinds = [secrets.token_bytes(200), b"x", b"", other[:-1], other[:8] + secrets.token_bytes(100)]
    return (kinds if own else [*kinds, other])[choice % (5 if own else 6)]
