"""What sessions cost on this machine: the core, the stores, and whole requests."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import Path
from secrets import token_bytes
from statistics import median
from timeit import Timer
from typing import Any, NamedTuple, TypeAlias

from gaesess import _core, _impl
from gaesess.cli.engines import engine_name, open_datastore, open_memcache, open_store
from gaesess.keys import generate_key
from gaesess.session import Session
from gaesess.stores.base import Store, record_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.stores.tiered import TieredStore
from gaesess.wsgi import ENVIRON_KEY, SessionMiddleware

Calls: TypeAlias = dict[str, Callable[[], object]]
Times: TypeAlias = dict[str, dict[str, float]]  # microseconds, by row and column

ROUNDS = 11
RECORD = bytes(6_000)
RECORD_SECONDS = 3600  # what is left behind if the bench is killed is good for no longer
COOKIE = "its cookie"


class Table(NamedTuple):
    """Medians in microseconds, by row and column; by row the ratios that are told beside them; and what follows."""

    title: str
    microseconds: Times
    ratios: dict[str, list[float]]
    note: str = ""


def measure(seconds: float, *, memcache: str | None, datastore: bool, store: str | None) -> Iterator[Table]:
    """Measure for about that long, and yield each table when it is done.

    `memcache` is the "host:port" of a memcached to measure, `datastore` says to measure the Datastore of the
    environment's project, `store` is the URL of another. What is written there is deleted again. Raises
    StoreUnavailable.
    """
    yield _measure_core(seconds / 3)
    with ExitStack() as stack:
        stores = stack.enter_context(_open_stores(memcache, datastore, store))
        records = {name: stack.enter_context(_store_calls(store)) for name, store in stores.items()}
        yield Table(f"the stores, records of {len(RECORD):,} bytes", _measure(records, seconds / 3), {})
        requests = {COOKIE: stack.enter_context(_requests())}
        for name, opened in stores.items():
            requests[name] = stack.enter_context(_requests(store=opened, cookie_only_threshold=0))
        yield _compare_requests(_measure(requests, seconds / 3))


def show(tables: Iterable[Table]) -> None:
    """Print tables as they come."""
    print(f"gaesess on Python {platform.python_version()}, core in use: {_impl.IMPLEMENTATION}; times in microseconds")
    for table in tables:
        columns = next(iter(table.microseconds.values()))
        heading = f"\n{table.title:<36}" + "".join(f"{column:>12}" for column in columns)
        print(heading + ("       ratio" if table.ratios else ""))
        for name, row in table.microseconds.items():
            cells = [f"{microseconds:,.2f}" for microseconds in row.values()]
            cells += [f"{ratio:,.1f}x" for ratio in table.ratios.get(name, [])]
            print(f"  {name:<34}" + "".join(f"{cell:>12}" for cell in cells))
        if table.note:
            print(f"\n{table.note}")


def _measure_core(seconds: float) -> Table:
    twins, note = {"pure": _core_calls(_core)}, ""
    try:
        twins["compiled"] = _core_calls(import_module("gaesess._speedups"))
    except ModuleNotFoundError:
        note = "The compiled core is not installed: there was no wheel of it for this Python, and no compiler."
    functions = {name: {twin: calls[name] for twin, calls in twins.items()} for name in twins["pure"]}
    times = _measure(functions, seconds)
    ratios = {name: [row["pure"] / row["compiled"]] for name, row in times.items() if "compiled" in row}
    return Table("the core, on a small session", times, ratios, note)


def _compare_requests(times: Times) -> Table:
    ratios = {home: [row[use] / times[COOKIE][use] for use in row] for home, row in times.items()}
    home = list(times)[-1]
    read, modify = ratios[home]
    note = f"In its cookie, a small session is read {read:,.1f}x and modified {modify:,.1f}x as fast as in {home}."
    return Table("a request, its small session in", times, ratios, note)


def _measure(rows: Mapping[str, Calls], seconds: float) -> Times:
    """Return the times of all calls: medians over rounds in turn, so that a busy moment hits all alike."""
    timers = {(row, column): Timer(call) for row, calls in rows.items() for column, call in calls.items()}
    share = seconds / len(timers) / ROUNDS
    numbers = {name: max(1, round(share / min(timer.repeat(5, 1)))) for name, timer in timers.items()}
    rounds = [[timer.timeit(numbers[name]) / numbers[name] for name, timer in timers.items()] for _ in range(ROUNDS)]
    medians = dict(zip(timers, map(median, zip(*rounds, strict=True)), strict=True))
    return {row: {column: 1e6 * medians[row, column] for column in calls} for row, calls in rows.items()}


def _core_calls(core: Any) -> Calls:
    now = int(time.time())
    key, sid = core.prepare_key(_core.SIGNED, 1, token_bytes(32)), token_bytes(_core.SID_BYTES)
    payload = _impl.dumps({"user_id": 12345, "name": "Ada Lovelace", "csrf": "8f14e45fceea167a5a36dedd4bea2543"})
    token = _core.Token(0, now + RECORD_SECONDS, now, 1, sid, payload)
    keys, sealed = {key.id: key}, core.seal(key, token, 1)
    text, sid_text = core.encode(sealed), core.format_sid(token.expires, True, sid)
    header = f"theme=dark; gaesess={text}; lang=en"
    data, headers = core.loads(payload), [("Content-Type", "text/html")]
    return {
        "loads": lambda: core.loads(payload),
        "dumps": lambda: core.dumps(data),
        "with_session": lambda: core.with_session(headers, [text], _core.WSGI),
        "read_cookies": lambda: core.read_cookies(header, "gaesess"),
        "unseal_cookies": lambda: core.unseal_cookies(keys, header, "gaesess", now),
        "decode": lambda: core.decode(text),
        "unseal": lambda: core.unseal(keys, sealed, now),
        "seal": lambda: core.seal(key, token, 1),
        "encode": lambda: core.encode(sealed),
        "write_cookies": lambda: core.write_cookies("gaesess", text, "; Path=/; Secure; HttpOnly", 4000),
        "format_sid": lambda: core.format_sid(token.expires, True, sid),
        "parse_sid": lambda: core.parse_sid(sid_text),
    }


@contextmanager
def _open_stores(memcache: str | None, datastore: bool, url: str | None) -> Iterator[dict[str, Store]]:
    """Open the stores to measure, by name; the last is the one that an application would use."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gaesess-bench-"))
        durable: Store = stack.enter_context(closing(SQLiteStore(Path(folder) / "sessions.sqlite")))
        stores: dict[str, Store] = {"memory": MemoryStore(), "SQLite": durable}
        if datastore:
            durable = stores["Datastore"] = open_datastore()
        if url is not None:
            durable = stores[engine_name(url)] = open_store(url)
            if hasattr(durable, "close"):
                stack.callback(durable.close)
        if memcache is not None:
            cache = stores["memcached"] = stack.enter_context(closing(open_memcache(memcache)))
            stores[f"memcached + {next(name for name in stores if stores[name] is durable)}"] = TieredStore(
                cache, durable
            )
        yield stores


