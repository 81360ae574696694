"""MemcacheStore on a real memcached: the contract, several servers, interrupts, forks and outages."""

from __future__ import annotations

import os
import socket
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import services
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheIllegalInputError

from gaesess.errors import Conflict, Gone, StoreError, StoreUnavailable
from gaesess.stores.base import Stored
from gaesess.stores.memcache import MemcacheStore
from gaesess.testing import EXPIRY, CacheContract, new_key

LONG_AGO = 1_000_000_000  # Unix seconds, in 2001


@pytest.fixture
def store(memcached: str) -> Iterator[MemcacheStore]:
    store = MemcacheStore(memcached)
    yield store
    store.close()


class TestMemcacheStore(CacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def store(self, memcached: str) -> Iterator[MemcacheStore]:
        store = MemcacheStore(memcached)
        yield store
        store.close()


class TestTwoServers(CacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def store(self, memcached: str, second_memcached: str) -> Iterator[MemcacheStore]:
        store = MemcacheStore([memcached, second_memcached])
        yield store
        store.close()


@pytest.fixture(scope="module")
def second_memcached(memcached: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.run_memcached(tmp_path_factory.mktemp("second")) as address:
        yield address


class Sockets:
    """A socket module for a Client whose sockets raise `interrupt`, once, in place of the next receive."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []
        self.interrupt: BaseException | None = None
        sockets = self

        class Socket(socket.socket):
            def __init__(self, *arguments: int) -> None:
                super().__init__(*arguments)
                sockets.made.append(self)

            def recv(self, *arguments: int) -> bytes:
                interrupt, sockets.interrupt = sockets.interrupt, None
                if interrupt is not None:
                    raise interrupt
                return super().recv(*arguments)

        self.module = types.SimpleNamespace(**{**vars(socket), "socket": Socket})


class GreenletTimeout(BaseException):
    """As gevent's Timeout, it is no Exception."""


@pytest.fixture
def sockets() -> Sockets:
    return Sockets()


@pytest.fixture
def interruptible(memcached: str, sockets: Sockets) -> Iterator[MemcacheStore]:
    store = MemcacheStore(lambda: Client(memcached, timeout=5, connect_timeout=5, socket_module=sockets.module))
    yield store
    store.close()


def test_another_store_with_the_same_prefix_sees_the_record(store: MemcacheStore, memcached: str) -> None:
    key, other = new_key(), MemcacheStore(memcached)
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert other.get(key) == Stored(b"data", version)
    other.close()


def test_another_store_with_another_prefix_does_not(store: MemcacheStore, memcached: str) -> None:
    key, other = new_key(), MemcacheStore(memcached, prefix="other:")
    store.add(key, b"data", expires_at=EXPIRY)
    assert other.get(key) is None
    other.close()


def test_memcached_forgets_a_record_that_is_past_its_absolute_expiry(store: MemcacheStore) -> None:
    key = new_key(LONG_AGO)
    store.add(key, b"data", expires_at=LONG_AGO)
    assert store.get(key) is None


@pytest.mark.parametrize("method", ["add", "put"])
def test_a_record_that_memcached_refuses_as_too_large_is_not_called_stored(store: MemcacheStore, method: str) -> None:
    key = new_key()
    with pytest.raises(StoreUnavailable, match="too large: raise its item size limit, option -I"):
        getattr(store, method)(key, bytes(2_000_000), expires_at=EXPIRY)
    assert store.get(key) is None


def test_a_replacement_that_is_too_large_leaves_the_record(store: MemcacheStore) -> None:
    key = new_key()
    version = store.add(key, b"small", expires_at=EXPIRY)
    with pytest.raises(StoreUnavailable, match="too large"):
        store.replace(key, bytes(2_000_000), expires_at=EXPIRY, version=version)
    assert store.get(key) in (Stored(b"small", version), None)


def test_a_bad_key_is_an_error_of_the_caller_and_not_an_outage(store: MemcacheStore) -> None:
    with pytest.raises(MemcacheIllegalInputError):
        store.get("a key with spaces")


def test_calls_one_after_the_other_share_a_connection(interruptible: MemcacheStore, sockets: Sockets) -> None:
    for _ in range(3):
        interruptible.get(new_key())
    assert len(sockets.made) == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, GreenletTimeout])
def test_a_connection_interrupted_in_mid_reply_is_closed(
    interruptible: MemcacheStore, sockets: Sockets, interrupt: type[BaseException]
) -> None:
    sockets.interrupt = interrupt()
    with pytest.raises(interrupt):
        interruptible.put(new_key(), b"data", expires_at=EXPIRY)
    assert [made.fileno() for made in sockets.made] == [-1]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, GreenletTimeout])
def test_an_interrupted_put_does_not_lend_its_reply_to_the_next_call(
    interruptible: MemcacheStore, sockets: Sockets, interrupt: type[BaseException]
) -> None:
    key = new_key()
    stale = interruptible.add(key, b"first", expires_at=EXPIRY)
    current = interruptible.replace(key, b"second", expires_at=EXPIRY, version=stale)
    sockets.interrupt = interrupt()
    with pytest.raises(interrupt):
        interruptible.put(new_key(), b"data", expires_at=EXPIRY)
    with pytest.raises(Conflict):
        interruptible.replace(key, b"third", expires_at=EXPIRY, version=stale)
    assert interruptible.get(key) == Stored(b"second", current)


