"""Records in this process's memory: for tests, and for development in a single process."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from gaesess.errors import Conflict, Gone, KeyExists
from gaesess.stores._lock import ProcessLock
from gaesess.stores.base import Cache, Stored, Version


class _Record(NamedTuple):
    data: bytes
    version: int
    expires_at: int


class MemoryStore(Cache):
    """Keeps records in a dictionary. They end with the process, and no other process sees them.

    It has no limit of size: expired records stay until `delete_expired`.
    """

    reads_at_once = True

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._versions = count(1)  # one for all keys, so that a deleted and re-added record never has an old version
        self._lock = ProcessLock()

    def get(self, key: str, *, fresh: bool = False) -> Stored | None:
        record = self._records.get(key)
        return None if record is None else Stored(record.data, record.version)

    def add(self, key: str, data: bytes, *, expires_at: int) -> int:
        with self._lock():
            if key in self._records:
                raise KeyExists("MemoryStore has a record under this key already")
            return self._write(key, data, expires_at)

    def replace(self, key: str, data: bytes, *, expires_at: int, version: int) -> int:
        with self._lock():
            record = self._records.get(key)
            if record is None:
                raise Gone("MemoryStore has no record under this key")
            if record.version != version:
                raise Conflict("the record in MemoryStore was replaced since it was read")
            return self._write(key, data, expires_at)

    def put(self, key: str, data: bytes, *, expires_at: int) -> None:
        with self._lock():
            self._write(key, data, expires_at)

    def gets(self, key: str) -> Stored | None:
        return self.get(key)

    def cas(self, key: str, data: bytes, *, expires_at: int, ticket: Version) -> None:
        self.replace(key, data, expires_at=expires_at, version=ticket)

    def delete(self, key: str) -> None:
        with self._lock():
            self._records.pop(key, None)

    def count_expired(self, *, now: int) -> int:
        with self._lock():
            return sum(record.expires_at <= now for record in self._records.values())

    def delete_expired(self, *, now: int) -> Iterator[int]:
        with self._lock():
            expired = [key for key, record in self._records.items() if record.expires_at <= now]
            for key in expired:
                del self._records[key]
        if expired:
            yield len(expired)

    def _write(self, key: str, data: bytes, expires_at: int) -> int:
        version = next(self._versions)
        self._records[key] = _Record(data, version, expires_at)
        return version
