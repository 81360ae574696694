"""Whole requests through gunicorn and uvicorn, with a session and without: one worker, and a client on the same CPU."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import services

from bench.cases import ALONE, CASES, SESSION, cookie_header
from bench.interleaved import Call, Timing, measure
from bench.ours import GAESESS, GAESESS_ASGI, Peer
from bench.stores import MEMCACHED_CPU, on_cpu

HOST = "127.0.0.1"
ROUND_SECONDS = 0.05  # some hundred requests
WITHOUT = "without"
USES = (WITHOUT, "untouched", "read", "modify")
SERVERS = {
    "gunicorn": [
        "--worker-class=gthread",
        "--threads=1",
        "--keep-alive=60",
        "--bind",
        f"{HOST}:{{port}}",
        "{app}:wsgi",
    ],
    "uvicorn": ["--lifespan=off", "--no-access-log", f"--host={HOST}", "--port={port}", "{app}:asgi"],
}
PEERS = {"gunicorn": GAESESS, "uvicorn": GAESESS_ASGI}


def applications(peer: Peer) -> dict[str, Any]:
    """Return what is served at each path: the application without sessions, and with them, used as in each case."""
    return {f"/{use}": peer.bare if use == WITHOUT else peer.app(CASES[use].use) for use in USES}


_WSGI, _ASGI = applications(GAESESS), applications(GAESESS_ASGI)


def wsgi(environ: Any, start_response: Any) -> Any:
    return _WSGI[environ["PATH_INFO"]](environ, start_response)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    await _ASGI[scope["path"]](scope, receive, send)


def measured() -> dict[tuple[str, str], Timing]:
    """Return how many seconds a request takes, by server and use."""
    with on_cpu(MEMCACHED_CPU), served("gunicorn") as gunicorn, served("uvicorn") as uvicorn:
        return measure({**gunicorn, **uvicorn}, round_seconds=ROUND_SECONDS)


@contextmanager
def served(server: str) -> Iterator[dict[tuple[str, str], Call]]:
    """Run a server, and give a call for each use that makes a request, all by one connection."""
    port = services.free_port()
    options = [option.format(port=port, app=__name__) for option in SERVERS[server]]
    command = [sys.executable, "-m", server, "--log-level=error", *options]
    with (
        tempfile.TemporaryDirectory(prefix="gaesess-bench-") as directory,
        services.running(command, Path(directory), lambda: services.accepts(port), PYTHONPATH=services.python_path()),
        socket.create_connection((HOST, port)) as connection,
    ):
        cookies = cookie_header(PEERS[server].issue(SESSION), ALONE)
        yield {(server, use): _request(connection, use, cookies) for use in USES}


def _request(connection: socket.socket, use: str, cookies: str) -> Call:
    sent = f"GET /{use} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookies}\r\n\r\n".encode()

    def request() -> None:
        connection.sendall(sent)
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200"), answer

    return request
