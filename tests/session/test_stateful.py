"""Overlapping requests of one client, in any order and through outages, against a model of what may be seen after them.

The model speaks of sessions in the store: of one that lives in its cookie, the last answer wins by design. So requests
overlap only where every session is kept in the store; where sessions move, one request follows another.
"""

from copy import copy, deepcopy

from browser import Browser
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from gaesess import Home, SessionManager, SessionTerminated, StoreUnavailable, generate_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import CACHE_SECONDS, TieredStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000
ABSENT = None
KEYS = st.sampled_from(["a", "b", "filler"])
FAULTS = st.sampled_from([None, None, "down", "deaf", "resends"])


class Identity:
    """A session under one id: which values each key may have, and whether it lives; None is "may or may not"."""

    def __init__(self, possible=()):
        self.possible = dict(possible)
        self.alive = True
        self.signed_out = False  # None is "may or may not be"
        self.shown_until = 0.0  # Unix seconds: the cache was not there when it ended
        self.heirs = []  # as what it was given new ids, by each of the requests that overlapped

    def allows(self, data):
        return data.keys() <= self.possible.keys() and all(
            data.get(key, ABSENT) in values for key, values in self.possible.items()
        )

    def apply(self, changes, doubted):
        """Note changes that were saved; the `doubted` ones maybe by an earlier try, and others have written since."""
        self.possible |= {key: [value] for key, value in changes.items() if key not in doubted}
        self.doubt({key: value for key, value in changes.items() if key in doubted})

    def doubt(self, changes):
        """Note changes whose fate is unknown."""
        for key, value in changes.items():
            self.possible[key] = [*self.possible.get(key, [ABSENT]), value]


class Request:
    """A request at work: its session, the identity that was read, and what it has changed and not yet saved."""

    def __init__(self, session, identity, sent, has_cookie):
        self.session = session
        self.identity = identity  # None for an inactive session
        self.sent = sent  # that of the cookie, whatever has become of it
        self.over = None if identity else sent  # the same, if it was over when this request began
        self.has_cookie = has_cookie
        self.new_id = False  # asked for, by sign-in, and not yet saved
        self.base = deepcopy(dict(session))
        self.changes = {}
        self.doubted = set()  # the keys of those that may have been saved


