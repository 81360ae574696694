"""Records in Google Cloud Datastore, or in Firestore in Datastore mode: the durable store on Google Cloud.

It speaks to the gRPC stub of an `ndb.Client` directly: a session needs no model layer, no cache but its own, and no
ndb context. An entity has three properties, none of them indexed: `data`; `expires`, a date and time for those who
set a time-to-live policy (https://cloud.google.com/datastore/docs/ttl) in place of calling `delete_expired`; `nonce`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from secrets import token_bytes, token_hex
from typing import Any, TypeVar

import grpc
from google.api_core.gapic_v1 import routing_header
from google.api_core.retry import Retry
from google.cloud.datastore_v1 import types
from google.cloud.ndb import Client
from grpc import StatusCode

from gaesess.errors import Conflict, Gone, KeyExists, StoreError, StoreUnavailable
from gaesess.stores.base import Store, Stored, expired_key_ranges

T = TypeVar("T")

MAX_TRIES = 3
UNFINISHED = types.QueryResultBatch.MoreResultsType.NOT_FINISHED
MAX_MUTATIONS = 500  # of one commit (https://cloud.google.com/datastore/docs/concepts/limits)

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
    StatusCode.PERMISSION_DENIED: "the service account needs the role roles/datastore.user",
    StatusCode.RESOURCE_EXHAUSTED: "a quota of the project is used up",
    StatusCode.UNAUTHENTICATED: "check the credentials of the ndb.Client",
    StatusCode.UNAVAILABLE: "it cannot be reached; check the network and, for an emulator, DATASTORE_EMULATOR_HOST",
}


class Calls:
    """The calls that Datastore answers, each with a deadline, few tries, and errors from our own tree.

    Messages are plain protobuf: proto-plus, which the stub wants around them, costs more than it brings here.
    """

    def __init__(self, client: Client, timeout: float) -> None:
        self._stub = client.stub
        self._timeout = timeout
        self._target = {"project_id": client.project}
        if client.database:
            self._target["database_id"] = client.database
        self._metadata = (routing_header.to_grpc_metadata(self._target),)  # type: ignore[no-untyped-call]

    def partition(self, namespace: str) -> dict[str, str]:
        """Return where keys of this namespace live."""
        return self._target | {"namespace_id": namespace}

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

        def attempt() -> Any:
            response = method(request, timeout=deadline - time.monotonic(), metadata=self._metadata)
            return type(response).pb(response)

        try:
            return _retrying(attempt, lambda error: isinstance(error, grpc.RpcError) and error.code() in retry)
        except grpc.RpcError as error:
            raised = (expected or {}).get(error.code())
            if raised is not None:
                raise raised(ERROR_MESSAGES[raised]) from None  # Datastore's own message has the key in it
            hint = HINTS.get(error.code(), "see the error it was raised from")
            raise StoreUnavailable(f"Datastore {rpc} failed with {error.code().name}: {hint}") from error

    def lookup(self, key: Any, *, retry: frozenset[StatusCode] = LOST, **fields: Any) -> Any:
        """Return the EntityResult of a key, read strongly consistent, or None if there is none."""
        response = self("lookup", types.LookupRequest, keys=[key], retry=retry, **fields)
        if response.found:
            return response.found[0]
        if response.deferred:
            raise StoreUnavailable("Datastore lookup failed: it put the answer off; try again later")
        return None

    def commit(self, *mutations: Mapping[str, Any], **fields: Any) -> Any:
        """Commit and return the result of the first mutation."""
        mode = "TRANSACTIONAL" if "transaction" in fields else "NON_TRANSACTIONAL"
        return self("commit", types.CommitRequest, mode=mode, mutations=mutations, **fields).mutation_results[0]

    def begin(self) -> bytes:
        """Begin a transaction that reads and writes."""
        options: dict[str, Any] = {"read_write": {}}
        response = self("begin_transaction", types.BeginTransactionRequest, retry=LOST, transaction_options=options)
        return bytes(response.transaction)

    def rollback(self, transaction: bytes) -> None:
        """Let go of what the transaction holds. Should that fail, Datastore does it by itself after a while."""
        with suppress(StoreUnavailable):
            self("rollback", types.RollbackRequest, transaction=transaction)


class DatastoreStore(Store):
    """Keeps records as entities of one kind.

    `client` is an `ndb.Client`, which names the project, the database and the credentials; without one, one is made
    from the environment. Entities go into `namespace`, or the client's own if that is None. Each call to Datastore may
    take `timeout` seconds in all. A method makes one call, but `replace` makes three where Datastore heeds no
    `base_version`, and four more the first time, to find out.

    A process that forks makes its store after the fork: gRPC does not promise that a channel survives one.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        kind: str = "GaesessSession",
        namespace: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
        client = Client() if client is None else client
        self._calls = Calls(client, timeout)
        self._kind = kind
        self._partition = self._calls.partition((client.namespace if namespace is None else namespace) or "")
        self._base_version_heeded: bool | None = None  # not known yet

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        found = self._calls.lookup(self._key(key))
        return None if found is None else _stored(found)

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        entity = self._entity(key, data, expires_at)
        expected = {StatusCode.ALREADY_EXISTS: KeyExists}
        return int(self._calls.commit({"insert": entity}, retry=REFUSED, expected=expected).version)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        entity = self._entity(key, data, expires_at)
        if not self._heeds_base_version():
            return self._replace_in_transaction(entity, version)
        result = self._calls.commit(
            {"update": entity, "base_version": version}, retry=REFUSED, expected={StatusCode.NOT_FOUND: Gone}
        )
        if result.conflict_detected:
            raise Conflict(ERROR_MESSAGES[Conflict])
        return int(result.version)

    def delete(self, key: str) -> None:
        self._calls.commit({"delete": self._key(key)}, retry=LOST)

    def count_expired(self, *, now: int) -> int:
        return sum(1 for _ in self._expired_keys(now))

    def delete_expired(self, *, now: int, limit: int) -> int:
        keys = islice(self._expired_keys(now), limit)
        deleted = 0
        while batch := list(islice(keys, MAX_MUTATIONS)):
            self._calls.commit(*({"delete": key} for key in batch), retry=LOST)
            deleted += len(batch)
        return deleted

    def _key(self, name: str, kind: str | None = None) -> dict[str, Any]:
        return {"partition_id": self._partition, "path": [{"kind": kind or self._kind, "name": name}]}

    def _entity(self, name: str, data: bytes, expires_at: int, kind: str | None = None) -> dict[str, Any]:
        return {
            "key": self._key(name, kind),
            "properties": {
                "data": {"blob_value": data, "exclude_from_indexes": True},
                "expires": {"timestamp_value": {"seconds": expires_at}, "exclude_from_indexes": True},
                # A write that changes nothing would leave the version as it was, and be no conflict to a stale one.
                "nonce": {"blob_value": token_bytes(8), "exclude_from_indexes": True},
            },
        }

    def _replace_in_transaction(self, entity: Any, version: int) -> int:
        """Replace in a transaction. Of two at once each may make the other give way, so they try again."""
        return _retrying(lambda: self._transact(entity, version), lambda error: isinstance(error, Aborted))

    def _transact(self, entity: Any, version: int) -> int:
        transaction = self._calls.begin()
        options, aborted = {"transaction": transaction}, {StatusCode.ABORTED: Aborted}
        try:
            found = self._calls.lookup(entity["key"], read_options=options, retry=NEVER, expected=aborted)
            if found is None or found.version != version:
                raised = Gone if found is None else Conflict
                raise raised(ERROR_MESSAGES[raised])
            expected = aborted | {StatusCode.NOT_FOUND: Gone}
            return int(self._calls.commit({"update": entity}, transaction=transaction, expected=expected).version)
        except (Aborted, Conflict, Gone):
            self._calls.rollback(transaction)  # its read lock would hold up the next write
            raise

    def _heeds_base_version(self) -> bool:
        """Whether Datastore refuses a write on a stale `base_version`. Threads that ask it at once ask it twice."""
        if self._base_version_heeded is None:
            self._base_version_heeded = self._probe_base_version()
        return self._base_version_heeded

    def _probe_base_version(self) -> bool:
        """Make a stale write to an entity of a kind of its own. The Firestore emulator, for one, accepts it."""
        name = token_hex(16)
        first, second, third = (self._entity(name, b"", 0, kind=f"{self._kind}Probe") for _ in range(3))
        version = self._calls.commit({"insert": first}, retry=REFUSED).version
        try:
            self._calls.commit({"update": second}, retry=LOST)
            stale = self._calls.commit({"update": third, "base_version": version}, retry=REFUSED)
            return bool(stale.conflict_detected)
        finally:
            self._calls.commit({"delete": first["key"]}, retry=LOST)

    def _expired_keys(self, now: int) -> Iterator[Any]:
        """Yield the keys of expired entities, page by page. (COUNT would be cheaper, but not every emulator has it.)"""
        for first, end in expired_key_ranges(now):
            query = self._key_range_query(first, end)
            more = True
            while more:
                batch = self._calls(
                    "run_query", types.RunQueryRequest, retry=LOST, partition_id=self._partition, query=query
                ).batch
                yield from (result.entity.key for result in batch.entity_results)
                # Only a page that is not full is known to be the last: the emulators differ in what they say of others.
                more = batch.more_results == UNFINISHED or len(batch.entity_results) == MAX_MUTATIONS
                query["start_cursor"] = batch.end_cursor

    def _key_range_query(self, first: str, end: str) -> dict[str, Any]:
        """A keys-only query of the half-open range, in the order of the keys."""
        bounds = [
            {"property_filter": {"property": {"name": "__key__"}, "op": op, "value": {"key_value": self._key(name)}}}
            for op, name in (("GREATER_THAN_OR_EQUAL", first), ("LESS_THAN", end))
        ]
        return {
            "kind": [{"name": self._kind}],
            "projection": [{"property": {"name": "__key__"}}],
            "filter": {"composite_filter": {"op": "AND", "filters": bounds}},
            "order": [{"property": {"name": "__key__"}}],
            "limit": {"value": MAX_MUTATIONS},
        }


def _stored(found: Any) -> Stored:
    return Stored(found.entity.properties["data"].blob_value, found.version)


def _retrying(call: Callable[[], T], is_worth_it: Callable[[BaseException], bool]) -> T:
    """Make a call at most MAX_TRIES times, a jittered while apart, as long as its error says that it is worth it."""
    try:
        return call()  # a Retry around it would cost a tenth of what the call does
    except (grpc.RpcError, Aborted) as error:
        failures = [error]
    more_tries = iter(range(MAX_TRIES - 1))

    def try_again(error: BaseException) -> bool:
        return is_worth_it(error) and next(more_tries, None) is not None

    def attempt() -> T:
        if failures:
            raise failures.pop()
        return call()

    result: T = Retry(predicate=try_again, initial=0.2, maximum=1.0, timeout=None)(attempt)()  # seconds
    return result
