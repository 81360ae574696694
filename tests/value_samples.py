"""Values of every type that sessions may hold, for the tests of how they are packed, and some that they may not."""

from __future__ import annotations

import collections
import enum
import math
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from gaesess import _core

MOMENT = datetime(2026, 10, 25, 2, 30, 0, 123456)
PARIS = ZoneInfo("Europe/Paris")
SAMPLES = [
    None,
    True,
    False,
    *[sign * (2**bits + offset) for bits in (0, 7, 8, 63, 64, 65, 300) for offset in (-1, 0, 1) for sign in (-1, 1)],
    *[0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308],
    *["", "a", "ü€😀", "nul\0", "\ud800", "\ud83d\ude00", "x" * 300],
    *[b"", b"\0\xff", b"x" * 70_000],
    *[[], [1, [2.0, "3"]], (), (1, (2, ())), {}, {"a": {1: {(2, "b"): None}}}],
    *[set(), {1, "1", (1,), b"1"}, frozenset(), frozenset({frozenset({1}), frozenset({2})})],
    *[MOMENT, MOMENT.replace(fold=1), datetime.min, datetime.max],
    *[MOMENT.replace(tzinfo=timezone.utc), MOMENT.replace(tzinfo=PARIS), MOMENT.replace(tzinfo=PARIS, fold=1)],
    MOMENT.replace(tzinfo=timezone(-timedelta(hours=23, microseconds=1))),
    MOMENT.replace(tzinfo=timezone(timedelta(hours=1), "CET")),
    *[date.min, date.max, date(2024, 2, 29)],
    *[time.min, time.max, time(1, 2, 3, 4, fold=1), time(1, tzinfo=timezone.utc), time(1, tzinfo=PARIS, fold=1)],
    *[timedelta.min, timedelta.max, timedelta(0), timedelta(microseconds=-1)],
    *map(Decimal, ["0", "-0", "1E+5", "0E-10", "1.10", "-1.5", "1E+999999", "Infinity", "-Infinity"]),
    *map(Decimal, ["NaN", "-NaN", "NaN123", "sNaN", "-sNaN45"]),
    *[UUID(int=0), UUID(int=2**128 - 1), 0j, complex(-0.0, math.nan), complex(math.inf, 1.5)],
]

offsets = st.timedeltas(
    -timedelta(hours=24) + timedelta(microseconds=1), timedelta(hours=24) - timedelta(microseconds=1)
)
zones = st.one_of(
    st.none(),
    st.sampled_from([timezone.utc, PARIS, ZoneInfo("UTC"), ZoneInfo("America/St_Johns")]),
    st.builds(timezone, offsets),
    st.builds(timezone, offsets, st.text()),
)
moments = st.one_of(st.datetimes(), st.times())
folded = st.builds(lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), moments, zones, st.integers(0, 1))
texts = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL too
integers = st.one_of(st.integers(), st.integers(-(2**200), 2**200))
hashable = [
    *[st.none(), st.booleans(), integers, st.floats(allow_nan=False), texts, st.binary(), folded],
    *[st.dates(), st.timedeltas(), st.decimals(allow_nan=False), st.uuids(), st.complex_numbers(allow_nan=False)],
]
not_a_number = [st.just(math.nan), st.just(complex(0, math.nan)), *map(st.just, map(Decimal, ["NaN", "sNaN7", "-NaN"]))]


@st.composite
def keys(draw: st.DrawFn, depth: int = 2) -> Any:
    """Make a dict key or an item of a set: a scalar, a tuple or a frozenset."""
    if not depth or draw(st.integers(0, 3)):
        return draw(st.one_of(hashable))
    items = draw(st.lists(keys(depth - 1), max_size=3))
    return draw(st.sampled_from([tuple, frozenset]))(items)


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> Any:
    """Make anything that a session may hold."""
    kind = draw(st.sampled_from([None, None, None, list, tuple, dict, set, frozenset])) if depth else None
    if kind is None:
        return draw(st.one_of(hashable + not_a_number))
    if kind in (set, frozenset):
        return kind(draw(st.lists(keys(), max_size=4)))
    items = draw(st.lists(values(depth - 1), max_size=4))
    return {draw(keys()): item for item in items} if kind is dict else kind(items)


sessions = st.dictionaries(keys(), values(), max_size=4)


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    """A subclass of a supported type."""


class Moment(datetime):
    """Another."""


class Pair(NamedTuple):
    left: int
    right: int


class Odd:
    """A type that sessions know nothing of."""


class Zone(tzinfo):
    """A time zone in the way of pytz: of a class of its own."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


REFUSED = [
    Colour.RED,
    Text("text"),
    Moment(2026, 1, 1),
    Pair(1, 2),
    collections.OrderedDict(a=1),
    collections.defaultdict(list),
    collections.deque([1]),
    bytearray(b"data"),
    memoryview(b"data"),
    range(3),
    Odd(),
    Odd,
    len,
    lambda: None,
    {}.keys(),
    iter([]),
    NotImplemented,
    ...,
]


def nested(kind: type, levels: int) -> Any:
    """Return a value of so many containers one within the other."""
    value: Any = kind()
    for _ in range(levels - 1):
        value = {"deeper": value} if kind is dict else kind([value])
    return value


@st.composite
def damaged_payloads(draw: st.DrawFn) -> bytes:
    """Make the bytes of session data of which up to four are wrong."""
    payload = bytearray(_core.dumps(draw(sessions)))
    for _ in range(draw(st.integers(1, 4))):
        payload[draw(st.integers(0, len(payload) - 1))] = draw(st.integers(0, 255))
    return bytes(payload)