class Sessions(RuleBasedStateMachine):
    requests = Bundle("requests")

    @initialize(in_store=st.booleans())
    def open(self, in_store):
        self.in_store = in_store
        self.now, self.number = 1_800_000_000.0, 0
        self.cache, self.durable = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
        self.manager = SessionManager(
            generate_key(),
            store=TieredStore(self.cache, self.durable, clock=lambda: self.now),
            clock=lambda: self.now,
            cookie_only_threshold=0 if in_store else None,
        )
        self.browser = Browser(self.manager)
        self.identity = None  # of the browser's cookie
        self.at_work = 0
        self.pointers = []  # every cookie that pointed into the store: the jar, its identity, its revision
        first = self.begin()
        for key in ("a", "b", "filler"):
            self.write(first, key, big=True)
        self.end(first)

    # -- the world around

    @rule(cache=FAULTS, durable=FAULTS)
    def stores_fail_or_work(self, cache, durable):
        self.cache.down, self.cache.deaf = cache == "down", cache == "deaf"
        self.cache.resends, self.durable.resends = cache == "resends", durable == "resends"
        # Where sessions move, a lost reply may leave in the store what their cookie does not know of.
        self.durable.down, self.durable.deaf = durable == "down", durable == "deaf" and self.in_store

    @rule(seconds=st.sampled_from([2, CACHE_SECONDS]), empty_cache=st.booleans())
    def time_passes(self, seconds, empty_cache):
        """The cache is tried again, or what it has has had its time."""
        self.now += seconds
        if empty_cache:
            self.cache.store._records.clear()

    def outage_is_real(self):
        """A failing cache alone is nothing that a session hears of."""
        assert self.durable.down or self.durable.deaf

    # -- a request from its begin to its end

    @rule(target=requests)
    def begin(self):
        if self.at_work and not self.in_store:
            return multiple()
        session, has_cookie = self.browser.send(), bool(self.browser.cookies)
        try:
            active = session.is_active()
        except StoreUnavailable:
            self.outage_is_real()
            return multiple()
        identity = self.identity
        if identity and identity.alive is None:
            identity.alive = active
        assert active == bool(identity and identity.alive) or (active and self.now < identity.shown_until)
        self.at_work += 1
        return Request(session, identity if active else None, identity, has_cookie)

    @rule(request=requests, key=KEYS, big=st.booleans())
    def write(self, request, key, big):
        self.number += 1  # no value comes twice, so every write is a change
        self.change(request, key, f"{self.number}{BIG if big else ''}")

    def change(self, request, key, value):
        if value is ABSENT:
            del request.session[key]
        else:
            request.session[key] = value
        if request.identity is None:
            request.identity = Identity()
        request.changes[key] = copy(value)

    @rule(request=requests, key=KEYS)
    def delete(self, request, key):
        if key in request.base and key in request.session:
            self.change(request, key, ABSENT)

    @rule(request=requests)
    def put_into_the_cart(self, request):
        self.number += 1
        if "cart" in request.session:
            request.session["cart"].append(self.number)
            request.changes["cart"] = list(request.session["cart"])
        else:
            self.change(request, "cart", [self.number])

    @rule(request=requests)
    def sign_in(self, request):
        request.session.regenerate_id()
        request.new_id = request.identity is not None

    @rule(request=requests)
    def save(self, request):
        self.try_to_save(request, request.session.save)

    @rule(request=consumes(requests))
    def end(self, request):
        self.at_work -= 1
        if not self.try_to_save(request, lambda: self.browser.receive(request.session)):
            self.browser.take(request.session.abandon())
        self.note_cookie(request)

    @rule(request=consumes(requests))
    def sign_out(self, request):
        self.at_work -= 1
        identities = [*self.lineage(request.identity or request.sent), *self.lineage(request.over)]
        try:
            request.session.terminate()
        except StoreUnavailable:
            self.outage_is_real()
            for identity in identities:
                identity.alive = None if identity.alive is not False else False
                identity.signed_out = identity.signed_out or None
        else:
            for identity in identities:
                self.note_end(identity)
                identity.signed_out = True
        self.browser.receive(request.session)
        if request.has_cookie:
            assert self.browser.cookies == {}
            self.identity = None
        else:
            assert self.browser.received == []  # it has nothing to be rid of, and keeps what came meanwhile

    def note_end(self, identity):
        identity.alive = False
        if self.cache.down or self.cache.deaf:
            identity.shown_until = self.now + CACHE_SECONDS

    def lineage(self, identity):
        if identity:
            yield identity
            for heir in identity.heirs:
                yield from self.lineage(heir)

    def try_to_save(self, request, save):
        """Return whether it was saved, having told the model what has become of the changes."""
        before = request.identity
        must_write = bool(request.changes) or request.new_id
        try:
            save()
        except StoreUnavailable:
            self.outage_is_real()
            before.doubt(request.changes)
            request.doubted |= request.changes.keys()
            if request.new_id and before.alive:
                before.alive = None  # the reply to its end may be what was lost
            return False
        except SessionTerminated:
            assert not before.alive
            assert before.signed_out is not False or not request.new_id  # for each that overlaps gets a new id
            before.alive = False
            return False
        if request.new_id:
            self.note_new_id(request)
        elif must_write:
            assert before.alive is not False
            before.alive = True
            before.apply(request.changes, request.doubted)
        request.doubted = set()
        request.new_id, request.changes, request.base = False, {}, deepcopy(dict(request.session))
        return True

    def note_new_id(self, request):
        before = request.identity
        assert before.signed_out is not True
        data = deepcopy(dict(request.session))
        heir = Identity(before.possible)
        if before.alive is not True:  # a request that overlapped may have been first, and then the old data are gone
            for key in heir.possible.keys() | request.base.keys():
                heir.possible[key] = [*heir.possible.get(key, [ABSENT]), request.base.get(key, ABSENT)]
        heir.apply(request.changes, request.doubted)
        assert heir.allows(data)
        heir.possible = {key: [value] for key, value in data.items()}
        self.note_end(before)
        before.heirs.append(heir)
        request.identity = heir

    def note_cookie(self, request):
        if not any("Max-Age=0" not in line for line in self.browser.received):
            return
        self.identity = request.identity
        if request.session.home is Home.STORE:
            self.pointers.append((dict(self.browser.cookies), self.identity, request.session.revision))

    # -- what always holds

    @invariant()
    def the_client_sees_what_was_acknowledged(self):
        if self.at_work and not self.in_store:
            return
        session = self.browser.send()
        try:
            data = dict(session)
        except StoreUnavailable:
            self.outage_is_real()
            return
        identity = self.identity
        assert session.is_active() or not (identity and identity.alive)
        if session.is_active():
            assert identity.alive is not False or self.now < identity.shown_until
            assert identity.allows(data)

    @invariant()
    def no_cookie_shows_an_ended_session_or_one_older_than_it_was(self):
        for cookies, identity, revision in self.pointers:
            old = Browser(self.manager)
            old.cookies = cookies
            session = old.send()
            try:
                active = session.is_active()
            except StoreUnavailable:
                self.outage_is_real()
                continue
            if active:
                assert identity.alive is not False or self.now < identity.shown_until
                assert session.revision >= revision


Sessions.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase
