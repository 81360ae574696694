"""The types that session data may have beyond those of MessagePack: how each is taken apart and put together again.

Both twins of the core pack and unpack the plain types themselves, and call `dump` and `load` for the types here. A
value becomes a code, which names its type, and a list of fields; containers in the fields are packed like any others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from errno import EISDIR, ENAMETOOLONG
from typing import Any, NamedTuple, TypeVar

from gaesess.errors import MalformedToken

T = TypeVar("T")

PLAIN: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes})  # immutable, and MessagePack's own

# The core packs these codes itself. All codes are part of the format: none is ever given another meaning.
BIG_INT, TUPLE, SET, FROZENSET = 1, 2, 3, 4
_DATETIME, _DATE, _TIME, _TIMEDELTA = 5, 6, 7, 8
_DECIMAL, _UUID, _COMPLEX = 9, 10, 11
_NDB_KEY, _NDB_MODEL = 12, 13
REGISTERED = 14

# What damaged data make a loader raise, and data of a package that is not installed any more.
UNREADABLE = (ArithmeticError, AttributeError, ImportError, LookupError, TypeError, ValueError)

_MICROSECOND = timedelta(microseconds=1)


class _Type(NamedTuple):
    """The code of a type, the function that returns a value's fields, and the one that takes them."""

    code: int
    dump: Callable[[Any], list[Any]]
    load: Callable[..., Any]


def dump(value: Any) -> tuple[int, list[Any]]:
    """Return the code and the fields of a value. Raises TypeError for a type that sessions cannot hold."""
    kind = type(value)
    found = _TYPES.get(kind) or _imported(kind) or _ndb_type(value)
    if found is None:
        raise TypeError(f"values of type {name_of(kind)} are not supported; see gaesess.register")
    return found.code, found.dump(value)


def load(code: int, fields: list[Any]) -> Any:
    """Return the value with these fields. Raises MalformedToken, or one of UNREADABLE."""
    if code not in _LOADERS:
        raise MalformedToken("session data cannot be read: a value of an unknown type")
    return _LOADERS[code](*fields)


def register(kind: type[T], name: str, dump: Callable[[T], Any], load: Callable[[Any], T]) -> None:
    """Let sessions hold values of exactly the type `kind`.

    `dump` turns one into supported values, without side effects, for it may be called several times; `load` turns those
    back. `name` stands for the type in stored sessions, so it must stay the same for as long as they live. A session is
    given up as damaged if `load` raises what bad data make a function raise: ArithmeticError, AttributeError,
    ImportError, LookupError, TypeError or ValueError.

    Raises ValueError if the type or the name is taken.
    """
    if kind in PLAIN or kind in _CONTAINERS or kind in _TYPES or _imported(kind):
        raise ValueError(f"sessions hold values of type {name_of(kind)} already")
    if name in _REGISTERED_LOADERS:
        raise ValueError(f"another type is registered under the name {name!r} already")
    _TYPES[kind] = _Type(REGISTERED, lambda value: [name, dump(value)], _load_registered)
    _REGISTERED_LOADERS[name] = load


