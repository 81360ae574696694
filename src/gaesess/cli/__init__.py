"""The command line: `python -m gaesess`, or `gaesess`. One module for each command that is more than a call."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from gaesess.cli import cleanup, doctor, inspect, sql
from gaesess.errors import StoreUnavailable
from gaesess.keys import generate_key

STATUS = "Exit status: 0 done, 1 failed, 2 not understood, 130 interrupted."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 failed, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options) or 0
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        print(f"gaesess: {error}; install it with `pip install 'gaesess[all]'`", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python flushes to at its end
        return 1
    except (StoreUnavailable, OSError, ValueError) as error:
        print(f"gaesess: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gaesess", description="Sessions for Python web applications.", epilog=STATUS)
    parser.add_argument("--version", action="version", version=f"gaesess {version('gaesess')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    genkey = commands.add_parser("genkey", allow_abbrev=False, help="print a new cookie_key")
    genkey.set_defaults(run=_genkey)

    inspect.add_to(commands)
    cleanup.add_to(commands)
    doctor.add_to(commands)
    sql.add_to(commands)

    demo = commands.add_parser("demo", allow_abbrev=False, help="serve a page that shows a session and where it lives")
    demo.add_argument("--host", default="127.0.0.1")
    demo.add_argument("--port", type=int, default=8642, help="0 for any free one (default: %(default)s)")
    demo.add_argument("--memcache", metavar="HOST:PORT", help="put this memcached in front of the durable store")
    demo.add_argument("--datastore", action="store_true", help="keep sessions in Google Datastore instead of SQLite")
    demo.add_argument(
        "--store", metavar="URL", help="keep sessions in this Redis, Valkey, PostgreSQL, MySQL or MariaDB"
    )
    demo.set_defaults(run=_demo)

    bench = commands.add_parser("bench", allow_abbrev=False, help="measure on this machine what a session costs")
    bench.add_argument("--memcache", metavar="HOST:PORT", help="measure this memcached too")
    bench.add_argument("--datastore", action="store_true", help="measure Google Datastore too")
    bench.add_argument("--store", metavar="URL", help="measure this Redis, Valkey, PostgreSQL or MariaDB too")
    bench.add_argument("--seconds", type=float, default=10.0, help="about how long to measure (default: %(default)s)")
    bench.add_argument("--json", action="store_true", help="print one JSON document, with times in microseconds")
    bench.set_defaults(run=_bench)
    return parser


def _genkey(options: argparse.Namespace) -> None:
    print(generate_key())


def _demo(options: argparse.Namespace) -> None:
    from gaesess.demo import serve

    serve(options.host, options.port, memcache=options.memcache, datastore=options.datastore, store=options.store)


def _bench(options: argparse.Namespace) -> None:
    from gaesess.cli import bench

    tables = bench.measure(options.seconds, memcache=options.memcache, datastore=options.datastore, store=options.store)
    if options.json:
        print(json.dumps({table.title: table.microseconds for table in tables}))
    else:
        bench.show(tables)
