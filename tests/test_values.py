"""What sessions hold comes back equal and of the same types, or is refused; nothing but data is read."""

from __future__ import annotations

import collections
import errno
import os
import struct
import subprocess
import sys
import threading
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import msgpack_oracle as oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sameness import same
from value_samples import (
    MOMENT,
    REFUSED,
    SAMPLES,
    Colour,
    Moment,
    Odd,
    Pair,
    Text,
    Zone,
    damaged_payloads,
    keys,
    nested,
    sessions,
    texts,
)

from gaesess import _impl, register, values
from gaesess.errors import MalformedToken

many = settings(deadline=None, max_examples=200)


class Point:
    """A type to register."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return type(other) is Point and (other.x, other.y) == (self.x, self.y)

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register types; afterwards they are not."""
    monkeypatch.setattr(values, "_TYPES", dict(values._TYPES))
    monkeypatch.setattr(values, "_REGISTERED_LOADERS", dict(values._REGISTERED_LOADERS))


@pytest.fixture
def points(registry: None) -> None:
    register(Point, "point", lambda point: [point.x, point.y], lambda pair: Point(*pair))


# -- what goes in comes out


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: repr(value)[:40])
def test_each_supported_value_comes_back_the_same(value: Any) -> None:
    assert same(_impl.loads(_impl.dumps({"key": value})), {"key": value})


@many
@given(sessions)
def test_whatever_a_session_holds_comes_back_the_same(data: dict[Any, Any]) -> None:
    assert same(_impl.loads(_impl.dumps(data)), data)


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
    assert same(_impl.loads(_impl.dumps({key: "value"})), {key: "value"})


def test_a_named_time_zone_keeps_its_name() -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET"))
    assert _impl.loads(_impl.dumps({"at": moment}))["at"].tzname() == "CET"


# -- the same data, the same bytes


@many
@given(sessions)
def test_what_was_read_gives_the_bytes_it_was_read_from(data: dict[Any, Any]) -> None:
    packed = _impl.dumps(data)
    assert _impl.dumps(_impl.loads(packed)) == packed


@many
@given(st.sets(keys(), max_size=5).flatmap(lambda items: st.tuples(*[st.permutations(list(items))] * 2)))
def test_a_set_gives_the_same_bytes_in_whatever_order_it_was_filled(orders: tuple[list[Any], list[Any]]) -> None:
    one, other = orders
    assert _impl.dumps({"set": set(one)}) == _impl.dumps({"set": set(other)})


def test_a_set_of_colliding_hashes_gives_the_same_bytes_in_every_order() -> None:
    items = [0, 2**61 - 1, 2 * (2**61 - 1), 8]  # hash alike, so that they iterate in the order they were put in
    assert len({tuple(set(order)) for order in permutations(items)}) > 1
    assert len({_impl.dumps({"set": set(order)}) for order in permutations(items)}) == 1


