"""Whole requests through the peers that keep their sessions in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from bench.cases import ALONE, CASES, OTHERS, cookie_header, modify
from bench.interleaved import Call, SelfTimed
from bench.ours import Peer
from bench.redis_peers import STORED_SESSION, opened_peers
from bench.stores import Opened

NAMES = [
    "gaesess (WSGI)",
    "gaesess in Flask",
    "Flask-Session",
    "gaesess in Django",
    "django-redis, engine cache",
    "django-redis, engine cached_db",
    "gaesess (ASGI)",
    "starsessions (ASGI)",
]


@pytest.fixture(scope="module")
def peers(opened: Opened) -> Iterator[dict[str, Peer]]:
    if "Redis" not in opened.urls:
        pytest.skip("there is no Redis here")
    with opened_peers(opened.urls["Redis"]) as (found, _):
        yield {each.peer.name: each.peer for each in found}


def test_every_peer_is_named(peers: dict[str, Peer]) -> None:
    assert list(peers) == NAMES


@pytest.mark.parametrize("case", ["read", "modify"])
@pytest.mark.parametrize("name", NAMES)
def test_request(benchmark, peers: dict[str, Peer], name: str, case: str) -> None:
    benchmark.group, benchmark.name = f"{case} a session of 600 B in Redis, whole request", name
    benchmark(once(peers[name].pair(CASES[case], ALONE, STORED_SESSION).full))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_timed_keeps_its_session(peers: dict[str, Peer], name: str) -> None:
    peer = peers[name]
    cookies = cookie_header(peer.issue(STORED_SESSION), OTHERS)
    once(peer.protocol.request(peer.app(modify), cookies))()
    seen: list[Any] = []
    once(peer.protocol.request(peer.app(lambda session: seen.append(session["visits"])), cookies))()
    assert seen == [8]


def once(call: Call | SelfTimed) -> Call:
    return partial(call.run, 1) if isinstance(call, SelfTimed) else call
