"""For your tests: the contracts of stores and of caches, synchronous or not, and a store that fails on demand.

It needs pytest, which gaesess itself does not.
"""

from gaesess.testing.async_contract import AsyncCacheContract, AsyncStoreContract
from gaesess.testing.cache_contract import CacheContract
from gaesess.testing.contract import EXPIRY, NOW, StoreContract, new_key, race
from gaesess.testing.faulty import FaultyStore

__all__ = [
    "EXPIRY",
    "NOW",
    "AsyncCacheContract",
    "AsyncStoreContract",
    "CacheContract",
    "FaultyStore",
    "StoreContract",
    "new_key",
    "race",
]
