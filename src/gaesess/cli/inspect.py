"""`gaesess inspect`: what is in a session's cookie, and whether it is to be believed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime, timedelta, timezone
from getpass import getpass
from pathlib import Path
from pprint import pformat
from typing import Any

from gaesess import _impl, anatomy
from gaesess._core import ENCRYPTED, POINTER, Token, expanded
from gaesess.cli import pasted
from gaesess.cli.pasted import Cookie
from gaesess.errors import BadSignature, ExpiredToken, InvalidToken, UnknownKey
from gaesess.keys import derive

TITLES = {"key": "key id", "sid": "id"}

HINTS: dict[type[InvalidToken], str] = {
    UnknownKey: "none of the keys that were given has sealed it",
    BadSignature: "it was changed on its way, or sealed for a cookie of another name",
}


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "inspect",
        allow_abbrev=False,
        help="say what is in a session's cookie, and whether it is to be believed",
        description="Say what is in a session's cookie, and whether it is to be believed. It reads a Cookie header, or"
        " Set-Cookie headers, also among others as `curl -i` prints them. Neither they nor keys are taken from the"
        " command line, which every user of the machine can see. What would let somebody use the session is not"
        " printed.",
        epilog="Exit status: 0 it is genuine, or no key was given; 1 it is not to be believed, or no cookie was found;"
        " 2 not understood. Example: curl -si http://localhost:8000/ | gaesess inspect --key-file cookie.key",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="where the headers are; by default standard input")
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help="where the cookie_key is, and retired_keys on lines of their own; without it, and on a terminal, it is"
        " asked for",
    )
    parser.add_argument("--cookie-name", metavar="NAME", help="if it is not that of gaesess by default")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    text = _read(options.file)
    keys = _keys(options.key_file)
    name, chunks = pasted.choose(pasted.parse(text), options.cookie_name)
    report = _report(name, chunks, keys, int(time.time()))
    print(json.dumps(_as_json(report)) if options.json else _as_text(report))
    return 1 if report["seal"] in ("refused", "expired") else 0


def _read(file: str | None) -> str:
    if file is not None:
        return Path(file).read_text(encoding="utf-8")
    if sys.stdin.isatty():
        print("Paste the Cookie or Set-Cookie headers, and an empty line:", file=sys.stderr)
        return "".join(iter(sys.stdin.readline, "\n"))
    return sys.stdin.read()


def _keys(file: str | None) -> list[str]:
    if file is not None:
        return Path(file).read_text(encoding="utf-8").split()
    key = getpass("cookie_key (empty: do not verify): ") if sys.stderr.isatty() else ""
    return [key] if key else []


def _report(name: str, chunks: list[Cookie], keys: list[str], now: int) -> dict[str, Any]:
    header = "; ".join(f"{cookie.name}={cookie.value}" for cookie in chunks)
    report: dict[str, Any] = {
        "cookie": name,
        "cookies": [
            {"name": cookie.name, "bytes": cookie.bytes, "objections": [*pasted.objections(cookie)]}
            for cookie in chunks
        ],
    }
    token = anatomy.token_bytes(header, name)
    if token is None:
        deletes = all((cookie.attributes or {}).get("max-age") == "0" for cookie in chunks)
        reason = "it deletes the cookie" if deletes else "it is no token: cut short, damaged, doubled, or not ours"
        return report | {"seal": "deleted" if deletes else "refused", "reason": reason}
    fields = anatomy.describe(token)
    report["fields"] = {field.name: field.value if field.value is not None else field.length for field in fields}
    verdict, reason, verified = _verify(name, header, token, keys, now)
    report |= {"seal": verdict, "reason": reason, "expires_in": anatomy.expiry_of(token) - now}
    return report | _data(verified or anatomy.unverified(token))


def _verify(name: str, header: str, token: bytes, keys: list[str], now: int) -> tuple[str, str, Token | None]:
    if not keys:
        return "unchecked", "no key was given", None
    by_id = derive(keys[0], keys[1:], cookie_name=name, encrypt=token[0] == ENCRYPTED).cookie
    try:
        verified = expanded(_impl.unseal(by_id, token, now))
    except ExpiredToken as error:
        return "expired", str(error), expanded(_impl.unseal(by_id, token, anatomy.expiry_of(token) - 1))
    except InvalidToken as error:
        hint = HINTS.get(type(error))
        return "refused", f"{error}: {hint}" if hint else str(error), None
    first = next(iter(by_id)) == token[1]
    return "genuine", "the first key has sealed it" if first else "a retired key has sealed it", verified


def _data(token: Token | None) -> dict[str, Any]:
    """Return the session's data, or why there are none to be seen."""
    if token is None:
        return {"without_data": "they are encrypted"}
    if token.flags & POINTER:
        return {"without_data": "they are in the store"}
    try:
        return {"data": _impl.loads(expanded(token).payload)}
    except InvalidToken as error:
        return {"without_data": str(error)}


def _as_json(value: Any) -> Any:
    """Return a value as JSON can have it: what it lacks as Python writes it."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else repr(key): _as_json(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _as_text(report: dict[str, Any]) -> str:
    lines = []
    for cookie in report["cookies"]:
        lines.append(("cookie", f"{cookie['name']}, {cookie['bytes']:,} bytes"))
        lines += [("", f"! {objection}") for objection in cookie["objections"]]
    if "fields" in report:
        lines += [(TITLES.get(name, name), _shown(name, value)) for name, value in report["fields"].items()]
    lines.append(("seal", f"{report['seal']}: {report['reason']}"))
    if "data" in report:
        claimed = "not verified: " if report["seal"] in ("refused", "unchecked") else ""
        lines.append(("data", claimed + pformat(report["data"], width=100, sort_dicts=False)))
    elif "without_data" in report:
        lines.append(("data", f"none to be seen: {report['without_data']}"))
    return "\n".join(f"{title:<10}" + text.replace("\n", "\n" + " " * 10) for title, text in lines)


def _shown(name: str, value: Any) -> str:
    if name in ("expires", "issued"):
        return f"{datetime.fromtimestamp(value, timezone.utc):%Y-%m-%d %H:%M:%S} UTC, {_from_now(value)}"
    if name in ("sid", "salt", "payload", "tag"):
        return f"{value:,} bytes"
    return " ".join(value) or "none" if isinstance(value, list) else str(value)


def _from_now(at: int) -> str:
    seconds = at - int(time.time())
    length = str(timedelta(seconds=abs(seconds)))
    return f"in {length}" if seconds >= 0 else f"{length} ago"
