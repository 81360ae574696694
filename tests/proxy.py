"""A TCP proxy in front of a server, which does to connections what networks do, on command and while they are used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

HTTP2_FRAME_HEADER_BYTES = 9  # 3 of length, 1 of type, ... (RFC 9113 section 4.1)
HTTP2_HEADERS = 1


class Fault(NamedTuple):
    """What is done to the bytes that pass: nothing."""

    drops: str = ""  # "requests" or "replies": these are swallowed
    delay: float = 0.0  # seconds that each chunk is held back, or until `restore`
    cuts_after: int | None = None  # bytes of the next reply, and then its connection ends; the one after it passes
    reply_begins: Callable[[bytes], bool] = bool  # tells where


class Proxy:
    """Listens on a loopback port while the block lasts, and passes on to "host:port" until it is told otherwise.

    Its methods may be called from any thread, and have taken effect when they return. `faults` counts what it has done:
    chunks swallowed or held back, connections ended or refused.
    """

    def __init__(self, target: str) -> None:
        self.target = target.split(":")
        self.port = 0  # any that is free, and from then on the same
        self.fault = Fault()
        self.faults = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, *exception: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """Where it listens, as "host:port"."""
        return f"127.0.0.1:{self.port}"

    def inject(self, **fault: Any) -> None:
        """Do this to what passes from now on; see Fault."""
        self._run(self._set(Fault(**fault)))

    def restore(self) -> None:
        """Pass everything on again. What was held back goes first; connections that have lost bytes end."""
        self._run(self._restore())

    def cut(self) -> None:
        """End all connections."""
        self._run(self._cut())

    def refuse(self) -> None:
        """End all connections, and let nobody connect until `restore`."""
        self._run(self._refuse())

    def _run(self, change: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(change, self._loop).result()

    async def _set(self, fault: Fault) -> None:
        self.fault = fault

    async def _restore(self) -> None:
        self.fault = Fault()
        for connection in self._connections:
            connection.restore()
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self.faults += len(self._connections)
        for connection in self._connections:
            connection.end()

    async def _refuse(self) -> None:
        self.faults += 1
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _close(self) -> None:
        await self._refuse()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, writer)
        self._connections.add(connection)
        with suppress(OSError):  # either side is gone
            await connection.serve(reader)
        connection.end()
        self._connections.discard(connection)


class _Connection:
    """A client's connection, and the one to the server that it stands for."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = [client]
        self._restored = asyncio.Event()
        self._lossy = False

    async def serve(self, requests: asyncio.StreamReader) -> None:
        replies, server = await asyncio.open_connection(*self._proxy.target)
        self._writers.append(server)
        await asyncio.gather(
            self._pass_all("requests", requests, server), self._pass_all("replies", replies, self._writers[0])
        )

    def restore(self) -> None:
        self._restored.set()
        if self._lossy:
            self.end()

    def end(self) -> None:
        self._restored.set()
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_all(self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                await self._pass(kind, chunk, writer)
        self.end()

    async def _pass(self, kind: str, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        fault, proxy = self._proxy.fault, self._proxy
        if fault.delay:
            proxy.faults += 1
            self._restored.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._restored.wait(), fault.delay)
        if fault.drops == kind:
            proxy.faults += 1
            self._lossy = True
            return
        cuts = kind == "replies" and fault.cuts_after is not None and fault.reply_begins(chunk)
        writer.write(chunk[: fault.cuts_after] if cuts else chunk)
        await writer.drain()
        if cuts:
            proxy.fault = Fault()
            proxy.faults += 1
            self.end()


def grpc_reply_begins(data: bytes) -> bool:
    """Return whether these bytes, from the start of an HTTP/2 frame on, have the headers of a response.

    What else a server sends, such as acknowledgements, says nothing of what it has done.
    """
    while len(data) >= HTTP2_FRAME_HEADER_BYTES:
        if data[3] == HTTP2_HEADERS:
            return True
        data = data[HTTP2_FRAME_HEADER_BYTES + int.from_bytes(data[:3], "big") :]
    return False
