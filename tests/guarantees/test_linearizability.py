"""The checker itself: it accepts histories that can be explained, and no others."""

import pytest
from guarantees.linearizability import NEVER, Operation, explains


def increment(began, ended, seen=None, certain=True):
    def apply(state):
        return state + 1 if seen in (None, state + 1) else None

    return Operation(began, ended, apply, certain)


def put(began, ended, value):
    return Operation(began, ended, lambda state: value)


def ends_in(value):
    return lambda state: state == value


@pytest.mark.parametrize(
    ("operations", "final"),
    [
        pytest.param([], 0, id="nothing happened"),
        pytest.param([increment(0, 1, 1), increment(2, 3, 2)], 2, id="one after the other"),
        pytest.param([increment(0, 3, 2), increment(1, 2, 1)], 2, id="overlapping, the later answer first"),
        pytest.param([increment(0, NEVER, certain=False)], 0, id="unknown and without effect"),
        pytest.param([increment(0, NEVER, certain=False)], 1, id="unknown and done"),
        pytest.param(
            [increment(0, NEVER, certain=False), increment(1, 2, 1), increment(3, 4, 3)], 3, id="unknown and done late"
        ),
        pytest.param([put(0, 2, 7), put(1, 3, 8)], 7, id="overlapping writes, either may be last"),
    ],
)
def test_what_can_be_explained_is_accepted(operations, final):
    assert explains(operations, 0, ends_in(final))


@pytest.mark.parametrize(
    ("operations", "final"),
    [
        pytest.param([], 1, id="out of nothing"),
        pytest.param([increment(0, 1, 1), increment(2, 3, 2)], 1, id="a lost increment"),
        pytest.param([increment(0, 1)], 2, id="a doubled increment"),
        pytest.param([increment(0, 2, 1), increment(1, 3, 1)], 2, id="two who saw the same"),
        pytest.param([increment(0, 1, 2), increment(2, 3, 1)], 2, id="the later one saw less"),
        pytest.param([increment(0, NEVER, certain=False)], 2, id="unknown and done twice"),
        pytest.param([put(0, 1, 7), put(2, 3, 8)], 7, id="an earlier write that came back"),
    ],
)
def test_what_cannot_be_explained_is_rejected(operations, final):
    assert not explains(operations, 0, ends_in(final))
