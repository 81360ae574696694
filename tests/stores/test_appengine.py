"""The stores of App Engine's bundled services, on the services of its SDK that run in the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google.appengine.api import apiproxy_stub_map, datastore_errors, namespace_manager
from google.appengine.api.memcache import memcache_service_pb2 as messages
from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import datastore_v3_bytes_pb2 as datastore_pb
from google.appengine.ext import ndb, testbed
from google.appengine.runtime import apiproxy_errors, context, default_api_stub

from gaesess import SessionManager, generate_key
from gaesess.errors import Conflict, SessionTooLarge, StoreUnavailable
from gaesess.legacy import appengine as legacy
from gaesess.stores.appengine import AppEngineDatastore, AppEngineMemcache, GaesessSession
from gaesess.stores.base import Store, Stored
from gaesess.stores.tiered import TieredStore
from gaesess.testing import EXPIRY, CacheContract, StoreContract, new_key


@pytest.fixture(autouse=True)
def services() -> Iterator[testbed.Testbed]:
    """Run the SDK's services for one application."""
    bed = testbed.Testbed()
    bed.activate()
    bed.init_memcache_stub()
    policy = datastore_stub_util.PseudoRandomHRConsistencyPolicy(probability=1)
    bed.init_datastore_v3_stub(consistency_policy=policy, use_sqlite=False)
    yield bed
    bed.deactivate()


@pytest.fixture
def memcache() -> AppEngineMemcache:
    return AppEngineMemcache(namespace="")


@pytest.fixture
def datastore() -> AppEngineDatastore:
    return AppEngineDatastore(namespace="")


class TestAppEngineMemcache(CacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def store(self) -> AppEngineMemcache:
        return AppEngineMemcache(namespace="")


class TestAppEngineDatastore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self) -> AppEngineDatastore:
        return AppEngineDatastore(namespace="")


class TestBoth(StoreContract):
    @pytest.fixture
    def store(self) -> TieredStore:
        return TieredStore(AppEngineMemcache(namespace=""), AppEngineDatastore(namespace=""))


# Outages


@contextmanager
def failing(service: str, error: Exception, *, after: bool = False) -> Iterator[None]:
    """Let the calls of a service fail, before they arrive or after they have taken effect."""

    def fail(*call: Any) -> None:
        raise error

    proxy = apiproxy_stub_map.apiproxy
    hooks = proxy.GetPostCallHooks() if after else proxy.GetPreCallHooks()
    hooks.Append("fail", fail, service)
    try:
        yield
    finally:
        hooks.Clear()


@contextmanager
def answering(field: str, status: int) -> Iterator[None]:
    """Let memcache answer with a status."""

    def answer(service: str, call: str, request: Any, response: Any) -> None:
        response.Clear()
        getattr(response, field).append(status)

    hooks = apiproxy_stub_map.apiproxy.GetPostCallHooks()
    hooks.Append("answer", answer, "memcache")
    try:
        yield
    finally:
        hooks.Clear()


OF_STORE: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get(new_key()),
    "get_many": lambda store: store.get_many([new_key(), new_key()]),
    "add": lambda store: store.add(new_key(), b"", expires_at=EXPIRY),
    "replace": lambda store: store.replace(new_key(), b"", expires_at=EXPIRY, version=1),
    "delete": lambda store: store.delete(new_key()),
}
OF_CACHE: dict[str, Callable[[AppEngineMemcache], object]] = {
    **OF_STORE,
    "put": lambda cache: cache.put(new_key(), b"", expires_at=EXPIRY),
    "gets": lambda cache: cache.gets(new_key()),
    "cas": lambda cache: cache.cas(new_key(), b"", expires_at=EXPIRY, ticket=1),
}
OF_DATASTORE: dict[str, Callable[[AppEngineDatastore], object]] = {
    **OF_STORE,
    "count_expired": lambda store: store.count_expired(now=EXPIRY),
    "delete_expired": lambda store: list(store.delete_expired(now=EXPIRY)),
}


