"""The calls that Datastore answers, over the gRPC stub of an `ndb.Client`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from secrets import SystemRandom
from typing import Any, TypeVar

import grpc
from google.api_core.gapic_v1 import routing_header
from google.cloud.datastore_v1 import types
from google.cloud.ndb import Client
from grpc import StatusCode

from gaesess.errors import Conflict, Gone, KeyExists, StoreError, StoreUnavailable
from gaesess.stores._datastore_client import Tokens

T = TypeVar("T")

PAUSES = (0.4, 0.8)  # seconds, at most, before the second try and before the third
MAX_KEYS = 1000  # of one lookup (https://cloud.google.com/datastore/docs/concepts/limits)
PLUGIN_FAILED = "Getting metadata from plugin failed with error: "  # of gRPC
NO_ANSWER = "Datastore {} failed: what came back is no answer to it; is there a proxy?"
DEFERRED = "Datastore lookup failed: it put the answer off; try again later"

# What to try again after. ABORTED says that nothing was written; UNAVAILABLE leaves open whether something was.
NEVER: frozenset[StatusCode] = frozenset()
REFUSED = frozenset({StatusCode.ABORTED})
LOST = frozenset({StatusCode.ABORTED, StatusCode.UNAVAILABLE})


class Aborted(StoreUnavailable):
    """A transaction had to give way to another; nothing was written."""


ERROR_MESSAGES: Mapping[type[StoreError], str] = {
    KeyExists: "Datastore has an entity under this key already",
    Conflict: "the Datastore entity was written since it was read: read it again",
    Gone: "the Datastore entity was deleted",
    Aborted: "too many transactions contend for this Datastore entity; try again later",
}
HINTS = {
    StatusCode.ABORTED: "too many writes contend for this entity; try again later",
    StatusCode.DEADLINE_EXCEEDED: "no answer in time, so a write may or may not have landed; is `timeout` too short?",
    StatusCode.NOT_FOUND: "check the project and the database of the ndb.Client",
    StatusCode.PERMISSION_DENIED: "it refused the credentials; their account needs the role roles/datastore.user",
    StatusCode.RESOURCE_EXHAUSTED: "a quota of the project is used up",
    StatusCode.UNAUTHENTICATED: "it refused the credentials; check those of the ndb.Client",
    StatusCode.UNAVAILABLE: "it cannot be reached; check the network and, for an emulator, DATASTORE_EMULATOR_HOST",
}


class Calls:
    """Calls by one client into one namespace, each with a deadline, few tries, and errors from our own tree.

    Messages are plain protobuf: proto-plus, which the stub wants around them, costs more than it brings here.
    """

    def __init__(self, client: Client, namespace: str | None, timeout: float) -> None:
        self._stub = client.stub
        self._tokens = Tokens(client, timeout)
        self._timeout = timeout
        self._target = {"project_id": client.project}
        if client.database:
            self._target["database_id"] = client.database
        self._metadata = (routing_header.to_grpc_metadata(self._target),)  # type: ignore[no-untyped-call]
        self.partition = self._target | {"namespace_id": (client.namespace if namespace is None else namespace) or ""}

    def __call__(
        self,
        rpc: str,
        request_type: Any,
        *,
        retry: frozenset[StatusCode] = NEVER,
        expected: Mapping[StatusCode, type[StoreError]] | None = None,
        **fields: Any,
    ) -> Any:
        """Make a call within `timeout` seconds, tries and all, and return the plain protobuf of the response.

        Raises the error that `expected` has for the status of a failed call, else StoreUnavailable.
        """
        request = request_type.wrap(request_type.pb()(**self._target, **fields))
        method = getattr(self._stub, rpc)
        deadline = time.monotonic() + self._timeout
        self._tokens.check(deadline)

        def attempt() -> Any:
            response = method(request, timeout=deadline - time.monotonic(), metadata=self._metadata)
            return type(response).pb(response)

        try:
            return retrying(attempt, lambda error: _status(error) in retry, deadline)
        except Exception as error:  # the client's own too, as of a reply that a proxy has made
            status = _status(error)
            raised = (expected or {}).get(status) if status else None
            if raised is not None:
                raise raised(ERROR_MESSAGES[raised]) from None  # Datastore's own message has the key in it
            raise StoreUnavailable(f"Datastore {rpc} failed with {_reason(error, status)}") from error

    def lookup(self, key: Any, *, retry: frozenset[StatusCode] = LOST, **fields: Any) -> Any:
        """Return the EntityResult of a key, read strongly consistent, or None if there is none."""
        response = self("lookup", types.LookupRequest, keys=[key], retry=retry, **fields)
        if response.found:
            return response.found[0]
        if response.deferred:
            raise StoreUnavailable(DEFERRED)
        if not response.missing:
            raise StoreUnavailable(NO_ANSWER.format("lookup"))
        return None

    def lookup_many(self, keys: Sequence[Any]) -> list[Any]:
        """Return the EntityResults of the keys that have an entity, read strongly consistent, in any order.

        Datastore puts off what makes a response too large: that is looked up again as long as it answers some of it.
        """
        found: list[Any] = []
        left = list(keys)
        while left:
            asked, rest = left[:MAX_KEYS], left[MAX_KEYS:]
            response = self("lookup", types.LookupRequest, keys=asked, retry=LOST)
            if len(response.deferred) == len(asked):
                raise StoreUnavailable(DEFERRED)
            if len(response.found) + len(response.missing) + len(response.deferred) != len(asked):
                raise StoreUnavailable(NO_ANSWER.format("lookup"))
            found += response.found
            left = [*response.deferred, *rest]
        return found

    def commit(self, *mutations: Mapping[str, Any], **fields: Any) -> Any:
        """Commit and return the result of the first mutation."""
        mode = "TRANSACTIONAL" if "transaction" in fields else "NON_TRANSACTIONAL"
        results = self("commit", types.CommitRequest, mode=mode, mutations=mutations, **fields).mutation_results
        if not results:
            raise StoreUnavailable(NO_ANSWER.format("commit"))
        return results[0]

    def begin(self) -> bytes:
        """Begin a transaction that reads and writes."""
        options: dict[str, Any] = {"read_write": {}}
        response = self("begin_transaction", types.BeginTransactionRequest, retry=LOST, transaction_options=options)
        return bytes(response.transaction)

    def rollback(self, transaction: bytes) -> None:
        """Let go of what the transaction holds. Should that fail, Datastore does it by itself after a while."""
        with suppress(StoreUnavailable):
            self("rollback", types.RollbackRequest, transaction=transaction)


def _status(error: BaseException) -> StatusCode | None:
    return error.code() if isinstance(error, grpc.RpcError) and hasattr(error, "code") else None


def _reason(error: Exception, status: StatusCode | None) -> str:
    if status is None:
        return f"{type(error).__name__}: {error}"
    details = (error.details() if isinstance(error, grpc.Call) else None) or ""
    if details.startswith(PLUGIN_FAILED):  # it is said to be UNAVAILABLE
        return f"{status.name}: its credentials have no access token: {details.removeprefix(PLUGIN_FAILED)}"
    return f"{status.name}: {HINTS.get(status, 'see the error it was raised from')}"


def retrying(call: Callable[[], T], is_worth_it: Callable[[BaseException], bool], deadline: float = inf) -> T:
    """Make a call as often as PAUSES allow, a random while apart, as long as its error says that it is worth it.

    No try begins after the deadline, by time.monotonic.
    """
    for pause in PAUSES:
        try:
            return call()
        except (grpc.RpcError, Aborted) as error:
            seconds = SystemRandom().uniform(0, pause)
            if not is_worth_it(error) or time.monotonic() + seconds > deadline:
                raise
        time.sleep(seconds)
    return call()