def test_after_a_broken_connection_the_next_call_makes_a_new_one(
    interruptible: MemcacheStore, sockets: Sockets
) -> None:
    interruptible.get(new_key())
    sockets.made[0].shutdown(socket.SHUT_RDWR)
    with pytest.raises(StoreUnavailable):
        interruptible.get(new_key())
    assert interruptible.get(new_key()) is None


class Interleaved(Client):
    """A client that lets another caller do `between` each time it has read a record for `cas`."""

    between: Callable[[], object]

    def gets(self, *arguments: Any) -> Any:
        found = super().gets(*arguments)
        Interleaved.between()
        return found


@pytest.mark.parametrize(
    ("between", "error"),
    [
        (lambda store, key: store.delete(key), Gone),
        (lambda store, key: store.put(key, b"theirs", expires_at=EXPIRY), Conflict),
    ],
    ids=["deleted", "replaced"],
)
def test_a_change_between_the_two_steps_of_a_replace_is_seen(
    store: MemcacheStore, memcached: str, between: Callable[[MemcacheStore, str], object], error: type[StoreError]
) -> None:
    key = new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    Interleaved.between = lambda: between(store, key)
    slow = MemcacheStore(lambda: Interleaved(memcached, timeout=5, connect_timeout=5))
    with pytest.raises(error):
        slow.replace(key, b"second", expires_at=EXPIRY, version=version)
    slow.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_read_the_replies_of_its_parent(store: MemcacheStore) -> None:
    ours, theirs = new_key(), new_key()
    store.add(ours, b"parent" * 1000, expires_at=EXPIRY)
    store.add(theirs, b"child" * 1000, expires_at=EXPIRY)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if only_reads(store, theirs, b"child" * 1000) else 1)
        finally:
            os._exit(2)
    assert only_reads(store, ours, b"parent" * 1000)
    assert os.waitpid(child, 0) == (child, 0)


def only_reads(store: MemcacheStore, key: str, data: bytes) -> bool:
    return all(store.get(key).data == data for _ in range(300))


CALLS = {
    "get": lambda store: store.get(new_key()),
    "add": lambda store: store.add(new_key(), b"data", expires_at=EXPIRY),
    "replace": lambda store: store.replace(new_key(), b"data", expires_at=EXPIRY, version=1),
    "put": lambda store: store.put(new_key(), b"data", expires_at=EXPIRY),
    "gets": lambda store: store.gets(new_key()),
    "cas": lambda store: store.cas(new_key(), b"data", expires_at=EXPIRY, ticket=b"1"),
    "delete": lambda store: store.delete(new_key()),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_not_there_is_an_outage_and_named(call: str) -> None:
    address = f"127.0.0.1:{services.free_port()}"
    with pytest.raises(StoreUnavailable, match=address):
        CALLS[call](MemcacheStore(address))


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_does_not_answer_is_an_outage(call: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=f"{address} failed: TimeoutError"):
            CALLS[call](MemcacheStore(address, timeout=0.01))


def test_records_are_spread_over_the_servers(memcached: str, second_memcached: str) -> None:
    both = MemcacheStore([memcached, second_memcached])
    keys = [new_key() for _ in range(64)]
    for key in keys:
        both.put(key, b"data", expires_at=EXPIRY)
    singles = [MemcacheStore(memcached), MemcacheStore(second_memcached)]
    found = [sum(single.get(key) is not None for key in keys) for single in singles]
    assert sum(found) == 64
    assert min(found) > 0
    for store in (both, *singles):
        store.close()


def test_no_other_server_stands_in_for_one_that_is_down(memcached: str, tmp_path: Path) -> None:
    keys = [new_key() for _ in range(64)]
    with services.run_memcached(tmp_path) as second:
        both, alone = MemcacheStore([memcached, second]), MemcacheStore(memcached)
        for key in keys:
            both.put(key, b"data", expires_at=EXPIRY)
    lost = [key for key in keys if alone.get(key) is None]
    for _ in range(2):
        for key in lost:
            with pytest.raises(StoreUnavailable, match=second):
                both.get(key)
    assert all(both.get(key).data == b"data" for key in keys if key not in lost)
    both.close()
    alone.close()


@pytest.mark.parametrize("client_class", [Client, PooledClient])
def test_a_client_shared_with_others_is_refused(client_class: type) -> None:
    with pytest.raises(TypeError, match="pass a function that makes a new Client"):
        MemcacheStore(client_class("127.0.0.1:11211"))


def test_a_client_that_hides_dead_servers_is_refused() -> None:
    with pytest.raises(TypeError, match="not a HashClient"):
        MemcacheStore(lambda: HashClient(["127.0.0.1:11211"]))


def test_a_client_that_hides_outages_is_refused() -> None:
    with pytest.raises(ValueError, match="ignore_exc=False"):
        MemcacheStore(lambda: Client("127.0.0.1:11211", ignore_exc=True))


def test_a_store_without_a_server_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a server"):
        MemcacheStore([])


def test_a_server_that_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="port"):
        MemcacheStore("localhost:port")
