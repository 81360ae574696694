"""RedisStore and AsyncRedisStore on a real Redis and a real Valkey, by redis-py and valkey-py."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, cast

import pytest
import redis
import redis.asyncio
import services
from proxy import Proxy
from services import Server

from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge, StoreUnavailable
from gaesess.stores.base import Stored
from gaesess.stores.redis import AsyncRedisStore, RedisStore
from gaesess.testing import EXPIRY, AsyncCacheContract, CacheContract, new_key, race
from gaesess.testing.async_contract import Blocking, InLoop, event_loop

SERVERS = pytest.mark.parametrize("server", ["redis", "valkey"])
CLIENTS = pytest.mark.parametrize("scheme", ["redis", "valkey"])
LONG_AGO = 1_000_000_000  # Unix seconds, in 2001
SECRET = "correct-horse"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
needs_openssl = pytest.mark.skipif(not services.on_path("openssl"), reason="needs openssl")


@pytest.fixture
def url(request: pytest.FixtureRequest, server: str, scheme: str) -> str:
    """Return the URL of a server for a client: each package is for its own scheme where both are installed."""
    pytest.importorskip(scheme)
    address: str = request.getfixturevalue(f"{server}_url")
    return f"{scheme}:{address.partition(':')[2]}"


@SERVERS
@CLIENTS
class TestRedisStore(CacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def store(self, url: str) -> Iterator[RedisStore]:
        store = RedisStore(url)
        yield store
        store.close()


@SERVERS
@CLIENTS
class TestAsyncRedisStore(AsyncCacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def async_store(self, url: str, in_loop: InLoop) -> AsyncRedisStore:
        return AsyncRedisStore(url)  # closed by its loop


@contextmanager
def replicated(run: Any, folder: Path) -> Iterator[tuple[int, Server, Server]]:
    """Run a primary and a replica of it, and yield the port of the first, and both."""
    for name in ("primary", "replica"):
        (folder / name).mkdir()
    with ExitStack() as stack:
        port, primary = stack.enter_context(run(folder / "primary", "--repl-diskless-sync-delay", "0"))
        options = "--replicaof", "127.0.0.1", str(port)
        replica_port, replica = stack.enter_context(run(folder / "replica", *options))
        with redis.Redis(port=replica_port) as client:
            while client.info("replication")["master_link_status"] != "up":
                client.ping()
        yield port, primary, replica


@pytest.fixture(scope="module")
def replicated_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with replicated(services.run_redis, tmp_path_factory.mktemp("replicated")) as (port, *_):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def replicated_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with replicated(services.run_valkey, tmp_path_factory.mktemp("replicated")) as (port, *_):
        yield f"valkey://127.0.0.1:{port}"


@SERVERS
class TestWaitReplicas(CacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def store(self, server: str, request: pytest.FixtureRequest) -> Iterator[RedisStore]:
        url = request.getfixturevalue(f"replicated_{server}")
        store = RedisStore(url, wait_replicas=1, may_forget=True, timeout=5)
        yield store
        store.close()


# Both kinds of store, by both clients


class Kind:
    """Makes stores of one kind, which are called in the same way, and closes them."""

    def __init__(self, scheme: str, in_loop: InLoop | None) -> None:
        self.scheme, self._in_loop = scheme, in_loop
        self.is_async = in_loop is not None
        self.module = import_module(f"{scheme}.asyncio" if self.is_async else scheme)
        self._made: list[Any] = []

    def at(self, address: str | int, **options: Any) -> Any:
        """Return a store for a "host:port", or a local port."""
        host = f"127.0.0.1:{address}" if isinstance(address, int) else address
        return self.of(f"{self.scheme}://{host}", **options)

    def of(self, server: Any, **options: Any) -> Any:
        """Return a store for what RedisStore takes as `server`."""
        store: Any = (AsyncRedisStore if self.is_async else RedisStore)(server, **options)
        if self._in_loop:
            store = Blocking(store, self._in_loop)
        self._made.append(store)
        return store

    def may_forget(self, store: Any) -> bool:
        return bool((store._store if self.is_async else store).may_forget)

    def close(self) -> None:
        while self._made:
            self._made.pop().close()


@pytest.fixture(params=["redis", "valkey", "redis, async", "valkey, async"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    scheme, _, is_async = request.param.partition(", ")
    pytest.importorskip(scheme)
    with event_loop() as in_loop:
        kind = Kind(scheme, in_loop if is_async else None)
        yield kind
        kind.close()


@pytest.fixture
def port(redis_url: str) -> int:
    return int(redis_url.split(":")[2].partition("/")[0])


@pytest.fixture
def raw(port: int) -> Iterator[redis.Redis]:
    """Return a client for what a store cannot say."""
    with redis.Redis(port=port) as client:
        yield client


@pytest.fixture
def proxy(port: int) -> Iterator[Proxy]:
    with Proxy(f"127.0.0.1:{port}") as proxy:
        yield proxy


def test_records_are_under_the_prefix_and_expire_at_their_time(kind: Kind, port: int, raw: redis.Redis) -> None:
    store, key = kind.at(port, prefix="shop:"), new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    assert raw.get(f"shop:{key}") == version.to_bytes(8, "big") + b"first"
    assert raw.pexpiretime(f"shop:{key}") == EXPIRY * 1000
    store.replace(key, b"second", expires_at=EXPIRY + 1, version=version)
    assert raw.pexpiretime(f"shop:{key}") == (EXPIRY + 1) * 1000
    store.put(key, b"third", expires_at=EXPIRY)
    assert raw.pexpiretime(f"shop:{key}") == EXPIRY * 1000


def test_a_record_that_is_past_its_expiry_is_forgotten(kind: Kind, port: int) -> None:
    store, key = kind.at(port), new_key(LONG_AGO)
    store.add(key, b"data", expires_at=LONG_AGO)
    assert store.get(key) is None


def test_a_server_that_has_lost_its_scripts_gets_them_again(kind: Kind, port: int, raw: redis.Redis) -> None:
    store, key = kind.at(port), new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    raw.script_flush()
    version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"second", version)


def test_the_address_in_an_error_is_that_of_the_server(kind: Kind) -> None:
    port = services.free_port()
    with pytest.raises(StoreUnavailable, match=rf"Redis 127\.0\.0\.1:{port} failed: ConnectionError: .*{port}"):
        kind.at(port).get(new_key())


def test_a_unix_socket(kind: Kind, tmp_path: Path) -> None:
    path = f"/tmp/gaesess-redis-{os.getpid()}"  # that of a test can be too long for a socket
    with services.run_redis(tmp_path, "--unixsocket", path):
        store, key = kind.of(f"unix://{path}?db=1"), new_key()
        version = store.add(key, b"data", expires_at=EXPIRY)
        assert store.get(key) == Stored(b"data", version)
    with pytest.raises(StoreUnavailable, match=path):
        store.get(key)


# Replies that are lost

CALLS: dict[str, Callable[[Any, str, str, int], object]] = {
    "get": lambda store, key, other, version: store.get(key),
    "gets": lambda store, key, other, version: store.gets(key),
    "get_many": lambda store, key, other, version: store.get_many([key, other]),
    "add": lambda store, key, other, version: store.add(other, b"new", expires_at=EXPIRY),
    "replace": lambda store, key, other, version: store.replace(key, b"new", expires_at=EXPIRY, version=version),
    "cas": lambda store, key, other, version: store.cas(key, b"new", expires_at=EXPIRY, ticket=version),
    "put": lambda store, key, other, version: store.put(key, b"new", expires_at=EXPIRY),
    "delete": lambda store, key, other, version: store.delete(key),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_reply_is_lost_once_succeeds(kind: Kind, proxy: Proxy, call: str) -> None:
    store, key, other = kind.at(proxy.address), new_key(), new_key()
    version = store.add(key, b"old", expires_at=EXPIRY)
    proxy.inject(cuts_after=0)
    result = CALLS[call](store, key, other, version)
    assert proxy.faults == 1
    expected: dict[str, tuple[Any, Any]] = {
        "add": (b"old", b"new"),
        "replace": (b"new", None),
        "cas": (b"new", None),
        "put": (b"new", None),
        "delete": (None, None),
    }
    found = tuple(stored and stored.data for stored in store.get_many([key, other]))
    assert found == expected.get(call, (b"old", None))
    if call in ("add", "replace"):
        assert store.get(key if call == "replace" else other) == Stored(b"new", result)


def test_a_lost_reply_of_a_server_without_the_script_is_no_matter(kind: Kind, proxy: Proxy, raw: redis.Redis) -> None:
    store, key = kind.at(proxy.address), new_key()
    store.get(key)
    raw.script_flush()
    proxy.inject(cuts_after=0)
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key) == Stored(b"data", version)


def test_a_write_repeated_after_another_one_conflicts(kind: Kind, port: int, raw: redis.Redis) -> None:
    store, key = kind.at(port), new_key()
    old = store.add(key, b"old", expires_at=EXPIRY)
    store.put(key, b"theirs", expires_at=EXPIRY)
    for write in (store.replace, lambda *args, version, **options: store.cas(*args, ticket=version, **options)):
        with pytest.raises(Conflict):
            write(key, b"ours", expires_at=EXPIRY, version=old)
    with pytest.raises(KeyExists):
        store.add(key, b"ours", expires_at=EXPIRY)
    with pytest.raises(Gone):
        store.replace(new_key(), b"ours", expires_at=EXPIRY, version=old)
    assert store.get(key).data == b"theirs"


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_gets_no_reply_is_an_outage_and_not_repeated(kind: Kind, proxy: Proxy, call: str) -> None:
    """It would take the timeout twice."""
    store, key, other = kind.at(proxy.address), new_key(), new_key()
    version = store.add(key, b"old", expires_at=EXPIRY)
    proxy.inject(drops="replies")
    with pytest.raises(StoreUnavailable, match="TimeoutError"):
        CALLS[call](store, key, other, version)
    assert proxy.faults == 1
    proxy.restore()
    if call not in ("replace", "cas", "put", "delete"):
        assert store.get(key) == Stored(b"old", version)
    assert store.get(new_key()) is None


def test_connections_that_the_server_has_closed_are_not_noticed(kind: Kind, tmp_path: Path) -> None:
    with services.run_redis(tmp_path) as (port, server):
        store = kind.at(port)
        race(lambda _: store.get(new_key()), [b""] * 8)
        server.kill()
        with pytest.raises(StoreUnavailable):
            store.get(new_key())
        server.start()
        for _ in range(20):
            assert store.get(new_key()) is None
        race(lambda _: store.get(new_key()), [b""] * 8)
        with redis.Redis(port=port) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        assert race(lambda _: store.get(new_key()), [b""] * 8) == [None] * 8


# Refusals


def test_a_password_is_in_no_error(kind: Kind, tmp_path: Path) -> None:
    with services.run_redis(tmp_path, "--requirepass", "another") as (port, _):
        store = kind.at(f":{SECRET}@127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match="AuthenticationError") as raised:
            store.get(new_key())
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("url", [f"://:{SECRET}/x@host:6379", f"://user:{SECRET}", f"://:{SECRET}#@host:port"])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(kind: Kind, url: str) -> None:
    with pytest.raises(ValueError, match="password has %23 for #") as raised:
        kind.of(kind.scheme + url)
    assert SECRET not in str(raised.value)
    assert raised.value.__suppress_context__


def test_an_unknown_command_does_not_quote_the_data(kind: Kind, tmp_path: Path) -> None:
    with services.run_redis(tmp_path, "--rename-command", "EVALSHA", "") as (port, _):
        store = kind.at(port)
        with pytest.raises(StoreUnavailable, match="unknown command") as raised:
            store.add(new_key(), SECRET.encode(), expires_at=EXPIRY)
    error: BaseException | None = raised.value
    while error:
        assert SECRET not in str(error)
        error = error.__cause__


def test_a_record_that_the_server_refuses_as_too_large_is_called_so(kind: Kind) -> None:
    """A real server may close the connection before its answer is read."""

    def refuse(request: Any) -> None:
        while command := request.recv(65536):
            answer = b"-ERR Protocol error: invalid bulk length\r\n" if b"EVALSHA" in command else b"+OK\r\n"
            request.sendall(answer * max(1, command.count(b"SETINFO")))

    with ThreadingTCPServer(("127.0.0.1", 0), lambda request, *_: refuse(request)) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        store = kind.at(server.server_address[1], may_forget=True)
        with pytest.raises(SessionTooLarge, match="proto-max-bulk-len"):
            store.add(new_key(), b"data", expires_at=EXPIRY)
        store.close()
        server.shutdown()
        thread.join()


def test_a_client_that_decodes_is_refused(kind: Kind, port: int) -> None:
    with pytest.raises(ValueError, match="decode_responses=False"):
        kind.at(f"127.0.0.1:{port}?decode_responses=True")
    with pytest.raises(ValueError, match="decode_responses=False"):
        kind.of(lambda: kind.module.Redis(decode_responses=True))


@pytest.mark.parametrize("made", [None, "redis://localhost"])
def test_what_makes_no_client_is_refused(kind: Kind, made: Any) -> None:
    with pytest.raises(TypeError, match="must be a function that makes a client of redis"):
        kind.of(lambda: made)


def test_a_client_of_the_other_kind_is_refused(kind: Kind) -> None:
    other = redis if kind.is_async else redis.asyncio
    with pytest.raises(TypeError, match="must be a function that makes a client of redis"):
        kind.of(lambda: other.Redis())


@pytest.mark.parametrize("server", [None, 6379])
def test_what_is_no_server_is_refused(kind: Kind, server: Any) -> None:
    with pytest.raises(TypeError, match=r"server must be a URL, .* got a (NoneType|int)"):
        kind.of(server)


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": None}, {"may_forget": 1}, {"wait_replicas": -1}, {"wait_replicas": True}]
)
def test_an_argument_that_cannot_be_is_refused(kind: Kind, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        kind.at("localhost", **options)


def test_without_a_client_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaesess.stores._redis.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"gaesess\[redis\]"):
        RedisStore("redis://localhost")


@pytest.mark.parametrize("name", ["redis", "valkey"])
def test_one_package_serves_both_schemes(name: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    monkeypatch.setattr("gaesess.stores._redis.find_spec", lambda found: found == name or None)
    for scheme in ("redis", "valkey"):
        store = RedisStore(f"{scheme}://127.0.0.1:{port}")
        assert type(store._calls._server._new_client()).__module__.startswith(name)
        assert store.get(new_key()) is None
        store.close()


# What it finds out, and may do

APPENDONLY = ("--appendonly", "yes", "--appendfsync", "no")


@pytest.mark.parametrize(
    ("options", "may_forget"),
    [
        ((), True),
        (APPENDONLY, False),
        ((*APPENDONLY, "--maxmemory-policy", "allkeys-lru"), True),
        ((*APPENDONLY, "--maxmemory-policy", "volatile-ttl"), True),
    ],
    ids=["no file", "append-only file", "allkeys-lru", "volatile-ttl"],
)
@pytest.mark.parametrize("run", [services.run_redis, services.run_valkey])
def test_it_finds_out_whether_the_server_may_forget(
    run: Any, options: tuple[str, ...], may_forget: bool, tmp_path: Path
) -> None:
    with run(tmp_path, *options) as (port, _), event_loop() as in_loop:
        for kind in (Kind("redis", None), Kind("redis", in_loop)):
            store = kind.at(port)
            assert kind.may_forget(store)
            store.get(new_key())
            assert kind.may_forget(store) == may_forget
            kind.close()


def test_a_server_with_a_replica_must_not_forget(kind: Kind, tmp_path: Path) -> None:
    with replicated(services.run_redis, tmp_path) as (port, *_):
        store = kind.at(port)
        store.get(new_key())
        assert not kind.may_forget(store)


def test_it_finds_out_when_the_server_is_up_at_last(kind: Kind, tmp_path: Path) -> None:
    with services.run_redis(tmp_path, *APPENDONLY) as (port, server):
        server.kill()
        store = kind.at(port)
        with pytest.raises(StoreUnavailable):
            store.get(new_key())
        server.start()
        store.get(new_key())
        assert not kind.may_forget(store)


RIGHTS = "~gaesess:* +get +set +getrange +strlen +unlink +evalsha +eval +pexpireat"


def test_what_waits_for_replicas_needs_some_more(kind: Kind, replicated_redis: str) -> None:
    address = replicated_redis.partition("//")[2]
    with redis.Redis.from_url(replicated_redis) as client:
        client.execute_command(*f"ACL SETUSER waiting reset on >{SECRET} {RIGHTS} +wait +pexpire +pttl".split())
    options = {"may_forget": True, "wait_replicas": 1, "timeout": 5}
    store, key = kind.at(f"waiting:{SECRET}@{address}", **options), new_key()
    version = store.add(key, b"first", expires_at=EXPIRY)
    version = store.replace(key, b"second", expires_at=EXPIRY, version=version)
    assert store.get(key, fresh=True) == Stored(b"second", version)


@pytest.fixture
def user(raw: redis.Redis) -> Iterator[str]:
    """Return a user that has only the rights of the how-to."""
    raw.execute_command(*f"ACL SETUSER app reset on >{SECRET} {RIGHTS}".split())
    yield f"app:{SECRET}"
    raw.acl_deluser("app")


@pytest.mark.parametrize("call", CALLS)
def test_a_user_with_the_least_rights_can_do_everything(
    kind: Kind, user: str, port: int, raw: redis.Redis, call: str
) -> None:
    store, key, other = kind.at(f"{user}@127.0.0.1:{port}", may_forget=True), new_key(), new_key()
    raw.script_flush()
    version = store.add(key, b"old", expires_at=EXPIRY)
    CALLS[call](store, key, other, version)


def test_a_user_that_may_not_ask_is_told_what_to_give(kind: Kind, user: str, port: int) -> None:
    with pytest.raises(StoreUnavailable, match=r"grant \+info, or pass may_forget=True or False"):
        kind.at(f"{user}@127.0.0.1:{port}").get(new_key())


def test_a_user_that_may_ask_needs_no_may_forget(kind: Kind, user: str, port: int, raw: redis.Redis) -> None:
    raw.execute_command("ACL", "SETUSER", "app", "+info")
    assert kind.at(f"{user}@127.0.0.1:{port}").get(new_key()) is None


def test_keys_of_another_prefix_are_forbidden(kind: Kind, user: str, port: int) -> None:
    with pytest.raises(StoreUnavailable, match="NoPermissionError"):
        kind.at(f"{user}@127.0.0.1:{port}", prefix="other:", may_forget=True).get(new_key())


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a Redis with TLS, and its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    alternative = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *alternative, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    port = services.free_port()
    files = ("--tls-cert-file", str(key.with_name("certificate.pem")), "--tls-key-file", str(key))
    with services.run_redis(folder, "--tls-port", str(port), *files, "--tls-auth-clients", "no"):
        yield port, certificate


@needs_openssl
def test_tls_with_a_certificate_that_is_trusted(kind: Kind, tls: tuple[int, Path]) -> None:
    port, certificate = tls
    scheme = {"redis": "rediss", "valkey": "valkeys"}[kind.scheme]
    store, key = kind.of(f"{scheme}://127.0.0.1:{port}?ssl_ca_certs={certificate}", timeout=5), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key) == Stored(b"data", version)


@needs_openssl
def test_tls_with_any_other_is_an_outage(kind: Kind, tls: tuple[int, Path]) -> None:
    scheme = {"redis": "rediss", "valkey": "valkeys"}[kind.scheme]
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        kind.of(f"{scheme}://127.0.0.1:{tls[0]}", timeout=5).get(new_key())


# Clients of one's own


def test_a_function_that_makes_a_client(kind: Kind, port: int) -> None:
    store, key = kind.of(lambda: kind.module.Redis(port=port, socket_timeout=5)), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get_many([key, new_key()]) == [Stored(b"data", version), None]


def test_a_function_whose_server_is_down_is_tried_again(kind: Kind, port: int) -> None:
    down = [True]

    def connect() -> Any:
        if down:
            raise import_module(f"{kind.scheme}.exceptions").ConnectionError("down")
        return kind.module.Redis(port=port)

    store = kind.of(connect)
    with pytest.raises(StoreUnavailable, match=r"Redis \(a client of your own\) failed: ConnectionError: down"):
        store.get(new_key())
    down.clear()
    assert store.get(new_key()) is None


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one of two nodes, each of which has half of the keys."""
    with ExitStack() as stack:
        nodes = []
        for first, last in ((0, 8191), (8192, 16383)):
            bus = services.free_port()
            options = "--cluster-enabled", "yes", "--cluster-port", str(bus)
            port, _ = stack.enter_context(services.run_redis(tmp_path_factory.mktemp("node"), *options))
            node = stack.enter_context(redis.Redis(port=port))
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            nodes.append((node, port, bus))
        nodes[0][0].execute_command("CLUSTER", "MEET", "127.0.0.1", *nodes[1][1:])
        while not all(is_complete(node) for node, *_ in nodes):
            nodes[0][0].ping()
        yield nodes[0][1]


