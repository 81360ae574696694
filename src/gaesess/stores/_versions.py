"""Values that carry their own version, for caches that do not tell what number they gave to an entry."""

from __future__ import annotations

import secrets

VERSION_BYTES = 8


def first_version() -> int:
    """Return the version of a new record: random, so that a deleted and re-added one never has an old version."""
    return secrets.randbits(8 * VERSION_BYTES - 2)


def value_of(version: int, data: bytes) -> bytes:
    """Return what the cache is to hold."""
    return version.to_bytes(VERSION_BYTES, "big") + data


def version_of(value: bytes) -> int:
    """Return the version of what the cache holds."""
    return int.from_bytes(value[:VERSION_BYTES], "big")


def data_of(value: bytes) -> bytes:
    """Return the data of what the cache holds."""
    return value[VERSION_BYTES:]