def test_a_set_gives_the_same_bytes_in_a_process_that_hashes_otherwise() -> None:
    code = "from gaesess import _impl; print(_impl.dumps({'set': set(map(str, range(50)))}).hex())"
    outputs = {
        subprocess.check_output([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


# -- the bytes are those of MessagePack


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: repr(value)[:40])
def test_each_supported_value_is_packed_as_the_package_msgpack_does(value: Any) -> None:
    assert _impl.dumps({"key": value}) == oracle.pack({"key": value})


@settings(deadline=None, max_examples=500)
@given(sessions)
def test_whatever_a_session_holds_is_packed_as_the_package_msgpack_does(data: dict[Any, Any]) -> None:
    assert _impl.dumps(data) == oracle.pack(data)


SIZES = [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536]


@pytest.mark.parametrize("size", SIZES)
def test_a_value_of_any_size_is_packed_as_the_package_msgpack_does(size: int) -> None:
    items = range(size)
    for value in ("x" * size, bytes(size), [0] * size, (0,) * size, dict.fromkeys(items), set(items)):
        data = {"key": value}
        assert _impl.dumps(data) == oracle.pack(data)
        assert _impl.loads(_impl.dumps(data)) == data


@pytest.mark.usefixtures("points")
def test_a_registered_value_is_its_name_and_what_it_was_dumped_as() -> None:
    packed = oracle.pack({"key": oracle.marked(14, "point", [1, oracle.array((2, 3))])})
    assert _impl.dumps({"key": Point(1, (2, 3))}) == packed


# -- what is refused


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda value: value, ""),
        (lambda value: [1, value], "[1]"),
        (lambda value: (value,), "[0]"),
        (lambda value: {"deep": [{"deeper": (1, 2, value)}]}, "['deep'][0]['deeper'][2]"),
        (lambda value: [{value}] if value.__hash__ else [Point(1, value)], "[0]"),
    ],
    ids=["bare", "in a list", "in a tuple", "deep", "in what has no path"],
)
@pytest.mark.usefixtures("points")
def test_another_type_is_refused_naming_the_path_and_the_type(wrap: Any, path: str, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        _impl.dumps({"fine": 1, ("cart", 1): wrap(value)})
    kind = values.name_of(type(value))
    assert str(caught.value) == (
        f"session[('cart', 1)]{path}: values of type {kind} are not supported; see gaesess.register"
    )


@pytest.mark.parametrize("item", [Colour.RED, Text("text"), Moment(2026, 1, 1), Pair(1, 2), Odd, Odd()])
def test_another_type_is_refused_as_a_key_too(item: Any) -> None:
    for value, path in (({item: 1}, f"[{item!r}]"), ([{(item,): 1}], f"[0][{(item,)!r}]")):
        with pytest.raises(TypeError, match=rf"{type(item).__qualname__} are not supported") as caught:
            _impl.dumps({"key": value})
        assert str(caught.value).startswith(f"session['key']{path}: ")


def test_a_session_key_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^session\[<Colour.RED: 1>\]: .*Colour"):
        _impl.dumps({Colour.RED: 1})


def test_a_time_zone_of_another_class_is_refused() -> None:
    for value in (datetime(2026, 1, 1, tzinfo=Zone()), time(1, tzinfo=Zone())):
        with pytest.raises(TypeError, match=r"^session\['at'\]: time zones of type value_samples\.Zone are"):
            _impl.dumps({"at": value})


def test_a_zoneinfo_without_a_key_is_refused() -> None:
    tzif = b"TZif" + bytes(16) + struct.pack(">6llbb4s", 0, 0, 0, 0, 1, 4, 0, 0, 0, b"UTC")  # RFC 8536 section 3
    with pytest.raises(TypeError, match=r"time zones of type zoneinfo\.ZoneInfo are not supported"):
        _impl.dumps({"at": datetime(2026, 1, 1, tzinfo=ZoneInfo.from_file(BytesIO(tzif)))})


# -- depth


@pytest.mark.parametrize("kind", [list, tuple, dict, frozenset])
def test_sixty_four_levels_come_back(kind: type) -> None:
    data = {"deep": nested(kind, 63)}  # the session itself is the first level
    assert same(_impl.loads(_impl.dumps(data)), data)


@pytest.mark.parametrize("kind", [list, tuple, dict, frozenset])
@pytest.mark.parametrize("levels", [64, 500, 5000])
def test_deeper_values_are_refused_naming_the_session_key(kind: type, levels: int) -> None:
    with pytest.raises(ValueError, match=r"^session\['deep'\]: nested deeper than 64 levels$"):
        _impl.dumps({"fine": 1, "deep": nested(kind, levels)})


def test_a_list_in_itself_is_refused_naming_the_session_key() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"^session\['endless'\]: nested deeper than 64 levels$"):
        _impl.dumps({"endless": endless})


@pytest.mark.usefixtures("points")
def test_a_registered_value_in_itself_is_refused_naming_the_session_key() -> None:
    endless = Point(1, None)
    endless.y = [endless, endless]
    with pytest.raises(ValueError, match=r"^session\['endless'\]: nested deeper than 64 levels$"):
        _impl.dumps({"endless": endless})


