"""Histories that the machine has found, step by step."""

import pytest
from browser import Browser
from guarantees.tasks import Task
from guarantees.world import World

from gaesess import StoreUnavailable

COOKIE_BYTES = 100


@pytest.fixture
def world():
    """Sessions of more than 100 bytes are in the store."""
    return World(COOKIE_BYTES)


@pytest.fixture
def browser(world):
    return Browser(world.managers[0])


def make_request(world, browser, durable=(), **changes):
    """Make a request that sets keys, with these faults at its calls of the durable store. Return whether it was 200."""
    answered = []

    def work():
        session = browser.send()
        session.update(changes)
        try:
            browser.receive(session)
            answered.append(True)
        except StoreUnavailable:
            browser.take(session.abandon())

    Task(work, world.durable, durable).finish()
    return bool(answered)


def test_a_save_in_the_cookie_is_kept_when_the_session_outgrows_it_after_two_tries_of_unknown_outcome(world, browser):
    """The record's revision is then beyond the cookie's, and yet it is older."""
    make_request(world, browser, n=1)
    assert not make_request(world, browser, filler="a" * 200, durable=["reply lost", "reply lost"])
    assert not make_request(world, browser, filler="b" * 200, durable=[None, None, "reply lost", "reply lost"])
    assert make_request(world, browser, n=2)
    assert make_request(world, browser, filler="c" * 200)
    assert browser.data()["n"] == 2