def is_complete(node: redis.Redis) -> bool:
    info = node.cluster("info")
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", "2")


def cluster_client(kind: Kind, port: int) -> Any:
    """Return a client as the how-to makes it."""
    client = getattr(kind.module, {"redis": "RedisCluster", "valkey": "ValkeyCluster"}[kind.scheme])
    backoff = import_module(f"{kind.scheme}.backoff").NoBackoff()
    retry = import_module(f"{kind.module.__name__}.retry").Retry(backoff, 1)
    return client(host="127.0.0.1", port=port, socket_timeout=5, socket_connect_timeout=5, retry=retry)


def test_a_cluster(kind: Kind, cluster: int) -> None:
    store = kind.of(lambda: cluster_client(kind, cluster))
    keys = [new_key() for _ in range(40)]
    versions = [store.add(key, b"first", expires_at=EXPIRY) for key in keys]
    with pytest.raises(KeyExists):
        store.add(keys[0], b"second", expires_at=EXPIRY)
    versions = [
        store.replace(key, b"second", expires_at=EXPIRY, version=version)
        for key, version in zip(keys, versions, strict=True)
    ]
    assert store.get_many(keys) == [Stored(b"second", version) for version in versions]
    for key in keys:
        store.delete(key)
    assert store.get_many(keys) == [None] * 40


