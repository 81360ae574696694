"""The codec: what a session holds comes back equal and of the same types, or is refused; nothing but data is read."""

from __future__ import annotations

import collections
import enum
import errno
import math
import os
import struct
import subprocess
import sys
import threading
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from io import BytesIO
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sameness import same

from gaesess import codec
from gaesess.errors import MalformedToken

many = settings(deadline=None, max_examples=200)

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


class Point:
    """A type to register."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return type(other) is Point and (other.x, other.y) == (self.x, self.y)

    __hash__ = None  # type: ignore[assignment]


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
    msgpack.ExtType(1, b"data"),
    msgpack.Timestamp(1),
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


def answer(value: Any) -> str:
    """Return what the codec makes of a value: its bytes in hexadecimal, or the error."""
    try:
        packed = codec.dumps({"key": value})
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}".partition(" object at ")[0]
    return f"{packed.hex()} {'same' if same(codec.loads(packed), {'key': value}) else 'changed'}"


def answers() -> list[str]:
    """Return the answers to all samples: for an interpreter with another form of MessagePack to give them too."""
    too_deep = [nested(kind, levels) for kind in (list, tuple, dict) for levels in (63, 64)]
    return [answer(value) for value in [*SAMPLES, *REFUSED, *too_deep]]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register types; afterwards they are not."""
    monkeypatch.setattr(codec, "_EXTENSIONS", dict(codec._EXTENSIONS))
    monkeypatch.setattr(codec, "_REGISTERED_LOADERS", dict(codec._REGISTERED_LOADERS))


@pytest.fixture
def points(registry: None) -> None:
    codec.register(Point, "point", lambda point: [point.x, point.y], lambda pair: Point(*pair))


# -- what goes in comes out


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: repr(value)[:40])
def test_each_supported_value_comes_back_the_same(value: Any) -> None:
    assert same(codec.loads(codec.dumps({"key": value})), {"key": value})


