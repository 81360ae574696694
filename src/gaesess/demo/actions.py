"""What a visitor of the demo can do with the session: ordinary application code."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from gaesess import _impl
from gaesess.session import Session

CATALOGUE = ("Espresso cup", "Reading lamp", "Field notebook", "Wool blanket")
MAX_NAME_CHARS = 40
MAX_COUNT = 99  # of one thing in the cart
MAX_PADDING = 60_000  # characters
SECONDS_TO_END = 6  # long enough to watch

Arguments = Mapping[str, Any]


class BadArguments(ValueError):
    """The visitor's request cannot be done; the message says why."""


def sign_in(session: Session, arguments: Arguments) -> None:
    """Sign in by name. A new id comes first: one that somebody planted before must not become the signed-in one."""
    name = arguments.get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= MAX_NAME_CHARS:
        raise BadArguments(f'"name" has to be text of 1 to {MAX_NAME_CHARS} characters')
    if not name.isprintable():
        raise BadArguments('"name" has characters that cannot be printed')
    session.regenerate_id()
    session["name"] = name.strip()


def put_into_cart(session: Session, arguments: Arguments) -> None:
    """Put one thing into the cart: a change inside a value that is in the session already, seen all the same."""
    item = _item(arguments)
    cart = session.setdefault("cart", {})
    if cart.get(item, 0) >= MAX_COUNT:
        raise BadArguments(f"the cart takes {MAX_COUNT} of a kind")
    cart[item] = cart.get(item, 0) + 1


def take_from_cart(session: Session, arguments: Arguments) -> None:
    """Take one thing out of the cart, if it is there."""
    item = _item(arguments)
    cart = session.get("cart", {})
    if cart.get(item, 0) > 1:
        cart[item] -= 1
    else:
        cart.pop(item, None)


def resize(session: Session, arguments: Arguments) -> None:
    """Fill the session with that many characters of random text, which no compression would make smaller."""
    size = arguments.get("size")
    if type(size) is not int or not 0 <= size <= MAX_PADDING:
        raise BadArguments(f'"size" has to be a whole number from 0 to {MAX_PADDING}')
    if size:
        session["padding"] = secrets.token_urlsafe(size)[:size]
    else:
        session.pop("padding")


def regenerate_id(session: Session, arguments: Arguments) -> None:
    """Give the session a new id."""
    session.regenerate_id()


def end_soon(session: Session, arguments: Arguments) -> None:
    """Give the session a new id that ends in a few seconds."""
    session.regenerate_id(int(time.time()) + SECONDS_TO_END)


def sign_out(session: Session, arguments: Arguments) -> None:
    """End the session."""
    session.terminate()


ACTIONS: dict[str, Callable[[Session, Arguments], None]] = {
    "sign-in": sign_in,
    "put": put_into_cart,
    "take": take_from_cart,
    "resize": resize,
    "regenerate": regenerate_id,
    "end-soon": end_soon,
    "sign-out": sign_out,
}


def contents(session: Session) -> dict[str, Any]:
    """Return what the page shows of the session's data; `bytes` is how many they are, encoded."""
    return {
        "name": session.get("name"),
        "cart": dict(session.get("cart", {})),
        "padding": len(session.get("padding", "")),
        "bytes": len(_impl.dumps(dict(session))) if session.is_active() else 0,
    }


def _item(arguments: Arguments) -> str:
    item = arguments.get("item")
    if item not in CATALOGUE:
        raise BadArguments(f'"item" has to be one of: {", ".join(CATALOGUE)}')
    return str(item)
