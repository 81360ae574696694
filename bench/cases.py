"""What is measured of every peer: a small session, what an application does with it, the client's other cookies."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple, TypeAlias

Use: TypeAlias = Callable[[MutableMapping[str, Any]], object]

SESSION = {
    "user_id": 12345,
    "name": "Ada Lovelace",
    "role": "admin",
    "csrf": "8f14e45fceea167a5a36dedd4bea2543",
    "visits": 7,
    "theme": "dark",
}


def look(session: MutableMapping[str, Any]) -> object:
    return session.get("visits")


def read(session: MutableMapping[str, Any]) -> object:
    return session["visits"]


def modify(session: MutableMapping[str, Any]) -> None:
    session["visits"] = session["visits"] + 1


def fill(contents: dict[str, Any], session: MutableMapping[str, Any]) -> None:
    for key, value in contents.items():
        session[key] = value


class Case(NamedTuple):
    """What the application does, and whether the client has a session."""

    use: Use | None
    has_session: bool


CASES = {
    "no cookie": Case(look, has_session=False),
    "untouched": Case(None, has_session=True),
    "read": Case(read, has_session=True),
    "modify": Case(modify, has_session=True),
}


def writes(use: Use) -> bool:
    return use not in (look, read)


def other_cookies(count: int, total_bytes: int) -> list[str]:
    """Return that many cookies of others, which make up that much of a Cookie header."""
    each = total_bytes // count - len("; ") if count else 0
    cookies = [f"_analytics_{number}=".ljust(each, "x") for number in range(count)]
    if cookies:
        cookies[-1] += "x" * (total_bytes - sum(len(f"; {cookie}") for cookie in cookies))
    return cookies


ALONE: list[str] = []
OTHERS = other_cookies(8, 622)


def cookie_header(own: list[str], others: list[str]) -> str:
    middle = len(others) // 2
    return "; ".join([*others[:middle], *own, *others[middle:]])
