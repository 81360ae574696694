"""What the base classes of stores give to a store that says nothing else."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from gaesess.stores.base import MAX_SECONDS, Store, Stored, checked_seconds
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


@pytest.mark.parametrize("value", [0.001, 5, 0.5, MAX_SECONDS])
def test_seconds_are_a_float_as_they_were_given(value: float) -> None:
    seconds = checked_seconds("timeout", value)
    assert (type(seconds), seconds) == (float, value)


@pytest.mark.parametrize(
    "value",
    [0, -1, float("nan"), float("inf"), -float("inf"), 1e300, 10**400, None, True, False, "5", b"5", Decimal(5), [5]],
)
def test_what_is_no_time_to_wait_is_refused(value: object) -> None:
    expected = f"timeout must be a number of seconds above 0, got {value!r}; the longest is 86,400"
    with pytest.raises(ValueError, match=re.escape(expected)):
        checked_seconds("timeout", value)
