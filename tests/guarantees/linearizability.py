"""Could what clients saw have come about one operation after the other? Found out by trying every order.

After Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with a memory of what was tried in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)
NEVER = float("inf")


class Operation(NamedTuple):
    """What a client asked for, and when: it took effect, once, between `began` and `ended`.

    `apply` returns the state after it, or None where that is not what the client saw. One whose outcome is not known
    may have had no effect, or have one later (`ended` is NEVER). It comes after the operation `after`, if that is done.
    """

    began: float
    ended: float
    apply: Callable[[Hashable], Hashable | None]
    certain: bool = True
    after: Operation | None = None


def explains(operations: Iterable[Operation], before: Hashable, after: Callable[[Hashable], bool]) -> bool:
    """Return whether some order of the operations leads from the state `before` to one that `after` accepts."""
    tried: set[tuple[frozenset[int], Hashable]] = set()
    numbered = dict(enumerate(operations))

    def search(left: frozenset[int], state: Hashable) -> bool:
        if (left, state) in tried:
            return False
        tried.add((left, state))
        if after(state) and not any(numbered[number].certain for number in left):
            return True
        first_end = min((numbered[number].ended for number in left), default=NEVER)
        for number in left:
            if numbered[number].began <= first_end and not waits(number, left):
                changed = numbered[number].apply(state)
                if changed is not None and search(left - {number}, changed):
                    return True
        return False

    def waits(number: int, left: frozenset[int]) -> bool:
        return any(numbered[other] is numbered[number].after for other in left)

    return search(frozenset(numbered), before)
