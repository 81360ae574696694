"""Requests that overlap in every order, engines that fail at any call, an attacker: nothing is lost, nothing is back.

Every session is kept in the store here. Where it lives in its cookie, the last of two overlapping answers wins by
design; sessions that move are in test_moving.py.
"""

import os
from itertools import product

from browser import Browser
from guarantees.request import Request
from guarantees.tasks import FAULTS
from guarantees.world import DISTURBANCES, PROCESSES, World
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

EXAMPLES = int(os.environ.get("GAESESS_EXAMPLES", "200"))
MAX_AT_WORK = 3
KEYS = st.sampled_from(["a", "b"])

changes = st.one_of(
    st.tuples(st.just("increment"), st.integers(1, 3)),
    st.tuples(st.just("append"), st.integers(100, 199)),
    st.tuples(st.just("set"), KEYS),
    st.tuples(st.just("nested"), st.just("items"), st.integers(0, 99)),
    st.tuples(st.just("delete"), KEYS),
)
rare = st.sampled_from([("save",), ("clear",), ("regenerate_id",), ("terminate",)])
plans = st.one_of(
    st.lists(st.one_of(changes, rare), min_size=1, max_size=2),
    st.tuples(changes, st.just(("save",)), changes).map(list),
)
processes = st.integers(0, PROCESSES - 1)
faults = st.sampled_from([None] * 12 + list(FAULTS))
scripts = st.one_of(st.just([]), st.lists(st.sampled_from([None, *FAULTS]), max_size=6))  # of durable calls
choices = st.integers(0, 50)
schedules = st.lists(st.tuples(choices, faults), max_size=12)


class Sessions(RuleBasedStateMachine):
    @initialize(calm=st.sampled_from([False, False, True]))
    def open(self, calm):
        """Where it is calm nothing fails, and so nobody may be shown less than anybody was told is saved."""
        self.calm = calm
        self.world = World()
        self.browser = Browser(self.world.managers[0])
        self.at_work = []  # requests, each with the browser it came from
        self.answers = []  # Set-Cookie values on their way, each with the browser they go to
        with Browser(self.world.managers[1]).request() as session:
            session["of"] = "somebody else"
        self.browse([(0, [("increment", 1), ("append", 0)], ())], [])
        self.run_to_the_end(0)
        self.deliver(0)

    @rule(requests=st.lists(st.tuples(processes, plans, scripts), min_size=1, max_size=MAX_AT_WORK), schedule=schedules)
    def browse(self, requests, schedule):
        """Begin requests that overlap, and with those that are at work already."""
        header = self.browser.header()
        for process, plan, script in requests:
            self.start(Request(self.world, process, header, plan, () if self.calm else script), self.browser)
        self.step(schedule)

    @rule(
        endings=st.lists(st.sampled_from(["terminate", "regenerate_id"]), min_size=1, max_size=2),
        change=changes,
        schedule=st.lists(st.tuples(st.integers(0, 2), st.none()), min_size=10, max_size=24),
    )
    def race(self, endings, change, schedule):
        """End the session, or its id, or both, or its id twice, while another request changes it."""
        self.run_all_to_the_end()
        plans = [[change], *([(ending,)] for ending in endings)]
        self.browse([(number % PROCESSES, plan, ()) for number, plan in enumerate(plans)], schedule)

    @rule(
        plans=st.lists(st.lists(changes, max_size=1), min_size=2, max_size=2),
        evicted=st.booleans(),
        schedule=st.lists(st.tuples(st.integers(0, 1), st.none()), min_size=8, max_size=16),
    )
    def look_after_race(self, plans, evicted, schedule):
        """Read, or change, in two processes at once, and then look what everybody is shown."""
        self.run_all_to_the_end()
        if evicted:
            self.disturb("restart", 0)
        self.browse([(0, plans[0], ()), (1, plans[1], ())], schedule)
        self.run_all_to_the_end()
        for process, header in product(range(PROCESSES), {self.browser.header(), next(iter(self.world.cookies))}):
            self.start(Request(self.world, process, header, []), Browser(self.world.managers[0]))
            self.run_all_to_the_end()

    @rule(choice=choices, process=processes, plan=plans)
    def replay_a_cookie(self, choice, process, plan):
        """An attacker has kept every cookie, and nobody takes his answers."""
        seen = list(self.world.cookies)
        self.start(Request(self.world, process, seen[choice % len(seen)], plan), Browser(self.world.managers[0]))

    @precondition(lambda self: self.at_work)
    @rule(schedule=schedules)
    def step(self, schedule):
        """Let requests at work make their next calls, in any order."""
        for choice, fault in schedule:
            if self.at_work:
                request, browser = self.at_work[choice % len(self.at_work)]
                request.task.step(None if self.calm else fault)
                self.collect(request, browser)

    @precondition(lambda self: self.at_work)
    @rule(choice=choices)
    def run_to_the_end(self, choice):
        request, browser = self.at_work[choice % len(self.at_work)]
        request.task.finish()
        self.collect(request, browser)

    def run_all_to_the_end(self):
        while self.at_work:
            self.run_to_the_end(0)

    @precondition(lambda self: self.answers)
    @rule(choice=choices)
    def deliver(self, choice):
        browser, lines = self.answers.pop(choice % len(self.answers))
        browser.take(lines)

    @rule(event=st.sampled_from([*DISTURBANCES, "poison", "process exits"]), choice=choices)
    def disturb(self, event, choice):
        if self.calm and (self.at_work or event not in ("evict", "restart", "time passes", "clock is set back")):
            return
        self.world.cache.sound &= not self.at_work  # who may put back what was dropped, or seem to be kept waiting
        self.world.disturb(event, choice)

    def teardown(self):
        if hasattr(self, "world"):
            self.run_all_to_the_end()
            self.world.land_everything()
            self.world.check_end()

    def start(self, request, browser):
        if len(self.at_work) >= MAX_AT_WORK:
            self.run_to_the_end(0)
        self.at_work.append((request, browser))
        self.collect(request, browser)

    def collect(self, request, browser):
        if request.task.done:
            self.at_work.remove((request, browser))
            self.answers.append((browser, request.set_cookies))


Sessions.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSessions = Sessions.TestCase
