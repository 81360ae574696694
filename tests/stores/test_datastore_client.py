"""What DatastoreStore takes for a client, and what it does when finding credentials fails or hangs."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import services
from clock import Clock
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from google.cloud import ndb
from google.cloud.datastore_v1 import types

from gaesess import SessionManager, events, generate_key
from gaesess.errors import StoreUnavailable
from gaesess.legacy.datastore import DatastoreSource
from gaesess.stores import _datastore_client
from gaesess.stores._datastore_client import RETRY_SECONDS, SingleFlight
from gaesess.stores.datastore import DatastoreStore
from gaesess.testing import new_key, race


class Account(Credentials):  # type: ignore[misc]
    """Credentials whose access token is got by a function."""

    def __init__(self, get: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.get = get
        self.asked = 0

    def refresh(self, request: object) -> None:
        self.asked += 1
        self.token = self.get()
        self.expiry = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(hours=1)


@pytest.fixture(autouse=True)
def nothing_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be no credentials on this machine, and no emulator."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "DATASTORE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", services.PROJECT)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_datastore_client, "time", SimpleNamespace(monotonic=clock))
    return clock


def client_of(credentials: Credentials, **options: Any) -> ndb.Client:
    """Make a client whose Datastore has no entity."""
    client = ndb.Client(project=services.PROJECT, credentials=credentials, **options)
    client.stub.close()
    missing = types.LookupResponse(missing=[{}])
    client.stub = SimpleNamespace(lookup=lambda request, **options: missing, commit=None)
    return client


def store_of(get: Callable[[], str], **options: Any) -> tuple[DatastoreStore, Account]:
    """Make a store with an access token that is got so."""
    account = Account(get)
    return DatastoreStore(client_of(account), **options), account


def fail(error: BaseException) -> Any:
    raise error


def our_threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("gaesess")


# What hangs


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What something that hangs waits for."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_metadata_server_that_hangs_is_store_unavailable_at_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would ask it three times, and wait for three seconds each time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{silent.getsockname()[1]}")
        store = DatastoreStore(timeout=0.1)
        before = our_threads()
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match=r"no credentials within 0\.1 seconds; does the metadata server"):
                store.get(new_key())
        assert our_threads() == before + 1


def test_a_client_that_is_found_late_serves_from_then_on(gate: threading.Event) -> None:
    client = client_of(AnonymousCredentials())  # type: ignore[no-untyped-call]
    done = threading.Event()
    made: list[ndb.Client] = []

    def make() -> ndb.Client:
        gate.wait()
        made.append(client)
        done.set()
        return client

    store = DatastoreStore(make, timeout=0.01)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no credentials within"):
            store.get(new_key())
    gate.set()
    done.wait()
    flight = store._opening[os.getpid()]
    assert flight._future is not None
    flight._future.result()
    assert store.get(new_key()) is None
    assert made == [client]


def test_an_access_token_that_is_not_to_be_had_is_store_unavailable_at_the_timeout(gate: threading.Event) -> None:
    """gRPC starts a thread for each call, and leaves it waiting."""

    def wait_for_token() -> str:
        gate.wait()
        return "token"

    store, account = store_of(wait_for_token, timeout=0.05)
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no credentials within"):
            store.get(new_key())
    assert (account.asked, threading.active_count()) == (1, before + 1)


def test_an_access_token_is_got_once_and_not_again_before_it_expires() -> None:
    store, account = store_of(lambda: "token")
    for _ in range(3):
        assert store.get(new_key()) is None
    assert account.asked == 1
    account.expiry = datetime.now(timezone.utc).replace(tzinfo=None)
    assert store.get(new_key()) is None
    assert account.asked == 2


def test_an_emulator_asks_for_no_access_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", "127.0.0.1:9")
    store, account = store_of(lambda: fail(RefreshError("no")))  # type: ignore[no-untyped-call]
    assert store.get(new_key()) is None
    assert account.asked == 0


def test_threads_that_use_a_store_first_at_once_share_one_client() -> None:
    made: list[ndb.Client] = []

    def make() -> ndb.Client:
        made.append(client_of(AnonymousCredentials()))  # type: ignore[no-untyped-call]
        return made[-1]

    store = DatastoreStore(make)
    race(lambda part: store.get(new_key()), [bytes([part]) for part in range(8)])
    assert len(made) == 1


def test_those_that_come_later_wait_less_and_then_not_at_all(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(_datastore_client, "wait", lambda futures, seconds: waited.append(seconds))
    flight = SingleFlight(gate.wait, timeout=2)
    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            flight.result()
        clock.time += 1
    assert waited == [2, 1, 0, 0]


def test_a_failure_is_remembered_for_a_moment(clock: Clock) -> None:
    tries: list[float] = []
    flight = SingleFlight(lambda: tries.append(clock()) or fail(OSError("down")), timeout=10)

    def use() -> None:
        with pytest.raises(StoreUnavailable, match="down"):
            flight.result()

    began = clock()
    use()
    clock.time += RETRY_SECONDS - 1
    use()
    clock.time += 1
    use()
    assert tries == [began, began + RETRY_SECONDS]


def test_a_process_that_can_start_no_thread_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda thread: fail(RuntimeError("can't start new thread")))
    with pytest.raises(StoreUnavailable, match="RuntimeError: can't start new thread"):
        DatastoreStore().get(new_key())


def test_a_function_that_makes_the_client_runs_in_the_context_of_the_request() -> None:
    tenant: ContextVar[str] = ContextVar("tenant")
    tenant.set("one")
    namespaces: list[str] = []

    def make() -> ndb.Client:
        namespaces.append(tenant.get())
        return client_of(AnonymousCredentials())  # type: ignore[no-untyped-call]

    DatastoreStore(make).get(new_key())
    assert namespaces == ["one"]


# What is refused


def refresh_that_met_an_outage() -> RefreshError:
    """Make what the credentials of a machine of Google's raise when its metadata server is down."""
    error = RefreshError(TransportError("connection refused"))  # type: ignore[no-untyped-call]
    error.__cause__ = error.args[0]
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RefreshError("invalid_grant: revoked", {"error": "x"}),
            "its credentials were refused: invalid_grant: revoked",
        ),  # type: ignore[no-untyped-call]
        (RefreshError("busy", retryable=True), "it got no access token: busy"),  # type: ignore[no-untyped-call]
        (TransportError("no route"), "it got no access token: no route"),  # type: ignore[no-untyped-call]
        (refresh_that_met_an_outage(), "it got no access token: connection refused"),
        (KeyError("token"), "its client raised KeyError: token"),
        (RefreshError("<html>\n" + "x" * 10_000), "its credentials were refused: <html> x{493}$"),  # type: ignore[no-untyped-call]
    ],
)
def test_an_access_token_that_is_refused_is_named_as_that(error: Exception, message: str) -> None:
    store, _ = store_of(lambda: fail(error))
    with pytest.raises(StoreUnavailable, match=message):
        store.get(new_key())


