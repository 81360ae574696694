"""Makes the JSON files: `PYTHONPATH=src:tests python -m vectors.make` writes them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vectors.make import bad_values, headers, keys, records, refusals, requests, set_cookie, stored, tokens, values


def ndb_values(_: Path) -> Any:
    from vectors.make import ndb

    return ndb.content()


FILES: dict[str, Callable[[Path], Any]] = {
    "keys.json": lambda _: keys.keys(),
    "session_ids.json": lambda _: keys.session_ids(),
    "tokens.json": lambda _: tokens.content(),
    "headers.json": lambda _: headers.content(),
    "set_cookie.json": set_cookie.content,
    "refusals.json": refusals.content,
    "records.json": lambda _: records.content(),
    "stored.json": stored.content,
    "values.json": lambda _: values.content(),
    "bad_values.json": lambda _: bad_values.content(),
    "ndb_values.json": ndb_values,
    "requests.json": requests.content,
}
