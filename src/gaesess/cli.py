"""The command line: `python -m gaesess genkey`, `cleanup`, `demo` and `bench`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gaesess.cleanup import delete_expired_sessions
from gaesess.errors import StoreUnavailable
from gaesess.keys import generate_key
from gaesess.stores.base import Store
from gaesess.stores.sqlite import SQLiteStore

BAR_COLUMNS = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 failed, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ModuleNotFoundError as error:
        print(f"gaesess: {error}; install it with `pip install 'gaesess[all]'`", file=sys.stderr)
        return 1
    except StoreUnavailable as error:
        print(f"gaesess: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gaesess", description="Sessions for Python web applications.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    genkey = commands.add_parser("genkey", help="print a new cookie_key")
    genkey.set_defaults(run=_genkey)

    cleanup = commands.add_parser("cleanup", help="delete expired sessions from a store")
    where = cleanup.add_mutually_exclusive_group(required=True)
    where.add_argument("--sqlite", metavar="FILE", help="the file of a SQLiteStore")
    where.add_argument(
        "--datastore",
        metavar="NAMESPACE",
        nargs="?",
        const="",
        help="the Datastore of the environment's project; needs the extra gaesess[datastore]",
    )
    cleanup.set_defaults(run=_cleanup)

    demo = commands.add_parser("demo", help="serve a page that shows a session and where it lives")
    demo.add_argument("--host", default="127.0.0.1")
    demo.add_argument("--port", type=int, default=8642, help="0 for any free one (default: %(default)s)")
    demo.add_argument("--memcache", metavar="HOST:PORT", help="put this memcached in front of the durable store")
    demo.add_argument("--datastore", action="store_true", help="keep sessions in Google Datastore instead of SQLite")
    demo.set_defaults(run=_demo)

    bench = commands.add_parser("bench", help="measure on this machine what a session costs")
    bench.add_argument("--memcache", metavar="HOST:PORT", help="measure this memcached too")
    bench.add_argument("--datastore", action="store_true", help="measure Google Datastore too")
    bench.add_argument("--seconds", type=float, default=10.0, help="about how long to measure (default: %(default)s)")
    bench.set_defaults(run=_bench)
    return parser


def _genkey(options: argparse.Namespace) -> None:
    print(generate_key())


def _cleanup(options: argparse.Namespace) -> None:
    if options.sqlite is None:
        from gaesess.stores.datastore import DatastoreStore

        _delete_expired(DatastoreStore(namespace=options.datastore))
    else:
        with closing(_open_sqlite(options.sqlite)) as store:
            _delete_expired(store)


def _open_sqlite(path: str) -> SQLiteStore:
    if not Path(path).is_file():  # SQLiteStore would make one, and a mistyped name would look like a job done
        raise StoreUnavailable(f"there is no file {path!r}")
    return SQLiteStore(path)


def _delete_expired(store: Store) -> None:
    deleted = _delete_with_bar(store) if sys.stderr.isatty() else delete_expired_sessions(store)
    print(f"expired sessions deleted: {deleted:,}")


def _delete_with_bar(store: Store) -> int:
    total = store.count_expired(now=int(time.time()))

    def draw(deleted: int) -> None:
        share = min(1.0, deleted / total) if total else 1.0
        bar = ("█" * round(share * BAR_COLUMNS)).ljust(BAR_COLUMNS, "░")
        print(f"\r{bar} {share:4.0%}  {deleted:,} of {total:,}", end="", file=sys.stderr)

    draw(0)
    try:
        return delete_expired_sessions(store, progress=draw)
    finally:
        print(file=sys.stderr)


def _demo(options: argparse.Namespace) -> None:
    from gaesess.demo import serve

    serve(options.host, options.port, memcache=options.memcache, datastore=options.datastore)


def _bench(options: argparse.Namespace) -> None:
    from gaesess.bench import bench

    bench(options.seconds, memcache=options.memcache, datastore=options.datastore)
