"""Whether two values are the same, which says more than that they are equal."""

from __future__ import annotations

import struct
from datetime import datetime, time, timezone
from decimal import Decimal
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same at every level, in everything that can be seen of them."""
    if type(one) is not type(other):
        return False
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:  # its order can be seen too
        return same(list(one.items()), list(other.items()))
    if type(one) in (set, frozenset):
        return len(one) == len(other) and all(any(same(item, match) for match in other) for item in one)
    if type(one) is float:
        return struct.pack(">d", one) == struct.pack(">d", other)
    if type(one) is complex:
        return same((one.real, one.imag), (other.real, other.imag))
    if type(one) is Decimal:
        return one.as_tuple() == other.as_tuple()
    if type(one) in (datetime, time):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and (
            (one.fold, same(one.tzinfo, other.tzinfo)) == (other.fold, True)
        )
    if type(one) is timezone:
        return (one.utcoffset(None), one.tzname(None)) == (other.utcoffset(None), other.tzname(None))
    return bool(one == other)
