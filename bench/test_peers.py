"""Whole requests through every peer, and what of each is the framework's own: the group "without sessions"."""

from __future__ import annotations

from typing import Any

import pytest

from bench.cases import ALONE, CASES, OTHERS, SESSION, cookie_header, modify
from bench.ours import Peer
from bench.peers import PEERS, Codec

APPLICATIONS = [peer for peer in PEERS if isinstance(peer, Peer)]
KEEP_SESSIONS = [peer for peer in APPLICATIONS if peer.issue(SESSION)]
COOKIES = {"with no other cookies": ALONE, "among 8 other cookies": OTHERS}
ROWS = [
    pytest.param(peer, case, cookies, id=f"{peer.name}-{case}-{cookies}")
    for cookies in COOKIES
    for case in CASES
    for peer in PEERS
    if peer.pair(CASES[case], OTHERS)
]


@pytest.mark.parametrize(("peer", "case", "cookies"), ROWS)
def test_request(benchmark, peer: Peer | Codec, case: str, cookies: str) -> None:
    benchmark.group, benchmark.name = f"{case} {cookies}", peer.name
    benchmark(peer.pair(CASES[case], COOKIES[cookies]).full)


@pytest.mark.parametrize("peer", APPLICATIONS, ids=lambda peer: peer.name)
def test_request_without_sessions(benchmark, peer: Peer) -> None:
    benchmark.group, benchmark.name = "without sessions", peer.name
    benchmark(peer.pair(CASES["untouched"], ALONE).bare)


@pytest.mark.parametrize("peer", KEEP_SESSIONS, ids=lambda peer: peer.name)
def test_what_is_timed_keeps_its_session(peer: Peer) -> None:
    assert visits(peer, peer.issue(SESSION)) == 7
    sent = peer.protocol.set_cookies(peer.app(modify), cookie_header(peer.issue(SESSION), OTHERS))
    assert visits(peer, [value.partition(";")[0] for value in sent]) == 8


def visits(peer: Peer, cookies: list[str]) -> Any:
    seen: list[Any] = []
    peer.protocol.request(peer.app(lambda session: seen.append(session["visits"])), cookie_header(cookies, OTHERS))()
    return seen[0]
