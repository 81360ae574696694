"""RedisStore and AsyncRedisStore on a real Redis and a real Valkey, by redis-py and valkey-py: the contracts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gaesess.stores.redis import AsyncRedisStore, RedisStore
from gaesess.testing import AsyncCacheContract, CacheContract
from gaesess.testing.async_contract import InLoop

SERVERS = pytest.mark.parametrize("server", ["redis", "valkey"])
CLIENTS = pytest.mark.parametrize("scheme", ["redis", "valkey"])


@pytest.fixture
def url(request: pytest.FixtureRequest, server: str, scheme: str) -> str:
    """Return the URL of a server for a client: each package is for its own scheme where both are installed."""
    pytest.importorskip(scheme)
    address: str = request.getfixturevalue(f"{server}_url")
    return f"{scheme}:{address.partition(':')[2]}"


@SERVERS
@CLIENTS
class TestRedisStore(CacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def store(self, url: str) -> Iterator[RedisStore]:
        store = RedisStore(url)
        yield store
        store.close()


@SERVERS
@CLIENTS
class TestAsyncRedisStore(AsyncCacheContract):
    forgets_expired = True
    numeric_versions = True

    @pytest.fixture
    def async_store(self, url: str, in_loop: InLoop) -> AsyncRedisStore:
        return AsyncRedisStore(url)  # closed by its loop