@pytest.mark.usefixtures("points")
@pytest.mark.parametrize(("length", "fits"), [(31, True), (32, False)])
def test_registered_values_count_as_a_level_and_what_they_dump_as_more(length: int, fits: bool) -> None:
    chain: Any = None
    for number in range(length):
        chain = Point(number, chain)
    if fits:
        assert _impl.loads(_impl.dumps({"chain": chain})) == {"chain": chain}
    else:
        with pytest.raises(ValueError, match="nested deeper than 64 levels"):
            _impl.dumps({"chain": chain})


def test_the_deepest_values_are_packed_and_read_on_a_small_stack() -> None:
    """On the 128 KiB that some platforms give a thread: to run out of it would end the process."""
    deepest = [{"deep": nested(kind, 63)} for kind in (list, tuple, dict, frozenset)]
    results: list[bool] = []
    earlier = threading.stack_size(128 * 1024)
    try:
        thread = threading.Thread(
            target=lambda: results.extend(same(_impl.loads(_impl.dumps(data)), data) for data in deepest)
        )
        thread.start()
    finally:
        threading.stack_size(earlier)
    thread.join()
    assert results == [True] * 4


# -- reading what may be anything


def read_or_refuse(payload: bytes) -> None:
    """Check that session data are refused, or are read as what is the same when it is written and read again."""
    try:
        data = _impl.loads(payload)
    except MalformedToken as error:
        assert str(error).startswith("session data ")  # noqa: PT017
        return
    assert type(data) is dict
    assert same(_impl.loads(_impl.dumps(data)), data)


@many
@given(st.binary())
@example(b"")
@example(b"\x81\xa1a\x91" * 5000)
@example(b"\xc7\xff\x02" * 5000)
@example(_impl.dumps({"a": 1}) + b"\0")
@example(b"\x81\x90\x01")
@example(b"\xdf\xff\xff\xff\xff")
def test_of_any_bytes_a_dict_is_read_or_malformed_token_raised(payload: bytes) -> None:
    read_or_refuse(payload)


def marked(code: int, *fields: Any) -> bytes:
    """Return session data with a value that pretends to be of the type with that code."""
    return _impl.dumps({"key": fields}).replace(bytes((0xC7, 0, values.TUPLE)), bytes((0xC7, 0, code)), 1)


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), texts, st.binary())


@many
@given(
    st.integers(0, 15), st.lists(st.one_of(scalars, st.lists(scalars), st.dictionaries(st.text(), scalars)), max_size=8)
)
@example(1, [[1, 2]])
@example(1, ["1"])
@example(3, [[]])
@example(5, [1, 0, 0, 0, 0, 0, 2**60])
@example(5, [1, 0, 0, 0, 0, 0, "../../etc/passwd"])
@example(5, [1, 0, 0, 0, 0, 0, "Nowhere/Land"])
@example(8, [10**19])
@example(9, ["1E+99999999999999999999"])
@example(9, [0.1])
@example(10, [bytes(15)])
@example(10, ["x" * 16])
@example(10, [[1] * 16])
@example(11, ["1+2j"])
@example(14, [[], 1])
def test_of_any_extension_a_dict_is_read_or_malformed_token_raised(code: int, fields: list[Any]) -> None:
    read_or_refuse(marked(code, *fields))


@many
@given(damaged_payloads())
def test_of_damaged_session_data_a_dict_is_read_or_malformed_token_raised(payload: bytes) -> None:
    read_or_refuse(payload)


@pytest.mark.parametrize("key", ["Europe", "x" * 300], ids=["a folder", "too long for a file name"])
def test_a_time_zone_that_cannot_be_is_malformed(key: str) -> None:
    pytest.importorskip("tzdata")  # where the system has no such zone, it is asked, and opens whatever it is told to
    with pytest.raises(MalformedToken, match="time zone"):
        _impl.loads(marked(7, 1, 2, 3, 4, 0, key))


