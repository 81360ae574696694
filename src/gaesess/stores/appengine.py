"""Records in the bundled services of App Engine: its memcache, and Datastore through its ndb.

For applications on App Engine's standard environment that have `app_engine_apis: true` in app.yaml and their WSGI
application in `google.appengine.api.wrap_wsgi_app`: a service answers only in the course of a request, in its thread or
one that runs in a copy of its context.

The SDK waits a second longer than a call may take, and if it cannot even connect, which on App Engine does not happen,
it tries four times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import chain
from secrets import token_bytes
from typing import Any, TypeVar

from google.appengine.api import memcache
from google.appengine.api.memcache import memcache_service_pb2 as messages
from google.appengine.ext import ndb
from google.appengine.runtime import apiproxy_errors

from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge, StoreError, StoreUnavailable
from gaesess.stores._entries import data_of, expiry_of, first_version, value_of, version_of
from gaesess.stores.base import (
    MAX_RECORD_BYTES,
    Cache,
    Store,
    Stored,
    Version,
    checked_namespace,
    checked_seconds,
    expired_key_ranges,
)

T = TypeVar("T")

MAX_DELETIONS = 500  # of one call (https://cloud.google.com/datastore/docs/concepts/limits)
QUERIES_AT_ONCE = 16  # with their pages in memory, of 500 keys each
MAX_RETRIES = 2  # of a transaction that had to give way to another

GetStatus = messages.MemcacheGetResponse
SetStatus = messages.MemcacheSetResponse
SetPolicy = messages.MemcacheSetRequest
DeleteStatus = messages.MemcacheDeleteResponse


class AppEngineMemcache(Cache):
    """Keeps records in App Engine's memcache, in `namespace`, whatever that of the request is; "" is the default one.

    A call may take `timeout` seconds, and, if nothing answers, one second more; `replace` makes two calls. Raises
    SessionTooLarge for a record of more than 999,992 bytes, which is what memcache takes; ValueError for a wrong
    argument.
    """

    # It calls the service itself: of the functions of google.appengine.api.memcache an outage looks like a miss.

    def __init__(self, *, namespace: str, timeout: float = 0.5) -> None:
        self._namespace = checked_namespace(namespace)
        self._timeout = checked_seconds("timeout", timeout)

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        item = self._get(key)
        return None if item is None else Stored(data_of(item.value), version_of(item.value))

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        if not keys:
            return []
        names = [key.encode() for key in dict.fromkeys(keys)]
        request = messages.MemcacheGetRequest(key=names, name_space=self._namespace)
        response = self._call("Get", request, messages.MemcacheGetResponse())
        for status in response.get_status:  # not every release of the service has it
            _check([status], GetStatus.HIT, GetStatus.MISS)
        found = {item.key: Stored(data_of(item.value), version_of(item.value)) for item in response.item}
        return [found.get(key.encode()) for key in keys]

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        version = first_version()
        if self._set(key, value_of(version, data), expires_at, SetPolicy.ADD) != SetStatus.STORED:
            raise KeyExists("App Engine's memcache has a record under this key already")
        return version

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        item = self._get(key, for_cas=True)
        if item is None:
            raise Gone("App Engine's memcache has no record under this key")
        if version_of(item.value) != version:
            raise Conflict("the record in App Engine's memcache was replaced since it was read")
        self._cas(key, value_of(version + 1, data), expires_at, item.cas_id)
        return version + 1

    def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        if self._set(key, value_of(first_version(), data), expires_at, SetPolicy.SET) != SetStatus.STORED:
            raise StoreUnavailable("App Engine's memcache did not take a record")

    def gets(self, key: str) -> Stored | None:
        item = self._get(key, for_cas=True)
        return None if item is None else Stored(data_of(item.value), item.cas_id)

    def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        self._cas(key, value_of(first_version(), data), expires_at, ticket)

    def delete(self, key: str) -> None:
        request = messages.MemcacheDeleteRequest(name_space=self._namespace)
        request.item.add(key=key.encode())
        response = self._call("Delete", request, messages.MemcacheDeleteResponse())
        _check(response.delete_status, DeleteStatus.DELETED, DeleteStatus.NOT_FOUND)

    def count_expired(self, *, now: int) -> int:
        return 0

    def delete_expired(self, *, now: int) -> Iterator[int]:
        return iter(())

    def _get(self, key: str, *, for_cas: bool = False) -> Any:
        request = messages.MemcacheGetRequest(key=[key.encode()], name_space=self._namespace, for_cas=for_cas)
        response = self._call("Get", request, messages.MemcacheGetResponse())
        if response.item:
            return response.item[0]
        if response.get_status:  # not every release of the service has it
            _check(response.get_status, GetStatus.MISS)
        return None

    def _set(self, key: str, value: bytes, expires_at: int, policy: int, cas_id: int | None = None) -> Any:
        _check_size("memcache", len(value), memcache.MAX_VALUE_SIZE)
        request = messages.MemcacheSetRequest(name_space=self._namespace)
        request.item.add(
            key=key.encode(),
            value=value,
            set_policy=policy,
            expiration_time=expiry_of(expires_at),
            cas_id=cas_id,
            for_cas=policy == SetPolicy.CAS,
        )
        response = self._call("Set", request, messages.MemcacheSetResponse(), len(value))
        return _check(response.set_status, SetStatus.STORED, SetStatus.NOT_STORED, SetStatus.EXISTS)

    def _cas(self, key: str, value: bytes, expires_at: int, cas_id: int) -> None:
        status = self._set(key, value, expires_at, SetPolicy.CAS, cas_id)
        if status == SetStatus.NOT_STORED:
            raise Gone("App Engine's memcache has no record under this key")
        if status == SetStatus.EXISTS:
            raise Conflict("the record in App Engine's memcache was replaced since it was read")

    def _call(self, method: str, request: Any, response: Any, size: int = 0) -> Any:
        with _outages("memcache", size):
            rpc = memcache.create_rpc(deadline=self._timeout)
            rpc.make_call(method, request, response)
            rpc.wait()
            rpc.check_success()
        return response


def _check(statuses: Any, *good: int) -> int:
    """Return the status of the one key that was asked about. Raises StoreUnavailable for one that is no answer."""
    status = statuses[0] if statuses else None
    if status not in good:
        raise StoreUnavailable(f"App Engine's memcache failed: it answered with status {status}; try again later")
    return int(status)


class GaesessSession(ndb.Model):  # type: ignore[misc]
    """A record, as `gaesess.stores.datastore` has them too."""

    data = ndb.BlobProperty(indexed=False)
    expires_at = ndb.DateTimeProperty(indexed=False)
    nonce = ndb.BlobProperty(indexed=False)  # 8 random bytes, new with every write: the version


class AppEngineDatastore(Store):
    """Keeps records as entities of the kind GaesessSession in `namespace`, whatever that of the request is.

    They have the form of those that DatastoreStore keeps, for an application that changes from one to the other. A
    transaction of the application plays no part: what is read and written here is read and written at once.

    A call to Datastore may take `timeout` seconds, and, if nothing answers, one second more. `add` and `replace` make
    four, and as many again for each of two retries where transactions contend. Raises SessionTooLarge for a record of
    more than 1,000,000 bytes; ValueError for a wrong argument.
    """

    def __init__(self, *, namespace: str, timeout: float = 5.0) -> None:
        self._namespace = checked_namespace(namespace)
        deadline = checked_seconds("timeout", timeout)
        self._options = {"use_cache": False, "use_memcache": False, "use_datastore": True, "deadline": deadline}

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        found = self._outside(lambda: self._key(key).get(**self._options))
        return None if found is None else Stored(found.data, _version(found))

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        found = self._outside(lambda: ndb.get_multi([self._key(key) for key in keys], **self._options))
        return [None if each is None else Stored(each.data, _version(each)) for each in found]

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        def check(found: GaesessSession | None) -> None:
            if found is not None:
                raise KeyExists("Datastore has an entity under this key already")

        return self._write(key, data, expires_at, check)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        def check(found: GaesessSession | None) -> None:
            if found is None:
                raise Gone("the Datastore entity was deleted")
            if _version(found) != version:
                raise Conflict("the Datastore entity was written since it was read: read it again")

        return self._write(key, data, expires_at, check)

    def delete(self, key: str) -> None:
        self._outside(lambda: self._key(key).delete(**self._options))

    def count_expired(self, *, now: int) -> int:
        def count() -> int:
            return sum(query.count(deadline=self._options["deadline"]) for query in self._expired_by_shard(now))

        return self._outside(count)

    def delete_expired(self, *, now: int) -> Iterator[int]:
        queries = deque(self._expired_by_shard(now))
        while queries:
            some = [queries.popleft() for _ in range(min(QUERIES_AT_ONCE, len(queries)))]
            for query, deleted in zip(some, self._delete_pages(some), strict=True):
                if deleted == MAX_DELETIONS:
                    queries.append(query)
                if deleted:
                    yield deleted

    def _write(self, key: str, data: bytes, expires_at: int, check: Callable[[GaesessSession | None], None]) -> int:
        _check_size("Datastore", len(data), MAX_RECORD_BYTES)
        expires = datetime.fromtimestamp(expires_at, timezone.utc).replace(tzinfo=None)
        entity = GaesessSession(key=self._key(key), data=data, expires_at=expires, nonce=token_bytes(8))

        def write() -> None:
            found = entity.key.get(**self._options)
            if found is None or found.nonce != entity.nonce:  # else a commit that was said to have failed has not
                check(found)
                entity.put(**self._options)

        independent = ndb.TransactionOptions.INDEPENDENT
        with _outages("Datastore", len(data)):
            ndb.transaction(write, propagation=independent, retries=MAX_RETRIES, deadline=self._options["deadline"])
        return _version(entity)

    def _outside(self, call: Callable[[], T]) -> T:
        """Make a call outside of any transaction that the application is in."""
        with _outages("Datastore"):
            result: T = ndb.non_transactional(call)()
            return result

    def _key(self, name: str) -> ndb.Key:
        return ndb.Key(GaesessSession, name, namespace=self._namespace)

    def _expired_by_shard(self, now: int) -> Iterator[ndb.Query]:
        for first, end in expired_key_ranges(now):
            in_range = ndb.AND(GaesessSession.key >= self._key(first), GaesessSession.key < self._key(end))
            yield GaesessSession.query(in_range, namespace=self._namespace)

    def _delete_pages(self, queries: list[ndb.Query]) -> list[int]:
        """Delete what each query finds first, and return how many that are."""

        def delete() -> list[int]:
            options = {"keys_only": True, "deadline": self._options["deadline"]}
            asked = [query.fetch_async(MAX_DELETIONS, **options) for query in queries]
            pages = [future.get_result() for future in asked]
            ndb.delete_multi(chain.from_iterable(pages), **self._options)
            return [len(page) for page in pages]

        return self._outside(delete)


def _version(record: GaesessSession) -> int:
    return int.from_bytes(record.nonce, "big")


def _check_size(service: str, size: int, limit: int) -> None:
    if size > limit:
        raise SessionTooLarge(
            f"App Engine's {service} takes records of {limit:,} bytes, not of {size:,}: keep big data elsewhere, and"
            " its key in the session"
        )


@contextmanager
def _outages(service: str, size: int = 0) -> Iterator[None]:
    """Raise the errors of a service as ours; `size` is that of the record that is written, in bytes."""
    try:
        yield
    except StoreError:  # an answer
        raise
    except Exception as error:  # for a reply that a proxy has made the SDK raises more than errors of its own
        if size and isinstance(error, apiproxy_errors.RequestTooLargeError):
            raise SessionTooLarge(
                f"App Engine's {service} refused {size:,} bytes as too large: keep big data elsewhere, and its key in"
                " the session"
            ) from error
        raise StoreUnavailable(f"App Engine's {service} failed: {type(error).__name__}: {error}") from error