def test_an_event_says_that_credentials_were_refused() -> None:
    store, _ = store_of(lambda: fail(RefreshError("revoked")))  # type: ignore[no-untyped-call]
    heard: list[events.Event] = []
    unsubscribe = events.subscribe(heard.append)
    try:
        session = SessionManager(generate_key(), store=store, cookie_only_threshold=0).open(None)
        session["key"] = "value"
        with pytest.raises(StoreUnavailable):
            session.commit()
    finally:
        unsubscribe()
    messages = {event.message for event in heard if event.name == "store_unavailable"}
    assert messages
    assert all("credentials were refused: revoked" in message for message in messages)


@pytest.mark.parametrize("content", ["[]", "5", '"text"', "null"])
def test_a_credentials_file_without_an_object_is_reported_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    file = tmp_path / "key.json"
    file.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(StoreUnavailable, match=r"must name a file with a JSON object, got .*key\.json"):
        DatastoreStore().get(new_key())


@pytest.mark.parametrize(
    "content", [None, "", "{", "{}", json.dumps({"type": "service_account"}), json.dumps({"type": []}), "\ud800"]
)
def test_a_credentials_file_that_is_not_valid_is_reported_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "key.json"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogatepass"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(
        StoreUnavailable, match=r"Datastore cannot be used: (there are no valid credentials|its client)"
    ):
        DatastoreStore().get(new_key())


