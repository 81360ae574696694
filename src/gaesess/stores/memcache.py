"""Records in memcached: fast, shared by all machines, and forgotten whenever memcached likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from operator import methodcaller
from typing import TypeAlias, TypeVar

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheError, MemcacheIllegalInputError, MemcacheServerError

from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge, StoreUnavailable
from gaesess.stores._entries import data_of, expiry_of, first_version, value_of, version_of
from gaesess.stores._pool import Pool, is_readable
from gaesess.stores._socket import SocketModule
from gaesess.stores.base import Cache, Stored, Version, checked_seconds

Connect: TypeAlias = Callable[[], Client]
T = TypeVar("T")


class MemcacheStore(Cache):
    """Keeps records in one memcached, or spread over several.

    `servers` is "host:port", a list of them, or, for all that pymemcache's Client can do besides (TLS, gevent sockets),
    a function that makes a Client, with timeouts set. `prefix` goes before each key. A key has one server: while that
    is down its records are unavailable, and no other server stands in, which would have old records once the first is
    back.

    `timeout` is how many seconds each may take before StoreUnavailable: to connect, to send a command, and all of its
    reply. So a server that answers late, or a byte now and then, holds a call for `timeout`, and `replace`, which has
    two commands, for twice that; at worst it is five times, and what the resolver takes. (A Client of your own has a
    timeout for each piece of a reply, and so no bound.)

    A connection that memcached, or something on the way, has closed while it was idle is noticed before anything is
    sent, and replaced.

    Raises SessionTooLarge for a record above memcached's item size limit. `put` then deletes the record that was there,
    because memcached does; `replace` and `cas` leave it. Raises ValueError for a timeout that is not a number of
    seconds above 0.
    """

    # The version that callers know is the first 8 bytes of the value and not memcached's cas number: pymemcache's `add`
    # and `cas` do not tell the new cas number, and a `gets` after them may already see another writer's. So `replace`
    # compares the version it has read, and by `cas` writes only over what it has compared. A ticket is the cas number:
    # one for every write to a memcached, which counts anew when it is started again, and has forgotten all by then.

    def __init__(
        self, servers: str | Sequence[str] | Connect, *, prefix: str = "gaesess:", timeout: float = 0.5
    ) -> None:
        if isinstance(servers, Client | PooledClient | HashClient):
            raise TypeError(
                f"MemcacheStore shares no {type(servers).__name__} with others: pass a function that makes a new Client"
            )
        connectors = _connectors(servers, checked_seconds("timeout", timeout))
        if not connectors:
            raise ValueError('MemcacheStore needs a server, such as "localhost:11211"')
        for connect in connectors.values():
            _check(connect)
        self._servers = list(connectors)
        self._pools = {server: Pool(connect, is_stale=_is_stale) for server, connect in connectors.items()}
        self._prefix = prefix

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        value = self._lend(key, lambda client: client.get(self._prefix + key))
        return None if value is None else Stored(data_of(value), version_of(value))

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        by_server: dict[str, list[str]] = {}
        for key in keys:
            by_server.setdefault(self._server(key), []).append(self._prefix + key)
        found: dict[str, bytes] = {}
        for server, names in by_server.items():
            found.update(self._lend_of(server, methodcaller("get_many", names)))
        values = [found.get(self._prefix + key) for key in keys]
        return [None if value is None else Stored(data_of(value), version_of(value)) for value in values]

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        version = first_version()
        value, expire = value_of(version, data), expiry_of(expires_at)
        name = self._prefix + key
        if not self._write(key, value, lambda client: client.add(name, value, expire=expire, noreply=False)):
            raise KeyExists("memcached has a record under this key already")
        return version

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        value, expire = value_of(version + 1, data), expiry_of(expires_at)

        def replace(client: Client) -> bool | None:
            found, cas = client.gets(self._prefix + key)
            replaced: bool | None = None if found is None else False  # as `cas` answers
            if found is not None and version_of(found) == version:
                replaced = client.cas(self._prefix + key, value, cas, expire=expire, noreply=False)
            return replaced

        _check_replaced(self._write(key, value, replace))
        return version + 1

    def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        value, expire = value_of(first_version(), data), expiry_of(expires_at)
        name = self._prefix + key
        self._write(key, value, lambda client: client.set(name, value, expire=expire, noreply=False))

    def gets(self, key: str) -> Stored | None:
        value, cas = self._lend(key, lambda client: client.gets(self._prefix + key))
        return None if value is None else Stored(data_of(value), cas)

    def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        value, expire = value_of(first_version(), data), expiry_of(expires_at)
        name = self._prefix + key
        _check_replaced(
            self._write(key, value, lambda client: client.cas(name, value, ticket, expire=expire, noreply=False))
        )

    def delete(self, key: str) -> None:
        self._lend(key, lambda client: client.delete(self._prefix + key, noreply=False))

    def count_expired(self, *, now: int) -> int:
        return 0

    def delete_expired(self, *, now: int) -> Iterator[int]:
        return iter(())

    def close(self) -> None:
        """Close the connections that are not in use. The store stays usable, and opens them again when needed."""
        for pool in self._pools.values():
            pool.close()

    def _write(self, key: str, value: bytes, use: Callable[[Client], T]) -> T:
        def write(client: Client) -> T | MemcacheServerError:
            try:
                return use(client)
            except MemcacheServerError as error:
                if "too large" not in str(error):
                    raise
                return error  # an answer: the connections of the pool stay open

        answer = self._lend(key, write)
        if isinstance(answer, MemcacheServerError):
            raise SessionTooLarge(
                f"memcached {self._server(key)} refused an item of {len(value):,} bytes as too large: keep less in the"
                " session, or raise the server's item size limit, option -I (default 1m)"
            ) from answer
        return answer

    def _lend(self, key: str, use: Callable[[Client], T]) -> T:
        return self._lend_of(self._server(key), use)

    def _lend_of(self, server: str, use: Callable[[Client], T]) -> T:
        try:
            return self._pools[server].lend(use)
        except MemcacheIllegalInputError:  # a bad key or prefix, not an outage
            raise
        except (MemcacheError, OSError, LookupError, ValueError) as error:  # the latter two: no reply of a memcached
            raise StoreUnavailable(_reason(server, error)) from error

    def _server(self, key: str) -> str:
        if len(self._servers) == 1:
            return self._servers[0]
        # Rendezvous hashing: one server more or less moves only the keys that it gains or loses.
        return max(self._servers, key=lambda server: blake2b(f"{server} {key}".encode(), digest_size=8).digest())


def _connectors(servers: str | Sequence[str] | Connect, timeout: float) -> dict[str, Connect]:
    if callable(servers):
        return {"(a Client of your own)": servers}
    options = {"connect_timeout": timeout, "timeout": timeout, "no_delay": True, "socket_module": SocketModule()}
    names = [servers] if isinstance(servers, str) else servers
    return {name: partial(Client, name, **options) for name in names}


def _check(connect: Connect) -> None:
    client = connect()  # connects at its first command only
    if not isinstance(client, Client):  # a HashClient answers for a server that is down: as if no record were there
        raise TypeError(f"MemcacheStore needs a function that makes a pymemcache Client, not a {type(client).__name__}")
    if client.ignore_exc:
        raise ValueError("MemcacheStore needs clients with ignore_exc=False: else an outage looks like a miss")


def _is_stale(client: Client) -> bool:
    """Return whether the server, or something on the way, has closed an idle connection."""
    return client.sock is not None and is_readable(client.sock.fileno())


def _reason(server: str, error: Exception) -> str:
    return f"memcached {server} failed: {type(error).__name__}: {error}"


def _check_replaced(replaced: bool | None) -> None:
    """Raise what `cas` of pymemcache says by its answer."""
    if replaced is None:
        raise Gone("memcached has no record under this key")
    if not replaced:
        raise Conflict("the record in memcached was replaced since it was read")