def test_a_cluster_has_no_replicas_to_wait_for(kind: Kind, cluster: int) -> None:
    with pytest.raises(ValueError, match="wait_replicas must be 0 for a cluster"):
        kind.of(lambda: cluster_client(kind, cluster), wait_replicas=1)


def test_a_cluster_that_is_down_is_an_outage(kind: Kind) -> None:
    store = kind.of(lambda: cluster_client(kind, services.free_port()))
    with pytest.raises(StoreUnavailable, match="ClusterException"):
        store.get(new_key())


def test_sentinel_and_its_failover(kind: Kind, tmp_path: Path) -> None:
    with (
        replicated(services.run_redis, tmp_path) as (primary_port, primary, _),
        services.run_sentinel(tmp_path, primary_port) as port,
    ):
        with redis.Redis(port=port, decode_responses=True) as sentinel:
            while sentinel.sentinel_master("mymaster")["num-slaves"] != 1:
                sentinel.ping()
        module = import_module(f"{kind.module.__name__}.sentinel")

        def connect() -> Any:
            return module.Sentinel([("127.0.0.1", port)], socket_timeout=5).master_for("mymaster", socket_timeout=5)

        store, key = kind.of(connect, wait_replicas=1, timeout=10), new_key()
        version = store.add(key, b"data", expires_at=EXPIRY)
        primary.kill()
        assert until_found(store, key) == Stored(b"data", version)
        kind.close()
        del store, connect
        with warnings.catch_warnings():  # nobody closes the connections of a Sentinel object
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def until_found(store: Any, key: str) -> Stored:
    while True:
        with suppress(StoreUnavailable):
            return cast(Stored, store.get(key))


