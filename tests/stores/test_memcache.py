"""MemcacheStore on a real memcached: the contract, several servers, interrupts, forks and outages."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import services
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheIllegalInputError

from gaesess.errors import Conflict, Gone, SessionTooLarge, StoreError, StoreUnavailable
from gaesess.stores._socket import ReplySocket, Socket, SocketModule
from gaesess.stores.base import Stored
from gaesess.stores.memcache import MemcacheStore
from gaesess.testing import EXPIRY, CacheContract, new_key, race

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
FORK_IN_THREADS = "ignore:.* is multi-threaded, use of fork:DeprecationWarning"  # of the threads of gRPC
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
def second_memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.run_memcached(tmp_path_factory.mktemp("second")) as address:
        yield address


class GreenletTimeout(BaseException):
    """As gevent's Timeout, it is no Exception."""


POINTS = ("in connect", "before the command", "in the command", "before the reply", "in the reply")


class Sockets:
    """A socket module for a Client whose sockets raise `interrupt`, once, when they are at a point of an exchange."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []
        self.interrupt: BaseException | None = None
        self.point = "before the reply"
        self.skip = 0  # exchanges to let pass before
        sockets = self

        class Interruptible(socket.socket):
            def __init__(self, *arguments: int) -> None:
                super().__init__(*arguments)
                sockets.made.append(self)
                self.received = 0

            def connect(self, address: object) -> None:
                sockets.reach("in connect")
                super().connect(address)

            def sendall(self, data: bytes, flags: int = 0) -> None:
                sockets.reach("before the command")
                if sockets.is_due("in the command"):
                    super().sendall(data[: len(data) // 2])
                    sockets.reach("in the command")
                self.received = 0
                super().sendall(data, flags)

            def recv(self, size: int, flags: int = 0) -> bytes:
                sockets.reach("before the reply")
                if self.received:
                    sockets.reach("in the reply")
                received = super().recv(1 if sockets.is_due("in the reply") else size, flags)
                self.received += len(received)
                sockets.skip -= 1
                return received

        class Interrupted(Socket, Interruptible):
            """The store's own, on top of one in which it happens."""

        self.module = types.SimpleNamespace(**{**vars(socket), "socket": Interrupted})

    def is_due(self, point: str) -> bool:
        return self.interrupt is not None and self.skip <= 0 and self.point == point

    def reach(self, point: str) -> None:
        if self.is_due(point):
            interrupt, self.interrupt = self.interrupt, None
            raise interrupt


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


