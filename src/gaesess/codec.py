"""What a session may hold, as bytes: MessagePack, with extensions for what it lacks. Data only, never code.

What goes in comes out equal and of the same type; a type that is not known here is refused, never bent into another.
The same data always gives the same bytes, so that equal bytes mean an unchanged session.

A value that MessagePack lacks is an array: an empty extension, which names the type, and the fields of the value. So
nothing is packed within the packed, and reading takes no more of the C stack the deeper the data are.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Hashable, Iterable
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple, TypeVar

from msgpack import ExtType, Packer, Timestamp, packb, unpackb

from gaesess import zones
from gaesess.errors import MalformedToken

T = TypeVar("T")

PACK_BUFFER_BYTES = 4096  # grows as needed; msgpack's 256 KiB take longer to get than most sessions to pack
MAX_DEPTH = 64  # containers within containers: far below where Python or MessagePack give up, in either direction

PLAIN: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes})  # immutable, and MessagePack's own
_CONTAINERS: frozenset[type] = frozenset({list, tuple, set, frozenset, dict})
# MessagePack packs these without asking, and gives back others. frozendict is there from Python 3.15 on.
_LOOKALIKES: frozenset[type] = frozenset(
    {bytearray, memoryview, ExtType, Timestamp, getattr(builtins, "frozendict", bytearray)}
)

_BIG_INT, _TUPLE, _SET, _FROZENSET = 1, 2, 3, 4
_DATETIME, _DATE, _TIME, _TIMEDELTA = 5, 6, 7, 8
_DECIMAL, _UUID, _COMPLEX = 9, 10, 11
_NDB_KEY, _NDB_MODEL, _REGISTERED = 12, 13, 14
_MARKS = {code: ExtType(code, b"") for code in range(_BIG_INT, _REGISTERED + 1)}

# What damaged data make a function raise, and data of a package that is not installed any more.
_UNREADABLE = (ArithmeticError, AttributeError, ImportError, LookupError, TypeError, ValueError)


class _Extension(NamedTuple):
    """The code of a type, what turns a value into fields, and what turns those back."""

    code: int
    dump: Callable[[Any], Iterable[Any]]
    load: Callable[..., Any]


def dumps(data: dict[Hashable, Any]) -> bytes:
    """Return a session's data as bytes.

    Raises TypeError naming the session key and the type for a value that is not supported, ValueError likewise for one
    nested deeper than MAX_DEPTH.
    """
    try:
        return _check_and_pack(data)
    except (TypeError, ValueError):
        for key, value in data.items():
            _check_and_pack_item(key, value)
        raise


def loads(payload: bytes) -> dict[Hashable, Any]:
    """Return the data of `dumps`. Raises MalformedToken for anything else, and for a type not registered any more."""
    try:
        data = unpackb(
            payload, ext_hook=_mark, list_hook=_restore, strict_map_key=False, unicode_errors="surrogatepass"
        )
    except MalformedToken:
        raise
    except _UNREADABLE as error:
        raise MalformedToken(f"session data cannot be read: {type(error).__name__}") from error
    if type(data) is not dict:
        raise MalformedToken("session data is not a dict")
    return data


def register(kind: type[T], name: str, dump: Callable[[T], Any], load: Callable[[Any], T]) -> None:
    """Let sessions hold values of exactly the type `kind`.

    `dump` turns one into supported values, without side effects, for it may be called several times; `load` turns those
    back. `name` stands for the type in stored sessions, so it must stay the same for as long as they live. A session is
    given up as damaged if `load` raises what bad data make a function raise: ArithmeticError, AttributeError,
    ImportError, LookupError, TypeError or ValueError.

    Raises ValueError if the type or the name is taken.
    """
    if kind in PLAIN or kind in _CONTAINERS or kind in _EXTENSIONS or _imported_extension(kind):
        raise ValueError(f"sessions hold values of type {_name(kind)} already")
    if kind in _LOOKALIKES:
        raise ValueError(f"values of type {_name(kind)} cannot be registered; convert them, say to bytes or dict")
    if name in _REGISTERED_LOADERS:
        raise ValueError(f"another type is registered under the name {name!r} already")
    _EXTENSIONS[kind] = _Extension(_REGISTERED, lambda value: [name, dump(value)], _load_registered)
    _REGISTERED_LOADERS[name] = load


def _check_and_pack(data: dict[Hashable, Any]) -> bytes:
    _check(data, MAX_DEPTH)
    return _pack(data)


def _check_and_pack_item(key: Hashable, value: Any) -> None:
    try:
        _check_and_pack({key: value})
    except TypeError as error:
        raise TypeError(f"session[{key!r}]: {error}") from error
    except ValueError as error:
        raise ValueError(f"session[{key!r}]: {error}") from error


def _check(value: Any, depth_left: int) -> None:
    items: Iterable[Any]
    if type(value) is dict:
        items = [*value, *value.values()]
    elif type(value) in _CONTAINERS:
        items = value
    elif (extension := _extension(value)).code == _REGISTERED:
        items = extension.dump(value)
    else:
        return
    if not depth_left:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    for item in items:
        if type(item) not in PLAIN:
            _check(item, depth_left - 1)


def _pack(value: Any) -> bytes:
    try:
        return Packer(default=_extend, strict_types=True, buf_size=PACK_BUFFER_BYTES).pack(value)  # type: ignore[no-any-return]
    except UnicodeEncodeError:  # a lone surrogate; to allow for them takes all strings twice the time
        return packb(value, default=_extend, strict_types=True, unicode_errors="surrogatepass")  # type: ignore[no-any-return]


def _extension(value: Any) -> _Extension:
    extension = _EXTENSIONS.get(type(value)) or _imported_extension(type(value)) or _ndb_extension(value)
    if extension is None:
        raise TypeError(f"values of type {_name(type(value))} are not supported; see gaesess.register")
    return extension


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _extend(value: Any) -> list[Any]:
    extension = _extension(value)
    return [_MARKS[extension.code], *extension.dump(value)]


def _mark(code: int, _: bytes) -> ExtType:
    return _MARKS[code]


def _restore(items: list[Any]) -> Any:
    if items and type(items[0]) is ExtType:
        return _LOADERS[items[0].code](*items[1:])
    return items


def _imported_extension(kind: type) -> _Extension | None:
    """Return the extension of a type whose module takes its time to import; whoever has a value of it has done so."""
    extension = _EXTENSIONS_BY_NAME.get((kind.__module__, kind.__qualname__))
    return extension if extension and getattr(sys.modules[kind.__module__], kind.__qualname__, None) is kind else None


def _ndb_extension(value: Any) -> _Extension | None:
    if "google.cloud.ndb" not in sys.modules:
        return None
    from google.api_core.datetime_helpers import DatetimeWithNanoseconds
    from google.cloud import ndb

    from gaesess import ndb_values

    if type(value) is DatetimeWithNanoseconds and not value.nanosecond % 1000:
        return _EXTENSIONS[datetime]  # what ndb gives for a date and time that was put as a plain datetime
    if type(value) is ndb.Key:
        return _Extension(_NDB_KEY, lambda key: [ndb_values.dump_key(key)], _load_ndb_key)
    if isinstance(value, ndb.Model):
        return _Extension(_NDB_MODEL, lambda model: [ndb_values.dump_model(model)], _load_ndb_model)
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


def _dump_tuple(value: Iterable[Any]) -> Iterable[Any]:
    # Not left to MessagePack: `_dump_set` would sort sets within sets again at each level, 2 to the depth times in all.
    return (_extend(item) if type(item) in (tuple, frozenset) else item for item in value)


def _dump_set(value: Iterable[Any]) -> Iterable[Any]:
    return sorted(_dump_tuple(value), key=_pack)  # in an order that does not depend on hashes


def _dump_int(value: int) -> Iterable[Any]:
    return [value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]


def _dump_time(value: time | datetime) -> Iterable[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, *zones.dump(value.tzinfo)]


def _load_time(hour: int, minute: int, second: int, microsecond: int, fold: int, *zone: Any) -> time:
    return time(hour, minute, second, microsecond, zones.load(*zone), fold=fold)


def _load_decimal(digits: str) -> Any:
    from decimal import Decimal

    return Decimal(digits)


def _load_uuid(packed: bytes) -> Any:
    from uuid import UUID

    return UUID(bytes=packed)


_EXTENSIONS: dict[type, _Extension] = {
    int: _Extension(_BIG_INT, _dump_int, lambda packed: int.from_bytes(packed, "big", signed=True)),  # over 64 bits
    tuple: _Extension(_TUPLE, _dump_tuple, lambda *items: items),
    set: _Extension(_SET, _dump_set, lambda *items: set(items)),
    frozenset: _Extension(_FROZENSET, _dump_set, lambda *items: frozenset(items)),
    datetime: _Extension(
        _DATETIME,
        lambda value: [value.toordinal(), *_dump_time(value)],
        lambda day, *clock: datetime.combine(date.fromordinal(day), _load_time(*clock)),
    ),
    date: _Extension(_DATE, lambda value: [value.toordinal()], date.fromordinal),
    time: _Extension(_TIME, _dump_time, _load_time),
    timedelta: _Extension(_TIMEDELTA, lambda value: [value.days, value.seconds, value.microseconds], timedelta),
    complex: _Extension(_COMPLEX, lambda value: [value.real, value.imag], complex),
}

_EXTENSIONS_BY_NAME: dict[tuple[str, str], _Extension] = {
    ("decimal", "Decimal"): _Extension(_DECIMAL, lambda value: [str(value)], _load_decimal),
    ("uuid", "UUID"): _Extension(_UUID, lambda value: [value.bytes], _load_uuid),
}

_LOADERS: dict[int, Callable[..., Any]] = {
    extension.code: extension.load for extension in (*_EXTENSIONS.values(), *_EXTENSIONS_BY_NAME.values())
}
_LOADERS |= {_NDB_KEY: _load_ndb_key, _NDB_MODEL: _load_ndb_model, _REGISTERED: _load_registered}

_REGISTERED_LOADERS: dict[str, Callable[[Any], Any]] = {}
