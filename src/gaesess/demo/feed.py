"""Every event of the process as it happens, for the page: server-sent events, as HTML's `EventSource` reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING

from gaesess import events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WAITING_EVENTS = 100  # for a reader that is slow; what comes then is lost to it
SIGN_OF_LIFE_SECONDS = 15  # in a quiet time, to find out whether the reader is still there


class Feed:
    """A WSGI application that answers with events from now on, and does not end."""

    def __init__(self) -> None:
        self._readers: set[Queue[bytes]] = set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])
        return self._read()

    def publish(self, event: events.Event) -> None:
        """Send an event to the readers."""
        told = {**event._asdict(), "fields": dict(event.fields), "time": time.time()}
        message = f"data: {json.dumps(told, default=str)}\n\n".encode()
        for reader in tuple(self._readers):
            with suppress(Full):
                reader.put_nowait(message)

    def _read(self) -> Iterator[bytes]:
        reader: Queue[bytes] = Queue(WAITING_EVENTS)
        self._readers.add(reader)
        try:
            yield b": listening\n\n"
            while True:
                try:
                    yield reader.get(timeout=SIGN_OF_LIFE_SECONDS)
                except Empty:
                    yield b": nothing new\n\n"
        finally:
            self._readers.discard(reader)
