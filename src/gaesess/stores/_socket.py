"""The socket of a client that waits for a reply as a whole."""

from __future__ import annotations

import socket
import time
from functools import cache
from typing import TYPE_CHECKING, Any

READ_AHEAD_BYTES = 65_536  # pymemcache asks for 4,096 at a time: a system call for each


if TYPE_CHECKING:
    _Base = socket.socket
else:
    _Base = object


class ReplySocket(_Base):
    """To mix into a class of sockets: the timeout is for a whole reply, and not for each piece, and it reads ahead.

    A server that sends a byte now and then would otherwise hold a request for as long as it likes.
    """

    _timeout: float  # seconds
    _deadline: float | None = None  # of the reply to the last command, None before its first piece
    _ahead = b""  # received, and not yet asked for

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
        if self.gettimeout() != self._timeout:
            super().settimeout(self._timeout)
        self._deadline = None
        super().sendall(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        received = self._ahead or self._receive(flags)
        self._ahead = received[size:]
        return received[:size]

    def _receive(self, flags: int) -> bytes:
        now = time.monotonic()
        if self._deadline is None:  # most replies are of one piece: a change of timeout is a system call
            self._deadline = now + self._timeout
        elif now < self._deadline:
            super().settimeout(self._deadline - now)
        else:
            raise TimeoutError("timed out")
        return super().recv(READ_AHEAD_BYTES, flags)


class Socket(ReplySocket, socket.socket):
    """A socket of this module, as it was when this one was imported."""


class SocketModule:
    """The `socket` module as it is, except for the class of its sockets: what pymemcache takes as `socket_module`."""

    @property
    def socket(self) -> type[socket.socket]:
        """The class: over gevent's, if gevent has patched the module since this one was imported."""
        return Socket if issubclass(Socket, socket.socket) else _over(socket.socket)

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)


@cache
def _over(base: type[socket.socket]) -> type[socket.socket]:
    return type("Socket", (ReplySocket, base), {})