@many
@given(sessions)
def test_whatever_a_session_holds_comes_back_the_same(data: dict[Any, Any]) -> None:
    assert same(codec.loads(codec.dumps(data)), data)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[(1, True), (1, 1.0), ([], ()), (set(), frozenset()), (0.0, -0.0), (b"a", "a"), ([1], [True])],
        *[(MOMENT, MOMENT.replace(fold=1)), (Decimal("1.0"), Decimal("1.00")), (time(1), time(1, fold=1))],
        *[(timezone.utc, timezone(timedelta(0), "GMT")), ({1: 2}, {True: 2}), ({1}, {1.0}), (0j, complex(0, -0.0))],
    ],
)
def test_the_comparison_of_these_tests_tells_apart_what_is_merely_equal(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert same(one, one)


@pytest.mark.parametrize("key", [True, 1, 1.0, False, 0, None, "1", b"1", (1,), (True,), 2**70])
def test_keys_keep_their_type(key: Any) -> None:
    assert same(codec.loads(codec.dumps({key: "value"})), {key: "value"})


def test_a_named_time_zone_keeps_its_name() -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET"))
    assert codec.loads(codec.dumps({"at": moment}))["at"].tzname() == "CET"


# -- the same data, the same bytes


@many
@given(sessions)
def test_what_was_read_gives_the_bytes_it_was_read_from(data: dict[Any, Any]) -> None:
    packed = codec.dumps(data)
    assert codec.dumps(codec.loads(packed)) == packed


@many
@given(st.sets(keys(), max_size=5).flatmap(lambda items: st.tuples(*[st.permutations(list(items))] * 2)))
def test_a_set_gives_the_same_bytes_in_whatever_order_it_was_filled(orders: tuple[list[Any], list[Any]]) -> None:
    one, other = orders
    assert codec.dumps({"set": set(one)}) == codec.dumps({"set": set(other)})


def test_a_set_of_colliding_hashes_gives_the_same_bytes_in_every_order() -> None:
    items = [0, 2**61 - 1, 2 * (2**61 - 1), 8]  # hash alike, so that they iterate in the order they were put in
    assert len({tuple(set(order)) for order in permutations(items)}) > 1
    assert len({codec.dumps({"set": set(order)}) for order in permutations(items)}) == 1


def test_a_set_gives_the_same_bytes_in_a_process_that_hashes_otherwise() -> None:
    code = "from gaesess import codec; print(codec.dumps({'set': set(map(str, range(50)))}).hex())"
    outputs = {
        subprocess.check_output([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


# -- what is refused


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: value,
        lambda value: [1, value],
        lambda value: (value,),
        lambda value: {"deep": [{"deeper": (value,)}]},
    ],
    ids=["bare", "in a list", "in a tuple", "deep"],
)
def test_another_type_is_refused_naming_the_session_key_and_the_type(wrap: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"^session\[\('cart', 1\)\]: ") as caught:
        codec.dumps({"fine": 1, ("cart", 1): wrap(value)})
    assert type(value).__qualname__ in str(caught.value)


@pytest.mark.parametrize("item", [Colour.RED, Text("text"), Moment(2026, 1, 1), Pair(1, 2), Odd, msgpack.Timestamp(1)])
def test_another_type_is_refused_in_a_set_and_as_a_key_too(item: Any) -> None:
    for value in ({item}, frozenset({item}), {item: 1}, {(item,): 1}):
        with pytest.raises(TypeError, match=rf"^session\['key'\]: .*{type(item).__qualname__}"):
            codec.dumps({"key": value})


def test_a_session_key_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^session\[<Colour.RED: 1>\]: .*Colour"):
        codec.dumps({Colour.RED: 1})


def test_a_time_zone_of_another_class_is_refused() -> None:
    for value in (datetime(2026, 1, 1, tzinfo=Zone()), time(1, tzinfo=Zone())):
        with pytest.raises(TypeError, match=r"^session\['at'\]: time zones of type test_codec\.Zone are not supported"):
            codec.dumps({"at": value})


def test_a_zoneinfo_without_a_key_is_refused() -> None:
    tzif = b"TZif" + bytes(16) + struct.pack(">6llbb4s", 0, 0, 0, 0, 1, 4, 0, 0, 0, b"UTC")  # RFC 8536 section 3
    with pytest.raises(TypeError, match=r"time zones of type zoneinfo\.ZoneInfo are not supported"):
        codec.dumps({"at": datetime(2026, 1, 1, tzinfo=ZoneInfo.from_file(BytesIO(tzif)))})


# -- depth


@pytest.mark.parametrize("kind", [list, tuple, dict, frozenset])
def test_sixty_four_levels_come_back(kind: type) -> None:
    data = {"deep": nested(kind, 63)}  # the session itself is the first level
    assert same(codec.loads(codec.dumps(data)), data)


@pytest.mark.parametrize("kind", [list, tuple, dict, frozenset])
@pytest.mark.parametrize("levels", [64, 500, 5000])
def test_deeper_values_are_refused_naming_the_session_key(kind: type, levels: int) -> None:
    with pytest.raises(ValueError, match=r"^session\['deep'\]: nested deeper than 64 levels$"):
        codec.dumps({"fine": 1, "deep": nested(kind, levels)})


def test_a_list_in_itself_is_refused_naming_the_session_key() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"^session\['endless'\]: nested deeper than 64 levels$"):
        codec.dumps({"endless": endless})


@pytest.mark.usefixtures("points")
def test_a_registered_value_in_itself_is_refused_naming_the_session_key() -> None:
    endless = Point(1, None)
    endless.y = [endless, endless]
    with pytest.raises(ValueError, match=r"^session\['endless'\]: nested deeper than 64 levels$"):
        codec.dumps({"endless": endless})


@pytest.mark.usefixtures("points")
@pytest.mark.parametrize(("length", "fits"), [(31, True), (32, False)])
def test_registered_values_count_as_a_level_and_what_they_dump_as_more(length: int, fits: bool) -> None:
    chain: Any = None
    for number in range(length):
        chain = Point(number, chain)
    if fits:
        assert codec.loads(codec.dumps({"chain": chain})) == {"chain": chain}
    else:
        with pytest.raises(ValueError, match="nested deeper than 64 levels"):
            codec.dumps({"chain": chain})


def test_the_deepest_values_are_packed_and_read_on_a_small_stack() -> None:
    """On the 128 KiB that some platforms give a thread: to run out of it would end the process."""
    deepest = [{"deep": nested(kind, 63)} for kind in (list, tuple, dict, frozenset)]
    results: list[bool] = []
    earlier = threading.stack_size(128 * 1024)
    try:
        thread = threading.Thread(
            target=lambda: results.extend(same(codec.loads(codec.dumps(data)), data) for data in deepest)
        )
        thread.start()
    finally:
        threading.stack_size(earlier)
    thread.join()
    assert results == [True] * 4


# -- reading what may be anything


def read_or_refuse(payload: bytes) -> None:
    try:
        assert type(codec.loads(payload)) is dict
    except MalformedToken as error:
        assert str(error).startswith("session data ")  # noqa: PT017


@many
@given(st.binary())
@example(b"")
@example(b"\x81\xa1a\x91" * 5000)
@example(b"\xc7\xff\x02" * 5000)
@example(codec.dumps({"a": 1}) + b"\0")
@example(b"\x81\x90\x01")
@example(b"\xdf\xff\xff\xff\xff")
def test_of_any_bytes_a_dict_is_read_or_malformed_token_raised(payload: bytes) -> None:
    read_or_refuse(payload)


def extension(code: int, *fields: Any) -> bytes:
    """Return session data with a value that pretends to be of a type that MessagePack lacks."""
    return msgpack.packb({"key": [msgpack.ExtType(code, b""), *fields]}, unicode_errors="surrogatepass")


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), texts, st.binary())


