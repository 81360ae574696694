"""Pickles of Python 2 as data: an interpreter of the opcodes that make data, which imports and calls nothing by name.

It knows what `pickle.dumps(data, 2)` of Python 2.7 writes for the types that sessions hold. Of anything else only the
name is kept, and the session key that has it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from pickletools import genops  # splits opcodes from their arguments; it makes nothing but text and numbers
from typing import Any
from uuid import UUID

from gaesess._core import MAX_DEPTH
from gaesess.errors import MalformedToken
from gaesess.legacy.reader import leave_out
from gaesess.stores.base import MAX_RECORD_BYTES

MAX_PICKLE_BYTES = 1 << 20  # what App Engine's memcache and Datastore take of one value
MAX_MEMO = 100_000  # values that a pickle may refer back to; each takes it ten bytes or so

_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
# What damaged pickles make functions raise; and Warning where the interpreter is told to raise those.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, Warning)


def session_data(untrusted: bytes) -> dict[Any, Any]:
    """Return the data of a session of gae-sessions 1.07: a pickled pair of dicts, its db models and all the rest.

    A key whose value is no data, such as a db model, is left out, with an event that names the value's class. Raises
    MalformedToken.
    """
    parts = loads(untrusted)
    if type(parts) is not tuple or [type(part) for part in parts] != [dict, dict]:
        raise MalformedToken("pickle is not that of a session")
    models, values = parts
    inspection, data = _Inspection(), {}
    for key, value in chain(values.items(), models.items()):
        objection = inspection.objection((key, value), MAX_DEPTH)
        if objection:
            leave_out(objection)
        else:
            data[key] = value
    return data


def loads(untrusted: bytes) -> Any:
    """Return what a pickle of protocol 2 holds; a Python 2 `str` as str where it is UTF-8, else as bytes.

    There may be Foreign values in it, and containers within themselves. Raises MalformedToken for all that is no such
    pickle.
    """
    if len(untrusted) > MAX_PICKLE_BYTES:
        raise MalformedToken(f"pickle has more than {MAX_PICKLE_BYTES} bytes")
    if untrusted[:2] != b"\x80\x02":
        raise MalformedToken("pickle is not of protocol 2")
    machine = _Machine()
    try:
        for opcode, argument, _ in genops(untrusted):
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except MalformedToken:
        raise
    except _DAMAGE as error:
        raise MalformedToken(f"pickle cannot be read: {type(error).__name__}") from None  # its text may quote the data
    return value


class Foreign:
    """A class or function that is not imported, by its module and name; also in the place of all that it would make."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class _Machine:
    """The stack, those below its marks, and the memo, as pickletools describes them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._inspection = _Inspection()

    def step(self, opcode: str, argument: Any) -> None:
        """Execute an opcode. Raises MalformedToken for one that no data take, and any of _DAMAGE."""
        match opcode:
            case "BINPUT" | "LONG_BINPUT":
                self._remember(argument)
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self._memo[argument])
            case "BINSTRING" | "SHORT_BINSTRING":
                self.stack.append(_text_or_bytes(argument))
            case "BINFLOAT" | "BININT" | "BININT1" | "BININT2" | "BINUNICODE" | "INT" | "LONG1" | "LONG4":
                self.stack.append(argument)
            case "NONE":
                self.stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                self.stack.append(opcode == "NEWTRUE")
            case "MARK":
                self._below_marks.append(self.stack)
                self.stack = []
            case "EMPTY_DICT":
                self.stack.append({})
            case "SETITEM":
                self._set_items(self._pop(2))
            case "SETITEMS":
                self._set_items(self._pop_mark())
            case "EMPTY_LIST":
                self.stack.append([])
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._pop_mark())
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._pop(int(opcode[-1]))))
            case "TUPLE":
                items = self._pop_mark()
                self.stack.append(tuple(items))
            case "GLOBAL":
                self.stack.append(Foreign(argument))
            case "REDUCE":
                self.stack.append(self._made(*self._pop(2)))
            case "NEWOBJ":
                kind, _ = self._pop(2)
                self.stack.append(UUID(int=0) if kind.name == "uuid UUID" else kind)
            case "OBJ":
                kind = self._pop_mark()[0]
                self.stack.append(Foreign(kind.name))
            case "BUILD":
                self._set_state(*self._pop(1))
            case "PROTO" | "STOP":
                pass
            case _:
                raise MalformedToken(f"pickle has the opcode {opcode}, which no data take")

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._below_marks.pop()
        return items

    def _remember(self, index: int) -> None:
        self._memo[index] = self.stack[-1]
        if len(self._memo) > MAX_MEMO:
            raise MalformedToken(f"pickle has more than {MAX_MEMO} memo entries")

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target += items
        elif type(target) is not Foreign:
            raise TypeError

    def _set_items(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if type(target) is dict:
            self._check_hashable(keys)
            target.update(zip(keys, items[1::2], strict=True))
        elif type(target) is not Foreign:
            raise TypeError

    def _check_hashable(self, keys: Iterable[Any]) -> None:
        """Look at keys before they are hashed: a hash goes all the way down, and to shared parts as often as shared."""
        for key in keys:
            objection = self._inspection.objection(key, MAX_DEPTH) if type(key) in _CONTAINERS else None
            if objection:
                raise MalformedToken(f"pickle has a key that cannot be: {objection}")

    def _made(self, kind: Any, arguments: Any) -> Any:
        """Return what a class makes of arguments if that is data, else the name of what it is not."""
        foreign = [part for part in (kind, *arguments) if type(part) is Foreign]
        build = _BUILDERS.get(kind.name)
        if build is None or len(foreign) > 1:
            return foreign[-1]
        if build in (set, frozenset):
            self._check_hashable(*arguments)
        return build(*arguments)

    def _set_state(self, state: Any) -> None:
        target = self.stack[-1]
        if type(target) is UUID:
            number = int.from_bytes(state["int"].to_bytes(16, "big"), "big")
            target.__setstate__({"int": number})  # type: ignore[attr-defined]
        elif type(target) is not Foreign:
            raise TypeError


class _Inspection:
    """Looks through values as those do who hash them or write them out: what is shared counts each time."""

    def __init__(self) -> None:
        self._bytes_left = MAX_RECORD_BYTES

    def objection(self, value: Any, depth_left: int) -> str | None:
        """Return why a value cannot be taken over, or None. Raises MalformedToken if all of them come to too much."""
        self._bytes_left -= 1 + (len(value) if type(value) in (str, bytes) else 0)
        if self._bytes_left < 0:
            raise MalformedToken(f"pickle holds more than {MAX_RECORD_BYTES} bytes of data")
        if type(value) is Foreign:
            return f"{value.name.replace(' ', '.')[:100]!r} is not data"
        if type(value) not in _CONTAINERS:
            return None
        if not depth_left:
            return f"nested deeper than {MAX_DEPTH} levels"
        items = chain(value, value.values()) if type(value) is dict else value
        objections = (self.objection(item, depth_left - 1) for item in items)  # up to the first
        return next(filter(None, objections), None)


def _text_or_bytes(latin1: str) -> str | bytes:
    octets = latin1.encode("latin-1")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


def _octets(state: str | bytes, length: int) -> bytes:
    """Return the bytes of a Python 2 `str`, which may have been UTF-8."""
    octets = state.encode() if isinstance(state, str) else state
    if len(octets) != length:
        raise ValueError
    return octets


def _date(state: str | bytes) -> date:
    high, low, month, day = _octets(state, 4)
    return date(high << 8 | low, month, day)


def _time(state: str | bytes) -> time:
    hour, minute, second, *microsecond = _octets(state, 6)
    return time(hour, minute, second, int.from_bytes(microsecond, "big"))


def _datetime(state: str | bytes) -> datetime:
    octets = _octets(state, 10)
    return datetime.combine(_date(octets[:4]), _time(octets[4:]))


def _decimal(digits: str) -> Decimal:
    if type(digits) is not str:  # to make one of a long int takes its time
        raise TypeError
    return Decimal(digits)


_BUILDERS: dict[str, Callable[..., Any]] = {  # by module and name, as pickletools gives them
    "__builtin__ set": set,
    "__builtin__ frozenset": frozenset,
    "__builtin__ complex": complex,
    "datetime date": _date,
    "datetime time": _time,
    "datetime datetime": _datetime,
    "datetime timedelta": timedelta,
    "decimal Decimal": _decimal,
}
