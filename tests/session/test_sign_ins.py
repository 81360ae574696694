"""Sign-ins of one browser that overlap: each gets an id of its own, and a sign-out of the old id ends them all.

`send` begins a request, `receive` ends it.
"""

from contextlib import suppress
from itertools import permutations

import pytest
from browser import NEW_KEY, OLD_KEY, with_session

from gaesess import Conflict, SessionTerminated, StoreUnavailable
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000  # more than one cookie holds
KINDS = {
    "cookie": {"store": None},
    "cookie, revocable": {"revocable": True},
    "store": {"cookie_only_threshold": 0},
    "store, revocable": {"cookie_only_threshold": 0, "revocable": True},
    "encrypted": {"cookie_only_threshold": 0, "encrypt": True},
}
ENDED = [kind for kind in KINDS if kind != "cookie"]  # in which the end of an id is written to the store
REVOCABLE = [kind for kind in KINDS if "revocable" in kind]


@pytest.fixture
def store():
    return FaultyStore(MemoryStore())


@pytest.fixture
def site(request, make_manager):
    """A manager with a store, or one of the KINDS that a test names."""
    return make_manager(**KINDS[getattr(request, "param", "store")])


@pytest.fixture
def browser(site):
    """A browser with a cart, which is about to sign in."""
    return with_session(site, cart="tea")


every_kind = pytest.mark.parametrize("site", KINDS, indirect=True)
every_kind_that_ends = pytest.mark.parametrize("site", ENDED, indirect=True)


def begin_to_sign_in(browser, number=0):
    session = browser.send()
    assert session["cart"] == "tea"
    session.regenerate_id()
    session["user"] = f"ada {number}"
    return session


def answers_of(browser, count):
    """Sign in so often at once; return the browsers that got each of the answers."""
    sessions = [begin_to_sign_in(browser, number) for number in range(count)]
    answers = [browser.copy() for _ in sessions]
    for answer, session in zip(answers, sessions, strict=True):
        answer.receive(session)
    return answers


@every_kind
@pytest.mark.parametrize("count", [2, 3])
def test_each_succeeds_with_its_own_data(browser, count):
    answers = answers_of(browser, count)
    assert [answer.data() for answer in answers] == [
        {"cart": "tea", "user": f"ada {number}"} for number in range(count)
    ]


@every_kind
def test_each_has_an_id_of_its_own(browser):
    before = browser.send().sid
    assert len({before, *(answer.send().sid for answer in answers_of(browser, 3))}) == 4


@every_kind
def test_the_browser_is_signed_in_whichever_answer_comes_last(browser):
    received = [answer.received for answer in answers_of(browser, 3)]
    for order in permutations(received):
        after = browser.copy()
        for lines in order:
            after.take(lines)
        assert after.data()["user"].startswith("ada")


@every_kind
def test_what_one_writes_later_is_not_in_the_other(browser):
    first, second = answers_of(browser, 2)
    with first.request() as session:
        session["secret"] = 1
    assert "secret" not in second.data()


@every_kind_that_ends
def test_each_may_outgrow_its_cookie(browser):
    sessions = [begin_to_sign_in(browser, number) for number in range(2)]
    answers = [browser.copy(), browser.copy()]
    for answer, session in zip(answers, sessions, strict=True):
        session["filler"] = BIG
        answer.receive(session)
    assert [answer.data()["filler"] for answer in answers] == [BIG, BIG]


@every_kind_that_ends
def test_the_old_cookie_is_worth_nothing_after_them(browser):
    before = browser.copy()
    answers_of(browser, 2)
    assert before.data() == {}


def test_another_write_to_the_old_id_is_refused_after_them(browser):
    late = browser.send()
    late["late"] = True
    answers_of(browser, 2)
    with pytest.raises(SessionTerminated):
        late.commit()


@every_kind_that_ends
def test_a_sign_out_of_the_old_id_ends_every_one(browser):
    logout = browser.send()
    answers = answers_of(browser, 3)
    logout.terminate()
    assert [answer.data() for answer in answers] == [{}, {}, {}]


@pytest.mark.parametrize("site", REVOCABLE, indirect=True)
def test_to_revoke_the_old_id_ends_every_one(browser):
    sid = browser.send().sid
    answers = answers_of(browser, 3)
    browser.manager.revoke_session(sid)
    assert [answer.data() for answer in answers] == [{}, {}, {}]


@pytest.mark.parametrize("site", REVOCABLE, indirect=True)
def test_a_sign_in_that_is_on_its_way_while_its_old_id_is_revoked_fails(browser):
    sign_in, sid = begin_to_sign_in(browser), browser.send().sid
    browser.manager.revoke_session(sid)
    with pytest.raises(SessionTerminated):
        sign_in.commit()