@contextmanager
def _store_calls(store: Store) -> Iterator[Calls]:
    expires_at = int(time.time()) + RECORD_SECONDS
    versions: dict[str, int] = {}

    def add() -> str:
        key = record_key(expires_at, token_bytes(_core.SID_BYTES))
        versions[key] = store.add(key, RECORD, expires_at=expires_at)
        return key

    def replace() -> None:
        versions[first] = store.replace(first, RECORD, expires_at=expires_at, version=versions[first])

    first = add()
    try:
        yield {"get": lambda: store.get(first), "add": add, "replace": replace}
    finally:
        for key in versions:
            store.delete(key)


@contextmanager
def _requests(**settings: Any) -> Iterator[Calls]:
    """Give whole requests that read and modify one session, and end that session afterwards."""
    sent: dict[str, str] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["bench.use"](environ[ENVIRON_KEY])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        sent.update(headers)

    def request(use: Callable[[Session], object], cookie: str | None) -> None:
        environ = {"REQUEST_METHOD": "GET", "HTTP_COOKIE": cookie, "bench.use": use}
        middleware(environ, start_response)

    middleware = SessionMiddleware(app, generate_key(), **settings)
    request(lambda session: session.update(user_id=12345, name="Ada Lovelace", visits=7), None)
    cookie = sent["Set-Cookie"].partition(";")[0]
    try:
        yield {
            "read": lambda: request(lambda session: session["visits"], cookie),
            "modify": lambda: request(lambda session: session.update(visits=session["visits"] + 1), cookie),
        }
    finally:
        request(lambda session: session.terminate(), cookie)
