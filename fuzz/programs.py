"""What is played to both forms of the package: sites, and what happens to them, by choices."""

from __future__ import annotations

import copy
import hmac
import pickle
import zlib
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from gaesess import _core, values
from gaesess.errors import StoreUnavailable

Choose = Callable[[int], int]  # returns a number below the one given; the simplest is 0

NOW = 1_800_000_000
SECRETS = [bytes(range(start, start + 32)) for start in (0, 1, 2)]
UNTIL = datetime.fromtimestamp(NOW + 600, timezone.utc)
MAX_STEPS = 12  # of a program, and of what an application does in a request

# One of each row. A site of the same program has another one in one or two rows.
SETTINGS: list[list[dict[str, Any]]] = [
    [{}, {"encrypt": True}, {"compress": True}],
    [
        {},
        {"store": "memory", "cookie_only_threshold": 40},
        {"store": "memory", "cookie_only_threshold": 0},
        {"store": "memory", "revocable": True},
        {"store": "memory", "revocable": True, "outage": "degrade", "cookie_only_threshold": 40},
        {"store": "durable", "cookie_only_threshold": 40},
        {"store": "tiered", "cookie_only_threshold": 40},
        {"store": "tiered", "cookie_only_threshold": 0, "revocable": True, "outage": "degrade"},
        {"cookie_only_threshold": 10_000},
        {"cookie_only_threshold": 40},
        {"store": "memory", "cookie_only_threshold": 10_000},
    ],
    [
        {"cookie_key": SECRETS[0]},
        {"cookie_key": SECRETS[1], "retired_keys": [SECRETS[0]]},
        {"cookie_key": SECRETS[1], "retired_keys": [(SECRETS[0], UNTIL)]},
        {"cookie_key": SECRETS[0], "retired_keys": [(SECRETS[2], UNTIL), SECRETS[1]]},
        {"cookie_key": SECRETS[2]},
    ],
    [
        {},
        {"idle_timeout": timedelta(minutes=1)},
        {"idle_timeout": timedelta(minutes=10, microseconds=1), "passive_paths": ["/poll", "/news/"]},
    ],
    [{}, {"lifetime": timedelta(0)}, {"lifetime": timedelta(hours=1)}, {"lifetime": timedelta(days=400)}],
    [
        {},
        {"cookie_path": "/" + "p" * 1000},
        {"cookie_name": "s", "cookie_domain": "example.com", "cookie_samesite": "None", "cookie_partitioned": True},
        {"cookie_secure": False},
    ],
    [{}, {"clock": None}],
    [{}, {"legacy": "gae-sessions"}],
]


class Odd:
    """A value that sessions cannot hold."""

    def __repr__(self) -> str:
        return "<Odd>"


class Text(str):
    """A str that is none."""


class Coin(NamedTuple):
    """A value of a registered type; one that is negative cannot be written, one of 13 not be read."""

    cents: Any


def dump_coin(coin: Coin) -> Any:
    if coin.cents == -1:
        raise ValueError("no such coin")
    return coin.cents


def load_coin(cents: Any) -> Coin:
    if cents == 13:
        raise LookupError("no such coin")
    return Coin(cents)


values.register(Coin, "fuzz.Coin", dump_coin, load_coin)


