"""Records in Redis or Valkey: fast, shared by all machines, and kept as well as the server is set up to keep them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha1
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from gaesess.drivers import run
from gaesess.errors import Conflict, Gone, KeyExists, SessionTooLarge, StoreUnavailable
from gaesess.stores.base import AsyncCache, Cache, Stored, Version, checked_seconds

Connect: TypeAlias = Callable[[], Any]
Command: TypeAlias = tuple[Any, ...]

PACKAGES = ("redis", "valkey")  # clients that differ in little but their names
VERSION_BYTES = 8
MAX_CONNECTIONS = 64  # of an event loop, whose further calls wait for one; threads have as many as there are threads

# Arguments: the value, when it expires (Unix milliseconds), and the version that it replaces, or nothing. Returns 1, or
# 0 if there is another version, or nil if there is none.
#
# A value begins with its version, which no other write has: so a write that is sent twice, because its first reply was
# lost, finds itself. It must write something then, for WAIT. If the memory is full, what takes no more than before,
# such as a tombstone, is stored all the same: Redis does not stop a script that has written without taking memory.
_WRITE = """\
local version, value, expiry = redis.call('GETRANGE', KEYS[1], 0, 7), ARGV[1], ARGV[2]
if version == string.sub(value, 1, 8) then return redis.call('PEXPIREAT', KEYS[1], expiry) end
if version ~= ARGV[3] then return version ~= '' and 0 end
local reply = redis.pcall('SET', KEYS[1], value, 'PXAT', expiry)
if reply.err and string.find(reply.err, 'OOM ') and #value <= redis.call('STRLEN', KEYS[1]) then
  redis.call('PEXPIREAT', KEYS[1], expiry)
  reply = redis.pcall('SET', KEYS[1], value, 'PXAT', expiry)
