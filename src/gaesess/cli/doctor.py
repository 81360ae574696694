"""`gaesess doctor`: whether the installation and the engines are as they should be."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_bytes
from statistics import median
from timeit import repeat
from typing import Any

from gaesess import _impl
from gaesess.cli.engines import POSTGRES, engine_name, open_datastore, open_memcache, open_sqlite, open_store
from gaesess.cli.servers import FAILED, MISSING, OK, SLOW, Finding, postgres_findings, redis_findings
from gaesess.errors import Conflict, SessionTooLarge, StoreUnavailable
from gaesess.stores.base import MAX_RECORD_BYTES, Store, record_key

EXTRAS = ("pymemcache", "redis", "valkey", "psycopg", "SQLAlchemy", "google-cloud-ndb", "cryptography", "tqdm")
PROBE_SECONDS = 60  # after which a probe that could not be deleted goes by itself, or with the next cleanup
ROUNDS = 5
SLOW_CACHE_SECONDS = 0.01  # memcached answers in about a millisecond within a zone
SLOW_SERVER_SECONDS = 0.02  # Redis and PostgreSQL answer in one or two milliseconds within a zone
SLOW_STORE_SECONDS = 0.25  # for a read: longer than Datastore takes
SLOW_CLOCK_SECONDS = 2  # so much apart, a session ends on one machine while it is good on another
ITEM_BYTES = 1000  # more than what an item has besides the record: its header, its key, a version, a TieredStore's time
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p")


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        allow_abbrev=False,
        help="say what is missing or slow, in the installation and in the engines",
        description="Say what is missing or slow, in the installation and in the engines that are named. To each it"
        " writes a record of its own, which it deletes again.",
        epilog="Exit status: 0 all is well, or slow; 1 something is missing or failed; 2 not understood."
        " Example: gaesess doctor --memcache localhost:11211 --datastore",
    )
    parser.add_argument("--sqlite", metavar="FILE", help="the file of a SQLiteStore")
    parser.add_argument("--memcache", metavar="HOST:PORT", help="a memcached")
    parser.add_argument(
        "--datastore", metavar="NAMESPACE", nargs="?", const="", help="the Datastore of the environment's project"
    )
    parser.add_argument("--store", metavar="URL", help="a Redis, Valkey, PostgreSQL or MariaDB")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    findings = list(_installation())
    if options.sqlite is not None:
        findings += _engine("SQLite", lambda: open_sqlite(options.sqlite), SLOW_STORE_SECONDS, _sqlite(options.sqlite))
    if options.memcache is not None:
        findings += _engine(
            "memcached", lambda: open_memcache(options.memcache), SLOW_CACHE_SECONDS, _memcached(options.memcache)
        )
    if options.datastore is not None:
        findings += _engine("Datastore", lambda: open_datastore(options.datastore), SLOW_STORE_SECONDS, _gevent())
    if options.store is not None:
        name = engine_name(options.store)
        findings += _engine(name, lambda: open_store(options.store), SLOW_SERVER_SECONDS, _server(name, options.store))
    if options.json:
        print(json.dumps([finding._asdict() for finding in findings]))
    else:
        for what, state, text in findings:
            print(f"{state:<8}{what:<24}{text}")
    return int(any(finding.state in (MISSING, FAILED) for finding in findings))


# -- the installation


def _installation() -> Iterator[Finding]:
    yield Finding(
        "gaesess", OK, f"{version('gaesess')}, on {platform.python_implementation()} {platform.python_version()}"
    )
    if _impl.IMPLEMENTATION == "cython":
        yield Finding("core", OK, "compiled")
    else:
        yield Finding("core", SLOW, "in Python: there was no wheel and no C compiler, or GAESESS_PURE=1 is set")
    for package in EXTRAS:
        with suppress(PackageNotFoundError):
            yield Finding(package, OK, version(package))


# -- the engines


def _engine(name: str, opens: Callable[[], Any], slow_seconds: float, details: Iterator[Finding]) -> Iterator[Finding]:
    with ExitStack() as stack:
        try:
            store = opens()
            if hasattr(store, "close"):
                stack.enter_context(closing(store))
            try:
                yield from _probe(name, store, slow_seconds)
            except SessionTooLarge as error:
                yield Finding(name, FAILED, str(error))
            yield from details
            if expired := store.count_expired(now=int(time.time())):
                yield Finding(f"{name}: cleanup", OK, f"{expired:,} expired sessions are there: gaesess cleanup")
        except ModuleNotFoundError as error:
            yield Finding(name, MISSING, f"{error}: pip install 'gaesess[all]'")
        except (StoreUnavailable, OSError) as error:
            yield Finding(name, FAILED, str(error))


def _probe(name: str, store: Store, slow_seconds: float) -> Iterator[Finding]:
    """Write, read, replace and delete a record of our own."""
    expires_at = int(time.time()) + PROBE_SECONDS
    key = record_key(expires_at, token_bytes(16))
    try:
        began = time.perf_counter()
        version = store.add(key, bytes(MAX_RECORD_BYTES), expires_at=expires_at)
        store.replace(key, b"probe", expires_at=expires_at, version=version)
        written = time.perf_counter() - began
        seconds = median(repeat(lambda: store.get(key), number=1, repeat=ROUNDS))
        stored = store.get(key)
        stale_is_refused = True
        with suppress(Conflict):
            store.replace(key, b"stale", expires_at=expires_at, version=version)
            stale_is_refused = False
    finally:
        with suppress(StoreUnavailable):
            store.delete(key)
    if stored is None or stored.data != b"probe":
        yield Finding(name, FAILED, "it does not have what was just written: is it evicting?")
    elif not stale_is_refused:
        yield Finding(name, FAILED, "it takes a write that overwrites another one: sessions would lose changes")
    else:
        state = OK if seconds <= slow_seconds else SLOW
        limit = "" if state == OK else f": more than {1000 * slow_seconds:g} ms, is it in another zone, or busy?"
        yield Finding(name, state, f"a read takes {1000 * seconds:.2f} ms{limit}")
        yield Finding(
            f"{name}: largest", OK, f"a record of {MAX_RECORD_BYTES:,} bytes was taken, in {1000 * written:.0f} ms"
        )


def _gevent() -> Iterator[Finding]:
    with suppress(PackageNotFoundError):
        version("gevent")
        advice = "with its workers call grpc.experimental.gevent.init_gevent(), or a call that waits stops them"
        yield Finding("Datastore: gevent", OK, f"is installed: {advice}")


def _sqlite(path: str) -> Iterator[Finding]:
    if Path(path).stat().st_mode & 0o077:
        yield Finding("SQLite: file", FAILED, f"others can open it: chmod 600 {path}")
    kind = _file_system(Path(path).resolve())
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding("SQLite: disk", FAILED, f"it is on {kind}, where SQLite's locks do not hold: use a local disk")


def _server(name: str, url: str) -> Iterator[Finding]:
    if name in ("Redis", "Valkey"):
        yield from redis_findings(url)
    elif url.partition("://")[0] in POSTGRES:
        yield from postgres_findings(url)


def _file_system(path: Path) -> str | None:
    """Return the type of the file system that has the file, where the system tells."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    around = [(len(point), kind) for _, point, kind, *_ in mounts if path.is_relative_to(point)]
    return max(around)[1] if around else None


