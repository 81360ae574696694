"""What it takes to delete expired sessions from among live ones, in SQLite and in both Datastore emulators.

`python -m bench.cleanup --expired 100000 --live 100000`: each store is cleaned while all in it are live, then with a
tenth of the expired ones, then with all. Told are the seconds in all and for 1,000 deleted, the calls to Datastore, and
by how much the memory of this process was ever above what it was before. The emulators look at every entity for every
query, so that with them live ones take time, too; it is the calls that show what Datastore itself would do.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from secrets import token_bytes
from typing import Any, NamedTuple

import services
from google.cloud import ndb

from gaesess import delete_expired_sessions
from gaesess.stores.base import Store, record_key
from gaesess.stores.datastore import MAX_MUTATIONS, DatastoreStore
from gaesess.stores.sqlite import SQLiteStore

NOW = 1_800_000_000
RECORD = token_bytes(1_000)
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


class Filled(NamedTuple):
    """A store, what puts records with these keys into it, faster than sessions do, and how often it made which call."""

    store: Store
    put: Callable[[list[str], int], object]
    calls: Counter[str]


class Note(NamedTuple):
    """What there was to be noted after a batch."""

    seconds: float
    deleted: int
    memory_mb: float


class CountedStub:
    """The stub of a client, whose calls are counted."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.calls: Counter[str] = Counter()

    def __getattr__(self, rpc: str) -> Any:
        self.calls[rpc] += 1
        return getattr(self._stub, rpc)


@contextmanager
def sqlite_store(directory: Path) -> Iterator[Filled]:
    path = directory / "sessions.sqlite3"

    def put(keys: list[str], expires_at: int) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            rows = [(key, expires_at, 1, RECORD) for key in keys]
            connection.executemany(
                "INSERT INTO gaesess_record (key, expires_at, version, data) VALUES (?, ?, ?, ?)", rows
            )

    with closing(SQLiteStore(path)) as store:
        yield Filled(store, put, Counter())


@contextmanager
def emulated(directory: Path, run: Callable[[Path], AbstractContextManager[str]]) -> Iterator[Filled]:
    with run(directory) as address:
        os.environ["DATASTORE_EMULATOR_HOST"] = address
        client = ndb.Client(project=services.PROJECT)
        client.stub = CountedStub(client.stub)
        store = DatastoreStore(client, timeout=60.0)

        def put(keys: list[str], expires_at: int) -> None:
            def commit(part: list[str]) -> None:
                store._calls.commit(*({"insert": store._entity(key, RECORD, expires_at)} for key in part))

            with ThreadPoolExecutor(4) as pool:
                list(
                    pool.map(
                        commit, (keys[first : first + MAX_MUTATIONS] for first in range(0, len(keys), MAX_MUTATIONS))
                    )
                )

        yield Filled(store, put, client.stub.calls)


ENGINES: dict[str, Callable[[Path], AbstractContextManager[Filled]]] = {
    "SQLite": sqlite_store,
    "Datastore emulator": lambda directory: emulated(directory, services.run_datastore_emulator),
    "Firestore emulator": lambda directory: emulated(directory, services.run_firestore_emulator),
}


def measure(name: str, filled: Filled, live: int, expired: int) -> None:
    filled.put([record_key(NOW + 1, token_bytes(16)) for _ in range(live)], NOW + 1)
    for number in (0, expired // 10, expired):
        filled.put([record_key(NOW, token_bytes(16)) for _ in range(number)], NOW)
        filled.calls.clear()
        notes = clean(filled.store)
        assert notes[-1].deleted == number
        seconds = notes[-1].seconds - notes[0].seconds
        pace = f"{1000 * seconds / number:.3f}" if number else ""
        memory = max(note.memory_mb for note in notes) - notes[0].memory_mb
        calls = ", ".join(f"{count} {rpc}" for rpc, count in filled.calls.items())
        print(f"| {name} | {live:,} | {number:,} | {seconds:,.2f} | {pace} | {calls} | {memory:,.1f} |", flush=True)


def clean(store: Store) -> list[Note]:
    notes = [take_note(0)]
    notes.append(
        take_note(delete_expired_sessions(store, clock=lambda: NOW, progress=lambda n: notes.append(take_note(n))))
    )
    return notes


def take_note(deleted: int) -> Note:
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Note(time.perf_counter(), deleted, resident_pages * PAGE_MB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expired", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=10_000)
    options = parser.parse_args()
    print("| | live | expired | seconds | per 1,000 | calls | MB above |\n| --- |" + " ---: |" * 6)
    for name, engine in ENGINES.items():
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gaesess-bench-")))
            measure(name, stack.enter_context(engine(directory)), options.live, options.expired)


if __name__ == "__main__":
    main()
