"""Bytes that are never written as session data: some are refused, some are read."""

from __future__ import annotations

from typing import Any

from sameness import same
from vectors import answers
from vectors.notation import unhexed, value_of

V = "81a176"  # {"v": what follows}


def ext(code: int, fields: str, count: int | None = None) -> str:
    """Return session data with a value of an extension type. Spaces separate its fields, unless `count` is given."""
    number = len(fields.split()) if count is None else count
    return f"{V}{0x91 + number:02x}c700{code:02x} {fields}"


# Not MessagePack, or not of our types. The text of the error is left open.
MALFORMED = {
    "nothing": "",
    "a dict cut short": "81",
    "a key alone": "81a176",
    "a dict of two, cut short": "82a17601",
    "a string cut short": f"{V}a261",
    "a long string cut short": f"{V}d920 61*31",
    "a string's length cut short": f"{V}da00",
    "bytes cut short": f"{V}c401",
    "an int cut short": f"{V}cd01",
    "a float cut short": f"{V}cb00000000",
    "a list cut short": f"{V}9201",
    "a mark cut short": f"{V}92c700",
    "a list of 4 billion, cut short": f"{V}ddffffffff",
    "a dict of 4 billion, cut short": "dfffffffff",
    "a string of 4 billion, cut short": f"{V}dbffffffff",
    "a byte too many": f"{V}0100",
    "another dict behind it": f"{V}01{V}01",
    "the byte that MessagePack never uses": f"{V}c1",
    "a string that is no UTF-8": f"{V}a1ff",
    "a string that is UTF-8 cut short": f"{V}a2e282",
    "a string in overlong UTF-8": f"{V}a2c080",
    "a string beyond Unicode": f"{V}a4f4908080",
    "a key that is a list": f"{V}819001",
    "a key that is a dict": f"{V}818001",
    "a session's key that is a list": "819001",
    "a key that is a set": f"{V}8191c7000301",
    "nested without end": f"{V} 91*5000 c0",
    "nested without end, in dicts": f"{V} {'8101' * 200} 91*5000",
    "extension 0": f"{V}c70000",
    "extension 15": f"{V}c7000f",
    "extension 127": f"{V}c7007f",
    "extension -2": f"{V}c700fe",
    "extension -128": f"{V}c70080",
    "extension 15 with a payload": f"{V}d50f0000",
    "extension 15 that begins a list": f"{V}92c7000f01",
    "the extension of times, of a size that there is none of": f"{V}c700ff",
    "nested in 200 levels": f"{V} 91*198 90",
    "a mark with a payload": f"{V}92c7010200 01",
    "a mark of 1 byte": f"{V}92d40200 01",
    "a mark of 16 bytes": f"{V}92d802 00*16 01",
    "a mark with a length of 2 bytes": f"{V}92c8000002 01",
    "a mark with a length of 4 bytes": f"{V}92c90000000002 01",
    "a time of 4 bytes": f"{V}d6ff6b49d200",
    "a time of 8 bytes": f"{V}d7ff 0000000400000001",
    "a time of 12 bytes": f"{V}c70cff 00*4 ff*8",
    "a mark that begins no list": f"{V}c70005",
    "a mark in the middle of a list": f"{V}9201c70005",
    "a mark as a key": f"{V}81c7000501",
}
# MessagePack, but not the fields of a value.
MEANINGLESS = {
    "a list": "90",
    "a list of pairs": "9192a17601",
    "None": "c0",
    "an int": "01",
    "a string": "a176",
    "a tuple": "91c70002",
    "a big int without bytes": ext(1, ""),
    "a big int of two": ext(1, "c40101 c40101"),
    "a big int of text": ext(1, "a131"),
    "a big int of None": ext(1, "c0"),
    "a set with a list": ext(3, "90"),
    "a frozenset with a dict": ext(4, "80"),
    "a set with a set": ext(3, "91c70003"),
    "a datetime without fields": ext(5, ""),
    "a datetime of a day alone": ext(5, "01"),
    "a datetime of hour 24": ext(5, "01 18 00 00 00 00"),
    "a datetime of fold 2": ext(5, "01 00 00 00 00 02"),
    "a datetime of day 0": ext(5, "00 00 00 00 00 00"),
    "a datetime after the year 9999": ext(5, "ce0037b9dc 00 00 00 00 00"),
    "a datetime of day 2**63": ext(5, "cf8000000000000000 00 00 00 00 00"),
    "a datetime of a text": ext(5, "a131 00 00 00 00 00"),
    "a datetime with an offset of 24 hours": ext(5, "01 00 00 00 00 00 cf000000141dd76000"),
    "a datetime with an offset of 2**60 microseconds": ext(5, "01 00 00 00 00 00 cf1000000000000000"),
    "a datetime with an offset that is a list": ext(5, "01 00 00 00 00 00 90"),
    "a datetime with a name that is none": ext(5, "01 00 00 00 00 00 00 01"),
    "a datetime with two names": ext(5, "01 00 00 00 00 00 00 a161 a162"),
    "a date without fields": ext(6, ""),
    "a date of day 0": ext(6, "00"),
    "a date of day -1": ext(6, "ff"),
    "a date after the year 9999": ext(6, "ce0037b9dc"),
    "a date of day 2**63": ext(6, "cf8000000000000000"),
    "a date of a float": ext(6, "cb3ff0000000000000"),
    "a date of two": ext(6, "01 01"),
    "a time without fields": ext(7, ""),
    "a time of minute 60": ext(7, "00 3c 00 00 00"),
    "a time of second -1": ext(7, "00 00 ff 00 00"),
    "a time of a million microseconds": ext(7, "00 00 00 ce000f4240 00"),
    "a time of a float": ext(7, "cb3ff0000000000000 00 00 00 00"),
    "a timedelta beyond its range": ext(8, "ce3b9aca00 00 00"),
    "a timedelta of None": ext(8, "c0"),
    "a timedelta of nan": ext(8, "cb7ff8000000000000"),
    "a Decimal without fields": ext(9, ""),
    "a Decimal of no digits": ext(9, "a0"),
    "a Decimal of letters": ext(9, "a3616263"),
    "a Decimal with an exponent beyond its range": ext(9, "b7 3145 2b 39*20", count=1),
    "a Decimal of None": ext(9, "c0"),
    "a UUID without fields": ext(10, ""),
    "a UUID of 15 bytes": ext(10, "c40f 00*15", count=1),
    "a UUID of 17 bytes": ext(10, "c411 00*17", count=1),
    "a UUID of an int": ext(10, "01"),
    "a complex of None": ext(11, "c0"),
    "a complex of three": ext(11, "01 02 03"),
    "a registered value without fields": ext(14, ""),
    "a registered value without data": ext(14, "ac766563746f72732e506f696e74"),
    "a registered value of a name that is not registered": ext(14, "a4676f6e65 01"),
    "a registered value of a name that is no string": ext(14, "90 01"),
    "a registered value of data that make none": ext(14, "ad766563746f72732e506f696e74 01"),
}
# The text of the error depends on where the machine has its time zones.
NO_ZONES = {
    "a zone that there is none of": ext(7, "00 00 00 00 00 ac4e6f77686572652f4c616e64"),
    "a zone that is a path": ext(7, "00 00 00 00 00 ab2f6574632f706173737764"),
    "a zone that is a path upwards": ext(7, "00 00 00 00 00 a92e2e2f7061737377"),
    "a zone of no name": ext(7, "00 00 00 00 00 a0"),
    "a zone that is a folder": ext(7, "00 00 00 00 00 a64575726f7065"),
    "a zone of a long name": ext(7, "00 00 00 00 00 d9ff 78*255", count=6),
}
# Read, but written in another way; and the value.
OTHER_SPELLINGS = {
    "an int in more bytes than it takes": (f"{V}cc01", "1"),
    "an int in 8 bytes": (f"{V}cf0000000000000001", "1"),
    "a positive int as a signed one": (f"{V}d001", "1"),
    "a negative int in 8 bytes": (f"{V}d3ffffffffffffffff", "-1"),
    "a string of 1 with a length of 1 byte": (f"{V}d90161", "'a'"),
    "a string of 1 with a length of 4 bytes": (f"{V}db0000000161", "'a'"),
    "a key in another spelling": ("81d90176 01", "1"),
    "bytes with a length of 4 bytes": (f"{V}c60000000161", "b'a'"),
    "a list with a length of 4 bytes": (f"{V}dd0000000101", "[1]"),
    "a dict with a length of 4 bytes": (f"df00000001{V[2:]}01", "1"),
    "a float of 4 bytes": (f"{V}ca3fc00000", "1.5"),
    "a float of 4 bytes that is rounded": (f"{V}ca3dcccccd", "0.10000000149011612"),
    "a key twice": (f"82{V[2:]}01{V[2:]}02", "2"),
    "a key twice within": (f"{V}8201a1610102", "{1: 2}"),
    "a key as int and as True": (f"{V}8201a161c3a162", "{1: 'b'}"),
    "a small int as a big one": (ext(1, "c40105"), "5"),
    "a big int of no bytes": (ext(1, "c400"), "0"),
    "a big int in more bytes than it takes": (ext(1, "c40b000001 00*8", count=1), "2**64"),
    "a set in another order": (ext(3, "02 01"), "{1, 2}"),
    "a set with an item twice": (ext(3, "01 01"), "{1}"),
    "a datetime of True": (ext(5, "c3 00 00 00 00 00"), "datetime(1, 1, 1)"),
    "a datetime with None as its zone": (ext(5, "01 00 00 00 00 00 c0"), "datetime(1, 1, 1)"),
    "a datetime with an offset named as it is anyway": (
        ext(5, "01 00 00 00 00 00 00 a3555443"),
        "datetime(1, 1, 1, tzinfo=timezone(timedelta(0), 'UTC'))",
    ),
    "a date of True": (ext(6, "c3"), "date(1, 1, 1)"),
    "a timedelta without fields": (ext(8, ""), "timedelta(0)"),
    "a timedelta of days alone": (ext(8, "05"), "timedelta(5)"),
    "a timedelta of seven fields": (ext(8, "01 02 03 04 05 06 07"), "timedelta(1, 2, 3, 4, 5, 6, 7)"),
    "a timedelta of a float": (ext(8, "cb3fe0000000000000"), "timedelta(hours=12)"),
    "a timedelta with more seconds than a day has": (ext(8, "00 ce00015180 00"), "timedelta(1)"),
    "a Decimal of an int": (ext(9, "05"), "Decimal(5)"),
    "a Decimal of a float": (ext(9, "cb3ff8000000000000"), "Decimal('1.5')"),
    "a Decimal with spaces": (ext(9, "a3203120"), "Decimal('1')"),
    "a Decimal with an underscore": (ext(9, "a3315f30"), "Decimal('10')"),
    "a Decimal of full-width digits": (ext(9, "a3efbc95"), "Decimal('5')"),
    "a Decimal in small letters": (ext(9, "a3316532"), "Decimal('1E+2')"),
    "a complex of ints": (ext(11, "01 02"), "1 + 2j"),
    "a complex without fields": (ext(11, ""), "0j"),
    "a complex of a text": (ext(11, "a4312b326a"), "1 + 2j"),
    "nested in 65 levels": (f"{V} 91*63 90", "nested(list, 64)"),
}


def content() -> dict[str, Any]:
    return {
        "about": "Bytes that are never written as session data. The text of an error is null where it is not ours.",
        "refused": [
            *({"what": what, "bytes": data, "refused": [refused(data)[0], None]} for what, data in MALFORMED.items()),
            *({"what": what, "bytes": data, "refused": refused(data)} for what, data in MEANINGLESS.items()),
            *({"what": what, "bytes": data, "refused": [refused(data)[0], None]} for what, data in NO_ZONES.items()),
        ],
        "read": [
            {"what": what, "bytes": data, "data": read(data, f"{{'v': {value}}}"), **packed_again(data)}
            for what, (data, value) in OTHER_SPELLINGS.items()
        ],
    }


def refused(data: str) -> list[str]:
    answer = answers.unpacked(unhexed(data))
    assert list(answer) == ["refused"], (data, answer)
    return answer["refused"]


def read(data: str, expected: str) -> str:
    answer = answers.unpacked(unhexed(data))
    assert same(answer, value_of(expected)), (data, answer)
    return expected


def packed_again(data: str) -> dict[str, Any]:
    packed = answers.packed(answers.unpacked(unhexed(data)))
    return packed if isinstance(packed, dict) else {"packed again": packed}
