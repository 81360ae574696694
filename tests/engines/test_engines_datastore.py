"""Datastore away, slow and losing replies, under requests: what was acknowledged is there, nothing is done twice."""

from __future__ import annotations

import pytest
from engines.app import BEFORE_SAVE
from engines.stack import at_event, noted_events
from engines.visitor import at_once, check
from proxy import grpc_reply_begins

REPLY_LOST = {"cuts_after": 0, "reply_begins": grpc_reply_begins}
FAULTS = {
    "the reply is cut off": REPLY_LOST,
    "no reply arrives": {"drops": "replies"},
    "the request does not arrive": {"drops": "requests"},
    "all arrives too late": {"delay": 3600},
}


@pytest.fixture
def stack(memcached_server, datastore_proxy, make_stack):
    return make_stack(memcached_server[0], datastore_proxy.address, proxy=datastore_proxy)


def test_sessions_in_the_cache_are_read_while_datastore_is_away(stack, datastore_proxy):
    visitor = stack.visitor()
    visitor.increment()
    stack.expect_nothing()
    datastore_proxy.refuse()
    check([visitor], visitor.read())


@pytest.mark.parametrize("verb", ["increment", "regenerate", "resize"])
def test_a_write_while_datastore_is_away_is_503_and_leaves_the_cookies_alone(stack, datastore_proxy, verb):
    visitor = stack.visitor()
    cookies = dict(visitor.cookies)
    stack.expect_nothing()
    datastore_proxy.refuse()
    answer = visitor.ask(verb, **({"size": 6000} if verb == "resize" else {}))
    assert (answer.status, answer.set_cookie, visitor.cookies) == (503, [], cookies)
    check([visitor], visitor.read())


def test_what_the_cache_does_not_have_while_datastore_is_away_is_503_and_no_empty_session(stack, datastore_proxy):
    visitor = stack.visitor()
    stack.expect_nothing()
    datastore_proxy.refuse()
    stack.forget()
    for verb in ("read", "increment"):
        answer = visitor.ask(verb)
        assert (answer.status, answer.set_cookie) == (503, [])
    stack.wait_for_datastore()
    check([visitor], visitor.read())


def test_degraded_writes_are_kept_with_a_warning_and_made_durable_by_the_next(stack, datastore_proxy):
    visitor = stack.visitor(app=stack.degrading)
    stack.expect_nothing()
    datastore_proxy.refuse()
    with noted_events() as happened:
        assert [visitor.increment().status for _ in range(3)] == [200] * 3
    assert [event.name for event in happened].count("degraded") == 3
    check([visitor], visitor.read())
    stack.wait_for_datastore()
    assert visitor.increment().status == 200
    stack.forget()
    check([visitor], visitor.read())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_save_that_meets_a_fault_that_passes_is_made_once(stack, datastore_proxy, fault):
    visitor = stack.visitor()
    with at_event("store_unavailable", stack.restore_datastore):
        answer = visitor.increment({BEFORE_SAVE: lambda: stack.break_datastore(**FAULTS[fault])})
    assert answer.status == 200
    assert datastore_proxy.faults > 0
    stack.forget()
    assert visitor.read()["n"] == 1


def test_an_item_whose_reply_is_lost_is_appended_once(stack, datastore_proxy):
    visitor = stack.visitor()
    answer = visitor.ask("append", {BEFORE_SAVE: lambda: stack.break_datastore(**REPLY_LOST)}, item="one")
    assert answer.status == 200
    assert datastore_proxy.faults > 0
    stack.forget()
    assert visitor.read()["items"] == ["one"]


@pytest.mark.parametrize("fault", ["no reply arrives", "the request does not arrive", "all arrives too late"])
def test_a_save_that_meets_a_fault_that_lasts_is_503_and_made_at_most_once(stack, fault):
    visitor = stack.visitor()
    assert visitor.increment({BEFORE_SAVE: lambda: stack.break_datastore(**FAULTS[fault])}).status == 503
    stack.wait_for_datastore()
    assert visitor.increment().status == 200
    stack.forget()
    check([visitor], visitor.read())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_session_terminated_through_a_fault_does_not_come_back(stack, datastore_proxy, fault):
    visitor = stack.visitor()
    old = visitor.copy()
    stack.break_datastore(**FAULTS[fault])
    with at_event("store_unavailable", stack.restore_datastore):
        assert visitor.ask("terminate").status == 200
    assert datastore_proxy.faults > 0
    assert visitor.cookies == {}
    assert old.read()["user"] is None
    stack.forget()
    assert old.read()["user"] is None


def test_a_request_at_work_while_its_session_is_terminated_through_a_fault_does_not_bring_it_back(
    stack, datastore_proxy
):
    visitor = stack.visitor()
    old, late = visitor.copy(), visitor.copy()

    def sign_out():
        stack.break_datastore(**REPLY_LOST)
        assert visitor.ask("terminate").status == 200

    assert late.increment({BEFORE_SAVE: sign_out}).status == 409
    stack.forget()
    assert old.read()["user"] is None


def test_a_slow_datastore_only_takes_longer(stack, datastore_proxy):
    visitor = stack.visitor()
    datastore_proxy.inject(delay=0.02)
    assert [visitor.increment().status for _ in range(3)] == [200] * 3
    stack.forget()
    check([visitor], visitor.read())


def test_connections_cut_again_and_again_under_contention_lose_nothing_and_double_nothing(stack, datastore_proxy):
    visitor = stack.visitor()
    visitors = [visitor.copy() for _ in range(4)]

    def work(number):
        for step in range(15):
            visitors[number].append(f"{number} {step}")
            visitors[number].increment()
            if step % 5 == number:
                datastore_proxy.cut()

    at_once([lambda number=number: work(number) for number in range(4)])
    stack.wait_for_datastore()
    stack.forget()
    check([visitor, *visitors], visitor.copy().read())
    assert datastore_proxy.faults > 0
    assert set().union(*(one.statuses for one in visitors)) <= {200, 503}


def test_a_record_that_datastore_has_lost_is_503_and_no_empty_session(stack):
    visitor = stack.visitor()
    stack.lose(visitor)
    answer = visitor.ask("read")
    assert (answer.status, answer.set_cookie) == (503, [])
    assert b"lost your session" in answer.body