@many
@given(
    st.integers(0, 15), st.lists(st.one_of(scalars, st.lists(scalars), st.dictionaries(st.text(), scalars)), max_size=8)
)
@example(3, [[]])
@example(5, [1, 0, 0, 0, 0, 0, 2**60])
@example(5, [1, 0, 0, 0, 0, 0, "../../etc/passwd"])
@example(5, [1, 0, 0, 0, 0, 0, "Nowhere/Land"])
@example(8, [10**19])
@example(9, ["1E+99999999999999999999"])
@example(14, [[], 1])
def test_of_any_extension_a_dict_is_read_or_malformed_token_raised(code: int, fields: list[Any]) -> None:
    read_or_refuse(extension(code, *fields))


@many
@given(sessions.map(codec.dumps), st.data())
def test_of_damaged_session_data_a_dict_is_read_or_malformed_token_raised(payload: bytes, data: st.DataObject) -> None:
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(damaged))


@pytest.mark.parametrize("key", ["Europe", "x" * 300], ids=["a folder", "too long for a file name"])
def test_a_time_zone_that_cannot_be_is_malformed(key: str) -> None:
    pytest.importorskip("tzdata")  # where the system has no such zone, it is asked, and opens whatever it is told to
    with pytest.raises(MalformedToken, match="time zone"):
        codec.loads(extension(7, 1, 2, 3, 4, 0, key))


def test_a_time_zone_that_cannot_be_read_now_is_not_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_files(key: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("zoneinfo.ZoneInfo", no_more_files)
    with pytest.raises(OSError, match="Too many open files"):
        codec.loads(extension(7, 1, 2, 3, 4, 0, "Europe/Paris"))


@pytest.mark.parametrize("opening", [b"\x91", b"\x92\xc7\x00\x02", b"\x81\x01", b"\x93\xc7\x00\x0e\xa5point"])
def test_data_nested_without_end_are_malformed(opening: bytes) -> None:
    with pytest.raises(MalformedToken, match="session data cannot be read"):
        codec.loads(b"\x81\x01" + opening * 5000 + b"\xc0")


@pytest.mark.parametrize("payload", [b"\x90", b"\xc0", b"\xa1a", b"\x01"])
def test_data_that_are_not_a_dict_are_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedToken, match="session data is not a dict"):
        codec.loads(payload)