@every_kind_that_ends
def test_a_sign_out_of_the_old_id_ends_what_they_were_given_later(browser):
    logout = browser.send()
    answers = answers_of(browser, 2)
    for answer in answers:
        with answer.request() as session:
            session.regenerate_id()
    logout.terminate()
    assert [answer.data() for answer in answers] == [{}, {}]


@every_kind_that_ends
def test_a_sign_out_of_a_new_id_leaves_the_other(browser):
    first, second = answers_of(browser, 2)
    with first.request() as session:
        session.terminate()
    assert second.data() == {"cart": "tea", "user": "ada 1"}


@every_kind_that_ends
def test_a_sign_out_wins_against_a_sign_in_that_is_on_its_way(browser):
    sign_in, logout = begin_to_sign_in(browser), browser.send()
    logout.terminate()
    with pytest.raises(SessionTerminated):
        sign_in.commit()
    assert sign_in.abandon() == []


@every_kind_that_ends
def test_a_sign_out_between_two_sign_ins_ends_the_first_and_wins_against_the_second(browser):
    sign_ins, logout = [begin_to_sign_in(browser, number) for number in range(2)], browser.send()
    browser.receive(sign_ins[0])
    logout.terminate()
    with pytest.raises(SessionTerminated):
        sign_ins[1].commit()
    assert browser.data() == {}


@every_kind_that_ends
def test_a_sign_out_of_a_new_id_does_not_keep_the_other_from_signing_in(browser):
    sign_ins = [begin_to_sign_in(browser, number) for number in range(2)]
    first, second = browser.copy(), browser.copy()
    first.receive(sign_ins[0])
    with first.request() as session:
        session.terminate()
    second.receive(sign_ins[1])
    assert second.data() == {"cart": "tea", "user": "ada 1"}


@every_kind_that_ends
def test_what_a_sign_out_leaves_behind_holds_no_data(browser, store):
    logout = browser.send()
    answers_of(browser, 3)
    logout.terminate()
    assert max(len(record.data) for record in store.store._records.values()) < 200


def test_a_sign_in_that_loses_against_a_sign_out_leaves_no_record(browser, store):
    sign_in = begin_to_sign_in(browser)
    with browser.request() as session:
        session.terminate()
    with pytest.raises(SessionTerminated):
        sign_in.commit()
    assert len(store.store._records) == 1  # the tombstone of the old id


# -- with other requests of the same browser


def meanwhile(monkeypatch, store, method, number, do):
    """Have something happen right after that call of the store, the first one being number 1."""
    original, calls = getattr(store, method), []

    def call(*arguments, **options):
        calls.append(arguments)
        try:
            return original(*arguments, **options)
        finally:
            if len(calls) == number:
                do()

    monkeypatch.setattr(store, method, call)


def test_what_was_saved_before_the_first_is_in_both(browser):
    with browser.request() as session:
        session.append("log", "before")
    assert [answer.data()["log"] for answer in answers_of(browser, 2)] == [["before"], ["before"]]


def test_a_write_that_overlaps_with_one_moves_along(browser):
    sign_in = begin_to_sign_in(browser)
    with browser.request() as session:
        session.append("log", "meanwhile")
    browser.receive(sign_in)
    assert browser.data()["log"] == ["meanwhile"]


@pytest.mark.parametrize("reading", [1, 2])
def test_both_succeed_though_one_of_them_meets_with_a_write_first(browser, store, monkeypatch, reading):
    """It finds that the old record has changed, and looks it up again; the other one ends it right after that look."""
    first, second, write = begin_to_sign_in(browser, 1), begin_to_sign_in(browser, 2), browser.send()
    write["log"] = 1
    answers = [browser.copy(), browser.copy()]
    write.commit()
    meanwhile(monkeypatch, store, "get", reading, lambda: answers[1].receive(second))
    answers[0].receive(first)
    assert [answer.data()["user"] for answer in answers] == ["ada 1", "ada 2"]


@every_kind_that_ends
def test_both_succeed_though_every_write_is_sent_twice(browser, store):
    store.resends = True
    assert [answer.data()["user"] for answer in answers_of(browser, 2)] == ["ada 0", "ada 1"]


@every_kind_that_ends
def test_a_sign_in_whose_last_reply_is_lost_and_is_done_again_is_one(browser, store):
    sign_ins = [begin_to_sign_in(browser, number) for number in range(2)]
    store.deaf = True
    with pytest.raises(StoreUnavailable):
        sign_ins[0].save()
    store.deaf = False
    answers = [browser.copy(), browser.copy()]
    for answer, sign_in in zip(answers, sign_ins, strict=True):
        answer.receive(sign_in)
    assert [answer.data()["user"] for answer in answers] == ["ada 0", "ada 1"]


