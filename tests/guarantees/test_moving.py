"""Sessions that outgrow their cookie and come back, through the same faults.

Of a session in its cookie the last answer wins, and a copy of the cookie stays good: so one write follows another here,
and who has but a copy writes where the session is in the store. Who only reads may overlap with all of them.
"""

from browser import Browser
from guarantees.request import Request
from guarantees.test_machine import EXAMPLES, choices, processes, schedules, scripts
from guarantees.world import DISTURBANCES, World, token_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gaesess._core import POINTER

COOKIE_BYTES = 100
MAX_READERS = 2

keys = st.sampled_from(["a", "b", "filler"])
changes = st.one_of(
    st.just(("grow",)),
    st.tuples(st.just("set"), keys),
    st.tuples(st.just("increment"), st.integers(1, 3)),
)
plans = st.lists(
    st.one_of(
        changes,
        st.tuples(st.just("delete"), keys),
        st.sampled_from([("save",), ("clear",), ("regenerate_id",), ("terminate",)]),
    ),
    min_size=1,
    max_size=2,
)


class MovingSessions(RuleBasedStateMachine):
    @initialize()
    def open(self):
        self.world = World(COOKIE_BYTES)
        self.browser = Browser(self.world.managers[0])
        self.at_work = []
        self.write(0, [("set", "a")], [], [])

    @rule(process=processes, plan=plans, schedule=schedules, script=scripts)
    def write(self, process, plan, schedule, script):
        """Make a request, while others read."""
        request = Request(self.world, process, self.browser.header(), plan, script)
        self.at_work.append(request)
        self.step(schedule)
        request.task.finish()
        self.browser.take(request.set_cookies)

    @rule(process=processes, choice=choices, change=changes, schedule=schedules)
    def write_with_a_copy(self, process, choice, change, schedule):
        header = self.browser.header()
        if not self.points(header):
            return
        identity = self.world.cookies[header]
        its = [identity, *identity.ancestors()]
        copies = [other for other, of in self.world.cookies.items() if of in its and self.points(other)]
        thief = Request(self.world, process, copies[choice % len(copies)], [change])
        self.at_work.append(thief)
        self.step(schedule)
        thief.task.finish()

    @rule(process=processes, choice=choices)
    def begin_to_read(self, process, choice):
        """Show any cookie that was ever sent."""
        seen = list(self.world.cookies)
        self.at_work.append(Request(self.world, process, seen[choice % len(seen)], []))
        if len(self.at_work) > MAX_READERS:
            self.at_work.pop(0).task.finish()

    @rule(schedule=schedules)
    def step(self, schedule):
        """Let requests at work make their next calls, in any order."""
        for choice, fault in schedule:
            self.at_work = [request for request in self.at_work if not request.task.done]
            if self.at_work:
                self.at_work[choice % len(self.at_work)].task.step(fault)

    @rule(event=st.sampled_from(DISTURBANCES), choice=choices)
    def disturb(self, event, choice):
        self.world.cache.sound &= not any(not request.task.done for request in self.at_work)
        self.world.disturb(event, choice)

    def teardown(self):
        if hasattr(self, "world"):
            for request in self.at_work:
                request.task.finish()
            self.world.land_everything()
            self.world.check_client(self.browser.header())

    def points(self, header):
        token = token_of(self.world.durable_alone, header)
        return token is not None and bool(token.flags & POINTER)


MovingSessions.TestCase.settings = settings(
    max_examples=EXAMPLES // 2,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMovingSessions = MovingSessions.TestCase
