"""Threads of one request that use its session at once: no write is lost, none is made twice, and what fails says so."""

import threading
from contextlib import contextmanager, suppress

import pytest
from browser import Browser, with_session
from clock import Clock

from gaesess import Session, SessionClosed, SessionTerminated, StoreUnavailable, _impl, register, values
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000  # more than one cookie holds
A_MOMENT = 0.05  # seconds for a thread to do what it can; no test fails because it was too short
STORED = {"cookie_only_threshold": 0}


class Gate:
    """Holds up the first one who comes by, once it is closed."""

    def __init__(self):
        self.closed = False
        self.reached, self.opened = threading.Event(), threading.Event()

    def pass_by(self):
        if self.closed:
            self.closed = False
            self.reached.set()
            assert self.opened.wait(30)


class GatedStore(FaultyStore):
    """Has a gate before every call, and one after it."""

    def __init__(self, store):
        super().__init__(store)
        self.before, self.after = Gate(), Gate()

    def _call(self, method, *arguments, **options):
        self.before.pass_by()
        try:
            return super()._call(method, *arguments, **options)
        finally:
            self.after.pass_by()


class Gated:
    """A value, of which one at a time may be held up while it is saved or read."""

    saving, reading = Gate(), Gate()
    readable = True

    def dump(self):
        self.saving.pass_by()

    @classmethod
    def load(cls, packed):
        cls.reading.pass_by()
        if not cls.readable:
            raise ValueError("of a newer version of the application")
        return cls()


class Key:
    """A key of a session, at which a thread may be held up whenever its hash is asked for."""

    def __init__(self):
        self.gates = []

    def __hash__(self):
        if self.gates:
            self.gates.pop(0).pass_by()
        return 1

    def __eq__(self, other):
        return isinstance(other, Key)


@pytest.fixture(autouse=True)
def _types(monkeypatch):
    """Register the types, for one test."""
    monkeypatch.setattr(values, "_TYPES", dict(values._TYPES))
    monkeypatch.setattr(values, "_REGISTERED_LOADERS", {})
    register(Gated, "gated", Gated.dump, Gated.load)
    register(Key, "key", lambda key: None, lambda packed: Key())
    monkeypatch.setattr(Gated, "saving", Gate())
    monkeypatch.setattr(Gated, "reading", Gate())


class GatedClock(Clock):
    """A clock at which a thread may be held up."""

    def __init__(self):
        super().__init__()
        self.gate = Gate()

    def __call__(self):
        self.gate.pass_by()
        return super().__call__()


