"""Python 2's pickles as data: all that Python 2.7 writes is read, and nothing else does any more than be refused."""

import pickle
import pickletools
import struct
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from gae_sessions_1_07 import PICKLES, dump, session_pickle
from hypothesis import example, given
from hypothesis import strategies as st
from steps import executed_lines

from gaesess import _impl
from gaesess.errors import MalformedToken
from gaesess.legacy.pickles import MAX_PICKLE_BYTES, loads, session_data

PROTO = b"\x80\x02"

# What Python 2.7 wrote

READ = {
    "uuid": {"id": UUID(int=2**127 + 5), "again": UUID(int=2**127 + 5)},
    "time": {"t": time(23, 59, 58, 999999)},
    "early date": {"d": date(1900, 1, 2), "dt": datetime(1850, 3, 4, 5, 6, 7, 8)},  # their bytes are UTF-8
    "shared list": {"a": [1, 2], "b": {"c": [1, 2]}},
    "tuple keys": {(1, "a", (2.5, "b")): 1, frozenset([(1, 2)]): 2},
    "long str": {"s": "x" * 300, "raw": b"\xff" * 300, "u": "\ud800"},
    "many": {"l": list(range(300)), "m": [f"k{number}" for number in range(300)]},
}
LEFT_OUT = {  # of these only "x" is read
    "model": ["google.appengine.datastore.entity_pb.EntityProto"],
    "user": ["google.appengine.api.users.User"],
    "in a list": ["google.appengine.api.users.User"],
    "set of users": ["google.appengine.api.users.User"],
    "zone": ["pytz._UTC"],
    "subclasses": ["app.Bag", "app.List", "collections.OrderedDict"],
    "class": ["__builtin__.len", "decimal.Decimal"],
    "loop": ["nested deeper than 64 levels"],
}


def test_every_pickle_of_python_2_is_in_a_test():
    assert sorted(PICKLES) == sorted([*READ, *LEFT_OUT])


@pytest.mark.parametrize("name", READ)
def test_data_are_read(name):
    assert session_data(PICKLES[name]) == READ[name]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_key_with_what_is_no_data_is_left_out_and_told(name, told):
    assert session_data(PICKLES[name]) == {"x": 1}
    assert [event.name for event in told] == ["value_left_out"] * len(LEFT_OUT[name])
    reasons = sorted(str(event.fields["reason"]) for event in told)
    assert all(part in reason for part, reason in zip(LEFT_OUT[name], reasons, strict=True))


# Whatever a session may hold

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.datetimes().map(lambda value: value.replace(fold=0))  # Python 2 has none
    | st.dates()
    | st.times().map(lambda value: value.replace(fold=0))
    | st.timedeltas()
    | st.complex_numbers(allow_nan=False)
)
KEYS = st.text() | st.integers() | st.binary() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(SCALARS, max_size=4)
        | st.frozensets(SCALARS, max_size=4)
    ),
    max_leaves=12,
)


