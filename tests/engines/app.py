"""The application that visitors use: a path is a verb of the session, and an answer says what the session holds."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import parse_qsl

from gaesess import Session, get_current_session


def read(session: Session) -> None:
    session.ensure_data_loaded()


def start(session: Session, user: str, size: str) -> None:
    session.start()
    session.update(user=user, filler="x" * int(size))


def resize(session: Session, size: str) -> None:
    session["filler"] = "x" * int(size)


def increment(session: Session) -> None:
    session.increment("n")


def append(session: Session, item: str) -> None:
    session.append("items", item)


def regenerate(session: Session) -> None:
    session.regenerate_id()


def terminate(session: Session) -> None:
    session.terminate()


VERBS = {f"/{verb.__name__}": verb for verb in (read, start, resize, increment, append, regenerate, terminate)}
BEFORE_SAVE = "engines.before_save"  # in the environ: called when the verb is done and not yet saved


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    session = get_current_session()
    VERBS[environ["PATH_INFO"]](session, **dict(parse_qsl(environ["QUERY_STRING"])))
    environ.get(BEFORE_SAVE, bool)()
    told = {key: session.get(key, default) for key, default in (("user", None), ("n", 0), ("items", []))}
    body = json.dumps(told | {"pid": os.getpid()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
