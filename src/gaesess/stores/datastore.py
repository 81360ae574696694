"""Records in Google Cloud Datastore, or in Firestore in Datastore mode: the durable store on Google Cloud.

It speaks to the gRPC stub of an `ndb.Client` directly: a session needs no model layer, no cache but its own, and no
ndb context. An entity has three properties, none of them indexed: `data`; `expires_at`, a date and time for those who
set a time-to-live policy (https://cloud.google.com/datastore/docs/ttl) in place of calling `delete_expired`; `nonce`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from secrets import token_bytes, token_hex
from typing import Any

from google.cloud.datastore_v1 import types
from google.cloud.ndb import Client
from grpc import StatusCode

from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge
from gaesess.stores._datastore_calls import ERROR_MESSAGES, LOST, NEVER, REFUSED, Aborted, Calls, retrying
from gaesess.stores._datastore_client import MakeClient, SingleFlight, checked_client, checked_kind, made_by
from gaesess.stores.base import MAX_RECORD_BYTES, Store, Stored, checked_namespace, checked_seconds, expired_key_ranges

UNFINISHED = types.QueryResultBatch.MoreResultsType.NOT_FINISHED
MAX_MUTATIONS = 500  # of one commit (https://cloud.google.com/datastore/docs/concepts/limits)
CLEANUP_THREADS = 8  # more would leave requests too little of one processor, where an application cleans up itself


class DatastoreStore(Store):
    """Keeps records as entities of one kind.

    `client` names the project, the database and the credentials. It is a function that makes an `ndb.Client`, called at
    the first use in each process, in a thread of its own; None, which makes one from the environment; or an
    `ndb.Client`. Entities go into `namespace`, or the client's own if that is None.

    A call to Datastore may take `timeout` seconds in all: its tries, and a new access token if it needs one. The first
    use in a process may take `timeout` seconds more, to find the credentials. If credentials or token cannot be had in
    that time, further calls do not wait, but raise StoreUnavailable at once, until the metadata server answers or, two
    seconds after it has failed, is asked again. A method makes one call, but `replace` makes three where Datastore
    heeds no `base_version`, and four more the first time, to find out. A save is a write and, on a conflict or in
    doubt, a read: so twice `timeout`.

    A store that was made before a fork, under `gunicorn --preload` say, works in the child with a client of its own,
    but do not call it before: a gRPC that was used in the parent hangs in the child where its fork support is off
    (https://github.com/grpc/grpc/blob/master/doc/fork_support.md). For the same reason a store that was given an
    `ndb.Client` raises RuntimeError in a child. Under gevent, call `grpc.experimental.gevent.init_gevent()` before:
    without it, a call that waits stops the whole process.

    Raises TypeError or ValueError for an argument or a project that cannot be right; StoreUnavailable, at first use,
    if no client can be made; SessionTooLarge for a record of more than 1,000,000 bytes, near the limit of Datastore's
    entities, without a call.
    """

    def __init__(
        self,
        client: Client | MakeClient | None = None,
        *,
        kind: str = "GaesessSession",
        namespace: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        self._timeout = checked_seconds("timeout", timeout)
        self._client = checked_client(client)
        self._kind = checked_kind(kind)
        self._namespace = None if namespace is None else checked_namespace(namespace)
        self._opened: dict[int, Calls] = {}  # by process, as the next one
        self._opening: dict[int, SingleFlight[Calls]] = {}
        self._base_version_heeded: bool | None = None  # not known yet
        if isinstance(self._client, Client):
            self._opened[os.getpid()] = Calls(self._client, namespace, self._timeout)

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        found = self._calls.lookup(self._key(key))
        return None if found is None else _stored(found)

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        results = self._calls.lookup_many([self._key(key) for key in dict.fromkeys(keys)])
        found = {result.entity.key.path[-1].name: _stored(result) for result in results}
        return [found.get(key) for key in keys]

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        entity = self._entity(key, data, expires_at)
        expected = {StatusCode.ALREADY_EXISTS: KeyExists}
        return int(self._calls.commit({"insert": entity}, retry=REFUSED, expected=expected).version)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        entity = self._entity(key, data, expires_at)
        if not self._heeds_base_version():  # of two transactions at once each may make the other give way
            return retrying(lambda: self._transact(entity, version), lambda error: isinstance(error, Aborted))
        result = self._calls.commit(
            {"update": entity, "base_version": version}, retry=REFUSED, expected={StatusCode.NOT_FOUND: Gone}
        )
        if result.conflict_detected:
            raise Conflict(ERROR_MESSAGES[Conflict])
        return int(result.version)

    def delete(self, key: str) -> None:
        self._calls.commit({"delete": self._key(key)}, retry=LOST)

    def count_expired(self, *, now: int) -> int:
        return sum(self._for_each_page(now, lambda keys: None))

    def delete_expired(self, *, now: int) -> Iterator[int]:
        return self._for_each_page(now, lambda keys: self._calls.commit(*({"delete": key} for key in keys), retry=LOST))

    @property
    def _calls(self) -> Calls:
        """The calls of this process."""
        process = os.getpid()
        if calls := self._opened.get(process):
            return calls
        if isinstance(self._client, Client):
            raise RuntimeError(
                "DatastoreStore was given an ndb.Client, and the process forked since: gRPC does not promise that a"
                " channel survives that; give it a function that makes the client, DatastoreStore(lambda: Client(...))"
            )
        make = self._client

        def open_() -> Calls:
            if process not in self._opened:
                self._opened[process] = Calls(made_by(make), self._namespace, self._timeout)
            return self._opened[process]

        return self._opening.setdefault(process, SingleFlight(open_, self._timeout)).result()

    def _key(self, name: str, kind: str | None = None) -> dict[str, Any]:
        return {"partition_id": self._calls.partition, "path": [{"kind": kind or self._kind, "name": name}]}

    def _entity(self, name: str, data: bytes, expires_at: int, kind: str | None = None) -> dict[str, Any]:
        if len(data) > MAX_RECORD_BYTES:  # Datastore would refuse it, the larger the less clearly
            raise SessionTooLarge(
                f"Datastore takes records of {MAX_RECORD_BYTES:,} bytes, not of {len(data):,}: keep big data elsewhere,"
                " and its key in the session"
            )
        return {
            "key": self._key(name, kind),
            "properties": {
                "data": {"blob_value": data, "exclude_from_indexes": True},
                "expires_at": {"timestamp_value": {"seconds": expires_at}, "exclude_from_indexes": True},
                # A write that changes nothing would leave the version as it was, and be no conflict to a stale one.
                "nonce": {"blob_value": token_bytes(8), "exclude_from_indexes": True},
            },
        }

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

    def _for_each_page(self, now: int, use: Callable[[list[Any]], object]) -> Iterator[int]:
        """Have `use` called, in a few threads, with each page of keys of expired entities; yield how many are on each.

        A page is asked for when the one before it is done with: so few are in memory, and few calls under way when the
        caller stops. The ranges take turns, so that no one of them, which is one tablet's, has all the deletes.
        """

        def turn(query: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
            keys, following = self._page(query)
            if keys:
                use(keys)
            return len(keys), following

        queries = deque(self._key_range_query(first, end) for first, end in expired_key_ranges(now))
        turns: set[Future[tuple[int, dict[str, Any] | None]]] = set()
        with ThreadPoolExecutor(CLEANUP_THREADS) as pool:
            while queries or turns:
                while queries and len(turns) < CLEANUP_THREADS:
                    turns.add(pool.submit(turn, queries.popleft()))
                done, turns = wait(turns, return_when=FIRST_COMPLETED)
                for keys, following in (future.result() for future in done):
                    if following:
                        queries.append(following)
                    if keys:
                        yield keys

    def _page(self, query: dict[str, Any]) -> tuple[list[Any], dict[str, Any] | None]:
        """Return the keys that the query finds first, and the query for those that follow, None if none do."""
        batch = self._calls(
            "run_query", types.RunQueryRequest, retry=LOST, partition_id=self._calls.partition, query=query
        ).batch
        keys = [result.entity.key for result in batch.entity_results]
        # Only a page that is not full is known to be the last: the emulators differ in what they say of others.
        more = batch.more_results == UNFINISHED or len(keys) == MAX_MUTATIONS
        return keys, query | {"start_cursor": batch.end_cursor} if more else None

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