def test_so_many_at_once_that_none_gets_through_is_an_outage(browser, store, monkeypatch):
    sign_in = begin_to_sign_in(browser)

    def beaten(key, data, *, expires_at, version):
        raise Conflict("somebody else was first, again")

    browser.receive(begin_to_sign_in(browser))
    monkeypatch.setattr(store, "replace", beaten)
    with pytest.raises(StoreUnavailable, match="16 new ids at once"):
        sign_in.commit()


# -- an attacker who has planted the cookie from before the sign-in, as in session fixation


@every_kind_that_ends
def test_a_planted_cookie_is_worth_nothing_after_the_sign_in(browser):
    attacker = browser.copy()
    browser.receive(begin_to_sign_in(browser))
    assert attacker.data() == {}


@every_kind
def test_an_attacker_who_is_given_a_new_id_at_the_same_time_learns_nothing_of_the_sign_in(browser):
    attacker = browser.copy()
    of_the_attacker, of_the_user = attacker.send(), begin_to_sign_in(browser)
    of_the_attacker.regenerate_id()
    of_the_attacker["user"] = "mallory"
    browser.receive(of_the_user)
    with browser.request() as session:
        session["card"] = "4929 1234"
    attacker.receive(of_the_attacker)
    assert attacker.data() == {"cart": "tea", "user": "mallory"}
    assert browser.data() == {"cart": "tea", "user": "ada 0", "card": "4929 1234"}
    assert attacker.send().sid != browser.send().sid


@every_kind_that_ends
def test_an_attacker_whose_request_was_on_its_way_cannot_read_the_session_again(browser):
    attacker = browser.copy()
    on_its_way = attacker.send()
    on_its_way.get("cart")
    browser.receive(begin_to_sign_in(browser))
    on_its_way.save()
    assert "user" not in on_its_way
    assert attacker.data() == {}


@every_kind_that_ends
def test_an_attacker_who_writes_with_a_planted_cookie_writes_into_nothing_of_the_user(browser):
    attacker = browser.copy()
    on_its_way = attacker.send()
    on_its_way["cart"] = "poison"
    browser.receive(begin_to_sign_in(browser))
    with suppress(SessionTerminated):
        attacker.receive(on_its_way)
    assert browser.data() == {"cart": "tea", "user": "ada 0"}


def test_the_old_id_leads_to_no_new_one(browser):
    old = browser.send().sid
    answers_of(browser, 2)
    assert not browser.manager.load(old).is_active()


# -- users


def test_both_sign_ins_are_listed_and_signed_out_with_the_user(make_manager):
    browser = with_session(make_manager(revocable=True), cart="tea")
    sign_ins = [begin_to_sign_in(browser) for _ in range(2)]
    answers = [browser.copy(), browser.copy()]
    for answer, sign_in in zip(answers, sign_ins, strict=True):
        sign_in.bind_user("ada")
        answer.receive(sign_in)
    listed = {session.sid for session in browser.manager.list_sessions("ada")}
    assert listed == {answer.send().sid for answer in answers}
    browser.manager.revoke_user("ada")
    assert [answer.data() for answer in answers] == [{}, {}]


def test_an_exception_from_the_sign_out_of_a_user_is_for_one_of_them_alone(make_manager):
    browser = with_session(make_manager(revocable=True), cart="tea")
    sign_ins = [begin_to_sign_in(browser) for _ in range(2)]
    answers = [browser.copy(), browser.copy()]
    for answer, sign_in in zip(answers, sign_ins, strict=True):
        sign_in.bind_user("ada")
        answer.receive(sign_in)
    with answers[0].request() as session:
        browser.manager.revoke_user("ada", except_=session)
    assert [bool(answer.data()) for answer in answers] == [True, False]


def test_a_new_id_that_overlaps_with_the_sign_out_of_the_user_everywhere_else_is_signed_out(make_manager):
    """As where a thief has asked for a new id at the moment in which the password is changed."""
    browser = with_session(make_manager(revocable=True), cart="tea")
    with browser.request() as session:
        session.bind_user("ada")
    thief = browser.copy()
    of_the_thief = thief.send()
    of_the_thief.regenerate_id()
    with browser.request() as session:
        session.regenerate_id()
        browser.manager.revoke_user("ada", except_=session)
    thief.receive(of_the_thief)
    assert (bool(browser.data()), thief.data()) == (True, {})


def test_both_succeed_while_the_key_is_rotated(make_manager):
    browser = with_session(make_manager(cookie_key=OLD_KEY, cookie_only_threshold=0), cart="tea")
    rotated = make_manager(cookie_key=NEW_KEY, retired_keys=[OLD_KEY], cookie_only_threshold=0)
    sign_ins = [begin_to_sign_in(browser.copy(rotated), number) for number in range(2)]
    answers = [browser.copy(rotated), browser.copy(rotated)]
    for answer, sign_in in zip(answers, sign_ins, strict=True):
        answer.receive(sign_in)
    assert [answer.data()["user"] for answer in answers] == ["ada 0", "ada 1"]
