"""The same requests by the compiled core and by its twin in Python: whatever can be seen of them is the same."""

from __future__ import annotations

import os

import pytest
from fuzz.packages import PACKAGES
from fuzz.programs import Program, program
from fuzz.requests import difference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if len(PACKAGES) < 2:
    pytest.skip("the extension gaesess._speedups is not built: there is one core only", allow_module_level=True)

EXAMPLES = int(os.environ.get("GAESESS_EXAMPLES", "3000"))
numbers = [st.integers(0, count) for count in range(256)]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    return program(lambda count: draw(numbers[count - 1]))


@pytest.mark.timeout(1200)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_requests(played):
    assert difference(played) is None


def test_the_packages_have_one_core_each():
    assert [package.impl.IMPLEMENTATION for package in PACKAGES] == ["cython", "python"]
    assert len({package.impl.CookieSession for package in PACKAGES}) == 2
    assert all(issubclass(package.manager.Session, package.impl.CookieSession) for package in PACKAGES)


CHANGE = Program([[0] * 8], [("request", 0, 0, 0, [], [("do", ("set", 0, 0)), ("do", ("in", 0))])])


def test_a_twin_that_answers_otherwise_is_seen(monkeypatch):
    monkeypatch.setattr(PACKAGES[1].impl.CookieSession, "__contains__", lambda session, key: False)
    assert "('str', 'in'), ('bool', True)" in difference(CHANGE)


def test_a_twin_that_writes_other_cookies_is_seen(monkeypatch):
    monkeypatch.setattr(PACKAGES[1].impl.CookieConfig, "set_cookies", lambda *arguments: ["gaesess=x"])
    assert "gaesess=x" in difference(CHANGE)
