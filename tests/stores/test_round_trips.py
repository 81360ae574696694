"""What sessions over memcached and Datastore cost: each command and call that goes out, in order, to the real servers.

Sessions are kept in the store whatever their size. Once a store has found out that its Datastore heeds `base_version`,
a request costs what is said here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import services
from browser import Browser
from google.cloud import ndb
from pymemcache.client.base import Client

from gaesess import SessionManager, SessionTerminated, generate_key
from gaesess.drivers import RETRY_SECONDS
from gaesess.stores._socket import Socket
from gaesess.stores.base import CLOCK_MARGIN
from gaesess.stores.datastore import DatastoreStore
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import EXPIRY, new_key

PREFIX, NAMESPACE, KIND = "shop:", "shop", "ShopSession"


class Wire:
    """Everything that goes out: `log` has the command or the call, `commands` and `requests` the whole of them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.log: list[str] = []
        self.commands: list[list[str]] = []  # the first line of each, in words
        self.requests: list[Any] = []

    def sockets(self) -> Any:
        """Return a socket module whose sockets note each command."""
        wire = self

        class Noted(Socket):
            def sendall(self, data: bytes, flags: int = 0) -> None:
                words = data.split(b"\r\n", 1)[0].decode().split()
                wire.commands.append(words)
                wire.log.append(f"memcached {words[0]}")
                super().sendall(data, flags)

        class Module:
            socket = Noted

            def __getattr__(self, name: str) -> Any:
                return getattr(socket, name)

        return Module()

    def stub(self, stub: Any) -> Any:
        """Return a stub that notes each call."""
        wire = self

        class Noted:
            def __getattr__(self, rpc: str) -> Callable[..., Any]:
                def call(request: Any, **options: Any) -> Any:
                    wire.requests.append(type(request).pb(request))
                    wire.log.append(f"Datastore {rpc}")
                    return getattr(stub, rpc)(request, **options)

                return call

        return Noted()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def store(wire: Wire, memcached: str, datastore_emulator: str) -> Iterator[TieredStore]:
    """A store that knows what its servers can do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATASTORE_EMULATOR_HOST", datastore_emulator)
        client = ndb.Client(project=services.PROJECT)
    transport, client.stub = client.stub, wire.stub(client.stub)
    cache = MemcacheStore(
        lambda: Client(memcached, timeout=5, connect_timeout=5, socket_module=wire.sockets()), prefix=PREFIX
    )
    durable = DatastoreStore(client, kind=KIND, namespace=NAMESPACE)
    key = new_key()
    durable.replace(key, b"", expires_at=EXPIRY, version=durable.add(key, b"", expires_at=EXPIRY))
    yield TieredStore(cache, durable)
    cache.close()
    transport.close()


@pytest.fixture
def newcomer(store: TieredStore) -> Browser:
    return Browser(SessionManager(generate_key(), store=store, cookie_only_threshold=0))


@pytest.fixture
def browser(newcomer: Browser, wire: Wire) -> Browser:
    """A browser that has a session in the store and in the cache, of which nothing was noted."""
    with newcomer.request() as session:
        session["name"] = "Ann"
    wire.clear()
    return newcomer


def test_a_session_that_is_not_used_costs_nothing(browser: Browser, wire: Wire) -> None:
    with browser.request():
        pass
    assert wire.log == []


def test_the_first_save_is_one_commit_and_three_commands(newcomer: Browser, wire: Wire) -> None:
    wire.clear()
    with newcomer.request() as session:
        session["name"] = "Ann"
    assert wire.log == ["memcached add", "memcached gets", "Datastore commit", "memcached cas"]


def test_a_read_is_one_command(browser: Browser, wire: Wire) -> None:
    assert browser.data() == {"name": "Ann"}
    assert wire.log == ["memcached gets"]


def test_a_read_and_a_save_are_one_commit_and_two_commands(browser: Browser, wire: Wire) -> None:
    with browser.request() as session:
        session["cart"] = ["tea"]
    assert wire.log == ["memcached gets", "Datastore commit", "memcached cas"]


def test_an_increment_costs_what_any_other_change_does(browser: Browser, wire: Wire) -> None:
    with browser.request() as session:
        session.increment("visits")
    assert wire.log == ["memcached gets", "Datastore commit", "memcached cas"]


def test_a_value_set_to_what_it_was_costs_the_read(browser: Browser, wire: Wire) -> None:
    with browser.request() as session:
        session["name"] = "Ann"
    assert wire.log == ["memcached gets"]


def test_a_second_save_by_one_request_is_one_commit_more(browser: Browser, wire: Wire) -> None:
    with browser.request() as session:
        session["cart"] = ["tea"]
        session.save()
        wire.clear()
        session["cart"] = ["tea", "milk"]
    assert wire.log == ["Datastore commit", "memcached gets", "memcached cas"]


def test_a_quick_write_is_one_command(browser: Browser, wire: Wire) -> None:
    with browser.request() as session:
        session.set_quick("seen", 1)
    assert wire.log == ["memcached gets", "memcached cas"]


def test_a_conflict_costs_one_lookup_and_the_refused_commit(browser: Browser, wire: Wire) -> None:
    slow = browser.send()
    slow["slow"] = 1
    with browser.request() as fast:
        fast["fast"] = 1
    wire.clear()
    browser.receive(slow)
    assert wire.log == [
        "Datastore commit",  # refused
        "memcached gets",
        "Datastore lookup",
        "Datastore commit",
        "memcached cas",
    ]
    assert browser.data() == {"name": "Ann", "slow": 1, "fast": 1}


def test_a_save_long_after_the_read_costs_one_lookup_more(
    browser: Browser, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with browser.request() as session:
        session["cart"] = ["tea"]
        wire.clear()
        later = time.monotonic() + RETRY_SECONDS
        monkeypatch.setattr(browser.manager.config.driver, "clock", lambda: later)
    assert wire.log == ["memcached gets", "Datastore lookup", "Datastore commit", "memcached cas"]


def test_a_termination_of_a_session_that_was_read_is_one_commit_and_one_command(browser: Browser, wire: Wire) -> None:
    with browser.request() as session:
        assert session["name"] == "Ann"
        wire.clear()
        session.terminate()
    assert wire.log == ["Datastore commit", "memcached set"]


def test_a_session_that_was_terminated_is_looked_up_once_and_then_refused_by_the_cache(
    browser: Browser, wire: Wire
) -> None:
    late, later = browser.send(), browser.send()
    with browser.request() as session:
        session.terminate()
    wire.clear()
    assert not late.is_active()
    assert wire.log == ["memcached gets", "Datastore lookup", "memcached cas"]
    wire.clear()
    assert not later.is_active()
    assert wire.log == ["memcached gets"]


def test_a_request_that_a_termination_overtook_pays_one_lookup_to_hear_of_it(browser: Browser, wire: Wire) -> None:
    late = browser.send()
    late["late"] = 1
    with browser.request() as session:
        session.terminate()
    wire.clear()
    with pytest.raises(SessionTerminated):
        browser.receive(late)
    assert wire.log == ["Datastore commit", "memcached gets", "Datastore lookup", "memcached cas"]


def test_a_read_past_an_empty_cache_fills_it(browser: Browser, wire: Wire, store: TieredStore) -> None:
    with browser.request() as session:
        session["cart"] = ["tea"]
    store.cache.delete(wire.commands[-1][1].removeprefix(PREFIX))
    wire.clear()
    assert browser.data() == {"name": "Ann", "cart": ["tea"]}
    assert wire.log == ["memcached gets", "memcached add", "memcached gets", "Datastore lookup", "memcached cas"]
    wire.clear()
    assert browser.data() == {"name": "Ann", "cart": ["tea"]}
    assert wire.log == ["memcached gets"]


# What is sent


def test_every_command_that_writes_says_when_the_record_ends(newcomer: Browser, wire: Wire) -> None:
    wire.clear()
    with newcomer.request() as session:
        session["name"] = "Ann"
        end = session.get_expiration() + CLOCK_MARGIN
    with newcomer.request() as session:
        session["name"] = "Bob"
    with newcomer.request() as session:
        session.terminate()
    writes = [words for words in wire.commands if words[0] != "gets"]
    assert [(words[0], int(words[3])) for words in writes] == [("add", end), ("cas", end), ("cas", end), ("set", end)]


def test_memcached_keeps_an_entry_until_the_record_ends(newcomer: Browser, wire: Wire, memcached: str) -> None:
    wire.clear()
    began = time.time()
    with newcomer.request() as session:
        session["name"] = "Ann"
        end = session.get_expiration() + CLOCK_MARGIN
    host, port = memcached.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"mg {wire.commands[-1][1]} t\r\n".encode())
        left = int(connection.recv(64).decode().removeprefix("HD t"))
    ticks = 2  # memcached counts whole seconds, from its own start
    assert end - time.time() - ticks <= left <= end - began + ticks


def test_prefix_namespace_and_kind_are_in_every_key(newcomer: Browser, wire: Wire) -> None:
    wire.clear()
    with newcomer.request() as session:
        session["name"] = "Ann"
    with newcomer.request() as session:
        session["name"] = "Bob"
    mutations = [mutation for request in wire.requests for mutation in request.mutations]
    keys = [getattr(mutation, mutation.WhichOneof("operation")).key for mutation in mutations]
    names = {key.path[0].name for key in keys}
    assert len(names) == 1
    assert {(key.partition_id.namespace_id, key.path[0].kind) for key in keys} == {(NAMESPACE, KIND)}
    assert {words[1] for words in wire.commands} == {PREFIX + name for name in names}
