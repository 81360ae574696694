"""The stores: single operations, and a whole request whose session lives in one."""

from __future__ import annotations

import pytest

from bench.cases import CASES
from bench.raw import raw_operations
from bench.stores import RECORD_BYTES, Opened, operations, raw_get, request_pair

STORES = [
    "memory",
    "SQLite",
    "memcached",
    "memcached + SQLite",
    "Redis",
    "Valkey",
    "PostgreSQL",
    "Datastore",
    "memcached + Datastore",
]


@pytest.fixture
def store(request: pytest.FixtureRequest, opened: Opened):
    if request.param not in opened.stores:
        pytest.skip(f"there is no {request.param} here")
    return opened.stores[request.param]


@pytest.mark.parametrize("size", RECORD_BYTES)
@pytest.mark.parametrize("operation", ["get", "add", "replace"])
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_operation(benchmark, store, operation: str, size: str, request: pytest.FixtureRequest) -> None:
    benchmark.group, benchmark.name = f"{operation} a record of {size}", request.node.callspec.params["store"]
    benchmark(operations(store, RECORD_BYTES[size])[operation])


@pytest.mark.parametrize("size", RECORD_BYTES)
@pytest.mark.parametrize("operation", ["get", "add", "replace"])
@pytest.mark.parametrize("name", ["Redis", "Valkey", "PostgreSQL"])
def test_raw_operation(benchmark, opened: Opened, name: str, operation: str, size: str) -> None:
    if name not in opened.urls:
        pytest.skip(f"there is no {name} here")
    benchmark.group, benchmark.name = f"{operation} a record of {size}", f"{name}, the client alone"
    with raw_operations(opened, name, RECORD_BYTES[size]) as calls:
        benchmark(calls[operation])


@pytest.mark.parametrize("case", ["read", "modify"])
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_request(benchmark, store, case: str, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["store"]
    benchmark.group, benchmark.name = f"{case} a stored session of 6 KB, whole request", name
    benchmark(request_pair(store, CASES[case]).full)


def test_raw_get(benchmark, opened: Opened) -> None:
    if opened.memcached is None:
        pytest.skip("there is no memcached here")
    benchmark.group, benchmark.name = "read a stored session of 6 KB, whole request", "pymemcache's get alone"
    with raw_get(opened) as get:
        benchmark(get)