def _memcached(address: str) -> Iterator[Finding]:
    from pymemcache.client.base import Client

    host, _, port = address.rpartition(":")
    with closing(Client((host, int(port)), timeout=1, connect_timeout=1)) as client:
        stats = {name.decode(): value for name, value in client.stats().items()}
        largest = int(client.stats("settings")[b"item_size_max"])
    used, limit = int(stats["bytes"]), int(stats["limit_maxbytes"])
    yield Finding(
        "memcached: memory", OK, f"{used / 1e6:,.1f} of {limit / 1e6:,.0f} MB, {int(stats['evictions']):,} evictions"
    )
    yield _item_size(largest)
    apart = abs(int(stats["time"]) - time.time())
    if apart > SLOW_CLOCK_SECONDS:
        yield Finding("memcached: clock", FAILED, f"it is {apart:.0f} s away from this machine's: synchronise both")


def _item_size(largest: int) -> Finding:
    """Say whether all sessions can be cached, given the bytes of the largest item."""
    text = f"at most {largest:,} bytes"
    if largest >= MAX_RECORD_BYTES + ITEM_BYTES:
        return Finding("memcached: item size", OK, text)
    advice = "a MemcacheStore alone refuses them; raise it with memcached's option -I"
    text += f": a TieredStore reads larger sessions from its durable store each time, {advice}"
    return Finding("memcached: item size", SLOW, text)
