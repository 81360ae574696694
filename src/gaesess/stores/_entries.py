"""What is kept in a memcached: values with a version of their own, as it does not tell that of what it has stored."""

from __future__ import annotations

import secrets

VERSION_BYTES = 8
MAX_EXPIRY = 2**31 - 1  # memcached reads the expiry as a signed 32-bit number and refuses more


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


def expiry_of(expires_at: int) -> int:
    """Return when memcached may forget an entry that ends at `expires_at` (both Unix seconds)."""
    return min(expires_at, MAX_EXPIRY)
