"""`gaesess sql`: the schema, for migrations."""

from __future__ import annotations

import pytest
from commands import run
from sqlalchemy import create_engine, text

from gaesess.stores import postgres
from gaesess.stores.sqlalchemy import SQLAlchemyStore
from gaesess.testing import new_key


def test_sql_postgres_prints_what_the_store_would_execute() -> None:
    result = run("sql", "postgres")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == postgres.schema()


def test_sql_postgres_has_a_table_in_a_schema_and_an_unlogged_one() -> None:
    printed = run("sql", "postgres", "--table", "our-app.sessions", "--unlogged").stdout
    assert printed.startswith('CREATE UNLOGGED TABLE IF NOT EXISTS "our-app"."sessions" (')
    assert '"sessions_by_expiry"' in printed


def test_sql_mysql_makes_a_table_that_the_store_uses(mariadb_url: str) -> None:
    engine = create_engine(mariadb_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS printed"))
        for statement in run("sql", "mysql", "--table", "printed").stdout.split(";\n")[:-1]:
            connection.execute(text(statement))
    assert SQLAlchemyStore(engine, table="printed").get(new_key()) is None
    engine.dispose()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("postgres --table a;b", "table must be NAME or SCHEMA.NAME"), ("mysql --unlogged", "for postgres")],
)
def test_sql_says_what_cannot_be(arguments: str, message: str) -> None:
    result = run("sql", *arguments.split())
    assert (result.returncode, result.stdout) == (1, "")
    assert message in result.stderr
