"""DatastoreStore on both emulators: the contract, the way it writes on each, and what it does in an outage."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import Any, NamedTuple

import grpc
import pytest
import services
from google.auth.exceptions import GoogleAuthError
from google.cloud import ndb
from google.cloud.datastore_v1 import types
from google.cloud.datastore_v1.services.datastore.transports import DatastoreGrpcTransport
from google.protobuf.message import DecodeError
from grpc import StatusCode

from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge, StoreError, StoreUnavailable
from gaesess.stores import _datastore_calls, _datastore_client, datastore
from gaesess.stores.base import MAX_RECORD_BYTES, SHARDS, Store, Stored
from gaesess.stores.datastore import CLEANUP_THREADS, MAX_MUTATIONS, DatastoreStore
from gaesess.testing import EXPIRY, NOW, StoreContract, new_key, race

BOTH = ("datastore_emulator", "firestore_emulator")

CALLS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get(new_key()),
    "get_many": lambda store: store.get_many([new_key(), new_key()]),
    "add": lambda store: store.add(new_key(), b"data", expires_at=EXPIRY),
    "replace": lambda store: store.replace(new_key(), b"data", expires_at=EXPIRY, version=1),
    "delete": lambda store: store.delete(new_key()),
    "count_expired": lambda store: store.count_expired(now=NOW),
    "delete_expired": lambda store: list(store.delete_expired(now=NOW)),
}


class Call(NamedTuple):
    """A call as it was made."""

    rpc: str
    request: Any
    timeout: float
    metadata: dict[str, str]


class Fault(grpc.RpcError):
    """What a call is to fail with, before Datastore has done anything or, if `landed`, after it has done it all."""

    def __init__(self, status: StatusCode, *, landed: bool = False) -> None:
        self.status = status
        self.landed = landed

    def code(self) -> StatusCode:
        return self.status


class Wire:
    """The stub of a client, which notes every call, and makes the next ones of an `rpc` fail with its `faults`."""

    def __init__(self, stub: Any) -> None:
        self.stub = stub
        self.calls: list[Call] = []
        self.faults: dict[str, list[Fault]] = {}

    def __getattr__(self, rpc: str) -> Callable[..., Any]:
        def call(request: Any, *, timeout: float, metadata: tuple[tuple[str, str], ...]) -> Any:
            self.calls.append(Call(rpc, request, timeout, dict(metadata)))
            fault = self.faults[rpc].pop(0) if self.faults.get(rpc) else None
            if fault is not None and not fault.landed:
                raise fault
            response = getattr(self.stub, rpc)(request, timeout=timeout, metadata=metadata)
            if fault is not None:
                raise fault
            return response

        return call

    def rpcs(self) -> list[str]:
        return [call.rpc for call in self.calls]


class WiredStore(DatastoreStore):
    """A store that knows its client, its kind and its wire, for the tests to look at."""

    def __init__(self, client: ndb.Client, **options: Any) -> None:
        self.client = client
        self.wire = client.stub
        self.kind = f"Session{token_hex(8)}"  # both emulators keep what earlier tests have stored
        super().__init__(client, kind=self.kind, **options)

    def warm_up(self) -> None:
        """Let it find out how to replace, so that what it does from now on is the rule."""
        key = new_key()
        self.replace(key, b"", expires_at=EXPIRY, version=self.add(key, b"", expires_at=EXPIRY))
        self.delete(key)
        self.wire.calls.clear()


@contextmanager
def store_at(address: str, timeout: float = 10.0, **client_options: Any) -> Iterator[WiredStore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATASTORE_EMULATOR_HOST", address)
        client = ndb.Client(project=services.PROJECT, **client_options)
    transport = client.stub
    client.stub = Wire(transport)
    try:
        yield WiredStore(client, timeout=timeout)
    finally:
        transport.close()


@pytest.fixture
def cloud_store(datastore_emulator: str) -> Iterator[WiredStore]:
    """A store that replaces in one call."""
    with store_at(datastore_emulator) as store:
        store.warm_up()
        yield store


@pytest.fixture
def firestore_store(firestore_emulator: str) -> Iterator[WiredStore]:
    """A store that replaces in a transaction."""
    with store_at(firestore_emulator) as store:
        store.warm_up()
        yield store


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest) -> Iterator[WiredStore]:
    with store_at(request.getfixturevalue(request.param)) as store:
        yield store


class TestCloudDatastore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, datastore_emulator: str) -> Iterator[Store]:
        with store_at(datastore_emulator) as store:
            yield store


class TestFirestore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, firestore_emulator: str) -> Iterator[Store]:
        with store_at(firestore_emulator) as store:
            yield store


# How it writes


def test_many_records_are_one_call(store: WiredStore) -> None:
    keys = [new_key() for _ in range(3)]
    versions = [store.add(key, b"data", expires_at=EXPIRY) for key in keys]
    store.wire.calls.clear()
    assert store.get_many(keys) == [Stored(b"data", version) for version in versions]
    assert store.wire.rpcs() == ["lookup"]


def test_what_datastore_puts_off_of_many_is_looked_up_again(cloud_store: WiredStore) -> None:
    keys = [new_key() for _ in range(5)]
    versions = [cloud_store.add(key, b"data", expires_at=EXPIRY) for key in keys]
    lookup, asked = cloud_store.wire.stub.lookup, []

    def two_at_a_time(request: Any, **options: Any) -> Any:
        asked.append(len(request.keys))
        now, later = request.keys[:2], request.keys[2:]
        response = lookup(types.LookupRequest(project_id=request.project_id, keys=now), **options)
        response.deferred = later
        return response

    cloud_store.wire.stub = SimpleNamespace(lookup=two_at_a_time)
    assert cloud_store.get_many(keys) == [Stored(b"data", version) for version in versions]
    assert asked == [5, 3, 1]


def test_a_replace_is_one_call_where_base_version_is_heeded(cloud_store: WiredStore) -> None:
    key = new_key()
    version = cloud_store.add(key, b"1", expires_at=EXPIRY)
    cloud_store.wire.calls.clear()
    cloud_store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert cloud_store.wire.rpcs() == ["commit"]


def test_a_replace_is_a_transaction_where_base_version_is_ignored(firestore_store: WiredStore) -> None:
    key = new_key()
    version = firestore_store.add(key, b"1", expires_at=EXPIRY)
    firestore_store.wire.calls.clear()
    firestore_store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert firestore_store.wire.rpcs() == ["begin_transaction", "lookup", "commit"]


def test_a_replace_that_lost_lets_go_of_its_transaction(firestore_store: WiredStore) -> None:
    key = new_key()
    old = firestore_store.add(key, b"1", expires_at=EXPIRY)
    firestore_store.replace(key, b"2", expires_at=EXPIRY, version=old)
    firestore_store.wire.calls.clear()
    with pytest.raises(Conflict):
        firestore_store.replace(key, b"3", expires_at=EXPIRY, version=old)
    assert firestore_store.wire.rpcs() == ["begin_transaction", "lookup", "rollback"]


def test_the_probe_leaves_nothing_behind(store: WiredStore) -> None:
    store.warm_up()
    store.client.stub = store.wire.stub
    with store.client.context():
        assert ndb.Query(kind=f"{store.kind}Probe").fetch(1, keys_only=True) == []


def test_a_probe_that_failed_is_made_again(store: WiredStore) -> None:
    key = new_key()
    version = store.add(key, b"1", expires_at=EXPIRY)
    store.wire.faults["commit"] = [Fault(StatusCode.UNAVAILABLE)]
    with pytest.raises(StoreUnavailable):
        store.replace(key, b"2", expires_at=EXPIRY, version=version)
    version = store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert store.get(key) == Stored(b"2", version)


def test_a_write_of_the_same_data_is_a_conflict_to_a_stale_one(store: WiredStore) -> None:
    key = new_key()
    old = store.add(key, b"same", expires_at=EXPIRY)
    store.replace(key, b"same", expires_at=EXPIRY, version=old)
    with pytest.raises(Conflict):
        store.replace(key, b"same", expires_at=EXPIRY, version=old)


def test_a_replace_that_races_a_delete_never_brings_the_record_back(store: WiredStore) -> None:
    store.warm_up()
    for _ in range(20):
        key = new_key()
        version = store.add(key, b"1", expires_at=EXPIRY)

        def act(what: bytes, key: str = key, version: int = version) -> None:
            if what == b"delete":
                store.delete(key)
                return
            with suppress(Gone, Conflict):
                store.replace(key, b"2", expires_at=EXPIRY, version=version)

        race(act, [b"delete", b"replace"])
        assert store.get(key) is None


def test_no_property_is_indexed_and_expires_is_a_time(store: WiredStore) -> None:
    store.add(new_key(), b"data", expires_at=EXPIRY)
    insert = types.CommitRequest.pb(store.wire.calls[-1].request).mutations[0].insert
    assert [name for name, value in insert.properties.items() if not value.exclude_from_indexes] == []
    assert insert.properties["expires_at"].timestamp_value.seconds == EXPIRY


def test_it_works_within_an_ndb_context(store: WiredStore) -> None:
    key = new_key()
    with store.client.context():
        version = store.add(key, b"data", expires_at=EXPIRY)
        assert store.get(key) == Stored(b"data", version)


def test_namespaces_do_not_share_records(store: WiredStore) -> None:
    key = new_key()
    one, other = (DatastoreStore(store.client, namespace=name) for name in ("one", "other"))
    one.add(key, b"data", expires_at=EXPIRY)
    assert other.get(key) is None


def test_the_namespace_is_by_default_the_clients(store: WiredStore) -> None:
    key = new_key()
    DatastoreStore(store.client, namespace="mine").add(key, b"data", expires_at=EXPIRY)
    store.client.namespace = "mine"
    found = DatastoreStore(store.client).get(key)
    assert found is not None
    assert found.data == b"data"


def test_databases_do_not_share_records(firestore_emulator: str) -> None:
    key = new_key()
    with store_at(firestore_emulator, database="second") as named, store_at(firestore_emulator) as default:
        version = named.add(key, b"data", expires_at=EXPIRY)
        assert named.get(key) == Stored(b"data", version)
        assert DatastoreStore(default.client, kind=named.kind).get(key) is None


def test_each_call_says_where_it_goes(firestore_emulator: str) -> None:
    """Production routes by this header (https://google.aip.dev/client-libraries/4222)."""
    with store_at(firestore_emulator, database="second") as store:
        for call in CALLS.values():
            with suppress(Gone):
                call(store)
    routes = {call.metadata["x-goog-request-params"] for call in store.wire.calls}
    assert routes == {f"project_id={services.PROJECT}&database_id=second"}


# Clients and forks


FORKING = """
import os, signal
from google.cloud import ndb
from gaesess.stores.datastore import DatastoreStore
from gaesess.testing import EXPIRY, new_key

def make_client():
    print("client of", os.getpid(), flush=True)
    return ndb.Client(project="forking")

def use(store):
    key = new_key()
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key) == (b"data", version)

def in_child(act):
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a gRPC that does not survive the fork hangs
        try:
            act()
            os._exit(0)
        except RuntimeError as error:
            print(error, flush=True)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run_forking(program: str, datastore: str, **env: str) -> list[str]:
    """Run it in a new process, where gRPC has not been used, and return the lines of its output."""
    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING + program],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": services.python_path(), "DATASTORE_EMULATOR_HOST": datastore} | env,
    )
    return completed.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_store_made_before_a_fork_works_in_every_process_without_fork_support_of_grpc(
    datastore_emulator: str,
) -> None:
    program = """
store = DatastoreStore(make_client)
assert [in_child(lambda: use(store)) for _ in range(2)] == [0, 0]
use(store)
"""
    lines = run_forking(program, datastore_emulator, GRPC_ENABLE_FORK_SUPPORT="0")
    assert len(set(lines)) == len(lines) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_process_that_used_the_store_makes_a_client_of_its_own(datastore_emulator: str) -> None:
    program = """
store = DatastoreStore(make_client)
use(store)
assert in_child(lambda: use(store)) == 0
use(store)
"""
    lines = run_forking(program, datastore_emulator, GRPC_ENABLE_FORK_SUPPORT="1")
    assert len(set(lines)) == len(lines) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_client_that_was_handed_over_is_refused_in_a_child(datastore_emulator: str) -> None:
    program = """
store = DatastoreStore(ndb.Client(project="forking"))
assert in_child(lambda: use(store)) == 1
use(store)
"""
    (line,) = run_forking(program, datastore_emulator, GRPC_ENABLE_FORK_SUPPORT="1")
    assert "give it a function that makes the client" in line


def test_a_client_is_made_at_the_first_call_and_once(datastore_emulator: str) -> None:
    with store_at(datastore_emulator) as wired:
        made: list[ndb.Client] = []
        store = DatastoreStore(lambda: made.append(wired.client) or wired.client)
        assert made == []
        store.get(new_key())
        store.get(new_key())
        assert made == [wired.client]


def test_a_client_is_made_from_the_environment(datastore_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    with store_at(datastore_emulator) as wired:
        wired.add(key, b"data", expires_at=EXPIRY)
        monkeypatch.setenv("DATASTORE_EMULATOR_HOST", datastore_emulator)
        monkeypatch.setenv("DATASTORE_DATASET", services.PROJECT)
        found = DatastoreStore(kind=wired.kind).get(key)
    assert found is not None
    assert found.data == b"data"


@pytest.mark.parametrize("error", [GoogleAuthError("no credentials"), OSError("no project")])
def test_a_client_that_cannot_be_made_is_an_outage_until_it_can(
    store: WiredStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(_datastore_client, "RETRY_SECONDS", 0)
    faults = [error]

    def make() -> ndb.Client:
        if faults:
            raise faults.pop()
        return store.client

    failing = DatastoreStore(make)
    with pytest.raises(StoreUnavailable, match=str(error)):
        failing.get(new_key())
    assert failing.get(new_key()) is None


# Expired records


def test_of_each_shard_only_what_has_expired_is_deleted(store: WiredStore) -> None:
    def keys(expires: int) -> list[str]:
        return [f"{shard}{expires:010d}{rest * 30}" for shard in (SHARDS[0], SHARDS[1], SHARDS[-1]) for rest in "0f"]

    live = {key: store.add(key, b"live", expires_at=NOW + 1) for key in keys(NOW + 1)}
    for key in keys(NOW):
        store.add(key, b"over", expires_at=NOW)
    assert sum(store.delete_expired(now=NOW)) == 6
    assert [store.get(key) for key in keys(NOW)] == [None] * 6
    assert {key: store.get(key) for key in live} == {key: Stored(b"live", version) for key, version in live.items()}


def test_more_records_than_a_page_holds_are_counted_and_deleted_in_bounded_commits(store: WiredStore) -> None:
    keys = [f"00{NOW:010d}{number:030x}" for number in range(501)]
    race(lambda part: [store.add(key, b"", expires_at=NOW) for key in keys[part[0] :: 4]], [b"\0", b"\1", b"\2", b"\3"])
    store.wire.calls.clear()
    assert store.count_expired(now=NOW) == 501
    assert sum(store.delete_expired(now=NOW)) == 501
    assert store.count_expired(now=NOW) == 0
    commits = [types.CommitRequest.pb(call.request) for call in store.wire.calls if call.rpc == "commit"]
    sizes = [len(commit.mutations) for commit in commits]
    assert (sum(sizes), max(sizes) <= MAX_MUTATIONS) == (501, True)


def test_shards_are_cleaned_in_turn(cloud_store: WiredStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datastore, "MAX_MUTATIONS", 1)
    monkeypatch.setattr(datastore, "CLEANUP_THREADS", 1)
    ends = [SHARDS[0], SHARDS[-1]]
    for shard, number in product(ends, range(2)):
        cloud_store.add(f"{shard}{NOW:010d}{number:030x}", b"", expires_at=NOW)
    cloud_store.wire.calls.clear()
    assert sum(cloud_store.delete_expired(now=NOW)) == 4
    commits = [types.CommitRequest.pb(call.request) for call in cloud_store.wire.calls if call.rpc == "commit"]
    assert [mutation.delete.path[0].name[:2] for commit in commits for mutation in commit.mutations] == ends * 2


def test_what_is_live_costs_a_cleanup_nothing(store: WiredStore) -> None:
    def queries() -> int:
        store.wire.calls.clear()
        assert list(store.delete_expired(now=NOW)) == []
        return store.wire.rpcs().count("run_query")

    without = queries()
    for number in range(5):
        store.add(f"{SHARDS[0]}{NOW + 1:010d}{number:030x}", b"live", expires_at=NOW + 1)
    assert queries() == without == len(SHARDS)


def test_a_cleanup_that_is_stopped_makes_no_more_calls_than_are_under_way(store: WiredStore) -> None:
    for shard in SHARDS[: 2 * CLEANUP_THREADS]:
        store.add(f"{shard}{NOW:010d}{0:030x}", b"", expires_at=NOW)
    batches = store.delete_expired(now=NOW)
    next(batches)
    batches.close()
    assert store.count_expired(now=NOW) > 0


# Outages


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_port_is_store_unavailable(call: Callable[[Store], object]) -> None:
    with store_at(f"127.0.0.1:{services.free_port()}") as store, pytest.raises(StoreUnavailable, match="UNAVAILABLE"):
        call(store)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_server_that_never_answers_is_store_unavailable_at_the_deadline(call: Callable[[Store], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with store_at(address, timeout=0.2) as store, pytest.raises(StoreUnavailable, match="DEADLINE_EXCEEDED"):
            call(store)


def test_a_stopped_emulator_is_store_unavailable(tmp_path: Path) -> None:
    key = new_key()
    with ExitStack() as own_emulator:
        address = own_emulator.enter_context(services.run_datastore_emulator(tmp_path))
        with store_at(address) as store:
            store.add(key, b"data", expires_at=EXPIRY)
            own_emulator.close()
            with pytest.raises(StoreUnavailable):
                store.get(key)


@contextmanager
def proxy_that_answers(body: bytes) -> Iterator[str]:
    """Run a gRPC server that answers every call with this body, and yield its "host:port"."""

    class Answer(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: object) -> object:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: body)

    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool, handlers=[Answer()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_page_of_html_in_place_of_an_answer_is_store_unavailable(call: Callable[[Store], object]) -> None:
    outage = pytest.raises(StoreUnavailable, match="failed with INTERNAL")
    with proxy_that_answers(b"<html></html>") as address, store_at(address) as store, outage:
        call(store)


@pytest.mark.parametrize("call", ["get", "get_many", "add", "replace", "delete"])
def test_an_empty_answer_is_store_unavailable_and_no_miss(call: str) -> None:
    outage = pytest.raises(StoreUnavailable, match="what came back is no answer")
    with proxy_that_answers(b"") as address, store_at(address) as store, outage:
        CALLS[call](store)


def test_a_reply_in_another_protocol_is_store_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html></html>")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with store_at(f"127.0.0.1:{server.getsockname()[1]}", timeout=1) as store, pytest.raises(StoreUnavailable):
            store.get(new_key())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("error", [DecodeError("Wire format was corrupt"), ValueError("closed"), grpc.RpcError("odd")])
def test_whatever_else_the_client_raises_is_store_unavailable(
    call: Callable[[Store], object], error: Exception
) -> None:
    def fail(request: object, **options: object) -> None:
        raise error

    with store_at("127.0.0.1:9") as store:
        store.wire.stub = SimpleNamespace(lookup=fail, commit=fail, run_query=fail)
        with pytest.raises(StoreUnavailable, match=f"failed with {type(error).__name__}: {error}"):
            call(store)


def test_a_client_that_was_closed_is_store_unavailable(cloud_store: WiredStore) -> None:
    cloud_store.wire.stub.close()
    with pytest.raises(StoreUnavailable, match="closed channel"):
        cloud_store.get(new_key())


@pytest.mark.parametrize("status", [StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED])
def test_credentials_that_datastore_refuses_are_named_as_that(cloud_store: WiredStore, status: StatusCode) -> None:
    cloud_store.wire.faults["lookup"] = [Fault(status)]
    with pytest.raises(StoreUnavailable, match=f"failed with {status.name}: it refused the credentials"):
        cloud_store.get(new_key())


def test_credentials_that_fail_within_grpc_are_no_fault_of_the_network(datastore_emulator: str) -> None:
    """As those do that gRPC asks and we do not know of: it says UNAVAILABLE."""

    class Refused(grpc.AuthMetadataPlugin):  # type: ignore[misc]
        def __call__(self, context: object, callback: object) -> None:
            raise ValueError("revoked")

    local = grpc.local_channel_credentials()
    credentials = grpc.composite_channel_credentials(local, grpc.metadata_call_credentials(Refused()))
    with store_at(datastore_emulator) as store, grpc.secure_channel(datastore_emulator, credentials) as channel:
        store.wire.stub = DatastoreGrpcTransport(host=datastore_emulator, channel=channel)
        with pytest.raises(StoreUnavailable, match="UNAVAILABLE: its credentials have no access token: revoked"):
            store.get(new_key())


GEVENT = """
from gevent import monkey
monkey.patch_all()
from grpc.experimental.gevent import init_gevent
init_gevent()
import sys
import gevent
from google.cloud import ndb
from gaesess.errors import StoreUnavailable
from gaesess.stores.datastore import DatastoreStore
from gaesess.testing import EXPIRY, new_key

store = DatastoreStore(lambda: ndb.Client(project="gevent"), timeout=float(sys.argv[1]))
key = new_key()
if sys.argv[1] == "10":  # Datastore works
    version = store.add(key, b"data", expires_at=EXPIRY)
    assert store.get(key) == (b"data", version)
    sys.exit()

def call():
    try:
        store.get(key)
    except StoreUnavailable as error:
        return str(error)

beats = [0]

def beat():
    while True:
        gevent.sleep(0.01)
        beats[0] += 1

gevent.spawn(beat)
calls = [gevent.spawn(call) for _ in range(5)]
gevent.joinall(calls)
assert all("DEADLINE_EXCEEDED" in call.value for call in calls), [call.value for call in calls]
assert beats[0], "the worker stood still"
"""


def run_under_gevent(datastore: str, timeout: str) -> None:
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GEVENT, timeout],
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": services.python_path(), "DATASTORE_EMULATOR_HOST": datastore},
    )


def test_under_gevent_a_worker_goes_on_while_datastore_hangs(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    with services.datastore_server(tmp_path) as (address, server):
        run_under_gevent(address, "10")
        server.pause()
        run_under_gevent(address, "1")


def test_every_try_of_a_call_ends_within_the_one_timeout(cloud_store: WiredStore) -> None:
    cloud_store.wire.faults["lookup"] = [Fault(StatusCode.UNAVAILABLE), Fault(StatusCode.UNAVAILABLE)]
    cloud_store.get(new_key())
    first, second, third = (call.timeout for call in cloud_store.wire.calls)
    assert 10.0 >= first > second > third > 0


def test_no_try_begins_after_the_timeout(cloud_store: WiredStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_datastore_calls, "SystemRandom", lambda: SimpleNamespace(uniform=lambda first, last: last))
    cloud_store.wire.faults["lookup"] = [Fault(StatusCode.UNAVAILABLE)]
    store = DatastoreStore(cloud_store.client, timeout=_datastore_calls.PAUSES[0])
    with pytest.raises(StoreUnavailable, match="lookup failed with UNAVAILABLE"):
        store.get(new_key())
    assert cloud_store.wire.rpcs() == ["lookup"]


@pytest.mark.parametrize("call", ["get", "delete", "count_expired", "delete_expired"])
def test_what_can_safely_be_repeated_is_tried_three_times(
    cloud_store: WiredStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(datastore, "CLEANUP_THREADS", 1)
    rpc = {"get": "lookup", "delete": "commit"}.get(call, "run_query")
    cloud_store.wire.faults[rpc] = [Fault(StatusCode.UNAVAILABLE), Fault(StatusCode.UNAVAILABLE)]
    CALLS[call](cloud_store)
    cloud_store.wire.faults[rpc] = [Fault(StatusCode.UNAVAILABLE)] * 9
    cloud_store.wire.calls.clear()
    with pytest.raises(StoreUnavailable):
        CALLS[call](cloud_store)
    assert cloud_store.wire.rpcs() == [rpc] * 3


@pytest.mark.parametrize("status", [StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED])
def test_an_add_whose_reply_is_lost_is_unavailable_and_not_repeated(
    cloud_store: WiredStore, status: StatusCode
) -> None:
    """A second try would find the first one's record, and call it a stranger's."""
    key = new_key()
    cloud_store.wire.faults["commit"] = [Fault(status, landed=True)]
    with pytest.raises(StoreUnavailable, match=status.name):
        cloud_store.add(key, b"data", expires_at=EXPIRY)
    assert cloud_store.wire.rpcs() == ["commit"]
    found = cloud_store.get(key)
    assert found is not None
    assert found.data == b"data"


@pytest.mark.parametrize("status", [StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED])
@pytest.mark.parametrize("fixture", ["cloud_store", "firestore_store"])
def test_a_replace_whose_reply_is_lost_is_unavailable_and_no_conflict(
    request: pytest.FixtureRequest, fixture: str, status: StatusCode
) -> None:
    store = request.getfixturevalue(fixture)
    key = new_key()
    version = store.add(key, b"1", expires_at=EXPIRY)
    store.wire.faults["commit"] = [Fault(status, landed=True)]
    with pytest.raises(StoreUnavailable, match=status.name):
        store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert store.get(key).data == b"2"


def test_writes_that_contention_refused_are_tried_again(cloud_store: WiredStore) -> None:
    key = new_key()
    cloud_store.wire.faults["commit"] = [Fault(StatusCode.ABORTED)]
    version = cloud_store.add(key, b"1", expires_at=EXPIRY)
    cloud_store.wire.faults["commit"] = [Fault(StatusCode.ABORTED), Fault(StatusCode.ABORTED)]
    version = cloud_store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert cloud_store.get(key) == Stored(b"2", version)


def test_contention_that_does_not_end_is_store_unavailable(cloud_store: WiredStore) -> None:
    key = new_key()
    version = cloud_store.add(key, b"1", expires_at=EXPIRY)
    cloud_store.wire.faults["commit"] = [Fault(StatusCode.ABORTED)] * 9
    cloud_store.wire.calls.clear()
    with pytest.raises(StoreUnavailable, match="contend"):
        cloud_store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert cloud_store.wire.rpcs() == ["commit"] * 3


@pytest.mark.parametrize("rpc", ["lookup", "commit"])
def test_a_transaction_that_gave_way_is_tried_again(firestore_store: WiredStore, rpc: str) -> None:
    """Two at once may both be made to give way: neither has lost."""
    key = new_key()
    version = firestore_store.add(key, b"1", expires_at=EXPIRY)
    firestore_store.wire.faults[rpc] = [Fault(StatusCode.ABORTED)]
    version = firestore_store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert firestore_store.get(key) == Stored(b"2", version)


@pytest.mark.parametrize("rpc", ["lookup", "commit"])
def test_transactions_that_give_way_without_end_are_store_unavailable(firestore_store: WiredStore, rpc: str) -> None:
    key = new_key()
    version = firestore_store.add(key, b"1", expires_at=EXPIRY)
    firestore_store.wire.faults[rpc] = [Fault(StatusCode.ABORTED)] * 3
    with pytest.raises(StoreUnavailable, match="contend"):
        firestore_store.replace(key, b"2", expires_at=EXPIRY, version=version)
    assert firestore_store.get(key) == Stored(b"1", version)


def test_a_rollback_that_fails_changes_nothing_about_the_answer(firestore_store: WiredStore) -> None:
    firestore_store.wire.faults["rollback"] = [Fault(StatusCode.UNAVAILABLE, landed=True)]
    with pytest.raises(Gone):
        firestore_store.replace(new_key(), b"2", expires_at=EXPIRY, version=1)


def test_a_lookup_that_datastore_puts_off_is_unavailable_and_no_miss(cloud_store: WiredStore) -> None:
    put_off = types.LookupResponse(deferred=[{"path": [{"kind": "K", "name": "k"}]}])
    cloud_store.wire.stub = SimpleNamespace(lookup=lambda request, **options: put_off)
    with pytest.raises(StoreUnavailable, match="put the answer off"):
        cloud_store.get(new_key())
    with pytest.raises(StoreUnavailable, match="put the answer off"):
        cloud_store.get_many([new_key()])


@pytest.mark.parametrize("size", [MAX_RECORD_BYTES + 1, 2_000_000, 12_000_000])
def test_a_record_that_is_too_large_for_datastore_is_no_outage_and_leaves_the_old_one(
    store: WiredStore, size: int
) -> None:
    key = new_key()
    version = store.add(key, bytes(MAX_RECORD_BYTES), expires_at=EXPIRY)
    with pytest.raises(SessionTooLarge, match=f"Datastore takes records of 1,000,000 bytes, not of {size:,}: keep"):
        store.replace(key, bytes(size), expires_at=EXPIRY, version=version)
    with pytest.raises(SessionTooLarge):
        store.add(new_key(), bytes(size), expires_at=EXPIRY)
    assert store.get(key) == Stored(bytes(MAX_RECORD_BYTES), version)


def test_a_refusal_says_what_to_do(cloud_store: WiredStore) -> None:
    cloud_store.wire.faults["lookup"] = [Fault(StatusCode.PERMISSION_DENIED)]
    with pytest.raises(StoreUnavailable, match=r"lookup failed with PERMISSION_DENIED: .* roles/datastore.user"):
        cloud_store.get(new_key())


def test_no_answer_to_a_write_has_the_key_in_its_traceback(store: WiredStore) -> None:
    key = new_key()
    version = store.add(key, b"1", expires_at=EXPIRY)
    store.replace(key, b"2", expires_at=EXPIRY, version=version)
    writes: list[tuple[type[StoreError], Callable[[], object]]] = [
        (KeyExists, lambda: store.add(key, b"3", expires_at=EXPIRY)),
        (Conflict, lambda: store.replace(key, b"3", expires_at=EXPIRY, version=version)),
        (Gone, lambda: store.delete(key) or store.replace(key, b"3", expires_at=EXPIRY, version=version)),
    ]
    for error, write in writes:
        with pytest.raises(error) as caught:
            write()
        assert key not in "".join(traceback.format_exception(caught.value))
