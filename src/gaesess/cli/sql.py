"""`gaesess sql`: print the SQL that makes the table of a store, for a migration."""

from __future__ import annotations

import argparse
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sql",
        allow_abbrev=False,
        help="print the SQL that makes the table of a store",
        description="Print the SQL that makes the table of PostgresStore, or of SQLAlchemyStore in MySQL and MariaDB.",
        epilog="Example: gaesess sql postgres --table sessions.record | psql mydatabase",
    )
    parser.add_argument("database", choices=["postgres", "mysql"])
    parser.add_argument("--table", metavar="NAME", default="gaesess_record", help="NAME or SCHEMA.NAME")
    parser.add_argument(
        "--unlogged", action="store_true", help="an UNLOGGED table, which a crash of PostgreSQL empties"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    if options.database == "postgres":
        from gaesess.stores.postgres import schema

        print(schema(options.table, unlogged=options.unlogged), end="")
    elif options.unlogged:
        raise ValueError("--unlogged is for postgres")
    else:
        from gaesess.stores.sqlalchemy import mysql_schema

        print(mysql_schema(options.table), end="")
