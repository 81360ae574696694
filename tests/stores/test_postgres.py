"""PostgresStore on a real PostgreSQL: the contract, the table, sizes, and the rights that it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gaesess.stores.postgres import AsyncPostgresStore, PostgresStore
from gaesess.testing import AsyncStoreContract, StoreContract

import psycopg


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("DROP TABLE IF EXISTS gaesess_record")
    yield postgres_url


class TestPostgresStore(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, url: str) -> Iterator[PostgresStore]:
        store = PostgresStore(url)
        yield store
        store.close()


class TestAsyncPostgresStore(AsyncStoreContract):
    numeric_versions = True

    @pytest.fixture
    def async_store(self, url: str) -> Iterator[AsyncPostgresStore]:
        store = AsyncPostgresStore(url)
        yield store
        store.close()


class TestThroughAPooler(StoreContract):
    numeric_versions = True

    @pytest.fixture
    def store(self, url: str) -> Iterator[PostgresStore]:
        store = PostgresStore(url, pooler=True)
        yield store
        store.close()
