"""How RedisStore reaches its server: by redis-py or valkey-py, with calls that block or are awaited."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from gaesess.errors import SessionTooLarge, StoreUnavailable

Connect: TypeAlias = Callable[[], Any]
Command: TypeAlias = tuple[Any, ...]

PACKAGES = ("redis", "valkey")  # they differ in little but their names
MAX_CONNECTIONS = 64  # of an event loop, whose further calls wait for one; threads need no more than there are threads


class RedisServer:
    """A server, or a cluster. Its coroutines never suspend if it is not `is_async`.

    Each process has a client of its own, so that a child does not read the replies of its parent, and so has each event
    loop.
    """

    def __init__(
        self, source: object, timeout: float, may_forget: bool | None, is_async: bool, *, no_cluster: bool
    ) -> None:
        if may_forget is not None and type(may_forget) is not bool:
            raise ValueError(f"may_forget must be True, False, or None to find out, got {may_forget!r}")
        self._connect: Connect
        if isinstance(source, str):
            self._connect, self.address = _from_url(source, timeout, is_async)
        elif callable(source):
            self._connect, self.address = source, "(a client of your own)"
        else:
            message = 'server must be a URL, such as "redis://localhost:6379/0", or a function that makes a client'
            raise TypeError(f"{message}, got a {type(source).__name__}")
        self._is_async, self._no_cluster = is_async, no_cluster
        self._finds_out = may_forget is None
        self.may_forget = True if may_forget is None else may_forget
        # By process or event loop: a client, and what closes it with the loop.
        self._clients: dict[Any, tuple[Any, AsyncGenerator[None, None] | None]] = {}
        with suppress(*_client_errors()):  # a client of a cluster connects at once, and the server may be down now
            client = self._new_client()
            if not is_async:
                client.close()

    async def ask(self, *commands: Command) -> list[Any]:
        """Return the replies to commands, which are sent together, and on one connection unless it is a cluster.

        Raises StoreUnavailable, and SessionTooLarge.
        """
        place = self._place()
        try:
            client, _ = self._clients.get(place) or await self._open(place)
            if self._finds_out:
                await self._find_out(client)
            if len(commands) == 1:
                reply = client.execute_command(*commands[0])
                return [await reply if self._is_async else reply]
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            pending = pipeline.execute(raise_on_error=False)  # its own error would quote the data
            replies: list[Any] = await pending if self._is_async else pending
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies
        except _client_errors() as error:
            raise self._failure(error) from error
        except BaseException as error:
            if not self._is_async and not isinstance(error, Exception):  # KeyboardInterrupt, or gevent's Timeout
                self._clients.pop(place, None)  # the reply may be left in a connection, for the next call
            raise

    async def close(self) -> None:
        """Close the connections of this process or event loop."""
        client, closing = self._clients.pop(self._place(), (None, None))
        if closing:
            await closing.aclose()
        elif client:
            client.close()

    async def _find_out(self, client: Any) -> None:
        """Set `may_forget` to what the server says."""
        try:
            reply = client.execute_command("INFO")
            info = await reply if self._is_async else reply
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
            return SessionTooLarge(f"Redis {self.address} {message}")
        return StoreUnavailable(f"Redis {self.address} failed: {type(error).__name__}: {reason}")

    def _place(self) -> Any:
        if not self._is_async:
            return os.getpid()
        from asyncio import get_running_loop  # in memory already, where there is one

        return get_running_loop()

    async def _open(self, place: Any) -> tuple[Any, AsyncGenerator[None, None] | None]:
        client, closing = self._new_client(), None
        if self._is_async:
            for loop in [loop for loop in list(self._clients) if loop.is_closed()]:
                self._clients.pop(loop, None)
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
        if not hasattr(client, "get_encoder") or is_async != self._is_async:
            wanted = "redis.asyncio or valkey.asyncio" if self._is_async else "redis or valkey"
            raise TypeError(f"server must be a function that makes a client of {wanted}, it made a {type(client)!r}")
        if client.get_encoder().decode_responses:
            raise ValueError("RedisStore needs a client with decode_responses=False: records are bytes")
        if self._no_cluster and hasattr(client, "get_node_from_key"):
            raise ValueError("wait_replicas must be 0 for a cluster: set min-replicas-to-write on its servers instead")
        return client


def _from_url(url: str, timeout: float, is_async: bool) -> tuple[Connect, str]:
    """Return a function that makes a client, and the server's address for messages."""
    preferred = sorted(PACKAGES, key=lambda name: not url.startswith(name))
    name = next((name for name in preferred if find_spec(name)), None)
    if name is None:
        raise ModuleNotFoundError("RedisStore needs redis-py or valkey-py: pip install 'gaesess[redis]'")
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
