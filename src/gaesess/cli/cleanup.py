"""`gaesess cleanup`: delete expired sessions from a store."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

from gaesess.cleanup import delete_expired_sessions
from gaesess.cli.engines import open_datastore, open_sqlite, open_store
from gaesess.stores.base import Store

DELETIONS_PER_LINE = 10_000

Report = Callable[[int], object]  # called with how many are deleted so far


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "cleanup",
        allow_abbrev=False,
        help="delete expired sessions from a store",
        description="Delete the sessions that expired more than an hour ago from a store; live ones are never touched."
        " It can be interrupted and called again at any time.",
        epilog="Example: gaesess cleanup --sqlite sessions.sqlite3",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--sqlite", metavar="FILE", help="the file of a SQLiteStore")
    where.add_argument(
        "--datastore",
        metavar="NAMESPACE",
        nargs="?",
        const="",
        help="the Datastore of the environment's project; needs the extra gaesess[datastore]",
    )
    where.add_argument("--store", metavar="URL", help="a PostgreSQL or MariaDB")
    parser.add_argument("--json", action="store_true", help="print the number as a JSON document")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    store: Any
    if options.datastore is not None:
        store = open_datastore(options.datastore)
    else:
        store = open_sqlite(options.sqlite) if options.store is None else open_store(options.store)
    with closing(store) if hasattr(store, "close") else nullcontext():
        _clean(store, options.json)


def _clean(store: Store, as_json: bool) -> None:
    so_far = 0

    def tell(deleted: int) -> None:
        nonlocal so_far
        so_far = deleted
        report(deleted)

    with _progress(store) as report:
        try:
            deleted = delete_expired_sessions(store, progress=tell)
        except KeyboardInterrupt:
            print(f"\ninterrupted, with {so_far:,} deleted; call it again to go on", file=sys.stderr)
            raise
    print(json.dumps({"deleted": deleted}) if as_json else f"expired sessions deleted: {deleted:,}")


@contextmanager
def _progress(store: Store) -> Iterator[Report]:
    """Give what shows how far it is: a bar on a terminal, where tqdm is installed, else a line now and then."""
    if not sys.stderr.isatty() or find_spec("tqdm") is None:
        yield _line_now_and_then()
        return
    from tqdm import tqdm

    with tqdm(total=store.count_expired(now=int(time.time())), unit=" sessions") as bar:
        yield lambda deleted: bar.update(deleted - bar.n)


def _line_now_and_then() -> Report:
    due = DELETIONS_PER_LINE

    def report(deleted: int) -> None:
        nonlocal due
        if deleted >= due:
            print(f"expired sessions deleted so far: {deleted:,}", file=sys.stderr)
            due = deleted + DELETIONS_PER_LINE

    return report
