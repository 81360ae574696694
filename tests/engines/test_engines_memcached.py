"""memcached killed, full and paused, under requests that go on: nobody notices but by the time it takes."""

from __future__ import annotations

import threading
import time

import pytest
import services
from engines.app import BEFORE_SAVE
from engines.stack import IN_STORE, noted_events
from engines.visitor import Visitor, at_once, check, in_process
from proxy import Proxy

from gaesess.stores.tiered import CACHE_SECONDS

VISITORS, ROUNDS = 8, 15


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


def run(visitors, events):
    """Let visitors write and read at the same time; when so many requests were made do what `events` has for that."""
    lock, made = threading.Lock(), 0

    def step(visitor, number):
        nonlocal made
        with lock:
            made += 1
            event = events.get(made)
        if event:
            event()
        visitor.increment()
        visitor.append(f"{visitor.user} {number}")
        check([visitor], visitor.read())

    def visit(visitor):
        for number in range(ROUNDS):
            step(visitor, number)

    at_once([lambda visitor=visitor: visit(visitor) for visitor in visitors])


def visitors_of(stack, size=IN_STORE):
    return at_once([lambda number=number: stack.visitor(f"user {number}", size) for number in range(VISITORS)])


def test_killed_and_started_again_in_mid_run_and_no_request_fails_or_loses(
    memcached_server, datastore_emulator, make_stack
):
    address, memcached = memcached_server
    stack = make_stack(address, datastore_emulator, clock=time.monotonic)
    visitors = visitors_of(stack)
    third = VISITORS * ROUNDS // 3
    run(visitors, {third: memcached.kill, 2 * third: memcached.start})
    assert [visitor.statuses.keys() for visitor in visitors] == [{200}] * VISITORS
    assert [visitor.increments.acknowledged for visitor in visitors] == [ROUNDS] * VISITORS


def test_sessions_that_it_has_no_room_for_are_kept(tmp_path, datastore_emulator, make_stack):
    """Of 40 sessions of 100 KB each there is room for 10, in the one page of 1 MB that it gives to each size."""
    with services.memcached_server(tmp_path, "-m", "1", "-I", "512k") as (address, server):
        stack = make_stack(address, datastore_emulator)
        visitors = [stack.visitor(f"user {number}", (10_000, 100_000)[number % 2]) for number in range(80)]
        for visitor in visitors:
            assert visitor.increment().status == 200
            check([visitor], visitor.read())
        at_once([visitor.increment for visitor in visitors[-30:]])
        for visitor in visitors:
            check([visitor], visitor.read())
        assert stack.stats()["evictions"] > 100
        server.kill()


def test_paused_in_mid_run_and_one_request_of_each_retry_interval_waits_for_it(
    memcached_server, datastore_emulator, make_stack
):
    address, memcached = memcached_server
    clock = Clock()
    stack = make_stack(address, datastore_emulator, clock=clock, cache_seconds=0.3)
    visitors = visitors_of(stack)
    memcached.pause()
    with noted_events() as happened:
        run(visitors, {})
        calls = []
        for _ in range(3):
            clock.time += 1.0
            before = stack.cache.calls
            at_once([visitor.increment for visitor in visitors])
            calls.append(stack.cache.calls - before)
    assert calls == [1, 1, 1]
    assert [event.fields["store"] for event in happened if event.name == "store_unavailable"] == ["cache"]
    assert [visitor.statuses.keys() for visitor in visitors] == [{200}] * VISITORS


def test_after_a_pause_nothing_is_shown_that_was_changed_meanwhile(memcached_server, datastore_emulator, make_stack):
    address, memcached = memcached_server
    clock = Clock()
    stack = make_stack(address, datastore_emulator, clock=clock, cache_seconds=0.3)
    ada, eve = stack.visitor("ada"), stack.visitor("eve")
    old_ada, old_eve = ada.copy(), eve.copy()
    memcached.pause()
    ada.increment()
    assert eve.ask("terminate").status == 200
    memcached.resume()
    clock.time += 1.0
    stack.later = CACHE_SECONDS
    assert old_ada.read()["n"] == 1
    assert old_eve.read()["user"] is None
    assert ada.read()["n"] == 1


def test_what_a_paused_one_was_sent_takes_no_effect_on_what_came_later(
    memcached_server, datastore_emulator, make_stack
):
    """It does what is in its sockets when it goes on, long after nobody waits for it."""
    address, memcached = memcached_server
    clock = Clock()
    stack = make_stack(address, datastore_emulator, clock=clock, cache_seconds=0.3)
    visitor = stack.visitor()
    memcached.pause()
    for _ in range(3):
        clock.time += 1.0
        assert visitor.increment().status == 200
    memcached.resume()
    clock.time += 1.0
    old = visitor.copy()
    assert visitor.increment().status == 200
    assert [old.read()["n"] for _ in range(3)] == [4] * 3


@pytest.mark.parametrize(
    "fault",
    [
        {"drops": "requests"},
        {"drops": "replies"},
        {"delay": 3600},
        {"cuts_after": 0},
        {"cuts_after": 40},
    ],
    ids=lambda fault: " ".join(f"{name} {value}" for name, value in fault.items()),
)
def test_a_connection_that_fails_in_mid_request_costs_nothing(memcached_server, datastore_emulator, make_stack, fault):
    with Proxy(memcached_server[0]) as proxy:
        clock = Clock()
        stack = make_stack(proxy.address, datastore_emulator, clock=clock, cache_seconds=0.2)
        visitor = stack.visitor()
        for _ in range(2):
            assert visitor.increment({BEFORE_SAVE: lambda: proxy.inject(**fault)}).status == 200
            proxy.restore()
            clock.time += 1.0
        check([visitor], visitor.read())
        proxy.inject(**fault)
        check([visitor], visitor.read())
        assert proxy.faults >= 2  # a request that finds its connection gone does without


def test_a_sign_out_while_it_is_down_holds_when_it_is_back(memcached_server, datastore_emulator, make_stack):
    with Proxy(memcached_server[0]) as proxy:
        clock = Clock()
        stack = make_stack(proxy.address, datastore_emulator, clock=clock, cache_seconds=0.2)
        visitor = stack.visitor()
        old = visitor.copy()
        proxy.refuse()
        assert visitor.ask("terminate").status == 200
        proxy.restore()
        clock.time += 1.0
        stack.later = CACHE_SECONDS
        assert old.read()["user"] is None
        assert Visitor(in_process(stack.app), "ada", old.cookies).ask("increment").status == 200
        assert old.read()["user"] is None