def test_credentials_that_are_not_there_are_reported_as_that() -> None:
    error = DefaultCredentialsError("Your default credentials were not found.")  # type: ignore[no-untyped-call]
    with pytest.raises(StoreUnavailable, match="there are no valid credentials: Your default credentials were not"):
        DatastoreStore(lambda: fail(error)).get(new_key())


# What is no client


class OfAnotherLibrary:
    """As google.cloud.datastore.Client, which has another interface."""

    project = "my-project"


async def make_soon() -> ndb.Client:
    return ndb.Client()


@pytest.mark.parametrize("make_store", [DatastoreStore, DatastoreSource])
@pytest.mark.parametrize(
    "client", ["my-project", 5, {}, False, OfAnotherLibrary(), OfAnotherLibrary, make_soon, lambda project: None]
)
def test_a_client_that_cannot_be_one_is_refused_when_the_store_is_made(
    make_store: Callable[[Any], object], client: object
) -> None:
    with pytest.raises(TypeError, match="client must be"):
        make_store(client)


@pytest.mark.parametrize("client", [None, ndb.Client, lambda: None, lambda *args, **options: None])
def test_what_may_make_a_client_is_taken(client: Any) -> None:
    DatastoreStore(client)


@pytest.mark.parametrize("project", ["", "my project", "my-project\n", "projects/my-project", "é", "x" * 101])
def test_a_project_that_cannot_be_one_is_refused_when_the_store_is_made(project: str) -> None:
    client = client_of(AnonymousCredentials())  # type: ignore[no-untyped-call]
    client.project = project
    with pytest.raises(ValueError, match="project must be the id of a Google Cloud project, such as my-project, got"):
        DatastoreStore(client)
    with pytest.raises(StoreUnavailable, match="ValueError: project must be"):
        DatastoreStore(lambda: client).get(new_key())


@pytest.mark.parametrize("project", ["my-project-123", "example.com:my-project", "try", "s~old"])
def test_a_project_that_can_be_one_is_taken(project: str) -> None:
    client = client_of(AnonymousCredentials())  # type: ignore[no-untyped-call]
    client.project = project
    DatastoreStore(client)


def test_a_function_that_returns_no_client_is_named_at_the_first_use() -> None:
    with pytest.raises(StoreUnavailable, match=r"TypeError: the function .* must return an ndb.Client, got 'client'"):
        DatastoreStore(lambda: "client").get(new_key())


@pytest.mark.parametrize("make_store", [DatastoreStore, DatastoreSource])
@pytest.mark.parametrize("timeout", [0, -1, None, "5", True, float("nan"), float("inf")])
def test_a_timeout_is_a_number_of_seconds_above_zero(make_store: Callable[..., object], timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0, got"):
        make_store(timeout=timeout)


@pytest.mark.parametrize("kind", ["", None, 5, "__GaesessSession__"])
def test_a_kind_that_cannot_be_one_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="kind must be the name of a kind of entities"):
        DatastoreStore(kind=kind)


@pytest.mark.parametrize("namespace", [5, b"tenant", "two words", "a/b", "x" * 101, "tenant\n"])
def test_a_namespace_that_cannot_be_one_is_refused(namespace: Any) -> None:
    with pytest.raises(ValueError, match="namespace must be at most 100 of"):
        DatastoreStore(namespace=namespace)


@pytest.mark.parametrize("namespace", [None, "", "tenant-1._", "x" * 100])
def test_a_namespace_that_can_be_one_is_taken(namespace: str | None) -> None:
    DatastoreStore(namespace=namespace)
