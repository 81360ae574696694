"""Builds and loads floor.c: the least that the core's part of a request could cost, timed within C."""

from __future__ import annotations

import ctypes
import ctypes.util
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.interleaved import SelfTimed
from bench.twins import MAC_KEY, token
from gaesess import _core

SOURCE = Path(__file__).with_name("floor.c")


class Floor:
    """The C floor, loaded. `ways` are its two directions, for `measure`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        library.floor_read.restype = library.floor_write.restype = ctypes.c_double
        library.floor_text.restype = ctypes.c_void_p
        library.floor_prepare(MAC_KEY)
        self._library = library

    def ways(self, payload_bytes: int) -> dict[str, SelfTimed]:
        """Raises AssertionError if the floor does not read and write the very tokens that the core does."""
        sealed = _core.seal(_core.prepare_key(_core.SIGNED, 1, MAC_KEY), token(payload_bytes), 1)
        text, message = _core.encode(sealed).encode(), sealed[: -_core.TAG_BYTES]

        def read(calls: int) -> float:
            return self._library.floor_read(text, ctypes.c_size_t(len(text)), ctypes.c_long(calls))

        def write(calls: int) -> float:
            return self._library.floor_write(message, ctypes.c_size_t(len(message)), ctypes.c_long(calls))

        assert read(1) >= 0, "the floor does not believe the core's token"
        write(1)
        assert ctypes.string_at(self._library.floor_text(), len(text)) == text, "the floor writes another token"
        return {"read": SelfTimed(read), "write": SelfTimed(write)}


@contextmanager
def built_floor() -> Iterator[Floor]:
    """Compile the floor with `cc -O2`. Raises FileNotFoundError where there is no compiler or no libcrypto."""
    ctypes.CDLL(_libcrypto(), mode=ctypes.RTLD_GLOBAL)  # for the floor's symbols
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "floor.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", path, SOURCE], check=True)
        yield Floor(ctypes.CDLL(str(path)))


def _libcrypto() -> str:
    """Return the libcrypto that Python's own hashlib has loaded, or else the system's."""
    import _hashlib  # noqa: F401

    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/libcrypto" in line:
            return line.split(maxsplit=5)[5]
    found = ctypes.util.find_library("crypto")
    if found is None:
        raise FileNotFoundError("there is no libcrypto: install OpenSSL's (Debian: libssl3)")
    return found