def noise(size: int) -> bytes:
    """Return bytes that cannot be compressed."""
    return b"".join(sha256(str(number).encode()).digest() for number in range(-(-size // 32)))[:size]


def gae_sessions_cookie() -> str:
    """Return a cookie of gae-sessions 1.07, with its end and its tag."""
    sid, pickled = f"{NOW + 3600}_{'0f' * 16}", pickle.dumps({"a": 1}, 2)
    tag = hmac.digest(SECRETS[0] + sid.encode(), pickled, "sha256")
    return f'DgU00="{b64encode(tag).decode()}{sid}{b64encode(pickled).decode()}"'


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


# Made again for each use: sessions keep them, and applications change them.
VALUES: list[Callable[[], Any]] = [
    lambda: 0,
    lambda: "text",
    lambda: [1],
    lambda: {"a": [1]},
    lambda: None,
    lambda: True,
    lambda: 1.5,
    lambda: b"bytes",
    lambda: -(2**63),
    lambda: 2**64,
    lambda: "x" * 60,
    lambda: "\u20ac\ud800",
    lambda: (1, [2], {"b": (3,)}),
    lambda: {1, "1", (1, 2)},
    lambda: frozenset({b"1"}),
    lambda: datetime(2026, 10, 25, 2, 30, tzinfo=timezone.utc),
    lambda: Decimal("1.10"),
    lambda: float("nan"),
    lambda: -0.0,
    lambda: ("ada", 0),
    lambda: "x" * 3000,
    lambda: noise(150),
    lambda: noise(2900),
    lambda: [noise(7000)],
    lambda: list(range(300)),
    lambda: {number: str(number) for number in range(300)},
    lambda: nested(62),
    lambda: nested(63),
    lambda: nested(64),
    lambda: Odd(),
    lambda: [{"deeper": (Odd(),)}],
    lambda: {Odd: 1},
    lambda: Text("text"),
    lambda: bytearray(b"1"),
    lambda: {1: float("inf"), 1.5: complex(1, -0.0), False: timedelta(-1)},
    lambda: noise(1_000_001),
    lambda: [sign * (2**bits + offset) for bits in range(67) for offset in (-1, 0, 1) for sign in (1, -1)],
    lambda: Coin([5]),
    lambda: Coin(-1),
    lambda: [Coin(13)],
    lambda: Coin(nested(61)),
    lambda: Coin(nested(62)),
    lambda: [nested(61), Coin(nested(60)), Coin(nested(61))],
]
SIZES = [0, 1, 14, 15, 16, 17, 31, 32, 33, 255, 256, 257, 65_535, 65_536]
SIZED: list[Callable[[int], Any]] = [
    lambda size: "x" * size,
    bytes,
    lambda size: [None] * min(size, 257),
    lambda size: dict.fromkeys(range(min(size, 257))),
    lambda size: (None,) * min(size, 257),
    lambda size: set(range(min(size, 257))),
    lambda size: 256 ** (size % 70),
    lambda size: -(256 ** (size % 70)),
]
KEYS: list[Callable[[], Any]] = [
    lambda: "a",
    lambda: "b",
    lambda: "n",
    lambda: 1,
    lambda: True,
    lambda: 1.0,
    lambda: None,
    lambda: (1, "a"),
    lambda: b"a",
    lambda: "\u20ac\ud800",
    lambda: "k" * 31,
    lambda: "k" * 32,
    lambda: "",
    lambda: "gaesess.user",
    lambda: Text("a"),
    lambda: [],
    lambda: frozenset({1}),
    lambda: Odd,
    lambda: 2**70,
]
HEADERS = [
    "Content-Type: text/plain",
    "Vary: Accept",
    "vary:  cookie ",
    "VARY: Accept-Encoding,\tCOOKIE",
    "Vary: *",
    "Vary: ",
    "vary: x-cookie",
    "Cache-Control: public",
    "cache-control: Public , max-age=60",
    "CACHE-CONTROL: No-Store",
    'Cache-Control: private="x, y"',
    "Cache-control: ",
    "cache-control:  PRIVATE ",
    "Set-Cookie: a=b",
    "set-cookie: gaesess=x; Path=/",
    "Date: today",
    "Last-Modified: today",
    "X-Latin: \xe4",
    "X-Malformed: of: three",
]
COOKIES = [
    "theme=dark",
    "",
    "=",
    "gaesess",
    "xgaesess=1",
    "__Host-gaesess=",
    "__Host-gaesess=IQ",
    "__Host-gaesess =x",
    "\t__Host-gaesess=A",
    "__Host-gaesess.1=left-over",
    "__Host-gaesess.19=left-over",
    "__Host-gaesess.20=x",
    "__Host-gaesess.01=x",
    "s=",
    "s.1=x",
    "s=\u0101",
    "a=\xe4\xff",
    "a=\u20ac",
    'a="; b"',
    "DgU00=x",
]
GAE_SESSIONS = gae_sessions_cookie()
CHARACTERS = 'AQg-_=+/. \t,"\0\x7f\xe4\u20ac\U0001f36a\ud800\n'
SEPARATORS = ["; ", ";", " ; ", ";\t ", ";;", ", "]
PAYLOADS = [
    b"\x80",
    b"\x81\xa1a\x01",
    b"\x82\xa1a\x01\xa1a\x02",
    b"\x81\xa1n\xce\x00\x00\x00\x01",  # longer than needed
    b"\x81\xa1a",
    b"\x81\xa1a\xc1",
    b"\x90",
    b"\x80\x80",
    b"\x81\x90\x01",
    b"\x81\xa1a\x92\xc7\x00\x02\x01",
    b"\x81\xa1a\x92\xc7\x00\x63\x01",
    b"\x81\xa1a\x92\xc7\x00\x0e\xa1x\x01",
    b"\x81\xa1a\x93\xc7\x00\x0e\xa9fuzz.Coin\x0d",
    b"\x81\xa1a\xd9\xff\x01",
    b"\x81\xa1a\xa1\xff",
    b"\x81\xa1a\xca\x3f\xc0\x00\x00",
    b"\x81\xa1a" + b"\x91" * 63 + b"\x90",
    b"\x81\xa1a" + b"\x91" * 65 + b"\x90",
    b"\x81\xacgaesess.user\x93\xc7\x00\x02\xa3ada\x00",
    b"\x81\xacgaesess.user\x01",
    b"\x4b\xac\x61\x04\x00",
    b"x" * 3000,
    b"",
    deflated(b"\x81\xa1a\x01"),
    deflated(b"\x81\xa1a\x01")[:-1],
    deflated(bytes(2_000_000)),
]
FLAGS = [0, _core.POINTER, _core.ZLIB, _core.BROWSER, _core.SECURE, _core.RECORDED, 0x1F, 0x20]
TIMES = [NOW + 3600, NOW + 601, NOW, NOW + 1, 0, 2**32 - 1]
REVISIONS = [1, 0, 2**32 - 1, 2**32 - 2]
SECONDS = [1, 5, 6, 0.5, -1, -3600, 59, 60, 61, 300, 600, 3600, 40 * 86_400, 365 * 86_400]
EXPIRATIONS = [None, 0, NOW + 1800, NOW + 3600.5, NOW, 2**32 - 1, 2**32, -1]
ERRORS = [RuntimeError, StoreUnavailable, KeyboardInterrupt]
USERS = ["ada", 7, None]


# -- what an application may do with its session; `key`, `value` and `number` are how often an argument may differ

OPERATIONS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "set": (("key", "value"), lambda session, key, value: session.__setitem__(key, value)),
    "get": (("key",), lambda session, key: session.get(key)),
    "get or": (("key", "value"), lambda session, key, value: session.get(key, default=value)),
    "item": (("key",), lambda session, key: session[key]),
    "delete": (("key",), lambda session, key: session.__delitem__(key)),
    "in": (("key",), lambda session, key: key in session),
    "has_key": (("key",), lambda session, key: session.has_key(key)),
    "len": ((), lambda session: (len(session), bool(session))),
    "iterate": ((), lambda session: list(session)),
    "reversed": ((), lambda session: list(reversed(session))),
    "items": ((), lambda session: list(session.items())),
    "values": ((), lambda session: list(session.values())),
    "dict": ((), lambda session: dict(session)),
    "copy": ((), lambda session: session.copy()),
    "pop": (("key",), lambda session, key: session.pop(key)),
    "pop or": (("key", "value"), lambda session, key, value: session.pop(key, value)),
    "popitem": ((), lambda session: session.popitem()),
    "setdefault": (("key", "value"), lambda session, key, value: session.setdefault(key, value)),
    "update": (("key", "value", "key", "value"), lambda session, *pairs: session.update(dict([pairs[:2], pairs[2:]]))),
    "clear": ((), lambda session: session.clear()),
    "increment": (("key", "number"), lambda session, key, n: session.increment(key, n - 1)),
    "increment by": (("key", "value"), lambda session, key, value: session.increment(key, value)),
    "append": (("key", "value"), lambda session, key, value: session.append(key, value)),
    "set_quick": (("key", "value"), lambda session, key, value: session.set_quick(key, value)),
    "pop_quick": (("key",), lambda session, key: session.pop_quick(key)),
    "|": (("key", "value"), lambda session, key, value: (session | {key: value}, {key: value} | session)),
    "|=": (("key", "value"), lambda session, key, value: session.__ior__({key: value}) is session),
    "==": (("key", "value"), lambda session, key, value: (session == {key: value}, session == session)),
    "start": (("expiration", "number"), lambda session, ends, ssl: session.start(ends, bool(ssl))),
    "terminate": (("number",), lambda session, keep: session.terminate(not keep)),
    "regenerate_id": (("expiration",), lambda session, ends: session.regenerate_id(ends)),
    "save": (("number",), lambda session, persist: session.save(bool(persist))),
    "commit": ((), lambda session: list(session.commit())),
    "abandon": ((), lambda session: list(session.abandon())),
    "read": ((), lambda session: session.ensure_data_loaded()),
    "bind_user": (("user",), lambda session, user: session.bind_user(user)),
    "revoke_user": (("user",), lambda session, user: session.manager.revoke_user(user, session)),
    "state": ((), lambda session: (session.state.value, repr(session), session.accessed, session.is_active())),
    "identity": ((), lambda session: (session.sid, session.revision, session.get_expiration(), session.is_ssl_only())),
    "home": ((), lambda session: session.home and session.home.value),
    "modified": ((), lambda session: session.modified),
    "pickle": ((), lambda session: copy.copy(session)),
    "hash": ((), lambda session: hash(session)),
}
FREQUENT = ["set", "get", "item", "set", "delete", "pop", "save", "append", "increment", "regenerate_id", "terminate"]
NAMES = [*FREQUENT, *OPERATIONS]
ARGUMENTS = {
    "key": len(KEYS),
    "value": len(VALUES),
    "number": 3,
    "expiration": len(EXPIRATIONS),
    "user": len(USERS),
}
EDITS = [
    "flip",
    "cut",
    "extend",
    "drop",
    "double",
    "swap",
    "other",
    "space",
    "old",
    "separator",
    "forge",
    "none",
    "form",
    "gae-sessions",
]
PROTOCOLS = ["open", "WSGI", "ASGI", "WSGI in chunks", "websocket", "WSGI write"]
PATHS = ["/", "/poll", "/news/today", "/newspaper"]
STORE_EVENTS = ["fail", "fail after", "break", "evict", "clear", "flip", "exchange", "old"]
MANAGER_CALLS = ["load", "revoke_session", "revoke_user", "list_sessions"]


class Program(NamedTuple):
    """What is played: for each site the choice from each row of SETTINGS, and steps, each a name and what it needs."""

    sites: list[list[int]]
    steps: list[tuple[Any, ...]]


def program(choose: Choose) -> Program:
    """Make a program by choices."""
    base = [choose(len(row)) for row in SETTINGS[:4]] + [rarely(choose, len(row)) for row in SETTINGS[4:]]
    sites = [base]
    for _ in range(choose(3)):
        other = list(base)
        for _ in range(1 + choose(2)):
            row = choose(len(SETTINGS))
            other[row] = choose(len(SETTINGS[row]))
        sites.append(other)
    steps = [step(choose, len(sites)) for _ in range(1 + choose(MAX_STEPS))]
    return Program(sites, steps)


def rarely(choose: Choose, count: int) -> int:
    """Choose, but mostly the first."""
    return choose(count) if choose(4) == 3 else 0


def step(choose: Choose, sites: int) -> tuple[Any, ...]:
    kind = choose(16)
    if kind == 13:
        return "wait", choose(len(SECONDS))
    if kind == 14:
        return "store", choose(len(STORE_EVENTS)), choose(3)
    if kind == 15:
        return "manager", choose(sites), choose(len(MANAGER_CALLS)), choose(3)
    edits = [(choose(len(EDITS)), choose(3), choose(256), choose(256)) for _ in range(max(0, choose(5) - 2))]
    return "request", choose(sites), choose(len(PROTOCOLS)), rarely(choose, len(PATHS)), edits, script(choose)


def script(choose: Choose) -> list[tuple[Any, ...]]:
    """Make what an application does."""
    return [act(choose) for _ in range(choose(MAX_STEPS))]


def act(choose: Choose) -> tuple[Any, ...]:
    kind = choose(25)
    if kind == 16:
        return "start", [choose(len(HEADERS)) for _ in range(choose(4))], choose(8) == 7
    if kind == 17:
        return "chunk", choose(3)
    if kind == 18:
        return "raise", choose(len(ERRORS))
    if kind == 19:
        return "dare", operation(choose)
    if kind == 20:
        return "meanwhile", [("do", operation(choose)) for _ in range(choose(4))]
    if kind == 21:
        return "fill", choose(5)
    if kind == 22:
        return "grow", choose(3), choose(len(SIZED)), choose(len(SIZES))
    if kind >= 23:
        return "change", choose(4), choose(5)
    return "do", operation(choose)


def operation(choose: Choose) -> tuple[Any, ...]:
    name = NAMES[choose(len(NAMES))]
    arguments = []
    for kind in OPERATIONS[name][0]:
        count = ARGUMENTS[kind]
        arguments.append(choose(count) if kind != "key" or choose(3) == 2 else choose(3))
    return name, *arguments