def test_a_time_zone_that_cannot_be_read_now_is_not_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_files(key: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("zoneinfo.ZoneInfo", no_more_files)
    with pytest.raises(OSError, match="Too many open files"):
        _impl.loads(marked(7, 1, 2, 3, 4, 0, "Europe/Paris"))


@pytest.mark.parametrize("opening", [b"\x91", b"\x92\xc7\x00\x02", b"\x81\x01", b"\x93\xc7\x00\x0e\xa5point"])
def test_data_nested_without_end_are_malformed(opening: bytes) -> None:
    with pytest.raises(MalformedToken, match="session data cannot be read"):
        _impl.loads(b"\x81\x01" + opening * 5000 + b"\xc0")


@pytest.mark.parametrize("kind", [list, dict])
def test_data_nested_two_levels_deeper_than_any_that_are_written_are_malformed(kind: type) -> None:
    start = {list: b"\x91", dict: b"\x81\x01"}[kind]
    assert _impl.loads(b"\x81\x01" + start * 62 + b"\x90")
    with pytest.raises(MalformedToken, match="nested too deeply"):
        _impl.loads(b"\x81\x01" + start * 64 + b"\x90")


@pytest.mark.parametrize("payload", [b"\x90", b"\xc0", b"\xa1a", b"\x01"])
def test_data_that_are_not_a_dict_are_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedToken, match="session data is not a dict"):
        _impl.loads(payload)


def test_the_message_tells_nothing_of_the_data() -> None:
    with pytest.raises(MalformedToken) as caught:
        _impl.loads(_impl.dumps({"secret": "secret" * 10})[:-20])
    assert "secret" not in str(caught.value)


# -- types of the application's own


@pytest.mark.usefixtures("points")
def test_a_registered_type_comes_back_wherever_it_is() -> None:
    data = {"point": Point(1, (2.0, "3")), "line": [Point(0, 0), (Point(1, Point(2, {3})),)]}
    assert _impl.loads(_impl.dumps(data)) == data


@pytest.mark.usefixtures("points")
def test_a_subclass_of_a_registered_type_is_refused() -> None:
    class Spot(Point):
        pass

    with pytest.raises(TypeError, match=r"^session\['spot'\]: values of type .*Spot are not supported"):
        _impl.dumps({"spot": Spot(1, 2)})


@pytest.mark.usefixtures("registry")
def test_subclasses_of_supported_types_can_be_registered() -> None:
    register(Colour, "colour", int, Colour)
    register(Pair, "pair", tuple, Pair._make)
    register(collections.OrderedDict, "ordered", dict, collections.OrderedDict)
    register(Text, "text", lambda text: text[:], Text)
    data = {"colour": Colour.RED, "pair": Pair(1, 2), "map": collections.OrderedDict(a=1), "text": Text("text")}
    assert same(_impl.loads(_impl.dumps(data)), data)


@pytest.mark.usefixtures("points")
def test_a_registered_value_with_something_unsupported_in_it_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^session\['point'\]\[0\]: values of type bytearray are not supported"):
        _impl.dumps({"point": [Point(1, bytearray())]})


@pytest.mark.usefixtures("points")
def test_a_type_is_registered_once() -> None:
    with pytest.raises(ValueError, match=r"sessions hold values of type test_values\.Point already"):
        register(Point, "another name", vars, Point)


@pytest.mark.usefixtures("points")
def test_a_name_is_taken_once_and_the_type_refused_with_it_stays_unknown() -> None:
    with pytest.raises(ValueError, match="another type is registered under the name 'point' already"):
        register(Odd, "point", vars, lambda data: Odd())
    with pytest.raises(TypeError, match="Odd are not supported"):
        _impl.dumps({"odd": Odd()})


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("kind", sorted({type(value) for value in SAMPLES}, key=str))
def test_a_type_that_sessions_hold_anyway_is_not_registered(kind: type) -> None:
    with pytest.raises(ValueError, match=f"sessions hold values of type .*{kind.__qualname__} already"):
        register(kind, "name", str, kind)


@pytest.mark.usefixtures("registry")
def test_types_that_are_like_supported_ones_can_be_registered() -> None:
    register(bytearray, "bytearray", bytes, bytearray)
    register(collections.deque, "deque", list, collections.deque)
    data = {"buffer": bytearray(b"data"), "queue": collections.deque([1, bytearray()])}
    assert same(_impl.loads(_impl.dumps(data)), data)


