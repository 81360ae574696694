"""Processes around one cache and one durable store, and what the guarantees ask of these when all is quiet."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from guarantees.history import Identity, frozen
from guarantees.tasks import Engine, Line

from gaesess import SessionManager, _impl, generate_key
from gaesess._core import Token
from gaesess.drivers import Threads
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TAG_BYTES, TieredStore

PROCESSES = 2
CACHE_SECONDS = 5  # for which an entry of the cache is believed
DISTURBANCES = (  # of every world; that of test_machine has two more
    "cache down",
    "durable down",
    "all up",
    "land",
    "evict",
    "restart",
    "replay",
    "forge a time",
    "time passes",
    "clock is set back",
)


class DurableMemory(MemoryStore):
    may_forget = False


class NoTurn:
    """The turn of a process in which nobody waits: no guarantee depends on it."""

    def __init__(self, inside: dict[Any, int], name: Any) -> None:
        self._inside = inside
        self._name = name

    async def __aenter__(self) -> bool:
        others = self._inside.get(self._name, 0)
        self._inside[self._name] = others + 1
        return others > 0

    async def __aexit__(self, *_: object) -> None:
        self._inside[self._name] -= 1


class Driver(Threads):
    """Runs requests that take turns by greenlets, in one thread, which therefore must not wait."""

    def __init__(self, store: object, clock: Callable[[], float]) -> None:
        super().__init__(1, store)
        self.clock = clock
        self._inside: dict[Any, int] = {}

    def turn(self, name: Any) -> Any:
        return NoTurn(self._inside, name)

    async def sleep(self, seconds: float) -> None:
        pass


class World:
    """Everything there is, and two clocks: `now`, which may step back, and `elapsed`, which does not."""

    def __init__(self, cookie_bytes: int = 0) -> None:
        self.elapsed = 0.0
        self.times = [1_800_000_000.0]  # all that `now` was, in Unix seconds
        self.cache, self.durable = Engine(MemoryStore()), Engine(DurableMemory())
        common = {"cookie_key": generate_key(), "cookie_only_threshold": cookie_bytes, "clock": lambda: self.now}
        self._make_manager = partial(SessionManager, **common)
        self.managers = [self.new_process() for _ in range(PROCESSES)]
        self.durable_alone = self._make_manager(store=self.durable.store)
        self.ticks = 0
        self.identities: dict[str, Identity] = {}  # by session id
        self.cookies: dict[str, Identity] = {}  # every Cookie header that was ever sent out
        self.kept: list[tuple[str, bytes]] = []  # entries of the cache that an attacker has read
        self.replayed = False  # one was put back

    def new_process(self) -> SessionManager:
        clock = self.seconds_elapsed
        store = TieredStore(Line(self.cache), Line(self.durable), cache_seconds=CACHE_SECONDS, clock=clock)
        manager = self._make_manager(store=store)
        manager.config.driver = Driver(store, clock)
        return manager

    @property
    def now(self) -> float:
        return self.times[-1]

    def seconds_elapsed(self) -> float:
        return self.elapsed

    def step_clock(self, seconds: float) -> None:
        """Let time pass, or only set the clock back."""
        self.times.append(self.now + seconds)
        self.elapsed += max(seconds, 0)

    def believed_until(self) -> float:
        """Return the time by `now` at which no entry of the cache that was written before is believed any more."""
        return max(self.times) + CACHE_SECONDS

    def shown_until(self, identity: Identity) -> float:
        """Return the time from which nobody is shown a session that is over.

        The cache may have failed when it was to be marked, or an attacker may have put back what it had. Then, for a
        stated time, it may show the session.
        """
        return identity.shown_until if identity.unmarked or self.replayed else 0.0

    def is_over(self, identity: Identity) -> bool:
        """Return whether an id of a session has ended, and nobody is to be shown the session any more."""
        return (identity.ended or identity.retired) and self.now >= self.shown_until(identity)

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def land_everything(self) -> None:
        """Let the engines do what they have yet to do, and work from then on."""
        for engine in (self.cache, self.durable):
            engine.down = False
            while engine.late:
                engine.land()
        self.step_clock(1)  # the breakers try again

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
        self.check_shown()
        self.step_clock(self.believed_until() - self.now)
        self.check_shown(is_true=True)
        for key, entry in reversed(self.kept):  # the oldest of each key is what stays
            self.cache.store.put(key, retimed(entry, self.now), expires_at=2_000_000_000)
        self.check_shown(is_true=True)

    def check_shown(self, *, is_true: bool = False) -> None:
        """Check what every cookie shows in every process; with `is_true`, that it is what the durable store has."""
        for header, identity in self.cookies.items():
            for manager in self.managers:
                session = manager.open(header)
                if self.is_over(identity):
                    assert not session.is_active(), "a session that is over lives on in the cache"
                if is_true:
                    shown = frozen(dict(session)) if session.is_active() else None
                    assert shown == self.durable_data(identity), "the cache is believed for longer than is stated"

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
        self.keep()
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
        elif event in ("replay", "forge a time") and self.kept:
            key, entry = self.kept[choice % len(self.kept)]
            entry = entry if event == "replay" else retimed(entry, self.now)
            self.cache.store.put(key, entry, expires_at=2_000_000_000)
            if (key, entry) in self.kept:  # with no time forged, or the one that it had
                self.replayed, self.cache.sound = True, False
        elif event == "process exits":
            self.managers[choice % PROCESSES] = self.new_process()
        elif event == "time passes":
            self.step_clock(1 + choice % 3)
        elif event == "clock is set back":
            self.step_clock(-1 - choice % 3)

    def keep(self) -> None:
        """Have the attacker read the cache."""
        now = [(key, record.data) for key, record in self.cache.store._records.items()]
        self.kept += [entry for entry in now if entry not in self.kept]

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
    """Return what somebody who can write to the cache puts there, besides what was there before."""
    kinds = [secrets.token_bytes(200), b"x", b"", other[:-1], other[:8] + secrets.token_bytes(100)]
    return (kinds if own else [*kinds, other])[choice % (5 if own else 6)]


def retimed(entry: bytes, now: float) -> bytes:
    """Return an entry of the cache as if the durable store were known to have this now."""
    number = entry[TAG_BYTES + 4 : TAG_BYTES + 12]
    return entry[:TAG_BYTES] + int(now).to_bytes(4, "big") + number + entry[TAG_BYTES + 12 :]