def test_the_message_tells_nothing_of_the_data() -> None:
    with pytest.raises(MalformedToken) as caught:
        codec.loads(codec.dumps({"secret": "secret" * 10})[:-20])
    assert "secret" not in str(caught.value)


# -- types of the application's own


@pytest.mark.usefixtures("points")
def test_a_registered_type_comes_back_wherever_it_is() -> None:
    data = {"point": Point(1, (2.0, "3")), "line": [Point(0, 0), (Point(1, Point(2, {3})),)]}
    assert codec.loads(codec.dumps(data)) == data


@pytest.mark.usefixtures("points")
def test_a_subclass_of_a_registered_type_is_refused() -> None:
    class Spot(Point):
        pass

    with pytest.raises(TypeError, match=r"^session\['spot'\]: values of type .*Spot are not supported"):
        codec.dumps({"spot": Spot(1, 2)})


@pytest.mark.usefixtures("registry")
def test_subclasses_of_supported_types_can_be_registered() -> None:
    codec.register(Colour, "colour", int, Colour)
    codec.register(Pair, "pair", tuple, Pair._make)
    codec.register(collections.OrderedDict, "ordered", dict, collections.OrderedDict)
    codec.register(Text, "text", lambda text: text[:], Text)
    data = {"colour": Colour.RED, "pair": Pair(1, 2), "map": collections.OrderedDict(a=1), "text": Text("text")}
    assert same(codec.loads(codec.dumps(data)), data)


@pytest.mark.usefixtures("points")
def test_a_registered_value_with_something_unsupported_in_it_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^session\['point'\]: values of type bytearray are not supported"):
        codec.dumps({"point": [Point(1, bytearray())]})


@pytest.mark.usefixtures("points")
def test_a_type_is_registered_once() -> None:
    with pytest.raises(ValueError, match=r"sessions hold values of type test_codec\.Point already"):
        codec.register(Point, "another name", vars, Point)


@pytest.mark.usefixtures("points")
def test_a_name_is_taken_once_and_the_type_refused_with_it_stays_unknown() -> None:
    with pytest.raises(ValueError, match="another type is registered under the name 'point' already"):
        codec.register(Odd, "point", vars, lambda data: Odd())
    with pytest.raises(TypeError, match="Odd are not supported"):
        codec.dumps({"odd": Odd()})


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("kind", sorted({type(value) for value in SAMPLES}, key=str))
def test_a_type_that_sessions_hold_anyway_is_not_registered(kind: type) -> None:
    with pytest.raises(ValueError, match=f"sessions hold values of type .*{kind.__qualname__} already"):
        codec.register(kind, "name", str, kind)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("kind", [bytearray, memoryview, msgpack.ExtType, msgpack.Timestamp])
def test_a_type_that_messagepack_would_bend_is_not_registered(kind: type) -> None:
    with pytest.raises(ValueError, match=f"values of type .*{kind.__qualname__} cannot be registered"):
        codec.register(kind, "name", bytes, kind)


def test_a_session_with_a_type_not_registered_any_more_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(codec, "_EXTENSIONS", dict(codec._EXTENSIONS))
        patch.setattr(codec, "_REGISTERED_LOADERS", dict(codec._REGISTERED_LOADERS))
        codec.register(Point, "point", lambda point: [point.x, point.y], lambda pair: Point(*pair))
        packed = codec.dumps({"point": [Point("secret", "secret")]})
    with pytest.raises(
        MalformedToken, match=r"^session data hold a type registered as 'point', and here there is none$"
    ):
        codec.loads(packed)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("error", [ZeroDivisionError, AttributeError, KeyError, TypeError, ValueError])
def test_data_that_a_registered_type_cannot_take_are_malformed(error: type[Exception]) -> None:
    def load(data: Any) -> Point:
        raise error("secret")

    codec.register(Point, "point", lambda point: None, load)
    with pytest.raises(MalformedToken, match=f"^session data cannot be read: {error.__name__}$"):
        codec.loads(codec.dumps({"point": Point(1, 2)}))