def test_a_session_with_a_type_not_registered_any_more_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(values, "_TYPES", dict(values._TYPES))
        patch.setattr(values, "_REGISTERED_LOADERS", dict(values._REGISTERED_LOADERS))
        register(Point, "point", lambda point: [point.x, point.y], lambda pair: Point(*pair))
        packed = _impl.dumps({"point": [Point("secret", "secret")]})
    with pytest.raises(
        MalformedToken, match=r"^session data hold a type registered as 'point', and here there is none$"
    ):
        _impl.loads(packed)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("error", [ZeroDivisionError, AttributeError, KeyError, TypeError, ValueError])
def test_data_that_a_registered_type_cannot_take_are_malformed(error: type[Exception]) -> None:
    def load(data: Any) -> Point:
        raise error("secret")

    register(Point, "point", lambda point: None, load)
    with pytest.raises(MalformedToken, match=f"^session data cannot be read: {error.__name__}$"):
        _impl.loads(_impl.dumps({"point": Point(1, 2)}))


@pytest.mark.usefixtures("registry")
def test_an_outage_in_load_reaches_the_application() -> None:
    def load(data: Any) -> Point:
        raise ConnectionError("the database is down")

    register(Point, "point", lambda point: None, load)
    with pytest.raises(ConnectionError):
        _impl.loads(_impl.dumps({"point": Point(1, 2)}))


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("error", [TypeError("bad"), ValueError("bad"), UnicodeDecodeError("utf-8", b"", 0, 1, "bad")])
def test_an_error_in_dump_names_the_session_key(error: Exception) -> None:
    def dump(point: Point) -> Any:
        raise error

    register(Point, "point", dump, Point)
    with pytest.raises((TypeError, ValueError), match=r"^session\['point'\]: .*bad") as caught:
        _impl.dumps({"point": Point(1, 2)})
    assert caught.value.__cause__ is error


# -- values of ndb, whose own fidelity has tests of its own


def test_an_ndb_key_and_a_model_come_back_wherever_they_are() -> None:
    ndb = pytest.importorskip("google.cloud.ndb")

    class Visitor(ndb.Model):
        name = ndb.StringProperty()

    key = ndb.Key("Visitor", 1, project="shop", namespace="", database="")
    data = {"key": key, key: {key, (key, 1)}, "models": [Visitor(name="ada"), (Visitor(name="bob"),)]}
    assert _impl.loads(_impl.dumps(data)) == data


@pytest.mark.parametrize("code", [12, 13])
@pytest.mark.parametrize("field", [b"", b"\xff\xff", b"\x0a\x00", "text", 1, None])
def test_a_damaged_ndb_value_is_malformed(code: int, field: Any) -> None:
    pytest.importorskip("google.cloud.ndb")
    with pytest.raises(MalformedToken, match=r"^session data "):
        _impl.loads(marked(code, field))


def test_an_ndb_value_where_there_is_no_ndb_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gaesess.ndb_values", None)  # what an import then raises is the real error
    monkeypatch.delattr("gaesess.ndb_values", raising=False)
    with pytest.raises(MalformedToken, match=r"^session data cannot be read: (ModuleNotFound|Import)Error$"):
        _impl.loads(marked(12, b""))


def test_a_datetime_as_ndb_reads_it_comes_back_as_the_datetime_it_was() -> None:
    helpers = pytest.importorskip("google.api_core.datetime_helpers")
    pytest.importorskip("google.cloud.ndb")
    read = helpers.DatetimeWithNanoseconds(2026, 11, 22, 18, 34, 0, nanosecond=123_456_000, tzinfo=timezone.utc)
    (value,) = _impl.loads(_impl.dumps({"at": read})).values()
    assert (type(value), value) == (datetime, read)


def test_a_datetime_with_nanoseconds_of_its_own_is_refused() -> None:
    helpers = pytest.importorskip("google.api_core.datetime_helpers")
    pytest.importorskip("google.cloud.ndb")
    read = helpers.DatetimeWithNanoseconds(2026, 11, 22, 18, 34, 0, nanosecond=123_456_789, tzinfo=timezone.utc)
    with pytest.raises(TypeError, match=r"session\['at'\]: .*DatetimeWithNanoseconds"):
        _impl.dumps({"at": read})
