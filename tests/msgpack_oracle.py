"""Session data as bytes by the package msgpack: what those of gaesess are compared with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from msgpack import ExtType, packb


def pack(value: Any) -> bytes:
    return packb(value, default=array, strict_types=True, unicode_errors="surrogatepass")


def marked(code: int, *fields: Any) -> list[Any]:
    """Return the array that stands for a value of a type that MessagePack lacks."""
    return [ExtType(code, b""), *fields]


def array(value: Any) -> list[Any]:
    code, fields = TYPES[type(value)]
    return marked(code, *fields(value))


def of_set(value: set[Any] | frozenset[Any]) -> list[Any]:
    return sorted(value, key=pack)


def of_time(value: time | datetime) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, *of_zone(value.tzinfo)]


def of_zone(zone: tzinfo | None) -> list[Any]:
    if zone is None:
        return []
    if isinstance(zone, ZoneInfo):
        return [zone.key]
    offset, name = zone.utcoffset(None), zone.tzname(None)
    return [offset // timedelta(microseconds=1), *([] if name == timezone(offset).tzname(None) else [name])]


TYPES: dict[type, tuple[int, Callable[[Any], list[Any]]]] = {
    int: (1, lambda value: [value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]),  # of more than 64 bits
    tuple: (2, list),
    set: (3, of_set),
    frozenset: (4, of_set),
    datetime: (5, lambda value: [value.toordinal(), *of_time(value)]),
    date: (6, lambda value: [value.toordinal()]),
    time: (7, of_time),
    timedelta: (8, lambda value: [value.days, value.seconds, value.microseconds]),
    Decimal: (9, lambda value: [str(value)]),
    UUID: (10, lambda value: [value.bytes]),
    complex: (11, lambda value: [value.real, value.imag]),
}