def test_a_plain_client_on_a_node_of_a_cluster_is_an_outage(kind: Kind, cluster: int) -> None:
    store = kind.at(cluster, may_forget=True)
    with pytest.raises(StoreUnavailable, match=r"(?i)moved"):
        store.get_many([new_key() for _ in range(64)])


# Processes and event loops


@needs_fork
def test_a_forked_child_does_not_read_the_replies_of_its_parent(port: int) -> None:
    store = RedisStore(f"redis://127.0.0.1:{port}")
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
    assert only_reads(store, ours, b"parent" * 1000)
    store.close()


def only_reads(store: RedisStore, key: str, data: bytes) -> bool:
    return all(stored is not None and stored.data == data for stored in (store.get(key) for _ in range(300)))


class Interrupt(BaseException):
    """As gevent's Timeout, it is no Exception."""


@CLIENTS
@pytest.mark.parametrize("call", CALLS)
def test_an_interrupted_call_leaves_no_reply_to_the_next(
    scheme: str, call: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is interrupted between its command and the reply, which arrives when the next one has begun."""
    store, key, other = RedisStore(f"{scheme}://{proxy.address}", timeout=30), new_key(), new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    last = store.add(new_key(), b"last", expires_at=EXPIRY)

    def interrupt(*arguments: Any, **options: Any) -> None:
        raise Interrupt

    proxy.inject(delay=30)
    with monkeypatch.context() as patched:
        patched.setattr(import_module(scheme).Redis, "parse_response", interrupt)
        with pytest.raises(Interrupt):
            CALLS[call](store, key, other, version)
    restore = threading.Timer(0.05, proxy.restore)
    restore.start()
    assert store.get(new_key()) is None
    restore.join()
    with pytest.raises(Gone):
        store.replace(new_key(), b"data", expires_at=EXPIRY, version=last)
    store.close()


@CLIENTS
def test_event_loops_one_after_the_other_and_at_once(scheme: str, port: int) -> None:
    pytest.importorskip(scheme)
    store, key = AsyncRedisStore(f"{scheme}://127.0.0.1:{port}"), new_key()

    async def count_up() -> bool:
        version = await store.add(new_key(), b"0", expires_at=EXPIRY)
        return version is not None and await store.get(key) is None

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert asyncio.run(count_up())
        assert race(lambda _: asyncio.run(count_up()), [b""] * 4) == [True] * 4
        gc.collect()
    assert store._server._clients == {}


@CLIENTS
def test_a_loop_that_was_closed_without_ado_leaves_nothing_to_the_next(scheme: str, port: int) -> None:
    pytest.importorskip(scheme)
    store = AsyncRedisStore(f"{scheme}://127.0.0.1:{port}")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.get(new_key()))
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its connection was not closed
        assert asyncio.run(store.get(new_key())) is None
        assert store._server._clients == {}
        del loop
        gc.collect()


@CLIENTS
def test_more_tasks_than_connections_wait_for_each_other(scheme: str, port: int, raw: redis.Redis) -> None:
    pytest.importorskip(scheme)
    store = AsyncRedisStore(f"{scheme}://127.0.0.1:{port}", timeout=30)

    async def check() -> None:
        keys = [new_key() for _ in range(300)]
        versions = await asyncio.gather(*(store.add(key, key.encode(), expires_at=EXPIRY) for key in keys))
        found = await asyncio.gather(*map(store.get, keys))
        assert found == [Stored(key.encode(), version) for key, version in zip(keys, versions, strict=True)]
        assert raw.info("clients")["connected_clients"] < 100

    asyncio.run(check())


@CLIENTS
def test_cancelled_tasks_use_up_no_connection(scheme: str, proxy: Proxy) -> None:
    pytest.importorskip(scheme)
    store = AsyncRedisStore(f"{scheme}://{proxy.address}?max_connections=2", timeout=5)

    async def check() -> None:
        key = new_key()
        version = await store.add(key, b"data", expires_at=EXPIRY)
        for _ in range(10):
            proxy.inject(delay=30)
            tasks = [asyncio.ensure_future(store.get(new_key())) for _ in range(4)]
            await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            proxy.restore()
            assert await store.get(key) == Stored(b"data", version)

    asyncio.run(check())


def test_a_closed_store_is_still_usable(kind: Kind, port: int) -> None:
    store, key = kind.at(port), new_key()
    store.close()
    version = store.add(key, b"data", expires_at=EXPIRY)
    store.close()
    assert store.get(key) == Stored(b"data", version)
