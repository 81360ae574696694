"""How the JSON files write bytes and values.

Bytes are hexadecimal; "00*16" is a run of one byte. A text that is too long to review is replaced by its SHA-256 and
length. A value is a Python expression, which may use the names in NAMES.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import zlib
from collections import deque
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import gaesess

FOLDER = Path(__file__).parent
MAX_CHARS = 2400

KEY = "the first key of the test vectors, 1234567890"
OLD_KEY = "the key before it, retired, 1234567890123456"

_RUNS = re.compile(rb"(?P<byte>.)(?P=byte){15,}|(?:(?!(.)\2{15}).)+", re.DOTALL)


class Odd:
    """A type that sessions do not hold."""


class Zone(datetime.tzinfo):
    """A time zone of a class of its own, as pytz has."""

    def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)


class Point:
    """A registered type."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return type(other) is Point and (other.x, other.y) == (self.x, self.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))


gaesess.register(Point, "vectors.Point", lambda point: [point.x, point.y], lambda pair: Point(*pair))


def nested(kind: type, levels: int) -> Any:
    """Return that many containers, one inside the other."""
    value: Any = kind()
    for _ in range(levels - 1):
        value = {1: value} if kind is dict else kind([value])
    return value


def endless() -> list[Any]:
    """Return a list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


for kind in (Odd, Zone, Point):
    kind.__module__ = "app"  # what error messages say, wherever this module is
NAMES: dict[str, Any] = {
    "KEY": KEY,
    "OLD_KEY": OLD_KEY,
    "Odd": Odd,
    "Zone": Zone,
    "Point": Point,
    "nested": nested,
    "endless": endless,
    "nan": math.nan,
    "inf": math.inf,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "timezone": datetime.timezone,
    "Decimal": Decimal,
    "UUID": UUID,
    "ZoneInfo": ZoneInfo,
    "deque": deque,
    "SimpleNamespace": SimpleNamespace,
}


def value_of(expression: str, **names: Any) -> Any:
    """Return the value of a Python expression."""
    return eval(expression, {**NAMES, **names})


def hexed(data: bytes) -> str:
    """Return bytes as the files write them."""
    runs = [match.group() for match in _RUNS.finditer(data)]
    return abridged(" ".join(run.hex() if len(set(run)) > 1 or len(run) < 16 else _repeated(run) for run in runs))


def _repeated(run: bytes) -> str:
    return f"{run[:1].hex()}*{len(run)}"


def unhexed(text: str) -> bytes:
    """Return the bytes that `hexed` was given, unless it abridged them."""
    assert not text.startswith("sha256:")
    parts = [part.partition("*") for part in text.split()]
    return b"".join(bytes.fromhex(digits) * int(times or 1) for digits, _, times in parts)


def abridged(text: str) -> str:
    """Return a text, or its hash and length if it is long."""
    return text if len(text) <= MAX_CHARS else f"sha256:{sha256(text.encode()).hexdigest()}, {len(text)} characters"


def deflates_as_usual() -> bool:
    """Return whether the zlib on this machine compresses like the one that made the files; there are several."""
    packer = zlib.compressobj(wbits=-15)
    text = " ".join(f"{number} {number * number % 97}" for number in range(300))
    packed = packer.compress(text.encode()) + packer.flush()
    return sha256(packed).hexdigest() == "53a22f53dff391ab43c92b98587a5b4f840112074236200fa0c5e7e537cc2e74"


def vectors(file: str, section: str) -> list[dict[str, Any]]:
    """Return the vectors in a section of a file, completed by the defaults."""
    content = json.loads((FOLDER / file).read_text(encoding="ascii"))
    return [{**content.get("defaults", {}), **vector} for vector in content[section]]


def without(defaults: dict[str, Any], vector: dict[str, Any]) -> dict[str, Any]:
    """Return a vector without what equals the defaults."""
    return {name: value for name, value in vector.items() if name not in defaults or defaults[name] != value}


def text_of(content: Any, indent: str = "") -> str:
    """Return JSON with one vector a line, so that a diff shows which of them changed."""
    if not _has_vectors(content):
        return json.dumps(content)
    inner = f"{indent} "
    if isinstance(content, dict):
        items = [f"{inner}{json.dumps(key)}: {text_of(value, inner)}" for key, value in content.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    return "[\n" + ",\n".join(f"{inner}{text_of(item, inner)}" for item in content) + f"\n{indent}]"


def _has_vectors(content: Any) -> bool:
    if isinstance(content, dict):
        return any(map(_has_vectors, content.values()))
    return isinstance(content, list) and any(isinstance(item, dict) for item in content)
