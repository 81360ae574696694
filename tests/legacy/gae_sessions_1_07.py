"""What gae-sessions 1.07 does under Python 2.7: pickles, and cookies made of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

from clock import NOW as NOW

KEY = b"\xff0123456789abcdef0123456789abcdef"
NAME = "0123456789abcdef0123456789abcdef"
CHUNK_CHARS = 3880
HERE = Path(__file__).parent

COOKIES = json.loads((HERE / "gae_sessions_cookies.json").read_text())  # by the real 1.07
CASES = json.loads((HERE / "python2_pickles.json").read_text())  # by Python 2.7
PICKLES = {case["name"]: base64.b64decode(case["pickle"]) for case in CASES}


class Python2Pickler(pickle._Pickler):
    """Spells what Python 3 has as Python 2 spells it: bytes is its str, str its unicode."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value: bytes) -> None:
        if len(value) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def dump(value: Any) -> bytes:
    """Pickle a value."""
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(value)
    return file.getvalue()


def session_pickle(data: dict[Any, Any]) -> bytes:
    """Pickle the data of a session: no models, and these."""
    return dump(({}, data))


def make_sid(expires: int, ssl_only: bool = False, name: str = NAME) -> str:
    return f"{expires:010d}{'S' if ssl_only else '_'}{name}"


def cookie_value(pickled: bytes, sid: str, key: bytes = KEY) -> str:
    """Return what all of a session's cookies carry together."""
    tag = base64.b64encode(hmac.new(key + sid.encode(), pickled, hashlib.sha256).digest())
    return tag.decode() + sid + base64.b64encode(pickled).decode()


def cookies(value: str) -> dict[str, str]:
    """Return the cookies as a browser has them, with their quotes."""
    starts = range(0, len(value), CHUNK_CHARS)
    return {f"DgU{number:02d}": f'"{value[start : start + CHUNK_CHARS]}"' for number, start in enumerate(starts)}


def session_cookies(data: dict[Any, Any], sid: str) -> dict[str, str]:
    return cookies(cookie_value(session_pickle(data), sid))
