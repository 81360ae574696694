"""Every schedule of a case within bounds, each replayed from the start by its choices.

A coroutine cannot be copied, so a schedule is the list of its choices. Two things keep most of them from being run:

1. A state that was visited is not expanded again. The state of a coroutine is a function of its script and of the
   answers, clocks and memory of its process that it was shown, as what is random is a function of the request. So two
   schedules with equal engines, calls that are late, clocks, memories of processes, and histories of each request go on
   alike. What the oracle asks about is a function of the same, with the flags that `World.digest` has. A state that was
   visited with fewer faults used covers one with more. States are compared by 64-bit hashes: among ten million states
   the chance that two are taken for one is 1 in 400,000.
2. Sleep sets (Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996). Of two steps that
   commute one order is enough. Two calls commute if they are of different requests in different processes, and of
   different engines or keys, or both read: neither changes what the other is answered, each request's history has its
   own answers only, versions are counted by key, and the processes share no memory. A step that begins a request, that
   changes a clock, lets a late call land, or is in one process with another request commutes with nothing. To be sound
   together with 1 a visited state is kept with its sleep set, and what slept then and does not now is made up for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from random import Random
from typing import NamedTuple

from model.oracle import judge
from model.world import Case, Start, Token, World

MAX_STEPS = 400  # of a schedule


class Found(NamedTuple):
    """A schedule that breaks a guarantee."""

    case: Case
    choices: tuple[str, ...]
    wrong: str


class Result(NamedTuple):
    """What the exploration of a case came to."""

    case: Case
    faults: int
    schedules: int  # that were replayed, to their end or to a visited state
    ended: int  # that were judged
    states: int
    seen_again: int  # schedules cut short at a visited state
    slept: int  # steps left out, as the other order of two that commute is enough
    seconds: float
    complete: bool
    found: Found | None


class _Point:
    """A state that was reached, and what is to be tried there. `sleep` are the steps that need not be."""

    __slots__ = ("before", "sleep", "todo")

    def __init__(self, before: _Step | None, todo: list[Token], sleep: list[Token]) -> None:
        self.before, self.todo, self.sleep = before, todo, sleep


class _Step(NamedTuple):
    """One of what is to be tried at a point."""

    point: _Point
    index: int

    def token(self) -> Token:
        return self.point.todo[self.index]

    def path(self) -> list[Token]:
        """Return the choices up to and with this one."""
        path, step = [], self
        while step is not None:
            path.append(step.token())
            step = step.point.before  # type: ignore[assignment]
        return path[::-1]

    def sleeping(self) -> list[Token]:
        """Return the steps that need not come next: they are tried before this one, with which they commute."""
        last = self.token()
        return [token for token in (*self.point.sleep, *self.point.todo[: self.index]) if commute(token, last)]


def commute(one: Token, other: Token) -> bool:
    """Return whether the order of two steps makes no difference."""
    if one.footprint is None or other.footprint is None:
        return False
    (name, engine, keys, writes), (name2, engine2, keys2, writes2) = one.footprint, other.footprint
    return name != name2 and (engine != engine2 or not keys & keys2 or not (writes or writes2))


@lru_cache(4)
def start_of(case: Case) -> Start:
    """Return the state at the start of a case."""
    return Start(case)


def explore(
    case: Case,
    faults: int,
    *,
    seconds: float = float("inf"),
    schedules: float = float("inf"),
    kinds: frozenset[str] | None = None,
    sleeps: bool = True,
    remembers: bool = True,
    finals: set[int] | None = None,
) -> Result:
    """Run every schedule of a case with at most that many faults, until one breaks a guarantee or the time is over.

    Those that are run when the time, or the number of `schedules`, is over were taken at random. `kinds` are the faults
    that there are, by default all; `finals` gets the states in which schedules end.
    """
    start = start_of(case)
    visited: dict[int, tuple[int, list[Token]]] = {}
    frontier: list[_Step | None] = [None]
    chance = Random(0)  # what is left out when the time is over is not all of one kind
    began = time.monotonic()
    run = ended = seen_again = slept = 0

    def result(complete: bool, found: Found | None) -> Result:
        took = time.monotonic() - began
        return Result(case, faults, run, ended, len(visited), seen_again, slept, took, complete, found)

    while frontier:
        if run >= schedules or (run % 16 == 0 and time.monotonic() - began > seconds):
            return result(False, None)
        run += 1
        at = chance.randrange(len(frontier))
        frontier[at], frontier[-1] = frontier[-1], frontier[at]
        step = frontier.pop()
        world = World(start)
        try:
            for token in step.path() if step else ():
                world.do(token)
            while True:
                alternatives = world.alternatives(faults, kinds) if world.wrong is None else []
                sleep = step.sleeping() if step and sleeps else []
                asleep = {token.text for token in sleep}
                todo = [token for token in alternatives if token.text not in asleep]
                if remembers:
                    state = world.digest()
                    known = visited.get(state)
                    if known is None or (alternatives and known[0] > world.used):
                        visited[state] = world.used, sleep
                    else:  # all that did not sleep then was tried, or is to be
                        missed = {token.text for token in known[1]} - asleep
                        visited[state] = known[0], [token for token in known[1] if token.text in asleep]
                        todo = [token for token in todo if token.text in missed]
                        if not todo:
                            seen_again += 1
                            break
                        sleep = [token for token in alternatives if token.text not in missed]
                if not alternatives:
                    ended += 1
                    if finals is not None:
                        finals.add(world.digest())
                    if wrong := judge(world):
                        choices = tuple(token.text for token in step.path()) if step else ()
                        return result(False, Found(case, choices, wrong))
                    break
                slept += len(alternatives) - len(todo)
                if not todo:
                    break
                point = _Point(step, todo, sleep)
                frontier += [_Step(point, index) for index in range(1, len(todo))]
                step = _Step(point, 0)
                world.do(todo[0])
        finally:
            world.close()
    return result(True, None)


def replay(case: Case, choices: Iterable[str], *, story: bool = False) -> tuple[str | None, list[str], tuple[str, ...]]:
    """Run one schedule by its choices; return what is wrong, its story, and the choices that were possible.

    A choice that is not possible (any more) is left out; after the last one each request goes on to its end.
    """
    world = World(start_of(case))
    world.story = [] if story else None
    taken: list[str] = []
    try:
        left = list(choices)
        while world.wrong is None and len(taken) < MAX_STEPS:
            possible = {token.text: token for token in world.alternatives(99)}
            while left and left[0] not in possible:
                left.pop(0)
            token = possible[left.pop(0)] if left else next((each for each in possible.values() if not each.cost), None)
            if token is None or (not left and token.text.startswith("land")):
                break
            taken.append(token.text)
            world.do(token)
        return judge(world), world.story or [], tuple(taken)
    finally:
        world.close()


def minimized(found: Found) -> Found:
    """Return the schedule with no fault, and no switch between requests, that it does not need."""

    def size(choices: tuple[str, ...]) -> tuple[int, int, int]:
        faults = sum(":" in choice for choice in choices)
        names = [choice.partition(":")[0] for choice in choices]
        return faults, sum(one != other for one, other in pairwise(names)), len(choices)

    rule = found.wrong.partition(": ")[2][:2]
    best, wrong = found.choices, found.wrong
    better = True
    while better:
        better = False
        for candidate in _variants(best):
            now, _, taken = replay(found.case, candidate)
            if now and now.partition(": ")[2][:2] == rule and size(taken) < size(best):
                best, wrong, better = taken, now, True
                break
    return Found(found.case, best, wrong)


def _variants(choices: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    for index, choice in enumerate(choices):
        if ":" in choice:
            yield (*choices[:index], choice.partition(":")[0], *choices[index + 1 :])
        yield choices[:index] + choices[index + 1 :]
    for index in range(len(choices) - 1):
        yield (*choices[:index], choices[index + 1], choices[index], *choices[index + 2 :])


def told(found: Found) -> str:
    """Return the story of a schedule, and how to run it again."""
    _, story, _ = replay(found.case, found.choices, story=True)
    lines = [f"{found.case}: {found.wrong}", *(f"    {line}" for line in story)]
    choices = " ".join(found.choices)
    return "\n".join([*lines, f'    python -m model --replay "{found.case.script} {found.case.config} {choices}"'])
