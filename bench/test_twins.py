"""Every function of the core, compiled and pure side by side."""

from __future__ import annotations

import pytest

from bench import twins

SAME_AT_ANY_SIZE = {"format_sid", "parse_sid"}
ROWS = [
    pytest.param(name, size, twin, id=f"{twin}-{name}-{size}")
    for size, payload_bytes in twins.PAYLOAD_BYTES.items()
    for twin, core in twins.TWINS.items()
    for name in twins.calls(core, payload_bytes)
    if size == "100 B" or name not in SAME_AT_ANY_SIZE
]


@pytest.mark.parametrize(("name", "size", "twin"), ROWS)
def test_function(benchmark, name: str, size: str, twin: str) -> None:
    benchmark.group, benchmark.name = name if name in SAME_AT_ANY_SIZE else f"{name}, payload of {size}", twin
    benchmark(twins.calls(twins.TWINS[twin], twins.PAYLOAD_BYTES[size])[name])


@pytest.mark.parametrize("size", twins.PAYLOAD_BYTES)
@pytest.mark.parametrize("twin", twins.TWINS)
def test_what_is_timed_does_its_work(twin: str, size: str) -> None:
    payload_bytes = twins.PAYLOAD_BYTES[size]
    ways = twins.ways(twins.TWINS[twin], payload_bytes)
    assert ways["read"]() == twins.token(payload_bytes)
    assert ways["write"]() == twins.ways(twins._core, payload_bytes)["write"]()