@pytest.mark.usefixtures("registry")
def test_an_outage_in_load_reaches_the_application() -> None:
    def load(data: Any) -> Point:
        raise ConnectionError("the database is down")

    codec.register(Point, "point", lambda point: None, load)
    with pytest.raises(ConnectionError):
        codec.loads(codec.dumps({"point": Point(1, 2)}))


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("error", [TypeError("bad"), ValueError("bad"), UnicodeDecodeError("utf-8", b"", 0, 1, "bad")])
def test_an_error_in_dump_names_the_session_key(error: Exception) -> None:
    def dump(point: Point) -> Any:
        raise error

    codec.register(Point, "point", dump, Point)
    with pytest.raises((TypeError, ValueError), match=r"^session\['point'\]: .*bad") as caught:
        codec.dumps({"point": Point(1, 2)})
    assert caught.value.__cause__ is error


# -- values of ndb, whose own fidelity has tests of its own


def test_an_ndb_key_and_a_model_come_back_wherever_they_are() -> None:
    ndb = pytest.importorskip("google.cloud.ndb")

    class Visitor(ndb.Model):
        name = ndb.StringProperty()

    key = ndb.Key("Visitor", 1, project="shop", namespace="", database="")
    data = {"key": key, key: {key, (key, 1)}, "models": [Visitor(name="ada"), (Visitor(name="bob"),)]}
    assert codec.loads(codec.dumps(data)) == data


@pytest.mark.parametrize("code", [12, 13])
@pytest.mark.parametrize("field", [b"", b"\xff\xff", b"\x0a\x00", "text", 1, None])
def test_a_damaged_ndb_value_is_malformed(code: int, field: Any) -> None:
    pytest.importorskip("google.cloud.ndb")
    with pytest.raises(MalformedToken, match=r"^session data "):
        codec.loads(extension(code, field))


def test_an_ndb_value_where_there_is_no_ndb_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gaesess.ndb_values", None)  # what an import then raises is the real error
    monkeypatch.delattr("gaesess.ndb_values", raising=False)
    with pytest.raises(MalformedToken, match=r"^session data cannot be read: (ModuleNotFound|Import)Error$"):
        codec.loads(extension(12, b""))


def test_a_datetime_as_ndb_reads_it_comes_back_as_the_datetime_it_was() -> None:
    helpers = pytest.importorskip("google.api_core.datetime_helpers")
    pytest.importorskip("google.cloud.ndb")
    read = helpers.DatetimeWithNanoseconds(2026, 11, 22, 18, 34, 0, nanosecond=123_456_000, tzinfo=timezone.utc)
    (value,) = codec.loads(codec.dumps({"at": read})).values()
    assert (type(value), value) == (datetime, read)


def test_a_datetime_with_nanoseconds_of_its_own_is_refused() -> None:
    helpers = pytest.importorskip("google.api_core.datetime_helpers")
    pytest.importorskip("google.cloud.ndb")
    read = helpers.DatetimeWithNanoseconds(2026, 11, 22, 18, 34, 0, nanosecond=123_456_789, tzinfo=timezone.utc)
    with pytest.raises(TypeError, match=r"session\['at'\]: .*DatetimeWithNanoseconds"):
        codec.dumps({"at": read})


# -- MessagePack without its extension


@pytest.mark.parametrize("pure", ["", "1"])
def test_messagepack_in_either_form_gives_the_same_answers(pure: str) -> None:
    """The same bytes, what comes back is the same, and the same errors: in C, and in Python where no wheel is."""
    program = "import msgpack, test_codec; print(msgpack.Packer.__module__, *test_codec.answers(), sep='\\n')"
    output = subprocess.check_output(
        [sys.executable, "-c", program],
        env=os.environ | {"MSGPACK_PUREPYTHON": pure, "PYTHONIOENCODING": "utf-8:backslashreplace"},
        cwd=Path(__file__).parent,
        text=True,
        encoding="utf-8",
    )
    form, *given_answers = output.splitlines()
    assert (form == "msgpack.fallback") >= bool(pure)
    assert given_answers == answers()
    assert not any(given_answer.endswith("changed") for given_answer in given_answers)