class Thread(threading.Thread):
    """A thread that begins at once, and whose result can be had."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self._function, self._arguments = function, arguments
        self._result = self._error = None
        self.start()

    def run(self):
        try:
            self._result = self._function(*self._arguments)
        except BaseException as error:
            self._error = error

    def result(self):
        self.join(30)
        assert not self.is_alive()
        if self._error:
            raise self._error
        return self._result


def hold_up(gate, first, second):
    """Run one function until it is held up, another one as far as it comes, and then both to their ends."""
    gate.closed = True
    one = Thread(first)
    assert gate.reached.wait(30)
    other = Thread(second)
    other.join(A_MOMENT)
    gate.opened.set()
    return one, other


@pytest.fixture
def store():
    return GatedStore(MemoryStore())


@pytest.fixture
def clock():
    return GatedClock()


# -- the first use


@pytest.fixture
def visit(make_manager):
    """Return a browser that has a session with these settings."""
    return lambda **settings: with_session(make_manager(**settings), old=1, gated=Gated())


READS = {
    "its cookie is verified": lambda visit, clock, store: (visit(store=None), clock.gate),
    "its cookie is read": lambda visit, clock, store: (visit(store=None), Gated.reading),
    "its cookie is read, and there is a store": lambda visit, clock, store: (visit(), Gated.reading),
    "the store is asked": lambda visit, clock, store: (visit(**STORED), store.before),
    "the store has answered": lambda visit, clock, store: (visit(**STORED), store.after),
    "its record is read": lambda visit, clock, store: (visit(**STORED), Gated.reading),
    "the store is asked whether it has ended": lambda visit, clock, store: (visit(revocable=True), store.before),
}
STARTS = {"there is no session": lambda visit, clock, store: (Browser(visit().manager), clock.gate)}


@pytest.fixture(params=READS)
def first_use(request, visit, clock, store):
    """A browser, and the gate at which the first use of its session is held up."""
    return (READS | STARTS)[request.param](visit, clock, store)


def saved(browser, session):
    """End the request; return what the next one finds."""
    browser.receive(session)
    data = browser.data()
    data.pop("gated", None)
    return data


@pytest.mark.parametrize(
    "write",
    [
        lambda session: session.update(b=2),
        lambda session: session.setdefault("b", 2),
        lambda session: session.increment("b", 2),
        lambda session: session.set_quick("b", 2),
        lambda session: session.__ior__({"b": 2}),
    ],
    ids=["update", "setdefault", "increment", "set_quick", "|="],
)
@pytest.mark.parametrize("first_use", READS | STARTS, indirect=True)
def test_what_two_threads_write_at_the_first_use_is_both_kept(first_use, write):
    browser, gate = first_use
    before = {"old": 1} if browser.cookies else {}
    session = browser.send()
    for thread in hold_up(gate, lambda: session.update(a=1), lambda: write(session)):
        thread.result()
    assert saved(browser, session) == {**before, "a": 1, "b": 2}


def test_what_one_thread_writes_while_another_reads_is_kept(first_use):
    browser, gate = first_use
    session = browser.send()
    for thread in hold_up(gate, lambda: session.get("a"), lambda: session.update(a=1)):
        thread.result()
    assert saved(browser, session) == {"old": 1, "a": 1}


def test_a_new_id_is_given_while_another_thread_reads(first_use):
    browser, gate = first_use
    session, before = browser.send(), id_of(browser)
    for thread in hold_up(gate, lambda: session.get("a"), lambda: session.regenerate_id()):
        thread.result()
    assert saved(browser, session) == {"old": 1}
    assert id_of(browser) != before


def id_of(browser):
    """Return the id in the cookie, without a use of the session."""
    config = browser.manager.config
    return _impl.unseal_cookies(config.keys, browser.header(), config.cookie.name, config.now())[0].sid


@pytest.mark.parametrize("verb", ["start", "terminate"])
def test_a_session_that_ends_while_another_thread_reads_it_has_ended(first_use, verb):
    browser, gate = first_use
    session = browser.send()
    for thread in hold_up(gate, lambda: session.get("old"), lambda: getattr(session, verb)()):
        thread.result()
    assert saved(browser, session) == {}


@pytest.mark.parametrize("verb", ["start", "terminate"])
def test_a_session_that_ends_while_another_thread_writes_has_none_of_its_data_afterwards(first_use, verb):
    """What is written is in the session that has ended, or in the one that begins with it."""
    browser, gate = first_use
    session = browser.send()
    for thread in hold_up(gate, lambda: session.update(a=1), lambda: getattr(session, verb)()):
        thread.result()
    assert saved(browser, session) in ({}, {"a": 1})


NOT_READABLE = {
    "in its cookie": lambda visit, store: (visit(store=None), Gated.reading),
    "in its cookie, and there is a store": lambda visit, store: (visit(), Gated.reading),
    "its record is gone": lambda visit, store: (without_record(visit(**STORED), store), store.after),
    "it was ended elsewhere": lambda visit, store: (ended_elsewhere(visit(**STORED)), store.after),
}


def without_record(browser, store):
    store.store._records.clear()
    return browser


def ended_elsewhere(browser):
    browser.copy().send().terminate()
    return browser


@pytest.mark.parametrize("case", NOT_READABLE)
def test_what_two_threads_write_into_the_place_of_a_session_that_is_none_is_both_kept(visit, store, monkeypatch, case):
    browser, gate = NOT_READABLE[case](visit, store)
    monkeypatch.setattr(Gated, "readable", False)
    session = browser.send()
    for thread in hold_up(gate, lambda: session.update(a=1), lambda: session.update(b=2)):
        thread.result()
    assert saved(browser, session) == {"a": 1, "b": 2}


@pytest.mark.parametrize("case", NOT_READABLE)
def test_a_thread_that_finds_no_session_leaves_alone_what_another_has_begun_meanwhile(visit, store, monkeypatch, case):
    """The second one to look is held up, and the first one writes."""
    browser, gate = NOT_READABLE[case](visit, store)
    monkeypatch.setattr(Gated, "readable", False)
    session = browser.send()
    gate.closed = True
    late = Thread(lambda: session.get("a"))
    assert gate.reached.wait(30)
    early = Thread(lambda: session.update(b=2))
    early.join(A_MOMENT)
    gate.opened.set()
    late.result()
    early.result()
    assert saved(browser, session) == {"b": 2}


def test_an_outage_at_the_first_use_is_raised_by_every_thread(visit, store):
    browser = visit(**STORED)
    session = browser.send()
    store.down = True
    threads = [Thread(lambda: session.get("old")) for _ in range(3)]
    for thread in threads:
        with pytest.raises(StoreUnavailable):
            thread.result()


# -- saving


SAVES = {
    "in its cookie": (lambda visit: visit(store=None), lambda store: Gated.saving),
    "in its cookie, and there is a store": (lambda visit: visit(), lambda store: Gated.saving),
    "in the store": (lambda visit: visit(**STORED), lambda store: store.before),
    "in the store, which answers late": (lambda visit: visit(**STORED), lambda store: store.after),
    "for the first time in the store": (lambda visit: without_cookie(visit(**STORED)), lambda store: store.before),
}


def without_cookie(browser):
    browser.cookies.clear()
    return browser


@pytest.fixture(params=SAVES)
def save(request, visit, store):
    """A browser, and the gate at which a save of its session is held up."""
    visit_first, gate = SAVES[request.param]
    return visit_first(visit), gate(store)


def changed(browser):
    """Begin a request that has something to save."""
    session = browser.send()
    session.update(n=1, log=["a"], gated=Gated(), filler="x")
    return session


def held_up(gate, function):
    """Return a thread that is held up in a function."""
    gate.closed = True
    thread = Thread(function)
    assert gate.reached.wait(30)
    return thread


CHANGES = {
    "session[key] = value": lambda session: session.__setitem__("late", 1),
    "del session[key]": lambda session: session.__delitem__("n"),
    "session |= ...": lambda session: session.__ior__({"late": 1}),
    "update": lambda session: session.update(late=1),
    "setdefault": lambda session: session.setdefault("late", 1),
    "pop": lambda session: session.pop("n"),
    "popitem": lambda session: session.popitem(),
    "clear": lambda session: session.clear(),
    "set_quick": lambda session: session.set_quick("late", 1),
    "pop_quick": lambda session: session.pop_quick("n"),
    "increment": lambda session: session.increment("n"),
    "append": lambda session: session.append("log", "late"),
    "start": lambda session: session.start(),
    "terminate": lambda session: session.terminate(),
    "regenerate_id": lambda session: session.regenerate_id(),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@every_change
@pytest.mark.parametrize("method", ["save", "commit"])
def test_a_change_during_a_save_raises_and_is_not_made(save, method, change):
    browser, gate = save
    session = changed(browser)
    sid = session.sid
    thread = held_up(gate, getattr(session, method))
    before = plain(session)
    with pytest.raises(SessionClosed):
        change(session)
    assert (plain(session), session.sid) == (before, sid)
    gate.opened.set()
    thread.result()
    browser.take(session.abandon())
    assert plain(browser.send()) == before


def plain(session):
    return {key: value for key, value in session.items() if key != "gated"}


@every_change
def test_what_it_raises_says_that_the_session_is_being_saved(visit, change):
    """That the headers have gone out would be wrong, and would lead astray."""
    session = changed(visit(store=None))
    thread = held_up(Gated.saving, session.save)
    with pytest.raises(SessionClosed, match="being saved"):
        change(session)
    Gated.saving.opened.set()
    thread.result()


@every_change
def test_a_change_after_an_early_save_is_made_and_saved(save, change):
    browser, _ = save
    session, expected = changed(browser), changed(browser)
    session.save()
    change(session)
    change(expected)
    browser.receive(session)
    assert plain(browser.send()) == plain(expected)


def test_what_is_changed_in_place_during_an_early_save_is_saved_by_the_next(save):
    browser, gate = save
    session = changed(browser)
    log = session["log"]
    thread = held_up(gate, session.save)
    log.append("late")
    gate.opened.set()
    thread.result()
    browser.receive(session)
    assert browser.send()["log"] == ["a", "late"]


def test_a_session_can_be_read_during_a_save(save):
    browser, gate = save
    session = changed(browser)
    thread = held_up(gate, session.commit)
    assert (session["n"], session.get("log"), "filler" in session) == (1, ["a"], True)
    gate.opened.set()
    thread.result()


@pytest.mark.parametrize("other", ["save", "commit"])
def test_a_second_save_waits_for_the_first_one_and_nothing_is_made_twice(save, other):
    browser, gate = save
    session = changed(browser)
    session.increment("n")
    session.append("log", "b")
    for thread in hold_up(gate, session.save, getattr(session, other)):
        thread.result()
    browser.take(session.abandon())
    assert plain(browser.send()) == {**plain(session), "n": 2, "log": ["a", "b"]}


@pytest.mark.parametrize("gate", ["before", "after"])
def test_two_saves_at_once_of_a_session_that_another_request_has_changed_add_once(visit, store, gate):
    browser = visit(**STORED)
    session = browser.send()
    session.increment("n")
    session.append("log", "once")
    with browser.request() as other:
        other.increment("n", 10)
        other.append("log", "other")
    for thread in hold_up(getattr(store, gate), session.save, session.save):
        thread.result()
    data = browser.data()
    assert (data["n"], data["log"]) == (11, ["other", "once"])


def test_a_second_save_after_one_that_has_failed_saves_it_all(visit, store):
    browser = visit(**STORED)
    session = changed(browser)
    store.down = True
    first, second = hold_up(store.before, session.save, session.save)
    with pytest.raises(StoreUnavailable):
        first.result()
    with pytest.raises(StoreUnavailable):
        second.result()
    store.down = False
    browser.receive(session)
    assert browser.send()["n"] == 1


def test_a_thread_that_loses_against_a_sign_out_hears_of_it_and_so_does_the_next(visit, store):
    browser = visit(**STORED)
    session = changed(browser)
    browser.copy().send().terminate()
    first, second = hold_up(store.before, session.save, session.save)
    for thread in (first, second):
        with pytest.raises(SessionTerminated):
            thread.result()


# -- changes that have begun before the session is closed, and go on after


@contextmanager
def overtaken(then):
    """Have something happen in another thread when a change has found the session open, and has not its lock yet."""
    changing, threads = Session._changing, []

    def found_open(self):
        lock = changing(self)
        if not threads:
            threads.append(Thread(then))
            threads[0].join(30)
        return lock

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_changing", found_open)
        yield
    threads[0].result()


@pytest.mark.parametrize("close", ["commit", "abandon", "close"])
@pytest.mark.parametrize("verb", ["start", "terminate", "regenerate_id"])
@pytest.mark.parametrize("settings", [{"store": None}, STORED], ids=["cookie", "store"])
def test_a_verb_that_the_end_of_the_request_overtakes_raises_and_does_nothing(make_manager, settings, verb, close):
    browser = with_session(make_manager(**settings), old=1)
    session = browser.send()
    session["n"] = 1
    sid = session.sid
    with overtaken(getattr(session, close)), pytest.raises(SessionClosed):
        getattr(session, verb)()
    assert (session.sid, dict(session)) == (sid, {"old": 1, "n": 1})


@pytest.mark.parametrize("settings", [{"store": None}, STORED], ids=["cookie", "store"])
def test_a_session_that_is_terminated_while_it_is_committed_is_saved_or_ended(make_manager, settings):
    """The commit begins when the end has found the session open."""
    browser = with_session(make_manager(**settings), old=1)
    session = browser.send()
    session["n"] = 1
    ended = False
    with overtaken(lambda: browser.receive(session)), suppress(SessionClosed):
        session.terminate()
        ended = True
    assert browser.data() == ({} if ended else {"old": 1, "n": 1})


@pytest.mark.parametrize("close", ["commit", "abandon"])
def test_an_early_save_during_which_the_request_ends_leaves_the_session_closed(visit, store, close):
    session = visit(**STORED).send()
    session["n"] = 1
    for thread in hold_up(store.before, session.save, getattr(session, close)):
        thread.result()
    with pytest.raises(SessionClosed):
        session["late"] = 1


@pytest.mark.parametrize("verb", ["pop", "pop_quick"])
def test_of_two_threads_that_take_out_one_value_one_gets_it(make_manager, verb):
    session = make_manager().open(None)
    key = Key()
    session[key] = "once"
    take = getattr(session, verb)
    key.gates = [Gate(), Gate()]  # the first look, and the next use of the key
    threads = hold_up(key.gates[1], lambda: take(key), lambda: take(Key()))
    assert {thread.result() for thread in threads} == {None, "once"}


def test_a_value_that_another_thread_has_taken_out_is_not_the_last_item_too(make_manager):
    session = make_manager().open(None)
    key = Key()
    session[key] = "once"
    key.gates = [Gate()]
    taker, popper = hold_up(key.gates[0], lambda: session.pop(key), session.popitem)
    assert popper.result() == (Key(), "once")
    assert taker.result() is None