end
return reply.err and reply or 1
"""

# Writes what is there already, the expiry: WAIT waits for nothing but what its own connection has written.
_READ = """\
local value = redis.call('GET', KEYS[1])
if value then redis.call('PEXPIRE', KEYS[1], redis.call('PTTL', KEYS[1])) end
return value
"""

_DIGESTS = {script: sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (_WRITE, _READ)}


class AsyncRedisStore(AsyncCache):
    """RedisStore for applications under ASGI, with the same arguments.

    Each event loop has connections of its own, at most 64, and further calls wait for one of them. They are closed when
    `asyncio.run`, or the server, shuts the loop down. A function for `server` has to make a new client of
    `redis.asyncio` or `valkey.asyncio` for each loop.
    """

    # RedisStore runs these coroutines too, over a client whose calls block.

    is_async = True
    may_forget = True

    def __init__(
        self,
        server: str | Connect,
        *,
        prefix: str = "gaesess:",
        timeout: float = 0.5,
        may_forget: bool | None = None,
        wait_replicas: int = 0,
    ) -> None:
        timeout = checked_seconds("timeout", timeout)
        if may_forget is not None and type(may_forget) is not bool:
            raise ValueError(f"may_forget must be True, False, or None to find out, got {may_forget!r}")
        if type(wait_replicas) is not int or wait_replicas < 0:
            raise ValueError(f"wait_replicas must be an int of at least 0, got {wait_replicas!r}")
        if isinstance(server, str):
            self._connect, self._address = _from_url(server, timeout, self.is_async)
        elif callable(server):
            self._connect, self._address = server, "(a client of your own)"
        else:
            message = 'server must be a URL, such as "redis://localhost:6379/0", or a function that makes a client'
            raise TypeError(f"{message}, got a {type(server).__name__}")
        self._prefix = prefix
        self._finds_out = may_forget is None
        self.may_forget = True if may_forget is None else may_forget
        # For half of the time, so that its answer arrives before the client gives up.
        self._wait: list[Command] = [("WAIT", wait_replicas, int(timeout * 500) or 1)] if wait_replicas else []
        # By process or event loop: a client, and what closes it with the loop.
        self._clients: dict[Any, tuple[Any, AsyncGenerator[None, None] | None]] = {}
        with suppress(*_client_errors()):  # that of a cluster connects at once; the server may be down now
            self._new_client()

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        if fresh and self._wait:  # the core settles so what became of a write: one that may yet be lost is no answer
            return _stored(await self._run(_READ, key, (), self._wait))
        return _stored(*await self._ask(("GET", self._prefix + key)))

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        values = await self._ask(*(("GET", self._prefix + key) for key in keys)) if keys else []
        return [_stored(value) for value in values]

    async def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        return await self._write(key, data, expires_at, b"", self._wait)

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        return await self._write(key, data, expires_at, version.to_bytes(VERSION_BYTES, "big"), self._wait)

    async def delete(self, key: str) -> None:
        await self._ask(("UNLINK", self._prefix + key))

    async def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        await self._ask(("SET", self._prefix + key, os.urandom(VERSION_BYTES) + data, "PXAT", expires_at * 1000))

    async def gets(self, key: str) -> Stored | None:
        return await self.get(key)

    async def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        await self._write(key, data, expires_at, ticket.to_bytes(VERSION_BYTES, "big"), [])

    async def close(self) -> None:
        """Close the connections of this event loop. The store stays usable, and opens them again when needed."""
        client, closing = self._clients.pop(self._place(), (None, None))
        if closing:
            await closing.aclose()
        elif client:
            client.close()

    async def _write(self, key: str, data: bytes, expires_at: int, old: bytes, wait: list[Command]) -> int:
        new = os.urandom(VERSION_BYTES)
        written = await self._run(_WRITE, key, (new + data, expires_at * 1000, old), wait)
        if written:
            return int.from_bytes(new, "big")
        if not old:
            raise KeyExists("Redis has a record under this key already")
        if written is None:
            raise Gone("Redis has no record under this key")
        raise Conflict("the record in Redis was replaced since it was read")

    async def _run(self, script: str, key: str, arguments: Command, wait: list[Command]) -> Any:
        rest = 1, self._prefix + key, *arguments
        try:
            reply, *counts = await self._ask(("EVALSHA", _DIGESTS[script], *rest), *wait)
        except StoreUnavailable as error:
            if type(error.__cause__).__name__ != "NoScriptError":
                raise
            reply, *counts = await self._ask(("EVAL", script, *rest), *wait)
        if reply and wait and counts[0] < wait[0][1]:
            raise StoreUnavailable(
                f"Redis {self._address} has a record on {counts[0]} replicas, and wait_replicas={wait[0][1]}"
            )
        return reply

    async def _ask(self, *commands: Command) -> list[Any]:
        """Return the replies to commands, which are sent together; but for a cluster on one connection."""
        try:
            place = self._place()
            client, _ = self._clients.get(place) or await self._open(place)
            if self._finds_out:
                await self._find_out(client)
            if len(commands) == 1:
                reply = client.execute_command(*commands[0])
                return [await reply if self.is_async else reply]
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            pending = pipeline.execute(raise_on_error=False)  # its own error would quote the data
            replies: list[Any] = await pending if self.is_async else pending
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies
        except _client_errors() as error:
            raise self._failure(error) from error

    async def _find_out(self, client: Any) -> None:
        """Set `may_forget`."""
        try:
            reply = client.execute_command("INFO")
            info = await reply if self.is_async else reply
        except _client_errors() as error:
            if type(error).__name__ != "NoPermissionError":
                raise
            message = "INFO, which tells whether the server may forget records, is forbidden"
            raise StoreUnavailable(f"{message}: grant +info, or pass may_forget=True or False") from error
        is_kept = info["maxmemory_policy"] == "noeviction" and (info["aof_enabled"] or info["connected_slaves"])
        self.may_forget, self._finds_out = not is_kept, False

    def _failure(self, error: Exception) -> StoreUnavailable | SessionTooLarge:
        reason = str(error).partition(", with args")[0]  # of an unknown command, among them the data
        error.args = (reason,)
        if "invalid bulk length" in reason:
            message = "refused a record as too large: keep less in the session, or raise its proto-max-bulk-len"
            return SessionTooLarge(f"Redis {self._address} {message}")
        return StoreUnavailable(f"Redis {self._address} failed: {type(error).__name__}: {reason}")

    # the clients

    def _place(self) -> Any:
        if not self.is_async:
            return os.getpid()
        from asyncio import get_running_loop  # in memory already, where there is one

        return get_running_loop()

    async def _open(self, place: Any) -> tuple[Any, AsyncGenerator[None, None] | None]:
        client, closing = self._new_client(), None
        if self.is_async:
            for loop in [loop for loop in self._clients if loop.is_closed()]:
                del self._clients[loop]
            closing = self._closing(place, client)
            await anext(closing)
        return self._clients.setdefault(place, (client, closing))

    async def _closing(self, loop: Any, client: Any) -> AsyncGenerator[None, None]:
        """Close a client when its event loop shuts down its generators, as asyncio.run does in the end."""
        try:
            yield
        finally:
            self._clients.pop(loop, None)
            await client.aclose()

    def _new_client(self) -> Any:
        client = self._connect()
        is_async = any(".asyncio" in kind.__module__ for kind in type(client).__mro__)
        if not hasattr(client, "get_encoder") or is_async != self.is_async:
            wanted = "redis.asyncio or valkey.asyncio" if self.is_async else "redis or valkey"
            raise TypeError(f"server must be a function that makes a client of {wanted}, it made a {type(client)!r}")
        if client.get_encoder().decode_responses:
            raise ValueError("RedisStore needs a client with decode_responses=False: records are bytes")
        if self._wait and hasattr(client, "get_node_from_key"):
            raise ValueError("wait_replicas must be 0 for a cluster: set min-replicas-to-write on its servers instead")
        return client


class _Blocking(AsyncRedisStore):
    is_async = False


class RedisStore(Cache):
    """Keeps records in Redis 6.2 or later, or in Valkey.

    `server` is a URL: `redis://` or `valkey://`, with TLS `rediss://` or `valkeys://`, or `unix://`. For Sentinel, a
    cluster, and whatever else redis-py and valkey-py can do, it is a function that makes a client, with timeouts set.
    Either package serves both kinds of server. `prefix` goes before each key.

    `timeout` is how many seconds the server may take to connect, and to answer, before StoreUnavailable. A call whose
    connection breaks is repeated once; a write that has been made by then is not made again.

    `may_forget` says whether the server can lose records, so that a missing one is no loss of data. None asks it at the
    first call, with INFO: it must not forget if its `maxmemory-policy` is `noeviction`, and it has an append-only file
    or a replica.

    With `wait_replicas=1` a write that no replica has confirmed within half of `timeout` raises StoreUnavailable. It
    may have been made, as always.
    """

    def __init__(
        self,
        server: str | Connect,
        *,
        prefix: str = "gaesess:",
        timeout: float = 0.5,
        may_forget: bool | None = None,
        wait_replicas: int = 0,
    ) -> None:
        options: dict[str, Any] = {"prefix": prefix, "timeout": timeout, "wait_replicas": wait_replicas}
        self._calls = _Blocking(server, may_forget=may_forget, **options)

    @property
    def may_forget(self) -> bool:  # type: ignore[override]
        """Whether a missing record may be one that was forgotten. True before the first call, if it has to ask."""
        return self._calls.may_forget

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        return run(self._calls.get(key, fresh=fresh))

    def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        return run(self._calls.get_many(keys))

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        return run(self._calls.add(key, data, expires_at=expires_at))

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        return run(self._calls.replace(key, data, expires_at=expires_at, version=version))

    def delete(self, key: str) -> None:
        run(self._calls.delete(key))

    def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        run(self._calls.put(key, data, expires_at=expires_at))

    def gets(self, key: str) -> Stored | None:
        return run(self._calls.gets(key))

    def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        run(self._calls.cas(key, data, expires_at=expires_at, ticket=ticket))

    def count_expired(self, *, now: int) -> int:
        return 0

    def delete_expired(self, *, now: int) -> Iterator[int]:
        return iter(())

    def close(self) -> None:
        """Close the connections of this process. The store stays usable, and opens them again when needed."""
        run(self._calls.close())


def _stored(value: bytes | None) -> Stored | None:
    return None if value is None else Stored(value[VERSION_BYTES:], int.from_bytes(value[:VERSION_BYTES], "big"))


def _from_url(url: str, timeout: float, is_async: bool) -> tuple[Connect, str]:
    """Return a function that makes a client, and the server's address for messages."""
    preferred = sorted(PACKAGES, key=lambda name: not url.startswith(name))
    name = next((name for name in preferred if find_spec(name)), None)
    if name is None:
        raise ImportError("RedisStore needs redis-py or valkey-py: pip install 'gaesess[redis]'")
    package = f"{name}.asyncio" if is_async else name
    module, retry = import_module(package), import_module(f"{package}.retry")
    backoff, errors = import_module(f"{name}.backoff"), import_module(f"{name}.exceptions")
    pool_class = module.BlockingConnectionPool if is_async else module.ConnectionPool
    limits = {"max_connections": MAX_CONNECTIONS, "timeout": timeout} if is_async else {"max_connections": 2**31}
    retried = (errors.ConnectionError,)  # and no TimeoutError, which would take as long again
    for theirs, ours in (("valkey:", "redis:"), ("valkeys:", "rediss:")):
        if name == "redis" and url.startswith(theirs):
            url = url.replace(theirs, ours, 1)

    def connect() -> Any:
        return module.Redis.from_pool(
            pool_class.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=retry.Retry(backoff.NoBackoff(), 1, retried),
                retry_on_error=list(retried),
                protocol=2,  # nothing arrives that was not asked for
                **limits,
            )
        )

    try:
        connect()
        parts = urlsplit(url)
        address = parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
    except ValueError:  # whose text can have a part of the password
        example = "redis://:password@localhost:6379/0"
        raise ValueError(f'server must be a URL such as "{example}"; a password has %23 for #, and %2F for /') from None
    return connect, address


def _client_errors() -> tuple[type[Exception], ...]:
    """Return what the clients in memory raise when a server does not answer, or refuses a command."""
    modules = {name.title(): sys.modules[f"{name}.exceptions"] for name in PACKAGES if name in sys.modules}
    names = "Error", "ClusterException"
    return OSError, *(getattr(module, brand + name) for brand, module in modules.items() for name in names)
