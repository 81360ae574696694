"""What a request of a stored session costs under ASGI, alone and with others at once, by the latency of the store.

    python -m bench.event_loop                   # the table
    python -m bench.event_loop --requests 400    # a longer run

Whole requests through the middleware, without a server, all in one process: a session of 600 bytes, read, and read and
written. Figures are for a comparison with another version in the same hour, on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gaesess import SessionManager, generate_key
from gaesess.asgi import SessionMiddleware
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore

AT_ONCE = (1, 16, 64)
DATA = {"user": "ada", "cart": ["x" * 600]}


class Remote(MemoryStore):
    """Answers after a time, as over a network."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def get(self, *arguments: Any, **options: Any) -> Any:
        time.sleep(self.seconds)
        return super().get(*arguments, **options)

    def replace(self, *arguments: Any, **options: Any) -> Any:
        time.sleep(self.seconds)
        return super().replace(*arguments, **options)


async def read(scope: Any, receive: Any, send: Any) -> None:
    scope["session"].get("user")
    await _answer(send)


async def write(scope: Any, receive: Any, send: Any) -> None:
    scope["session"].increment("n")
    await _answer(send)


async def _answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def measure(app: Any, store: Any, at_once: int, requests: int) -> float:
    """Return how many requests a second are served, so many at once, each client with a session of its own."""
    key = generate_key()
    site = SessionMiddleware(app, key, store=store, cookie_only_threshold=0)
    cookies = []
    for _ in range(at_once):
        session = SessionManager(key, store=store, cookie_only_threshold=0).open(None)
        session.update(DATA)
        cookies.append(session.commit()[0].partition(";")[0].encode())

    async def client(cookie: bytes) -> None:
        for _ in range(requests // at_once):
            scope = {"type": "http", "path": "/", "headers": [(b"cookie", cookie)]}
            await site(scope, None, _ignore)  # type: ignore[arg-type]

    async def run() -> float:
        await asyncio.gather(*map(client, cookies))  # which starts the threads
        began = time.perf_counter()
        await asyncio.gather(*map(client, cookies))
        return time.perf_counter() - began

    return requests // at_once * at_once / asyncio.run(run())


async def _ignore(message: Any) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=256)
    requests = parser.parse_args().requests
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, Callable[[], Any]] = {
            "SQLite": lambda: SQLiteStore(Path(folder) / "sessions"),
            "0 ms": lambda: Remote(0),
            "2 ms": lambda: Remote(0.002),
            "20 ms": lambda: Remote(0.02),
        }
        columns = [(app, at_once) for app in (read, write) for at_once in AT_ONCE]
        print("requests a second  ", *(f"{f'{app.__name__}, {at_once} at once':>18}" for app, at_once in columns))
        for name, make in stores.items():
            rates = [measure(app, make(), at_once, requests) for app, at_once in columns]
            print(f"{name:19}", *(f"{rate:18.0f}" for rate in rates))


if __name__ == "__main__":
    main()
