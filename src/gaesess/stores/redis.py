"""Records in Redis or Valkey: fast, shared by all machines, and kept as well as the server is set up to keep them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import sha1
from typing import Any

from gaesess.drivers import run
from gaesess.errors import Conflict, Gone, KeyExists, StoreUnavailable
from gaesess.stores._redis import Command, Connect, RedisServer
from gaesess.stores.base import AsyncCache, Cache, Stored, Version, checked_seconds

VERSION_BYTES = 8

# Replaces a version, or with '' adds a record, which expires at a time in Unix milliseconds. Returns 1; 0 if there is
# another version; nothing if there is none.
#
# A value begins with its version, which is different for each write. So a write that is sent twice, because its first
# reply was lost, finds that it was made. It then writes the expiry again: WAIT waits for what the connection has
# written. If the memory is full, a record that becomes no longer is stored all the same, such as a tombstone: Redis
# does not stop a script whose first write needed no memory.
_WRITE = """\
local version = redis.call('GETRANGE', KEYS[1], 0, 7)
if version == ARGV[3] then
  local reply = redis.pcall('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
  if reply.err and string.find(reply.err, 'OOM ') and #ARGV[1] <= redis.call('STRLEN', KEYS[1]) then
    redis.call('PEXPIREAT', KEYS[1], ARGV[2])
    reply = redis.pcall('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
  end
  return reply.err and reply or 1
end
if version == string.sub(ARGV[1], 1, 8) then return redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
return version ~= '' and 0
"""

# Writes the expiry that is there already, for WAIT.
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
        if type(wait_replicas) is not int or wait_replicas < 0:
            raise ValueError(f"wait_replicas must be an int of at least 0, got {wait_replicas!r}")
        self._server = RedisServer(server, timeout, may_forget, self.is_async, no_cluster=wait_replicas > 0)
        self._prefix = prefix
        # For half of the time, so that its answer arrives before the client gives up.
        self._wait: list[Command] = [("WAIT", wait_replicas, int(timeout * 500) or 1)] if wait_replicas else []

    @property
    def may_forget(self) -> bool:  # type: ignore[override]
        """Whether a missing record may be one that was forgotten. True before the first call, if it has to ask."""
        return self._server.may_forget

    async def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        if fresh and self._wait:  # gaesess looks whether a write has landed, and it must not be lost after that
            return _stored(await self._run(_READ, key, (), self._wait))
        return _stored(*await self._server.ask(("GET", self._prefix + key)))

    async def get_many(self, keys: Sequence[str]) -> list[Stored | None]:
        values = await self._server.ask(*(("GET", self._prefix + key) for key in keys)) if keys else []
        return [_stored(value) for value in values]

    async def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        return await self._write(key, data, expires_at, b"", self._wait)

    async def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        return await self._write(key, data, expires_at, version.to_bytes(VERSION_BYTES, "big"), self._wait)

    async def delete(self, key: str) -> None:
        await self._server.ask(("UNLINK", self._prefix + key))

    async def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        await self._server.ask(("SET", self._prefix + key, os.urandom(VERSION_BYTES) + data, "PXAT", expires_at * 1000))

    async def gets(self, key: str) -> Stored | None:
        return await self.get(key)

    async def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        await self._write(key, data, expires_at, ticket.to_bytes(VERSION_BYTES, "big"), [])

    async def close(self) -> None:
        """Close the connections of this event loop. The store stays usable, and opens them again when needed."""
        await self._server.close()

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
            reply, *counts = await self._server.ask(("EVALSHA", _DIGESTS[script], *rest), *wait)
        except StoreUnavailable as error:
            if type(error.__cause__).__name__ != "NoScriptError":
                raise
            reply, *counts = await self._server.ask(("EVAL", script, *rest), *wait)
        if reply and wait and counts[0] < wait[0][1]:
            raise StoreUnavailable(
                f"Redis {self._server.address} has the record on {counts[0]} replicas, and wait_replicas={wait[0][1]}"
            )
        return reply


class _Blocking(AsyncRedisStore):
    is_async = False


class RedisStore(Cache):
    """Keeps records in Redis 6.2 or later, or in Valkey.

    `server` is a URL: `redis://` or `valkey://`, with TLS `rediss://` or `valkeys://`, or `unix://`. For Sentinel, a
    cluster, and whatever else redis-py and valkey-py can do, it is a function that makes a client, with timeouts set.
    Either package serves both kinds of server. `prefix` goes before each key.

    `timeout` is how many seconds the server may take to connect, and to answer, before StoreUnavailable. A call whose
    connection breaks is repeated once; a write that has been made by then is not made again.

    `may_forget` says whether the server can lose records, so that a missing one is no loss of data. With None the
    server is asked at the first call, by INFO: it must not forget if its `maxmemory-policy` is `noeviction`, and it has
    an append-only file or a replica.

    With `wait_replicas=1` a write that no replica confirms within half of `timeout` raises StoreUnavailable. It was
    made on the primary, and a failover can lose it.
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
        self._calls = _Blocking(
            server, prefix=prefix, timeout=timeout, may_forget=may_forget, wait_replicas=wait_replicas
        )

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
