"""The client that calls to Datastore are made with, and its credentials: what is accepted, made, and waited for."""

from __future__ import annotations

import inspect
import json
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeAlias, TypeVar

from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.cloud.ndb import Client

from gaesess.errors import StoreUnavailable

T = TypeVar("T")
MakeClient: TypeAlias = Callable[[], Client]

RETRY_SECONDS = 2.0  # for which a failure is remembered
MAX_SHOWN = 500  # characters of a message: there may be a whole page of HTML in it
_RESERVED = re.compile("__.*__", re.DOTALL)  # by Datastore
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,99}")  # laxer than Google Cloud's rules, as the emulators are


class SingleFlight(Generic[T]):
    """Work that may hang, as when it asks a metadata server: one thread at a time does it for all that need it.

    They wait until `timeout` seconds after it began. So those that come later wait less or not at all, and neither
    requests nor threads pile up. A failure is raised for RETRY_SECONDS without another try. A success is not kept.
    """

    def __init__(self, work: Callable[[], T], timeout: float) -> None:
        self._work = work
        self._timeout = timeout
        self._lock = threading.Lock()
        self._future: Future[T] | None = None
        self._ends = self._retry_at = 0.0  # by time.monotonic

    def result(self, deadline: float = inf) -> T:
        """Return what the work returns. Raises StoreUnavailable, at the latest at the deadline, by time.monotonic."""
        future, ends = self._under_way()
        wait([future], max(0.0, min(ends, deadline) - time.monotonic()))
        if not future.done():
            raise StoreUnavailable(
                f"Datastore cannot be used: it had no credentials within {self._timeout:g} seconds; does the metadata"
                " server answer?"
            )
        if error := future.exception():
            raise StoreUnavailable(f"Datastore cannot be used: {explained(error)}") from error
        return future.result()

    def _under_way(self) -> tuple[Future[T], float]:
        with self._lock:
            now = time.monotonic()
            if self._future is None or (self._future.done() and now >= self._retry_at):
                self._future, self._ends = Future(), now + self._timeout
                run = copy_context().run
                # A daemon: a process that exits does not wait for it.
                thread = threading.Thread(target=run, args=(self._run, self._future), name="gaesess", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # there are too many
                    self._fail(self._future, error)
            return self._future, self._ends

    def _run(self, future: Future[T]) -> None:
        try:
            result = self._work()
        except BaseException as error:
            self._fail(future, error)
        else:
            future.set_result(result)

    def _fail(self, future: Future[T], error: BaseException) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        future.set_exception(error)


class Tokens:
    """Keeps the access token of a client's credentials valid, so that no call to Datastore has to wait for a new one.

    gRPC would get one in a thread of its own for each call, and leave all of them behind when that hangs.
    """

    def __init__(self, client: Client, timeout: float) -> None:
        self._credentials = (
            getattr(client, "_credentials", None) if client.secure else None
        )  # an emulator asks for none
        self._url = f"https://{client.host}/"
        self._flight = SingleFlight(self._renew, timeout)

    def check(self, deadline: float) -> None:
        """Return when the token is valid. Raises StoreUnavailable, at the latest at the deadline, by time.monotonic."""
        if self._credentials is not None and not self._credentials.valid:
            self._flight.result(deadline)

    def _renew(self) -> None:
        """Do what gRPC does before each call."""
        from google.auth.transport.grpc import AuthMetadataPlugin
        from google.auth.transport.requests import Request

        plugin: Any = AuthMetadataPlugin(self._credentials, Request())  # type: ignore[no-untyped-call]
        plugin(SimpleNamespace(method_name="Lookup", service_url=self._url), lambda metadata, error: None)


def checked_client(client: object) -> Client | MakeClient:
    """Return what makes the client, or is one. Raises TypeError or ValueError for what can do neither."""
    if client is None:
        return Client
    if isinstance(client, Client):
        return _usable(client)
    is_maker = callable(client) and not inspect.iscoroutinefunction(client)
    if is_maker and isinstance(client, type):
        is_maker = issubclass(client, Client)
    if not is_maker:
        raise TypeError(
            "client must be an ndb.Client, a function that makes one, or None, got"
            f" {client!r}: write lambda: ndb.Client(project=...)"
        )
    with suppress(ValueError):  # not every callable has a signature
        try:
            inspect.signature(client).bind()  # type: ignore[arg-type]
        except TypeError as error:
            raise TypeError(f"client must be a function that can be called without arguments: {error}") from error
    return client


def made_by(make: MakeClient) -> Client:
    """Return a new client. Raises whatever `make` raises, and TypeError or ValueError for a client that is none."""
    client = make()
    if not isinstance(client, Client):
        raise TypeError(f"the function that was given to DatastoreStore must return an ndb.Client, got {client!r}")
    return _usable(client)


def checked_kind(kind: object) -> str:
    """Return the name of a kind of entities. Raises ValueError for one that Datastore would refuse."""
    if isinstance(kind, str) and kind and not _RESERVED.fullmatch(kind):
        return kind
    raise ValueError(f"kind must be the name of a kind of entities, such as GaesessSession, got {kind!r}")


def _usable(client: Client) -> Client:
    if not (isinstance(client.project, str) and _PROJECT.fullmatch(client.project)):
        raise ValueError(
            f"project must be the id of a Google Cloud project, such as my-project, got {client.project!r}"
        )
    return client


def explained(error: BaseException) -> str:
    """Say what an error means that a client's making or its credentials have raised."""
    said: object = error
    while isinstance(said, BaseException):  # one may have been raised with another one
        said = said.args[0] if said.args else type(said).__name__
    text = " ".join(str(said).split())[:MAX_SHOWN]
    if isinstance(error, DefaultCredentialsError):
        return f"there are no valid credentials: {text}"
    if isinstance(error, RefreshError) and not (error.retryable or isinstance(error.__cause__, TransportError)):
        return f"its credentials were refused: {text}"
    if isinstance(error, GoogleAuthError):
        return f"it got no access token: {text}"
    if path := _file_without_credentials():
        return f"GOOGLE_APPLICATION_CREDENTIALS must name a file with a JSON object, got {path!r}"
    return f"its client raised {type(error).__name__}: {text}"


def _file_without_credentials() -> str | None:
    """Return the path of a credentials file which is JSON, but no object: the client cannot say so."""
    path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if path:
        with suppress(OSError, ValueError):
            if not isinstance(json.loads(Path(path).read_bytes()), dict):
                return path
    return None