@pytest.mark.parametrize("call", OF_CACHE.values(), ids=OF_CACHE)
@pytest.mark.parametrize("error", [apiproxy_errors.DeadlineExceededError("late"), apiproxy_errors.OverQuotaError("no")])
def test_a_memcache_that_fails_is_store_unavailable_and_no_miss(
    memcache: AppEngineMemcache, call: Callable[[AppEngineMemcache], object], error: Exception
) -> None:
    with failing("memcache", error), pytest.raises(StoreUnavailable, match=f"memcache failed: {type(error).__name__}"):
        call(memcache)


@pytest.mark.parametrize(
    ("call", "field", "status"),
    [
        ("get", "get_status", messages.MemcacheGetResponse.UNREACHABLE),
        ("gets", "get_status", messages.MemcacheGetResponse.DEADLINE_EXCEEDED),
        ("get_many", "get_status", messages.MemcacheGetResponse.UNREACHABLE),
        ("add", "set_status", messages.MemcacheSetResponse.ERROR),
        ("put", "set_status", messages.MemcacheSetResponse.UNREACHABLE),
        ("put", "set_status", messages.MemcacheSetResponse.NOT_STORED),
        ("cas", "set_status", messages.MemcacheSetResponse.OTHER_ERROR),
        ("delete", "delete_status", messages.MemcacheDeleteResponse.UNREACHABLE),
    ],
)
def test_a_memcache_that_answers_with_a_failure_is_store_unavailable(
    memcache: AppEngineMemcache, call: str, field: str, status: int
) -> None:
    with answering(field, status), pytest.raises(StoreUnavailable, match="memcache"):
        OF_CACHE[call](memcache)


@pytest.mark.parametrize("call", OF_DATASTORE.values(), ids=OF_DATASTORE)
@pytest.mark.parametrize("error", [datastore_errors.Timeout("late"), apiproxy_errors.RPCFailedError("no")])
def test_a_datastore_that_fails_is_store_unavailable(
    datastore: AppEngineDatastore, call: Callable[[AppEngineDatastore], object], error: Exception
) -> None:
    with (
        failing("datastore_v3", error),
        pytest.raises(StoreUnavailable, match=f"Datastore failed: {type(error).__name__}"),
    ):
        call(datastore)


