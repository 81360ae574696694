"""A user with a browser, who remembers what the site has told was saved, and compares it with what it shows later."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from wsgi.client import CookieJar, Exchange

T = TypeVar("T")


class Answer(NamedTuple):
    """A response, as far as a visitor looks at it."""

    status: int
    set_cookie: list[str]
    body: bytes


class Request(NamedTuple):
    """A request, as far as a visitor makes it. The environ is for applications in the same process."""

    path: str
    query: str
    cookie: str
    environ: dict[str, Any]


Send = Callable[[Request], Answer]


def in_process(app: Any) -> Send:
    """Return what sends requests to a WSGI application in this process."""

    def send(request: Request) -> Answer:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "HTTP_COOKIE": request.cookie,
            **request.environ,
        }
        exchange = Exchange(app, environ).run()
        assert exchange.status is not None
        return Answer(int(exchange.status.split()[0]), exchange.headers.get_all("Set-Cookie"), exchange.body)

    return send


class Visitor:
    """Makes requests one after the other, and keeps the cookies and a record of what came of them."""

    def __init__(self, send: Send, user: str, cookies: CookieJar | None = None) -> None:
        self.send = send
        self.user = user
        self.cookies = CookieJar(cookies or {})
        self.statuses: Counter[int] = Counter()
        self.increments = Counted()
        self.items: dict[str, bool] = {}  # appended: True if that was acknowledged, False if its outcome is unknown

    def sign_in(self, size: int) -> Visitor:
        """Start a session with that many bytes in it, and return the visitor."""
        assert self.ask("start", user=self.user, size=size).status == 200
        return self

    def ask(self, verb: str, environ: dict[str, Any] | None = None, **form: Any) -> Answer:
        """Make a request and take the cookies of the response."""
        answer = self.send(Request(f"/{verb}", urlencode(form), self.cookies.header(), environ or {}))
        self.statuses[answer.status] += 1
        self.cookies.receive(answer.set_cookie)
        return answer

    def increment(self, environ: dict[str, Any] | None = None) -> Answer:
        """Add one to the visitor's number."""
        answer = self.ask("increment", environ)
        self.increments.count(answer)
        return answer

    def append(self, item: str) -> Answer:
        """Add an item that nobody else adds to the visitor's list."""
        answer = self.ask("append", item=item)
        self.items[item] = answer.status == 200
        return answer

    def read(self) -> dict[str, Any]:
        """Return what the session holds."""
        told = self.try_to_read()
        assert told is not None
        return told

    def try_to_read(self) -> dict[str, Any] | None:
        """Return what the session holds, None if there was no answer to that."""
        answer = self.ask("read")
        return json.loads(answer.body) if answer.status == 200 else None

    def copy(self) -> Visitor:
        """Return another one with the same cookies and nothing to remember."""
        return Visitor(self.send, self.user, self.cookies)


class Counted:
    """Writes by what is known of them."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.unknown = 0

    def count(self, answer: Answer) -> None:
        if answer.status == 200:
            self.acknowledged += 1
        else:
            self.unknown += 1


def complaints(visitors: Iterable[Visitor], told: dict[str, Any]) -> list[str]:
    """Return what is wrong with what a session holds, by what all who wrote to it know of it."""
    visitors = list(visitors)
    found = Counter(told["items"])
    items = {item: known for visitor in visitors for item, known in visitor.items.items()}
    acknowledged = sum(visitor.increments.acknowledged for visitor in visitors)
    unknown = sum(visitor.increments.unknown for visitor in visitors)
    wrong = {
        "it is not the visitor's session": told["user"] != visitors[0].user,
        "an acknowledged increment is lost": told["n"] < acknowledged,
        "an increment was made twice": told["n"] > acknowledged + unknown,
        "an acknowledged item is lost": any(known and not found[item] for item, known in items.items()),
        "an item was appended twice": any(times > 1 for times in found.values()),
        "there is an item that nobody has appended": not found.keys() <= items.keys(),
    }
    return [complaint for complaint, applies in wrong.items() if applies]


def check(visitors: Iterable[Visitor], told: dict[str, Any]) -> None:
    """Check what a session holds against what all who wrote to it know of it."""
    assert complaints(visitors, told) == []


def at_once(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Make calls in a thread each, and return what they return."""
    calls = list(calls)
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
