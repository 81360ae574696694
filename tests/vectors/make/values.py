"""Session data as bytes, and values that sessions refuse."""

from __future__ import annotations

from typing import Any

from vectors import answers
from vectors.notation import value_of

LENGTHS = (1, 15, 16, 31, 32, 33, 255, 256, 65535, 65536)
ZONES = {
    "UTC": "timezone.utc",
    "an offset": "timezone(timedelta(hours=5, minutes=30))",
    "a negative offset": "timezone(timedelta(hours=-3, minutes=-30))",
    "an offset with microseconds": "timezone(timedelta(seconds=1, microseconds=1))",
    "the largest offset": "timezone(timedelta(hours=24) - timedelta(microseconds=1))",
    "the smallest offset": "timezone(-timedelta(hours=24) + timedelta(microseconds=1))",
    "no offset, with another name": "timezone(timedelta(0), 'GMT')",
    "a named offset": "timezone(timedelta(hours=1), 'CET')",
    "an offset with an empty name": "timezone(timedelta(hours=1), '')",
    "an offset with the name it has": "timezone(timedelta(hours=1), 'UTC+01:00')",
    "a zone": "ZoneInfo('Europe/Paris')",
    "a zone named UTC": "ZoneInfo('UTC')",
}
INTS = [
    *("0", "1", "127", "128", "255", "256", "65535", "65536", "2**31", "2**32 - 1", "2**32", "2**63 - 1", "2**63"),
    *("2**64 - 1", "-1", "-31", "-32", "-33", "-127", "-128", "-129", "-2**15", "-2**15 - 1", "-2**31", "-2**31 - 1"),
    *("-2**63", "2**64", "2**71 - 1", "2**71", "2**128", "2**300", "2**4000", "-2**63 - 1", "-2**64", "-2**71"),
    *("-2**71 - 1", "-2**128", "-2**300"),
]
FLOATS = [
    *("0.0", "-0.0", "1.0", "-1.5", "0.1", "5e-324", "2.2250738585072014e-308", "1.7976931348623157e308"),
    *("inf", "-inf", "nan", "-nan", "3.4028234663852886e38", "2.0**53"),
]
STRINGS = [
    *(
        "''",
        "'a'",
        "'nul\\0'",
        "'line\\n'",
        "'\\x7f\\x80\\xff'",
        "'ü€😀'",
        "'\\ud800'",
        "'\\udfff text'",
        "'\\ud83d\\ude00'",
    ),
    *("'e\\u0301'", "'\\uffff\\U0010ffff'"),
    *(f"'a' * {length}" for length in LENGTHS),
    *("'ü' * 15", "'ü' * 16", "'€' * 85", "'\\ud800' * 11"),
    *("b''", "b'\\0\\xff'", *(f"b'a' * {length}" for length in LENGTHS)),
]
CONTAINERS = [
    *("[]", "[None]", "[1, [2.0, ['3']]]", "[[], (), {}, set(), frozenset()]"),
    *(f"[None] * {length}" for length in (15, 16, 65535, 65536)),
    *("()", "(None,)", "(1, (2, ()))", "([1], (1,))"),
    *(f"(None,) * {length}" for length in (14, 15, 65534, 65535)),
    *("{}", "{'a': 1}", "{'b': 1, 'a': 2}", "{'a': {1: {(2, 'b'): None}}}", "{'': ''}"),
    *(f"dict.fromkeys(range({length}))" for length in (15, 16, 65535, 65536)),
    *("set()", "{1}", "{3, 1, 2}", "{'b', 'a', 'c'}", "{1, '1', (1,), b'1', None, 1.5}", "{-1, 300, 2, -200, 65536}"),
    *(
        "{True, 'True'}",
        "{'a' * 32, 'b', 'c' * 31}",
        "{(2, 1), (1, 2), (1,)}",
        "{2**70, -2**70, 1}",
        "{'ü', '\\ud800'}",
    ),
    *(f"set(range({length}))" for length in (14, 15)),
    *("frozenset()", "frozenset({2, 1})", "frozenset({frozenset({1}), frozenset({2}), frozenset()})"),
    *("{frozenset({(1, frozenset({3, 2}))}), (frozenset({1}),)}", "{date(2026, 1, 2), time(3, 4), timedelta(5)}"),
    *("nested(list, 63)", "nested(tuple, 63)", "nested(dict, 63)", "nested(frozenset, 63)"),
]
KEYS = [
    *("None", "True", "False", "0", "1", "1.0", "-0.0", "''", "'1'", "b'1'", "(1,)", "(1, (2, 'b'))", "()", "2**70"),
    *("frozenset({2, 1})", "date(2026, 1, 2)", "datetime(2026, 1, 2, tzinfo=timezone.utc)", "timedelta(1)"),
    *("Decimal('1.0')", "UUID(int=5)", "1j", "Point(1, 2)", "'\\ud800'", "inf"),
]
TIMES = [
    *("date(1, 1, 1)", "date(1970, 1, 1)", "date(2024, 2, 29)", "date(9999, 12, 31)"),
    *("datetime(1, 1, 1)", "datetime(9999, 12, 31, 23, 59, 59, 999999)", "datetime(2026, 10, 25, 2, 30, 0, 123456)"),
    "datetime(2026, 10, 25, 2, 30, fold=1)",
    *(f"datetime(2026, 10, 25, 2, 30, 0, 1, tzinfo={zone})" for zone in ZONES.values()),
    "datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo('Europe/Paris'), fold=1)",
    *("time(0)", "time(23, 59, 59, 999999)", "time(1, 2, 3, 4, fold=1)"),
    *(f"time(1, 2, 3, 4, tzinfo={zone})" for zone in ZONES.values()),
    *("timedelta(0)", "timedelta(1, 2, 3)", "timedelta(microseconds=-1)", "timedelta.min", "timedelta.max"),
    "timedelta(days=-1, seconds=86399)",
]
NUMBERS = [
    *(
        f"Decimal('{text}')"
        for text in ("0", "-0", "1", "1.0", "1.10", "-1.5", "1E+5", "0E-10", "1E+999999", "1E-999999")
    ),
    *(f"Decimal('{text}')" for text in ("Infinity", "-Infinity", "NaN", "-NaN", "NaN123", "sNaN", "-sNaN45")),
    "Decimal('12345678901234567890.123456789')",
    *("UUID(int=0)", "UUID(int=2**128 - 1)", "UUID('12345678-1234-5678-1234-567812345678')"),
    *("0j", "1 + 2j", "complex(-0.0, -0.0)", "complex(nan, inf)", "complex(-inf, 1.5)"),
]
REGISTERED = ["Point(1, 2)", "Point(Point(1, 2), [Point(3, {4})])", "(Point(None, ()),)"]
SESSIONS = [
    *("{}", "{'n': 1}", "{'b': 1, 'a': 2}", "{1: 1, '1': 2, b'1': 3, (1,): 4, None: 5, 1.5: 6}", "{'': {}}"),
    *(f"dict.fromkeys(range({length}))" for length in (15, 16)),
    "{'user': 7, 'cart': [(1, 'tea'), (2, 'milk')], 'at': datetime(2026, 1, 2, tzinfo=timezone.utc)}",
]
UNSUPPORTED_SESSIONS = [
    *("{('cart', 1): object()}", "{object: 1}", "{'fine': 1, 'bad': object()}", "{(1, object): 1}", "{7: endless()}"),
    "{'a': nested(list, 64)}",
]
UNSUPPORTED = [
    *("object()", "object", "Odd()", "Odd", "SimpleNamespace(a=1)", "len", "range(3)", "iter([])", "{}.keys()", "..."),
    *("NotImplemented", "bytearray(b'a')", "memoryview(b'a')", "deque([1])", "slice(1)", "Exception('a')"),
    *("[1, object()]", "(object(),)", "{'a': [{'b': (object(),)}]}", "{object}", "frozenset({object})"),
    *("{object: 1}", "{(object,): 1}", "Point(1, [object])", "[bytearray(b'a')]", "{range(3)}"),
    *("datetime(2026, 1, 2, tzinfo=Zone())", "time(1, tzinfo=Zone())"),
    *(
        "nested(list, 64)",
        "nested(tuple, 64)",
        "nested(dict, 64)",
        "nested(frozenset, 64)",
        "nested(list, 500)",
        "endless()",
    ),
]


def content() -> dict[str, Any]:
    values = ["None", "True", "False", *INTS, *FLOATS, *STRINGS, *CONTAINERS, *TIMES, *NUMBERS, *REGISTERED]
    values += [f"{{{key}: 1}}" for key in KEYS]
    sessions = [*SESSIONS, *(f"{{'v': {value}}}" for value in values)]
    refused = [*UNSUPPORTED_SESSIONS, *(f"{{'v': {value}}}" for value in UNSUPPORTED)]
    return {
        "about": "Session data as bytes, and session data with unsupported values.",
        "sessions": [{"data": data, "bytes": answers.packed(value_of(data))} for data in sessions],
        "refused": [{"data": data} | answers.packed(value_of(data)) for data in refused],
    }