def name_of(kind: type) -> str:
    """Return the name of a type for messages, with its module."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def located(error: Exception, data: dict[Hashable, Any], pack: Callable[[dict[Hashable, Any]], object]) -> Exception:
    """Return the error that `pack` raised for a session's data, with the path of the value that caused it.

    The path of data that are nested too deeply is that of the session's key alone. The error's cause is the one
    without a path.
    """
    for key, value in data.items():
        try:
            pack({key: value})
        except (TypeError, ValueError) as cause:
            kind = TypeError if isinstance(cause, TypeError) else ValueError
            path = _path(key, value, pack) if kind is TypeError else f"[{key!r}]"
            located = kind(f"session{path}: {cause}")
            located.__cause__ = cause
            return located
    return type(error)(*error.args)


def _path(key: Hashable, value: Any, pack: Callable[[dict[Hashable, Any]], object]) -> str:
    items: Any = value.items() if type(value) is dict else enumerate(value) if type(value) in (list, tuple) else ()
    for inner, item in items:
        try:
            pack({inner: item})
        except TypeError:
            return f"[{key!r}]{_path(inner, item, pack)}"
    return f"[{key!r}]"


def check_key(key: Hashable) -> None:
    """Raise TypeError for a key that is NaN, or has NaN in it: no other request would find it."""
    if key != key:
        raise TypeError("a key must not be NaN, which equals no key")
    if isinstance(key, (tuple, frozenset)):
        for part in key:
            check_key(part)


_CONTAINERS = (list, tuple, set, frozenset, dict)


def _imported(kind: type) -> _Type | None:
    """Return the entry of a type whose module is slow to import: a value of it shows that it has been."""
    found = _TYPES_BY_NAME.get((kind.__module__, kind.__qualname__))
    return found if found and getattr(sys.modules[kind.__module__], kind.__qualname__, None) is kind else None


def _ndb_type(value: Any) -> _Type | None:
    if "google.cloud.ndb" not in sys.modules:
        return None
    from google.api_core.datetime_helpers import DatetimeWithNanoseconds
    from google.cloud import ndb

    from gaesess import ndb_values

    if type(value) is DatetimeWithNanoseconds and not value.nanosecond % 1000:
        return _TYPES[datetime]  # what ndb returns for a date and time that was stored as a plain datetime
    if type(value) is ndb.Key:
        return _Type(_NDB_KEY, lambda key: [ndb_values.dump_key(key)], _load_ndb_key)
    if isinstance(value, ndb.Model):
        return _Type(_NDB_MODEL, lambda model: [ndb_values.dump_model(model)], _load_ndb_model)
    return None


def _load_ndb_key(packed: bytes) -> Any:
    from gaesess import ndb_values

    return _parsed(ndb_values.load_key, packed)


def _load_ndb_model(packed: bytes) -> Any:
    from gaesess import ndb_values

    return _parsed(ndb_values.load_model, packed)


def _parsed(load: Callable[[bytes], Any], packed: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return load(packed)
    except DecodeError as error:
        raise MalformedToken("session data hold an ndb value that is damaged") from error


def _load_registered(name: str, value: Any) -> Any:
    if name not in _REGISTERED_LOADERS:
        raise MalformedToken(f"session data hold a type registered as {name!r}, and here there is none")
    return _REGISTERED_LOADERS[name](value)


def _dump_time(value: time | datetime) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, *_dump_zone(value.tzinfo)]


def _load_time(hour: int, minute: int, second: int, microsecond: int, fold: int, *zone: Any) -> time:
    return time(hour, minute, second, microsecond, _load_zone(*zone), fold=fold)


def _dump_zone(zone: tzinfo | None) -> list[int | str]:
    """Return an offset in microseconds and perhaps a name, or the key of a zoneinfo; nothing for None."""
    if zone is None:
        return []
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        return [offset // _MICROSECOND, *([] if name == timezone(offset).tzname(None) else [name])]
    from zoneinfo import ZoneInfo

    if type(zone) is ZoneInfo and zone.key is not None:
        return [zone.key]
    kind = name_of(type(zone))
    raise TypeError(f"time zones of type {kind} are not supported; use datetime's or a zoneinfo with a key")


def _load_zone(zone: int | str | None = None, *name: str) -> tzinfo | None:
    if not isinstance(zone, str):
        return zone if zone is None else timezone(zone * _MICROSECOND, *name)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(zone)
    except OSError as error:  # of the package tzdata, where any name is opened as a file
        if error.errno not in (EISDIR, ENAMETOOLONG):  # to have too many files open is no damage
            raise
        raise MalformedToken("session data hold a time zone that cannot be") from error


def _load_decimal(digits: str) -> Any:
    from decimal import Decimal

    return Decimal(digits)


def _load_uuid(packed: bytes) -> Any:
    from uuid import UUID

    if type(packed) is not bytes:  # which UUID only asserts
        raise TypeError("the bytes of a UUID")
    return UUID(bytes=packed)


_TYPES: dict[type, _Type] = {
    datetime: _Type(
        _DATETIME,
        lambda value: [value.toordinal(), *_dump_time(value)],
        lambda day, *clock: datetime.combine(date.fromordinal(day), _load_time(*clock)),
    ),
    date: _Type(_DATE, lambda value: [value.toordinal()], date.fromordinal),
    time: _Type(_TIME, _dump_time, _load_time),
    timedelta: _Type(_TIMEDELTA, lambda value: [value.days, value.seconds, value.microseconds], timedelta),
    complex: _Type(_COMPLEX, lambda value: [value.real, value.imag], complex),
}

_TYPES_BY_NAME: dict[tuple[str, str], _Type] = {
    ("decimal", "Decimal"): _Type(_DECIMAL, lambda value: [str(value)], _load_decimal),
    ("uuid", "UUID"): _Type(_UUID, lambda value: [value.bytes], _load_uuid),
}

_LOADERS: dict[int, Callable[..., Any]] = {
    found.code: found.load for found in (*_TYPES.values(), *_TYPES_BY_NAME.values())
}
_LOADERS |= {_NDB_KEY: _load_ndb_key, _NDB_MODEL: _load_ndb_model, REGISTERED: _load_registered}

_REGISTERED_LOADERS: dict[str, Callable[[Any], Any]] = {}