@pytest.fixture(scope="module")
def small_memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a memcached that takes items of half a MiB."""
    with services.memcached_server(tmp_path_factory.mktemp("small"), "-I", "512k") as (address, _):
        yield address


@pytest.fixture
def small(small_memcached: str) -> Iterator[MemcacheStore]:
    store = MemcacheStore(small_memcached)
    yield store
    store.close()


TOO_LARGE = bytes(600_000)


@pytest.mark.parametrize("method", ["add", "put"])
def test_a_record_that_memcached_refuses_as_too_large_is_not_called_stored(small: MemcacheStore, method: str) -> None:
    key = new_key()
    with pytest.raises(
        SessionTooLarge, match=r"memcached 127\.0\.0\.1:\d+ refused an item of 600,008 bytes.* option -I"
    ):
        getattr(small, method)(key, TOO_LARGE, expires_at=EXPIRY)
    assert small.get(key) is None


def test_a_replacement_that_is_too_large_leaves_the_record(small: MemcacheStore) -> None:
    key = new_key()
    version = small.add(key, b"small", expires_at=EXPIRY)
    with pytest.raises(SessionTooLarge):
        small.replace(key, TOO_LARGE, expires_at=EXPIRY, version=version)
    with pytest.raises(SessionTooLarge):
        small.cas(key, TOO_LARGE, expires_at=EXPIRY, ticket=small.gets(key).version)
    assert small.get(key) == Stored(b"small", version)


def test_memcached_drops_the_record_under_a_put_that_is_too_large(small: MemcacheStore) -> None:
    key = new_key()
    small.add(key, b"small", expires_at=EXPIRY)
    with pytest.raises(SessionTooLarge):
        small.put(key, TOO_LARGE, expires_at=EXPIRY)
    assert small.get(key) is None


def test_a_record_that_is_too_large_closes_no_connection_of_others(small_memcached: str, sockets: Sockets) -> None:
    store = MemcacheStore(lambda: Client(small_memcached, timeout=5, connect_timeout=5, socket_module=sockets.module))
    race(lambda _: store.get(new_key()), [b""] * 4)
    idle = len(sockets.made)
    with pytest.raises(SessionTooLarge):
        store.add(new_key(), TOO_LARGE, expires_at=EXPIRY)
    assert sum(made.fileno() != -1 for made in sockets.made) == idle - 1
    assert store.get(new_key()) is None
    store.close()


def test_a_bad_key_is_an_error_of_the_caller_and_not_an_outage(store: MemcacheStore) -> None:
    with pytest.raises(MemcacheIllegalInputError):
        store.get("a key with spaces")


def test_calls_one_after_the_other_share_a_connection(interruptible: MemcacheStore, sockets: Sockets) -> None:
    for _ in range(3):
        interruptible.get(new_key())
    assert len(sockets.made) == 1


def test_many_records_take_one_command_of_each_server(
    memcached: str, second_memcached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    class Counted(Client):
        def get_many(self, keys: list[str]) -> dict[str, bytes]:
            asked.append((self.server, len(keys)))
            return super().get_many(keys)

    monkeypatch.setattr("gaesess.stores.memcache.Client", Counted)
    store = MemcacheStore([memcached, second_memcached])
    keys = [new_key() for _ in range(64)]
    versions = [store.add(key, key.encode(), expires_at=EXPIRY) for key in keys]
    found = store.get_many(keys)
    assert found == [Stored(key.encode(), version) for key, version in zip(keys, versions, strict=True)]
    assert len({server for server, _ in asked}) == len(asked) == 2
    assert sum(number for _, number in asked) == 64
    store.close()


EXCHANGES: dict[str, Callable[[MemcacheStore, str, Stored, bytes], object]] = {
    "get": lambda store, key, record, ticket: store.get(key),
    "gets": lambda store, key, record, ticket: store.gets(key),
    "get_many": lambda store, key, record, ticket: store.get_many([key, new_key()]),
    "add": lambda store, key, record, ticket: store.add(new_key(), b"new", expires_at=EXPIRY),
    "put": lambda store, key, record, ticket: store.put(new_key(), b"new", expires_at=EXPIRY),
    "cas": lambda store, key, record, ticket: store.cas(key, b"new", expires_at=EXPIRY, ticket=ticket),
    "replace": lambda store, key, record, ticket: store.replace(key, b"new", expires_at=EXPIRY, version=record.version),
    "delete": lambda store, key, record, ticket: store.delete(new_key()),
}


def interrupt(store: MemcacheStore, sockets: Sockets, call: Callable[[], object], error: type[BaseException]) -> None:
    sockets.interrupt = error()
    with pytest.raises(error):
        call()
    assert sockets.interrupt is None


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", EXCHANGES)
def test_an_interrupted_call_leaves_no_connection_and_no_reply_to_the_next(
    interruptible: MemcacheStore, sockets: Sockets, name: str, point: str
) -> None:
    key, other = new_key(), new_key()
    interruptible.add(key, b"first", expires_at=EXPIRY)
    record, ticket = interruptible.get(key), interruptible.gets(key).version
    version = interruptible.add(other, b"other", expires_at=EXPIRY)
    if point == "in connect":
        interruptible.close()
    sockets.point, sockets.skip = point, 0
    interrupt(interruptible, sockets, lambda: EXCHANGES[name](interruptible, key, record, ticket), GreenletTimeout)
    assert [made.fileno() for made in sockets.made if made.fileno() != -1] == []
    assert interruptible.get(other) == Stored(b"other", version)
    assert interruptible.get(new_key()) is None


@pytest.mark.parametrize("point", POINTS[1:])
def test_a_replace_interrupted_in_its_second_command_leaves_no_connection_and_no_reply(
    interruptible: MemcacheStore, sockets: Sockets, point: str
) -> None:
    key = new_key()
    version = interruptible.add(key, b"first", expires_at=EXPIRY)
    sockets.point, sockets.skip = point, 1
    replace = partial(interruptible.replace, key, b"second", expires_at=EXPIRY, version=version)
    interrupt(interruptible, sockets, replace, GreenletTimeout)
    assert [made.fileno() for made in sockets.made] == [-1]
    landed = point.endswith("the reply")
    assert interruptible.get(key).data == (b"second" if landed else b"first")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, GreenletTimeout])
def test_whatever_ends_an_exchange_early_closes_the_connection(
    interruptible: MemcacheStore, sockets: Sockets, error: type[BaseException]
) -> None:
    put = partial(interruptible.put, new_key(), b"data", expires_at=EXPIRY)
    interrupt(interruptible, sockets, put, error)
    assert [made.fileno() for made in sockets.made] == [-1]


def test_an_interrupted_put_does_not_lend_its_reply_to_the_next_call(
    interruptible: MemcacheStore, sockets: Sockets
) -> None:
    """The reply that is on its way, STORED, would tell a stale replace that it had won."""
    key = new_key()
    stale = interruptible.add(key, b"first", expires_at=EXPIRY)
    current = interruptible.replace(key, b"second", expires_at=EXPIRY, version=stale)
    interrupt(interruptible, sockets, lambda: interruptible.put(new_key(), b"x", expires_at=EXPIRY), GreenletTimeout)
    with pytest.raises(Conflict):
        interruptible.replace(key, b"third", expires_at=EXPIRY, version=stale)
    assert interruptible.get(key) == Stored(b"second", current)


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
from gevent.event import Event
from gevent.server import StreamServer
from gevent.socket import create_connection
from gaesess.stores.memcache import MemcacheStore
from gaesess.testing import EXPIRY, new_key

host, port = sys.argv[1].split(":")
may_reply = Event()

def forward(client, address):
    with create_connection((host, int(port))) as server:
        while command := client.recv(65536):
            server.sendall(command)
            reply = server.recv(65536)
            client.sendall(reply[:3])
            may_reply.wait()
            try:
                client.sendall(reply[3:])
            except OSError:
                return

proxy = StreamServer(("127.0.0.1", 0), forward)
proxy.start()
store = MemcacheStore(f"127.0.0.1:{proxy.server_port}", timeout=30)
may_reply.set()
keys = {new_key(): b"record %d" % number for number in range(3)}
for key, data in keys.items():
    store.add(key, data, expires_at=EXPIRY)

may_reply.clear()
interrupted = 0
for key in keys:
    try:
        with gevent.Timeout(0.05):
            store.get(key)
    except gevent.Timeout:
        interrupted += 1
may_reply.set()
greenlets = [gevent.spawn(store.get, key) for key in keys for _ in range(10)]
gevent.joinall(greenlets, raise_error=True)
expected = [data for data in keys.values() for _ in range(10)]
print(interrupted, [greenlet.value.data for greenlet in greenlets] == expected)
"""


