"""Processes around one cache and one durable store, and what the guarantees ask of these when all is quiet."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from guarantees.history import Identity, frozen
from guarantees.tasks import Engine, Line

from gaesess import SessionManager, _impl, generate_key
from gaesess._core import Token, parse_sid
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
        self.identities: dict[str, Identity] = {}  # by session id
        self.cookies: dict[str, Identity] = {}  # every Cookie header that was ever sent out

    def clock(self) -> float:
        return self.now

    def new_store(self) -> TieredStore:
        return TieredStore(Line(self.cache), Line(self.durable), clock=self.clock)

    def is_over(self, identity: Identity) -> bool:
        """Return whether an id of a session has ended, and the cache was told.

        That the cache failed when it was to be told, and has not been told since, is the one stated limit.
        """
        expires, _, raw_sid = parse_sid(identity.sid)
        key = record_key(expires, raw_sid)
        owed = identity.untold and any(key in store._owed for store in [*self.stores, *self.exited])
        return (identity.ended or identity.retired) and not owed

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
        for identity in self.identities.values():
            data = self.durable_data(identity)
            if identity.sent:
                assert data is None or not identity.ended, "a terminated session lives on in the durable store"
            assert data is None or not identity.retired, "a session lives on under its old id"
            acknowledged = identity.parent and identity.start is not None
            if acknowledged or any(operation.certain for operation in identity.operations):
                assert self.is_kept(identity), "a session is lost"
            assert identity.is_explained(data), "what is saved, or was shown, has no explanation"
        for header, identity in self.cookies.items():
            for manager in self.managers:
                if self.is_over(identity):
                    assert not manager.open(header).is_active(), "a session that is over lives on in the cache"

    def is_kept(self, identity: Identity) -> bool:
        """Return whether the session lives under an id that it was given, unless it was terminated."""
        return identity.ending or self.durable_data(identity) is not None or any(map(self.is_kept, identity.heirs))

    def check_client(self, header: str | None) -> None:
        """Check what a client has in the end, and of every other session only whether what was shown can be explained.

        For sessions that may live in their cookie, where a client's last cookie is what counts.
        """
        current = self.cookies.get(header) if header else None
        for identity in self.identities.values():
            final = None
            if identity is current:
                session = self.durable_alone.open(header)
                assert session.is_active() or identity.ending or identity.adrift, "a session is lost"
                final = frozen(dict(session)) if session.is_active() else None
            assert identity.is_explained(final), "what is saved, or was shown, has no explanation"

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

    def durable_data(self, identity: Identity) -> Any:
        """Return what the durable store has of a session under this id, None if there is nothing, or an end."""
        session = self.durable_alone.load(identity.sid)
        return frozen(dict(session)) if session.is_active() else None


def token_of(manager: SessionManager, header: str | None) -> Token | None:
    """Return what a Cookie header says."""
    config = manager.config
    found = _impl.unseal_cookies(config.keys, header, config.cookie.name, config.now()) if header else None
    return found[0] if found else None


def poison(choice: int, other: bytes, *, own: bool) -> bytes:
    """Return what somebody who can write to the cache puts there. (An older record of its own is a stated limit.)"""
    kinds = [secrets.token_bytes(200), b"x", b"", other[:-1], other[:8] + secrets.token_bytes(100)]
    return (kinds if own else [*kinds, other])[choice % (5 if own else 6)]
