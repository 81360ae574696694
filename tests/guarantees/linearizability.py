"""Could what clients saw have come about one operation after the other? Found out by trying every order.

After Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with a memory of what was tried in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

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
    reads: bool = False  # and never changes the state


def explains(operations: Iterable[Operation], before: Hashable, after: Callable[[Hashable], bool]) -> bool:
    """Return whether some order of the operations leads from the state `before` to one that `after` accepts.

    Orders in which the fewest of those had an effect whose outcome is not known are tried first: of many, few have.
    """
    numbered = dict(enumerate(operations))
    tried: set[tuple[frozenset[int], Hashable]] = set()
    found = count()
    to_try = [(0, next(found), frozenset(numbered), before)]
    while to_try:
        uncertain, _, left, state = heappop(to_try)
        if (left, state) in tried:
            continue
        tried.add((left, state))
        if after(state) and not any(numbered[number].certain for number in left):
            return True
        for number, changed in _nexts(numbered, left, state):
            heappush(to_try, (uncertain + (not numbered[number].certain), -next(found), left - {number}, changed))
    return False


def _nexts(numbered: dict[int, Operation], left: frozenset[int], state: Hashable) -> list[tuple[int, Hashable]]:
    """Return the operations that can come next, and the states after them."""
    first_end = min((numbered[number].ended for number in left), default=NEVER)
    nexts = []
    for number in left:
        operation = numbered[number]
        if operation.began > first_end or any(numbered[other] is operation.after for other in left):
            continue
        changed = operation.apply(state)
        if changed is not None and operation.reads:
            return [(number, changed)]  # it stands in nobody's way, so there is no need to try it later
        if changed is not None:
            nexts.append((number, changed))
    return nexts
