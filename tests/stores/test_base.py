"""What the base classes of stores give to a store that says nothing else."""

from __future__ import annotations

from gaesess.stores.base import Store, Stored
from gaesess.stores.memory import MemoryStore
from gaesess.stores.sqlite import SQLiteStore
from gaesess.testing import FaultyStore


class SlowStore(SQLiteStore):
    """A store whose reads wait, as of a subclass that asks another service first."""


def test_a_store_reads_many_records_one_by_one_and_past_any_cache() -> None:
    asked: list[tuple[str, bool]] = []

    class OneByOne(Store):
        def get(self, key: str, *, fresh: bool = False) -> Stored | None:
            asked.append((key, fresh))
            return Stored(key.encode(), 1) if key == "a" else None

    assert OneByOne().get_many(["b", "a"]) == [None, Stored(b"a", 1)]
    assert asked == [("b", True), ("a", True)]


def test_only_a_class_that_says_so_itself_reads_at_once() -> None:
    def reads_at_once(kind: type) -> bool:
        return bool(vars(kind).get("reads_at_once"))

    assert reads_at_once(SQLiteStore)
    assert reads_at_once(MemoryStore)
    assert not any(reads_at_once(kind) for kind in (Store, SlowStore, FaultyStore))
