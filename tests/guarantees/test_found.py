"""Histories that the machine has found, or that were found while it was built, step by step."""

import pytest
from browser import Browser
from guarantees.tasks import Task
from guarantees.world import World

from gaesess import StoreUnavailable

BIG = "x" * 5000


@pytest.fixture
def world():
    """Sessions live in their cookie until they outgrow it."""
    return World(cookie_only_threshold=None)


@pytest.fixture
def browser(world):
    return Browser(world.managers[0])


def end(browser, session):
    """Answer a request as the middleware does; return whether it was 200."""
    try:
        browser.receive(session)
    except StoreUnavailable:
        browser.take(session.abandon())
        return False
    return True


def step_through(browser, change, **faults):
    """Make a request, with faults at the calls of these numbers: `_3="reply lost"`. Return whether it was 200."""
    session, outcome = browser.send(), []

    def work():
        change(session)
        outcome.append(end(browser, session))

    task = Task(work)
    task.step()
    number = 0
    while not task.done:
        task.step(faults.get(f"_{number}"))
        number += 1
    return outcome[0]
