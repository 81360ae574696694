"""The demo's server: the standard library's, on an embedded store that is gone when it ends."""

from __future__ import annotations

import logging
import signal
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from gaesess.demo.app import COOKIE, DemoApp
from gaesess.demo.feed import Feed
from gaesess.demo.inspector import Inspector
from gaesess.demo.recording import RecordedCache, RecordedStore, note, subscribed
from gaesess.keys import generate_key
from gaesess.stores.base import Store
from gaesess.stores.tiered import TieredStore
from gaesess.wsgi import SessionMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

IDLE_SECONDS = 30  # browsers open connections ahead of need; each holds a thread


def serve(host: str, port: int, *, memcache: str | None, datastore: bool, store: str | None) -> None:
    """Serve the demo until SIGINT (Ctrl+C) or SIGTERM; port 0 takes any free one. Prints its address first.

    Sessions that outgrow their cookie live in an SQLite file that goes with the process, in Google Datastore, or in the
    `store` at a URL; `memcache` ("host:port") puts a memcached in front. The cookie key is new with every start. Call
    it from the main thread. Raises StoreUnavailable, and OSError for an address that cannot be listened on.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("gaesess").addHandler(logging.NullHandler())  # the page shows the events, not the terminal
    feed = Feed()
    try:
        with (
            subscribed(note),
            subscribed(feed.publish),
            open_stores(memcache, datastore, store) as (opened, engines),
            make_server(host, port, demo_application(opened, engines, feed), _Server, _Handler) as server,
        ):
            print(f"gaesess demo: http://{host}:{server.server_port}/\nPress Ctrl+C to stop.", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        return


def demo_application(store: Store, engines: list[str], feed: Feed) -> WSGIApplication:
    """Return the whole demo on that store, with the feed at `/events`.

    `engines` are the names that the page shows of what is under the store.
    """
    middleware = SessionMiddleware(DemoApp(), generate_key(), store=store, cookie_name=COOKIE.name, cookie_secure=False)
    inspector = Inspector(middleware, engines)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (feed if environ.get("PATH_INFO") == "/events" else inspector)(environ, start_response)

    return application


@contextmanager
def open_stores(memcache: str | None, datastore: bool, url: str | None) -> Iterator[tuple[Store, list[str]]]:
    """Open the stores that were asked for, recorded each by itself, and say their names, the first one first."""
    with ExitStack() as stack:
        if url is not None:
            durable, engines = _open_url(url, stack)
        else:
            durable, engines = _open_datastore() if datastore else _open_sqlite(stack)
        if memcache is None:
            yield durable, engines
            return
        from gaesess.stores.memcache import MemcacheStore

        cache = stack.enter_context(closing(MemcacheStore(memcache)))
        yield TieredStore(RecordedCache(cache, "memcached"), durable), ["memcached", *engines]


def _open_sqlite(stack: ExitStack) -> tuple[Store, list[str]]:
    from gaesess.stores.sqlite import SQLiteStore

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gaesess-demo-"))
    store = stack.enter_context(closing(SQLiteStore(Path(folder) / "sessions.sqlite")))
    return RecordedStore(store, "SQLite"), ["SQLite"]


def _open_datastore() -> tuple[Store, list[str]]:
    from gaesess.stores.datastore import DatastoreStore

    return RecordedStore(DatastoreStore(), "Datastore"), ["Datastore"]


def _open_url(url: str, stack: ExitStack) -> tuple[Store, list[str]]:
    from gaesess.cli.engines import engine_name, open_store

    store, name = open_store(url), engine_name(url)
    if hasattr(store, "close"):
        stack.callback(store.close)
    return RecordedStore(store, name), [name]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def handle(self) -> None:
        """Answer one request; a client that sends none, or goes away, is no error worth a traceback."""
        with suppress(TimeoutError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet: the page shows what there is to see."""