def in_python_3(value):
    """Return what becomes of a value: a str of Python 2 is text where it is UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, dict):
        return {in_python_3(key): in_python_3(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(map(in_python_3, value))
    return value


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@example({"shared": [[shared := ["x"], shared], shared]})
def test_what_goes_in_comes_out(data):
    found = session_data(session_pickle(data))
    assert _impl.dumps(found) == _impl.dumps(in_python_3(data))


# Whatever else comes


def refused(pickled):
    """Return whether a pickle is refused, or is data that a session can hold, which is as well."""
    try:
        data = session_data(pickled)
    except MalformedToken:
        return True
    _impl.dumps(data)
    return False


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
ARGUMENTS = [
    b"",
    b"\x00",
    b"\x01",
    b"\xff",
    b"\xff" * 4,
    b"\x05\x00\x00\x00hello",
    b"os\nsystem\n",
    b"datetime\ndate\n",
]
BODIES = st.lists(st.sampled_from(OPCODES + ARGUMENTS) | st.binary(max_size=4), max_size=40).map(b"".join)


@given(BODIES | st.binary(max_size=200))
def test_junk_is_refused(body):
    assert refused(PROTO + body + b".")


@given(st.dictionaries(KEYS, VALUES, max_size=3), st.integers(0, 1 << 16), st.binary(max_size=3))
def test_damaged_pickles_are_refused_or_hold_other_data(data, position, damage):
    pickled = session_pickle(data)
    position %= len(pickled)
    refused(pickled[:position] + damage + pickled[position + len(damage) :])


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_cut_short_is_refused(name):
    assert all(refused(PICKLES[name][:length]) for length in range(0, len(PICKLES[name]), 11))


def of_call(module_and_name, arguments=b"(U\x06danger" + b"t"):
    """Pickle a session with a value that is what a function gives."""
    return PROTO + b"}}U\x01x" + b"c" + module_and_name + b"\n" + arguments + b"Rs\x86."


@pytest.mark.parametrize(
    "name",
    [
        b"os\nsystem",
        b"posix\nsystem",
        b"__builtin__\neval",
        b"builtins\nexec",
        b"__builtin__\ngetattr",
        b"subprocess\nPopen",
        b"gaesess.legacy.pickles\nloads",
        b"antigravity\nfly",
        b"datetime\ndatetime.now",
        b"uuid\nuuid4",
    ],
)
def test_no_function_is_called_and_no_module_imported(name, told):
    before = set(sys.modules)
    assert session_data(of_call(name)) == {}
    assert [event.name for event in told] == ["value_left_out"]
    assert set(sys.modules) == before


@pytest.mark.parametrize("escape", [b"os\n\\x0aERROR:root:forged", b"os\nsys\\u000atem", b"os\n" + b"x" * 5000])
def test_a_name_cannot_forge_a_line_of_the_log_or_fill_it(escape, told):
    refused(of_call(escape))
    assert all(len(event.message) < 300 and event.message.isprintable() for event in told)


def test_builders_take_no_more_than_data():
    assert refused(of_call(b"datetime\ndatetime", b"(U\x0a" + b"\xff" * 10 + b"t"))
    assert refused(of_call(b"datetime\ndate", b"(K\x01K\x01K\x01t"))
    assert refused(of_call(b"decimal\nDecimal", b"(U\x04junkt"))
    assert refused(of_call(b"decimal\nDecimal", b"(K\x01t"))
    assert refused(of_call(b"datetime\ntimedelta", b"(\x8a\x09" + b"\x7f" * 9 + b"t"))
    assert refused(of_call(b"__builtin__\nset", b"(K\x01t"))
    assert refused(of_call(b"__builtin__\nset", b"(]]at"))


@pytest.mark.parametrize(
    "state", [b"}", b"N", b"}U\x03intNs", b"}U\x03intK\x01sU\x01x", b"}U\x03intG" + b"\x40" * 8 + b"s"]
)
def test_an_id_is_given_a_number_of_128_bits(state):
    assert refused(PROTO + b"}}U\x01xcuuid\nUUID\n)\x81" + state + b"bs\x86.")


HOSTILE = {
    "a huge long": b"\x8b\xff\xff\xff\x7f",
    "a negative long": b"\x8b\xff\xff\xff\xff",
    "a huge text": b"X\xff\xff\xff\xff",
    "a huger text": b"\x8d" + b"\xff" * 8,
    "a huge str": b"T\xff\xff\xff\x7f",
    "digits without end": b"I" + b"9" * 100_000 + b"\n",
    "pops": b"0" * 10,
    "marks popped": b"11",
    "tuples of nothing": b"\x87\x87",
    "a list without a mark": b"Ke",
    "a memo entry that is not there": b"h\x07",
    "the memo of nothing": b"q\x00",
    "a persistent id": b"Pid\n",
    "an extension": b"\x82\x01",
    "text of protocol 0": b"S'\\z'\n",
    "a list as a key": b"}]K\x01s",
    "an item of a number": b"K\x01K\x01K\x01s",
    "a dict that a tuple is in": b"}(K\x01u",
    "stack global": b"U\x02osU\x06system\x93",
    "a frame": b"\x95" + b"\xff" * 8,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_opcodes_are_refused(body):
    assert refused(PROTO + body + b".")


def in_session(value):
    """Pickle a session with one value, given as opcodes."""
    return PROTO + b"}}U\x01x" + value + b"s\x86."


def doubled(times, opcodes):
    """Double a value again and again: it takes few bytes, and comes to 2 to the power of `times` values."""
    body = opcodes
    for index in range(times):
        body += b"q" + bytes([index]) + b"h" + bytes([index]) + b"\x86"
    return body


def test_a_value_that_is_shared_until_it_is_too_much_is_refused():
    assert refused(in_session(doubled(60, b"N")))
    assert refused(in_session(doubled(18, b"U\x09" + b"x" * 9)))


def test_a_key_that_is_shared_until_it_is_too_much_is_refused():
    assert refused(in_session(b"}" + doubled(60, b"N") + b"K\x01s"))
    assert refused(in_session(b"c__builtin__\nfrozenset\n(](" + doubled(60, b"N") + b"et" + b"R"))


@pytest.mark.parametrize(
    "value",
    [b"N" + b"\x85" * 100_000, b"]" * 100_000 + b"a" * 99_999, b"}K\x01" * 100_000 + b"N" + b"s" * 100_000],
    ids=["tuples", "lists", "dicts"],
)
def test_what_is_nested_too_deep_is_left_out(value, told):
    assert session_data(in_session(value)) == {}
    assert "nested deeper than 64 levels" in told[0].message


def test_a_key_that_is_nested_too_deep_is_refused():
    assert refused(in_session(b"}N" + b"\x85" * 500_000 + b"K\x01s"))


def test_a_depth_that_a_session_can_hold_is_read():
    nested = []
    for _ in range(62):
        nested = [nested]
    assert session_data(session_pickle({"x": nested})) == {"x": nested}
    assert session_data(session_pickle({"x": [nested]})) == {}


def test_a_value_within_itself_is_left_out():
    assert session_data(in_session(b"}q\x00U\x01yh\x00s")) == {}


def test_a_value_that_is_within_itself_many_times_is_not_looked_through_again_and_again():
    within_itself = in_session(b"]q\x00(" + b"h\x00" * 100 + b"e")
    assert session_data(within_itself) == {}
    assert executed_lines(session_data, within_itself) < 10_000


def test_too_many_memo_entries_are_refused():
    entries = b"".join(b"r" + struct.pack("<I", number) for number in range(100_001))
    assert refused(in_session(b"N" + entries))


def test_too_long_a_pickle_is_refused_before_it_is_looked_at():
    assert refused(PROTO + b"N" * MAX_PICKLE_BYTES + b".")


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_other_protocols_are_refused(protocol):
    assert refused(pickle.dumps(({}, {"x": 1}), protocol))


@pytest.mark.parametrize("value", [{}, [], ({},), ({}, {}, {}), ({}, None), ([], {}), None])
def test_what_is_not_a_sessions_pair_is_refused(value):
    assert refused(dump(value))


def test_a_model_that_is_data_is_read_as_such():
    """None is by 1.07; but who can write it could as well write it among the values."""
    assert session_data(dump(({"x": 1}, {}))) == {"x": 1}


def test_other_parts_of_a_pickle_keep_their_types():
    value = [1, 2**31, -(2**40), 2**70, True, None, 1.5, timedelta(1, 2, 3), Decimal("1.10"), 2 + 3j]
    found = loads(dump(value))
    assert [(type(item), item) for item in found] == [(type(item), item) for item in value]
