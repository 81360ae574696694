"""Every pair in every configuration, with at most one fault: of each so many schedules as there is time for.

`make model` runs them all, with two faults and with three requests.
"""

import os
from multiprocessing import Pool

import pytest

from model.cases import CONFIGS, cases
from model.explore import explore, minimized, told
from model.world import Case, patched

SCHEDULES = 12  # of each of 1,800 cases, which takes half a minute on two cores


def story(case):
    """Return the story of a schedule that breaks a guarantee."""
    with patched():
        found = explore(case, 1, schedules=SCHEDULES).found
        return told(minimized(found)) if found else ""


@pytest.mark.parametrize("config", CONFIGS)
def test_no_schedule_of_two_requests_breaks_a_guarantee(config):
    pairs = [case for case in cases() if case.config == config and len(case.ops) == 2]
    with Pool(os.cpu_count()) as pool:
        stories = pool.map(story, pairs, chunksize=8)
    assert [each for each in stories if each] == []


@pytest.mark.parametrize(
    ("script", "config", "faults"),
    [
        ("increment|append@store", "durable,2p", 1),
        ("regenerate|terminate@store", "durable,2p", 0),
        ("increment|terminate@store", "tiered,2p", 0),
        ("read|terminate@store", "memory,revocable,1p", 1),
    ],
)
def test_what_is_left_out_ends_like_what_is_run(script, config, faults):
    """Neither sleep sets nor the memory of visited states hides an end."""
    case, ends, all_ends = Case.parse(script, config), set(), set()
    with patched():
        few = explore(case, faults, finals=ends)
        many = explore(case, faults, finals=all_ends, sleeps=False, remembers=False)
    assert few.complete
    assert many.complete
    assert ends == all_ends
    assert few.schedules <= many.schedules