@contextmanager
def bridge_that_answers(body: bytes) -> Iterator[None]:
    """Let each call go to App Engine's service bridge, as in production, where something answers with this body."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *message: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stub = default_api_stub.DefaultApiStub()
    use_ticket = default_api_stub.DefaultApiStub.SetUseRequestSecurityTicketForThread
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "READ_FROM_OS_ENVIRON", True)
        patch.setenv(default_api_stub.TICKET_HEADER, "ticket")
        patch.setenv("API_HOST", "127.0.0.1")
        patch.setenv("API_PORT", str(server.server_port))
        patch.setattr(apiproxy_stub_map, "apiproxy", apiproxy_stub_map.APIProxyStubMap(stub))
        use_ticket(True)
        try:
            yield
        finally:
            use_ticket(False)
            stub.thread_pool.shutdown()
            server.shutdown()
            server.server_close()


@pytest.mark.parametrize("call", OF_CACHE.values(), ids=OF_CACHE)
def test_a_page_of_html_in_place_of_memcache_is_store_unavailable(
    memcache: AppEngineMemcache, call: Callable[[AppEngineMemcache], object]
) -> None:
    with bridge_that_answers(b"<html></html>"), pytest.raises(StoreUnavailable, match="memcache failed: DecodeError"):
        call(memcache)


@pytest.mark.parametrize("call", OF_DATASTORE.values(), ids=OF_DATASTORE)
def test_a_page_of_html_in_place_of_datastore_is_store_unavailable(
    datastore: AppEngineDatastore, call: Callable[[AppEngineDatastore], object]
) -> None:
    with bridge_that_answers(b"<html></html>"), pytest.raises(StoreUnavailable, match="Datastore failed: DecodeError"):
        call(datastore)


@pytest.mark.parametrize("call", ["get", "get_many", "add", "replace"])
def test_an_empty_answer_in_place_of_datastore_is_store_unavailable(datastore: AppEngineDatastore, call: str) -> None:
    """The SDK raises a RuntimeError of ndb, or an EncodeError."""
    with bridge_that_answers(b""), pytest.raises(StoreUnavailable, match="Datastore failed"):
        OF_DATASTORE[call](datastore)


@pytest.mark.parametrize("engine", ["memcache", "datastore"])
def test_outside_of_app_engine_it_is_store_unavailable(request: pytest.FixtureRequest, engine: str) -> None:
    store = request.getfixturevalue(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apiproxy_stub_map, "apiproxy", apiproxy_stub_map.APIProxyStubMap())
        with pytest.raises(StoreUnavailable, match="failed: AssertionError: No api proxy found"):
            store.get(new_key())


def test_every_call_of_a_method_has_the_deadline() -> None:
    """Without one the SDK waits for 60 seconds."""
    deadlines: list[float | None] = []

    def note(service: str, call: str, request: Any, response: Any, rpc: Any) -> None:
        deadlines.append(rpc.deadline)

    apiproxy_stub_map.apiproxy.GetPreCallHooks().Append("note", note)
    store = TieredStore(AppEngineMemcache(namespace="", timeout=7), AppEngineDatastore(namespace="", timeout=7))
    key = new_key()
    version = store.add(key, b"1", expires_at=EXPIRY)
    with pytest.raises(Conflict):
        store.durable.replace(key, b"2", expires_at=EXPIRY, version=1)
    store.replace(key, b"2", expires_at=EXPIRY, version=version)
    store.get_many([key])
    list(store.delete_expired(now=EXPIRY))
    store.delete(key)
    legacy.MemcacheSource(timeout=7).get("sid")
    legacy.DatastoreSource(timeout=7).get("sid")
    assert set(deadlines) == {7.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda timeout: AppEngineMemcache(namespace="", timeout=timeout),
        lambda timeout: AppEngineDatastore(namespace="", timeout=timeout),
        lambda timeout: legacy.MemcacheSource(timeout=timeout),
        lambda timeout: legacy.DatastoreSource(timeout=timeout),
    ],
    ids=["memcache", "datastore", "old memcache", "old datastore"],
)
@pytest.mark.parametrize("timeout", [0, -1, None, "5", True, float("nan"), float("inf")])
def test_a_timeout_is_a_number_of_seconds_above_zero(make: Callable[[Any], object], timeout: Any) -> None:
    """The SDK takes 0 and None for its own 60 seconds."""
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0, got"):
        make(timeout)


def test_a_commit_that_is_tried_again_finds_that_it_had_landed(datastore: AppEngineDatastore) -> None:
    """As it may (https://cloud.google.com/datastore/docs/concepts/transactions)."""
    key = new_key()
    committed: list[str] = []

    def lose_the_first_answer(service: str, call: str, request: Any, response: Any) -> None:
        if call == "Commit" and not committed:
            committed.append(call)
            raise apiproxy_errors.ApplicationError(datastore_pb.Error.CONCURRENT_TRANSACTION)

    hooks = apiproxy_stub_map.apiproxy.GetPostCallHooks()
    hooks.Append("lose", lose_the_first_answer, "datastore_v3")
    version = datastore.add(key, b"once", expires_at=EXPIRY)
    assert committed
    assert datastore.get(key) == Stored(b"once", version)


@pytest.mark.parametrize("engine", ["memcache", "datastore"])
@pytest.mark.parametrize("size", [1_000_001, 2_000_000])
def test_a_record_that_is_too_large_is_no_outage_and_leaves_the_old_one(
    request: pytest.FixtureRequest, engine: str, size: int
) -> None:
    store = request.getfixturevalue(engine)
    key = new_key()
    version = store.add(key, b"small", expires_at=EXPIRY)
    with pytest.raises(SessionTooLarge, match=r"App Engine's \w+ takes .* 1,000,000 bytes, not of [\d,]+: keep"):
        store.replace(key, bytes(size), expires_at=EXPIRY, version=version)
    with pytest.raises(SessionTooLarge):
        store.add(new_key(), bytes(size), expires_at=EXPIRY)
    assert store.get(key) == Stored(b"small", version)


@pytest.mark.parametrize(("engine", "service"), [("memcache", "memcache"), ("datastore", "datastore_v3")])
def test_a_request_that_app_engine_finds_too_large_is_no_outage(
    request: pytest.FixtureRequest, engine: str, service: str
) -> None:
    store, error = request.getfixturevalue(engine), apiproxy_errors.RequestTooLargeError("too large")
    with failing(service, error), pytest.raises(SessionTooLarge, match=r"App Engine's \w+ refused [\d,]+ bytes"):
        store.add(new_key(), bytes(900_000), expires_at=EXPIRY)


# Where records are


@pytest.mark.parametrize("kind", [AppEngineMemcache, AppEngineDatastore])
def test_namespaces_share_nothing_whatever_that_of_the_request_is(
    kind: type[AppEngineMemcache] | type[AppEngineDatastore],
) -> None:
    first, second, key = kind(namespace="first"), kind(namespace="second"), new_key()
    version = first.add(key, b"data", expires_at=EXPIRY)
    namespace_manager.set_namespace("second")
    try:
        assert first.get(key) == Stored(b"data", version)
        assert second.get(key) is None
    finally:
        namespace_manager.set_namespace("")


def test_a_namespace_has_to_be_given() -> None:
    with pytest.raises(TypeError, match="namespace"):
        AppEngineDatastore()  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [AppEngineMemcache, AppEngineDatastore])
