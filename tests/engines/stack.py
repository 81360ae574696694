"""The application with its sessions in memcached and Datastore."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import services
from engines.app import application
from engines.visitor import Visitor, in_process
from google.cloud import ndb
from proxy import Proxy
from pymemcache.client.base import Client

from gaesess import SessionMiddleware, StoreError, events, generate_key
from gaesess._core import Token, parse_sid
from gaesess.stores.datastore import DatastoreStore
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import new_key

IN_STORE = 5000  # bytes: more than a cookie holds
PATIENCE = 30  # seconds for what comes in its time
SHORT = 0.3  # seconds for what does not come


class CountedMemcache(MemcacheStore):
    """Counts the calls to memcached, answered or not."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **options)
        self.calls = 0
        self._counting = threading.Lock()

    def _lend(self, key: str, use: Callable[[Client], Any]) -> Any:
        with self._counting:
            self.calls += 1
        return super()._lend(key, use)


class Stack:
    """The stores, and the application under the middleware that keeps sessions in them."""

    def __init__(
        self,
        memcached: str,
        client: ndb.Client,
        *,
        proxy: Proxy | None = None,
        cache_seconds: float = 1.0,
        clock: Callable[[], float] = lambda: 0.0,  # by which nothing is slow, whatever else the machine does
    ) -> None:
        self.memcached = memcached
        self.proxy = proxy
        self.cache = CountedMemcache(memcached, timeout=cache_seconds)
        self.durable = DatastoreStore(client, timeout=PATIENCE)
        self.store = TieredStore(self.cache, self.durable, clock=clock)
        self.later = 0  # seconds by which the clock of the application is ahead
        settings = {"cookie_key": generate_key(), "store": self.store, "clock": lambda: time.time() + self.later}
        self.app = SessionMiddleware(application, **settings)
        self.degrading = SessionMiddleware(application, **settings, outage="degrade")
        self.durable._heeds_base_version()  # asked here, so that no fault meets that question

    def visitor(self, user: str = "ada", size: int = IN_STORE, app: Any = None) -> Visitor:
        """Return a visitor who is signed in."""
        return Visitor(in_process(app or self.app), user).sign_in(size)

    def expect_nothing(self) -> None:
        """Wait no longer than SHORT for Datastore from now on."""
        self.durable._calls._timeout = SHORT  # set here and not from the start: a busy machine would miss it

    def break_datastore(self, **fault: Any) -> None:
        """Let Datastore's proxy do this from now on."""
        assert self.proxy
        self.expect_nothing()
        self.proxy.inject(**fault)

    def restore_datastore(self) -> None:
        """End whatever is done to Datastore, and wait for it again."""
        self.durable._calls._timeout = PATIENCE
        if self.proxy:
            self.proxy.restore()

    def forget(self) -> None:
        """Let memcached forget everything."""
        with closing(Client(self.memcached, timeout=5, connect_timeout=5)) as client:
            client.flush_all(noreply=False)

    def lose(self, visitor: Visitor) -> None:
        """Take a visitor's record from Datastore, as when it is restored from a backup, and from memcached."""
        sid = self.app.manager.open(visitor.cookies.header()).sid
        assert sid
        expires, _, raw_sid = parse_sid(sid)
        records = self.app.manager.config.records
        assert records
        self.durable.delete(records.key(Token(0, expires, 0, 0, raw_sid, b"")))
        self.forget()

    def stats(self) -> dict[str, int]:
        """Return memcached's numbers."""
        with closing(Client(self.memcached, timeout=5, connect_timeout=5)) as client:
            return {name.decode(): value for name, value in client.stats().items() if isinstance(value, int)}

    def wait_for_datastore(self) -> None:
        """Restore it, and wait until gRPC has noticed: it tries again a second and more after a failure."""
        self.restore_datastore()
        deadline = time.monotonic() + PATIENCE
        while not self.datastore_answers():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def datastore_answers(self) -> bool:
        try:
            self.durable.get(new_key())
        except StoreError:
            return False
        return True


@contextmanager
def ndb_client(address: str) -> Iterator[ndb.Client]:
    """Give a client of the emulator at that address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATASTORE_EMULATOR_HOST", address)
        client = ndb.Client(project=services.PROJECT)
    try:
        yield client
    finally:
        client.stub.close()


@contextmanager
def noted_events() -> Iterator[list[events.Event]]:
    """Give a list that fills with what happens."""
    happened: list[events.Event] = []
    unsubscribe = events.subscribe(happened.append)
    try:
        yield happened
    finally:
        unsubscribe()


@contextmanager
def at_event(name: str, action: Callable[[], object]) -> Iterator[None]:
    """Do something at each event of that name, in the thread where it happens."""
    unsubscribe = events.subscribe(lambda event: action() if event.name == name else None)
    try:
        yield
    finally:
        unsubscribe()
