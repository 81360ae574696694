"""Further databases of the Django project, on the real servers; each has the table of sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.db import connections

from gaesess.stores.django import DjangoStore

T = TypeVar("T")


ENGINES = ("sqlite3", "postgresql", "mysql")

_numbers = count(1)


def settings_of(engine: str, request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """Return the settings of a new database of that engine. Skips the test where it cannot be used."""
    if engine == "sqlite3":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "database", "OPTIONS": {"timeout": 20}}
    name = f"django_{next(_numbers)}"  # in the server's first one other tests have a table of the same name
    if engine == "postgresql":
        psycopg = pytest.importorskip("psycopg")
        url = urlsplit(request.getfixturevalue("postgres_url"))
        server = psycopg.connect(url.geturl(), autocommit=True)
    else:
        pymysql = pytest.importorskip("pymysql")
        pymysql.install_as_MySQLdb()
        url = urlsplit(request.getfixturevalue("mariadb_url"))
        server = pymysql.connect(host=url.hostname, port=url.port, user=url.username, autocommit=True)
    with closing(server):
        server.cursor().execute(f"CREATE DATABASE {name}")
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "HOST": url.hostname,
        "PORT": str(url.port),
        "USER": url.username,
        "NAME": name,
    }


@contextmanager
def added(alias: str, settings: dict[str, Any]) -> Iterator[str]:
    """Add a database to the project, until the block is left; its table of sessions is empty at first."""
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: settings})[alias]
    try:
        call_command("migrate", "gaesess_database", database=alias, verbosity=0)
        empty(alias)
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


def empty(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("DELETE FROM gaesess_record")


@contextmanager
def without_table(alias: str) -> Iterator[None]:
    """Take the table away until the block is left."""
    with connections[alias].cursor() as cursor:
        cursor.execute("ALTER TABLE gaesess_record RENAME TO gaesess_away")
    try:
        yield
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute("ALTER TABLE gaesess_away RENAME TO gaesess_record")


def elsewhere(alias: str, function: Callable[[], T]) -> T:
    """Call a function in another thread, and so with another connection, which is closed then."""

    def call() -> T:
        try:
            return function()
        finally:
            connections[alias].close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


class ClosingStore(DjangoStore):
    """Closes the connections of all threads that have used it, as each thread of an application does itself."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._opened: dict[int, Any] = {}

    def _run(self, *arguments: Any) -> Any:
        if threading.get_ident() not in self._opened:
            connections[self.alias].inc_thread_sharing()
            self._opened[threading.get_ident()] = connections[self.alias]
        return super()._run(*arguments)

    def close(self) -> None:
        for connection in self._opened.values():
            connection.close()