def test_a_greenlet_that_times_out_in_mid_reply_does_not_mix_up_the_others(memcached: str) -> None:
    pytest.importorskip("gevent")
    output = subprocess.run(
        [sys.executable, "-c", GREENLETS, memcached],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": services.python_path()},
    ).stdout
    assert output.split() == ["3", "True"]


@pytest.mark.parametrize("name", ["get", "add", "put", "delete"])
def test_a_connection_that_was_closed_while_it_was_idle_is_replaced_before_anything_is_sent(
    interruptible: MemcacheStore, sockets: Sockets, name: str
) -> None:
    interruptible.get(new_key())
    sockets.made[0].shutdown(socket.SHUT_RDWR)
    CALLS[name](interruptible)
    assert [made.fileno() != -1 for made in sockets.made] == [False, True]


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), "1", None])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match=r"^timeout must be"):
        MemcacheStore("localhost:11211", timeout=timeout)


def test_a_socket_is_of_gevent_if_it_has_patched_the_module_since(monkeypatch: pytest.MonkeyPatch) -> None:
    class Patched(socket.SocketType):  # what gevent has put in the place of socket.socket
        pass

    assert SocketModule().socket is Socket
    monkeypatch.setattr(socket, "socket", Patched)
    made = SocketModule().socket
    assert issubclass(made, ReplySocket)
    assert issubclass(made, Patched)
    assert made is SocketModule().socket


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


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_no_idle_connection_is_open_across_a_fork(interruptible: MemcacheStore, sockets: Sockets) -> None:
    race(lambda _: interruptible.get(new_key()), [b""] * 4)
    assert any(made.fileno() != -1 for made in sockets.made)
    child = os.fork()
    if child == 0:
        os._exit(sum(made.fileno() != -1 for made in sockets.made))
    assert os.waitpid(child, 0) == (child, 0)


@needs_fork
@pytest.mark.filterwarnings(FORK_IN_THREADS)
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
    "get_many": lambda store: store.get_many([new_key(), new_key()]),
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


@contextmanager
def server_that(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Run a server that reads a command of each connection and answers it, and yield its "host:port"."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection, suppress(OSError):
                    connection.recv(65536)
                    answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_trickles_its_reply_is_an_outage(call: str) -> None:
    """Each byte comes well within the timeout, and the end of the line never."""
    sent = 0

    def trickle(connection: socket.socket) -> None:
        nonlocal sent
        while not select.select([connection], [], [], 0.01)[0]:  # until the client hangs up
            connection.sendall(b"V")
            sent += 1

    with server_that(trickle) as address, pytest.raises(StoreUnavailable, match=f"{address} failed: TimeoutError"):
        CALLS[call](MemcacheStore(address, timeout=0.1))
    assert sent > 1


def test_a_reply_in_many_pieces_leaves_the_next_command_its_whole_timeout(
    interruptible: MemcacheStore, sockets: Sockets
) -> None:
    key = new_key()
    interruptible.add(key, bytes(100_000), expires_at=EXPIRY)
    interruptible.get(key)
    (used,) = sockets.made
    assert used.gettimeout() < 5
    interruptible.get(new_key())
    assert used.gettimeout() == 5


REPLIES = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a record nobody asked for": b"VALUE other 0 1\r\nx\r\nEND\r\n",
    "no size": b"VALUE key 0\r\n\r\n",
    "a size that is no number": b"VALUE key 0 x 1\r\n\r\n",
    "an empty line": b"\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("call", [call for call in CALLS if call != "delete"])
def test_a_reply_that_is_not_of_a_memcached_is_an_outage(call: str, reply: bytes) -> None:
    """Of the reply to a delete pymemcache says only whether it was DELETED."""
    with server_that(lambda connection: connection.sendall(reply)) as address, pytest.raises(StoreUnavailable):
        CALLS[call](MemcacheStore(address, timeout=5))


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
