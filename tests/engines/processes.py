"""The application under gunicorn, in several processes, and what sends requests to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import services
from engines.visitor import Answer, Request

CLIENT_SECONDS = 60


class Site(NamedTuple):
    """Where gunicorn listens, and its process."""

    port: int
    server: services.Server


@contextmanager
def run_gunicorn(directory: Path, *options: str, serves: str = "engines.served", **env: str) -> Iterator[Site]:
    """Serve the application of that module until the block is left; what it needs to know is in the environment."""
    port = services.free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "--bind", f"127.0.0.1:{port}", *options]
    with services.running(
        [*command, f"{serves}:application"],
        directory,
        lambda: services.accepts(port),
        PYTHONPATH=services.python_path(),
        HOME=str(directory),
        **env,
    ) as server:
        yield Site(port, server)


def engines_env(directory: Path, memcached: str, datastore: str) -> dict[str, str]:
    """Return what `engines.served` needs."""
    return {
        "DATASTORE_EMULATOR_HOST": datastore,
        "DATASTORE_PROJECT_ID": services.PROJECT,
        "ENGINES_DATASTORE_SECONDS": "5.0",
        "ENGINES_MEMCACHED": memcached,
        "ENGINES_SQLITE": str(directory / "sessions.sqlite3"),
    }


class Http:
    """One connection at a time to a server on a loopback port, kept alive where the server does, or made anew."""

    def __init__(self, port: int, mount: str = "") -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=CLIENT_SECONDS)
        self._mount = mount

    def send(self, request: Request) -> Answer:
        """Send a request and return the response."""
        try:
            return self._exchange(request)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; it is opened again when needed."""
        self._connection.close()

    def _exchange(self, request: Request) -> Answer:
        target = f"{self._mount}{request.path}?{request.query}"
        self._connection.request("GET", target, headers={"Cookie": request.cookie} if request.cookie else {})
        response = self._connection.getresponse()
        return Answer(response.status, response.headers.get_all("Set-Cookie", []), response.read())
