"""The socket of a client that waits for a reply as a whole."""

from __future__ import annotations

import socket
import time
from typing import Any


class Socket(socket.socket):
    """One whose timeout is for a command and all of its reply, and not for each piece that arrives.

    A server that sends a byte now and then would otherwise hold a request for as long as it likes.
    """

    _timeout: float  # seconds
    _deadline: float

    def settimeout(self, value: float) -> None:  # type: ignore[override]
        self._timeout = value
        super().settimeout(value)

    def connect(self, address: Any) -> None:
        try:
            super().connect(address)
        except BaseException:  # pymemcache closes it after an Exception only
            self.close()
            raise

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        self._deadline = time.monotonic() + self._timeout
        super().settimeout(self._timeout)
        super().sendall(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        super().settimeout(left)
        return super().recv(size, flags)


class SocketModule:
    """The `socket` module as it is, but for the class of its sockets: what pymemcache takes as `socket_module`."""

    socket = Socket

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)