@pytest.mark.parametrize("namespace", [None, 5, b"tenant", "two words", "x" * 101, "x\n"])
def test_a_namespace_that_cannot_be_one_is_refused(kind: Callable[..., object], namespace: Any) -> None:
    """None would be that of the request."""
    with pytest.raises(ValueError, match="namespace must be at most 100 of"):
        kind(namespace=namespace)


def test_an_entity_is_that_of_datastore_store_and_nothing_of_it_is_indexed(datastore: AppEngineDatastore) -> None:
    key = new_key()
    datastore.add(key, b"data", expires_at=EXPIRY)
    entity = ndb.Key(GaesessSession, key).get()
    assert (entity.data, entity.expires_at.year, len(entity.nonce)) == (b"data", 2096, 8)
    assert not any(entity._properties[name]._indexed for name in ("data", "expires_at", "nonce"))


# In an application's transaction


def test_a_session_is_kept_that_was_saved_in_a_transaction_which_fails(datastore: AppEngineDatastore) -> None:
    key = new_key()

    def fail() -> None:
        datastore.add(key, b"kept", expires_at=EXPIRY)
        raise ndb.Rollback

    ndb.transaction(fail)
    stored = datastore.get(key)
    assert stored is not None
    assert stored.data == b"kept"


def test_a_transaction_sees_what_others_save_meanwhile(datastore: AppEngineDatastore) -> None:
    key = new_key()
    version = datastore.add(key, b"old", expires_at=EXPIRY)

    def look() -> Stored | None:
        datastore.get(key)
        request = copy_context()  # in which the services answer
        other = threading.Thread(
            target=lambda: request.run(datastore.replace, key, b"new", expires_at=EXPIRY, version=version)
        )
        other.start()
        other.join()
        return datastore.get(key)

    seen = ndb.transaction(look)
    assert seen is not None
    assert seen.data == b"new"
    with pytest.raises(Conflict):
        datastore.replace(key, b"late", expires_at=EXPIRY, version=version)


# As an application has them


def test_a_session_outlives_a_flush_of_memcache(services: testbed.Testbed) -> None:
    store = TieredStore(AppEngineMemcache(namespace="sessions"), AppEngineDatastore(namespace="sessions"))
    manager = SessionManager(generate_key(), store=store)
    session = manager.open(None)
    session["big"] = "x" * 10_000
    cookie = session.commit()[0].partition(";")[0]
    services.get_stub("memcache")._Dynamic_FlushAll(messages.MemcacheFlushRequest(), messages.MemcacheFlushResponse())
    assert manager.open(cookie)["big"] == "x" * 10_000
