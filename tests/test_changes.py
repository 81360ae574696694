"""What a request has changed in a session's data, and how that is replayed on what another one has saved since."""

from __future__ import annotations

from typing import Any

import pytest
from browser import Browser, with_session
from hypothesis import given
from hypothesis import strategies as st

from gaesess import Session, SessionManager, _impl, generate_key
from gaesess._core import RECORDED, WRITTEN, Token
from gaesess.errors import StoreUnavailable
from gaesess.merging import rebase
from gaesess.records import REMEMBERED_WRITES, SAVE_SECONDS, History, Record
from gaesess.saving import MAX_TRIES
from gaesess.stores.base import Version
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore

LOADED = {"count": 1, "name": "ada", "cart": ["tea"], "nested": ({"deep": [1]},), "when": None}

names = st.sampled_from("abcdef")
values = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2))
datas = st.dictionaries(names, values)
changes = st.dictionaries(names, st.one_of(st.just("delete"), st.just("append"), values))  # by key

SID = bytes(range(16))
EXPIRY = 4_000_000_000

manager = SessionManager(generate_key(), store=MemoryStore(), cookie_only_threshold=0)


def stored(data: dict[str, Any]) -> Session:
    """Return a session of these data, as a request finds it in the store."""
    browser = Browser(manager)
    with browser.request() as session:
        session.start()
        session.update(data)
    session = browser.send()
    session.ensure_data_loaded()
    return session


@pytest.fixture
def session() -> Session:
    return stored(LOADED)


def apply(change: dict[str, Any], session: Session) -> None:
    """Make changes as an application does: set, delete, and change in place what is a list."""
    for key, value in change.items():
        if value == "delete":
            session.pop(key)
        elif value == "append":
            if isinstance(session.get(key), list):
                session[key].append("more")
        else:
            session[key] = list(value) if isinstance(value, list) else value


def changed_data(session: Session) -> Any:
    """Return the data if there is anything to save, else None."""
    payload = session._changed_payload()
    return None if payload is None else _impl.loads(payload)


# -- has it changed?


def test_nothing_done_is_no_change(session: Session) -> None:
    assert changed_data(session) is None


def test_reading_is_no_change(session: Session) -> None:
    assert [session[key] for key in LOADED] == list(LOADED.values())
    assert changed_data(session) is None


def test_data_never_read_are_not_even_encoded(session: Session) -> None:
    session["count"]
    session._data["count"] = object()  # which could not be
    assert changed_data(session) is None


@pytest.mark.parametrize(
    ("key", "value"), [("count", 2), ("count", 1.0), ("count", True), ("new", None), ("cart", ("tea",)), (1, 1)]
)
def test_another_value_or_only_another_type_is_a_change(session: Session, key: Any, value: Any) -> None:
    session[key] = value
    assert changed_data(session) == LOADED | {key: value}


def test_writing_what_is_there_is_no_change(session: Session) -> None:
    for key, value in LOADED.items():
        session[key] = value
    assert changed_data(session) is None


def test_deleting_is_a_change(session: Session) -> None:
    del session["count"]
    assert "count" not in changed_data(session)


def test_deleting_what_is_not_there_is_a_key_error_and_no_change(session: Session) -> None:
    with pytest.raises(KeyError):
        del session["other"]
    assert changed_data(session) is None


def test_clearing_is_a_change(session: Session) -> None:
    session.clear()
    assert changed_data(session) == {}


def test_a_change_in_place_is_seen(session: Session) -> None:
    session["cart"].append("milk")
    assert changed_data(session) == LOADED | {"cart": ["tea", "milk"]}


def test_a_change_in_place_within_a_tuple_is_seen(session: Session) -> None:
    session["nested"][0]["deep"].append(2)
    assert changed_data(session) == LOADED | {"nested": ({"deep": [1, 2]},)}


def test_a_change_in_place_of_a_value_written_and_saved_before_is_seen(session: Session) -> None:
    basket: list[str] = []
    session["basket"] = basket
    session.save()
    basket.append("milk")
    assert changed_data(session) == LOADED | {"basket": ["milk"]}


def test_a_change_undone_is_no_change(session: Session) -> None:
    session["cart"].append("milk")
    session["cart"].pop()
    assert changed_data(session) is None


def test_what_was_saved_is_no_change_any_more(session: Session) -> None:
    session["count"] = 2
    session.save()
    assert changed_data(session) is None


def test_a_new_session_is_saved_even_if_it_stays_empty() -> None:
    session = manager.open(None)
    session.start()
    assert changed_data(session) == {}


def test_a_cookie_whose_payload_cannot_be_read_is_refused() -> None:
    manager = SessionManager(generate_key())
    token = Token(0, EXPIRY, manager.now(), 1, SID, b"\xc1")
    browser = Browser(manager)
    browser.take(manager.config.set_cookies(token, manager.now(), 0))
    assert not browser.send().is_active()


def test_a_value_that_a_session_cannot_hold_is_named(session: Session) -> None:
    session["file"] = object()
    with pytest.raises(TypeError, match=r"^session\['file'\]: values of type object are not supported"):
        session.commit()


# -- was it changed quickly only?


class Tiers:
    """A store with a cache in front of it, and a session in it."""

    def __init__(self) -> None:
        self.cache, self.durable = MemoryStore(), MemoryStore()
        store = TieredStore(self.cache, self.durable)
        self.manager = SessionManager(generate_key(), store=store, cookie_only_threshold=0)
        self.session = with_session(self.manager, **LOADED).send()

    def only_quick(self, session: Session) -> bool:
        """Save a session, and return whether that has changed the cache, and not what is behind it."""
        cache, durable = dict(self.cache._records), dict(self.durable._records)
        session.save()
        return self.cache._records != cache and self.durable._records == durable


@pytest.fixture
def tiers() -> Tiers:
    return Tiers()


def test_quick_writes_and_deletions_alone_are_only_quick(tiers: Tiers) -> None:
    tiers.session.set_quick("count", 2)
    tiers.session.pop_quick("name")
    assert tiers.only_quick(tiers.session)


def test_no_change_is_not_only_quick(tiers: Tiers) -> None:
    tiers.session["cart"]
    assert not tiers.only_quick(tiers.session)


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.update(name="bob"),
        lambda session: session.pop("name"),
        lambda session: session.clear(),
        lambda session: session["cart"].append("milk"),
        lambda session: session.update(count=2),
        lambda session: session.increment("count"),
    ],
    ids=["write", "delete", "clear", "in place", "write of the same key", "add to the same key"],
)
@pytest.mark.parametrize("quick_first", [True, False])
def test_any_other_change_besides_is_not_only_quick(tiers: Tiers, change: Any, quick_first: bool) -> None:
    if quick_first:
        tiers.session.set_quick("count", 3)
        change(tiers.session)
    else:
        change(tiers.session)
        tiers.session.set_quick("count", 3)
    assert not tiers.only_quick(tiers.session)


def test_a_new_session_is_never_only_quick(tiers: Tiers) -> None:
    session = tiers.manager.open(None)
    session.set_quick("count", 1)
    assert not tiers.only_quick(session)


def test_quickness_ends_with_saving(tiers: Tiers) -> None:
    tiers.session.set_quick("count", 2)
    assert tiers.only_quick(tiers.session)
    tiers.session["count"] = 3
    assert not tiers.only_quick(tiers.session)


# -- replayed on what another request has saved


def record_of(payload: bytes, *writes: bytes, revision: int = 2, sid: bytes = SID) -> Record:
    """Return a record as another request left it, with the ids of its latest writes."""
    return Record(token_of(payload, revision, sid), 1, History(b"".join(writes) or b"another!"))


def token_of(payload: bytes, revision: int, sid: bytes = SID) -> Token:
    return Token(RECORDED, EXPIRY, 0, revision, sid, payload)


def rebase_on(session: Session, record: Record) -> None:
    """Replay a session's changes on a record, as a save does that has met with it."""
    draft = session._draft()
    rebase(draft, record)
    session._take(draft)


def rebased(session: Session, **fresh: Any) -> Any:
    rebase_on(session, record_of(_impl.dumps(LOADED | fresh)))
    return dict(session)


def test_without_changes_the_other_ones_are_taken_over(session: Session) -> None:
    session["cart"]
    assert rebased(session, count=7, cart=["milk"]) == LOADED | {"count": 7, "cart": ["milk"]}


def test_a_written_key_wins_over_the_other_write(session: Session) -> None:
    session["count"] = 2
    assert rebased(session, count=7, other=1) == LOADED | {"count": 2, "other": 1}


def test_a_written_key_wins_over_the_other_deletion(session: Session) -> None:
    session["count"] = 2
    rebase_on(session, record_of(_impl.dumps({})))
    assert dict(session) == {"count": 2}


def test_the_record_keeps_its_order_and_new_keys_come_after_it(session: Session) -> None:
    names = [f"key {number}" for number in range(20)]
    session.update(dict.fromkeys(names))
    data = rebased(session, **{name.replace("key", "other"): None for name in names})
    assert list(data) == [*LOADED, *[name.replace("key", "other") for name in names], *names]


def test_a_deleted_key_stays_deleted(session: Session) -> None:
    del session["count"]
    assert "count" not in rebased(session, count=7)


def test_a_key_deleted_by_both_is_no_error(session: Session) -> None:
    del session["count"]
    rebase_on(session, record_of(_impl.dumps({"name": "ada"})))
    assert dict(session) == {"name": "ada"}


def test_a_key_deleted_by_the_other_is_gone_if_it_was_only_read(session: Session) -> None:
    session["cart"]
    rebase_on(session, record_of(_impl.dumps({"name": "ada"})))
    assert dict(session) == {"name": "ada"}


def test_clearing_leaves_what_was_written_after_it_and_nothing_else(session: Session) -> None:
    session["before"] = 1
    session.clear()
    session["after"] = 1
    assert rebased(session, other=1) == {"after": 1}


def test_a_change_in_place_and_a_change_of_another_key_are_both_kept(session: Session) -> None:
    session["cart"].append("milk")
    assert rebased(session, name="bob") == LOADED | {"cart": ["tea", "milk"], "name": "bob"}


def test_a_change_in_place_wins_over_the_other_change_of_that_key(session: Session) -> None:
    session["cart"].append("milk")
    assert rebased(session, cart=["coffee"])["cart"] == ["tea", "milk"]


def test_a_quick_write_is_replayed_and_from_then_on_is_not_quick(session: Session) -> None:
    session.set_quick("count", 2)
    assert rebased(session, name="bob") == LOADED | {"count": 2, "name": "bob"}
    assert session._written == {"count": WRITTEN}


def test_the_next_change_is_seen_against_the_fresh_data(session: Session) -> None:
    session["count"] = 2
    rebased(session, count=2)
    assert changed_data(session) is None
    session["count"] = 3
    assert changed_data(session) == LOADED | {"count": 3}


def test_changes_are_replayed_as_often_as_it_takes(session: Session) -> None:
    session["count"] = 2
    session["cart"].append("milk")
    del session["name"]
    rebased(session, a=1)
    rebased(session, b=1)
    assert dict(session) == {key: LOADED[key] for key in ("nested", "when")} | {
        "count": 2,
        "cart": ["tea", "milk"],
        "b": 1,
    }


def test_a_value_in_the_hands_of_the_application_is_still_the_sessions(session: Session) -> None:
    cart = session["cart"]
    rebased(session, name="bob")
    cart.append("milk")
    assert changed_data(session) == LOADED | {"name": "bob", "cart": ["tea", "milk"]}


def test_a_record_that_cannot_be_read_here_is_an_outage_and_changes_nothing(session: Session) -> None:
    session["count"] = 2
    with pytest.raises(StoreUnavailable):
        rebase_on(session, record_of(b"\xc1"))
    assert changed_data(session) == LOADED | {"count": 2}


@given(datas, changes, changes)
def test_changes_of_different_keys_are_all_kept(before: Any, mine: Any, others: Any) -> None:
    """Replayed on the other request's result, they give what both, one after the other, would have given."""
    others = {key: change for key, change in others.items() if key not in mine}
    here, there, in_turn = (stored(before) for _ in range(3))
    apply(mine, here)
    apply(others, there)
    apply(others, in_turn)
    apply(mine, in_turn)
    rebase_on(here, record_of(_impl.dumps(dict(there))))
    assert dict(here) == dict(in_turn)


@given(datas, changes, changes)
def test_of_changes_of_the_same_key_the_replayed_one_wins(before: Any, mine: Any, others: Any) -> None:
    here, there = (stored(before) for _ in range(2))
    apply(mine, here)
    apply(others, there)
    ours, theirs = dict(here), dict(there)
    touched = {key for key in mine if ours.get(key) != before.get(key)}
    rebase_on(here, record_of(_impl.dumps(dict(there))))
    for key in touched:
        assert here.get(key) == ours.get(key)
    for key in before.keys() - mine.keys():
        assert here.get(key) == theirs.get(key)


# -- added to


def test_an_amount_is_added_to_what_is_there(session: Session) -> None:
    session.increment("count", 2)
    session.append("cart", "milk")
    assert dict(session) == LOADED | {"count": 3, "cart": ["tea", "milk"]}


def test_what_is_not_there_starts_at_nothing() -> None:
    session = manager.open(None)
    session.increment("count", 2)
    session.append("cart", "milk")
    assert dict(session) == {"count": 2, "cart": ["milk"]}


@pytest.mark.parametrize(("key", "amount"), [("name", 1), ("when", 1), ("cart", 1), ("count", "milk"), ("when", "x")])
def test_nothing_is_added_to_what_is_of_another_type(session: Session, key: str, amount: Any) -> None:
    with pytest.raises(TypeError, match=repr(key)):
        session.append(key, amount) if isinstance(amount, str) else session.increment(key, amount)
    assert changed_data(session) is None


def test_amounts_add_up_with_those_of_others(session: Session) -> None:
    session.increment("count", 2)
    session.increment("count", 3)
    session.append("cart", "milk")
    assert rebased(session, count=10, cart=["tea", "bread"]) == LOADED | {
        "count": 15,
        "cart": ["tea", "bread", "milk"],
    }


def test_amounts_add_up_replay_after_replay(session: Session) -> None:
    session.increment("count", 2)
    session.append("cart", "milk")
    rebased(session, count=5, cart=["tea", "bread"])
    assert rebased(session, count=6, cart=["bread"]) == LOADED | {"count": 8, "cart": ["bread", "milk"]}


def test_an_amount_added_to_what_others_have_deleted_is_all_there_is(session: Session) -> None:
    session.increment("count", 2)
    session.append("cart", "milk")
    rebase_on(session, record_of(_impl.dumps({})))
    assert dict(session) == {"count": 2, "cart": ["milk"]}


def test_an_amount_added_to_what_others_have_made_another_type_wins(session: Session) -> None:
    session.increment("count", 2)
    assert rebased(session, count="many")["count"] == 3


@pytest.mark.parametrize("first", ["set", "delete", "clear", "quick"])
def test_an_amount_added_after_another_write_is_part_of_that(session: Session, first: str) -> None:
    if first == "set":
        session["count"] = 100
    elif first == "quick":
        session.set_quick("count", 100)
    elif first == "delete":
        del session["count"]
    else:
        session.clear()
    session.increment("count", 1)
    mine = session["count"]
    assert rebased(session, count=7)["count"] == mine


def test_a_write_after_an_amount_was_added_wins(session: Session) -> None:
    session.increment("count", 2)
    session["count"] = 100
    assert rebased(session, count=7)["count"] == 100


def test_a_list_changed_in_other_ways_too_wins_as_it_is(session: Session) -> None:
    session.append("cart", "milk")
    session["cart"].pop(0)
    assert rebased(session, cart=["tea", "bread"])["cart"] == ["milk"]


def test_a_list_in_the_hands_of_the_application_is_still_the_sessions_after_a_replay(session: Session) -> None:
    cart = session["cart"]
    session.append("cart", "milk")
    rebased(session, cart=["tea", "bread"])
    cart.append("salt")
    assert session["cart"] == ["tea", "bread", "milk", "salt"]


# -- attempts to save whose outcome is not known


def attempt(session: Session) -> bytes:
    """Note that a save may have landed, and return what it wrote."""
    payload = _impl.dumps(dict(session))
    session._attempts = {b"mine....": token_of(payload, 2)}
    return payload


def test_an_attempt_that_has_landed_is_not_replayed(session: Session) -> None:
    session["count"] = 2
    del session["name"]
    attempt(session)
    rebase_on(session, record_of(_impl.dumps(LOADED | {"count": 7}), b"another!", b"mine....", revision=3))
    assert dict(session) == LOADED | {"count": 7}


def test_amounts_of_an_attempt_that_has_landed_are_not_added_again(session: Session) -> None:
    session.increment("count", 2)
    session.append("cart", "milk")
    payload = attempt(session)
    rebase_on(session, record_of(payload, b"mine...."))
    assert changed_data(session) is None
    assert dict(session) == LOADED | {"count": 3, "cart": ["tea", "milk"]}


def test_what_was_added_after_an_attempt_that_has_landed_is_replayed(session: Session) -> None:
    session.increment("count", 2)
    attempt(session)
    session.increment("count", 5)
    session["name"] = "bob"
    rebase_on(session, record_of(_impl.dumps(LOADED | {"count": 103}), b"another!", b"mine....", revision=3))
    assert dict(session) == LOADED | {"count": 108, "name": "bob"}


def test_a_deletion_after_an_attempt_that_has_landed_is_replayed(session: Session) -> None:
    session["count"] = 2
    payload = attempt(session)
    del session["name"]
    rebase_on(session, record_of(payload, b"mine...."))
    assert "name" not in session


def test_an_attempt_that_has_not_landed_is_replayed(session: Session) -> None:
    session.increment("count", 2)
    attempt(session)
    assert rebased(session, count=100)["count"] == 102


def test_a_clearing_that_has_landed_does_not_clear_what_came_after_it(session: Session) -> None:
    session.clear()
    attempt(session)
    rebase_on(session, record_of(_impl.dumps({"other": 1}), b"another!", b"mine....", revision=3))
    assert dict(session) == {"other": 1}


def test_what_was_added_after_a_clearing_is_all_there_is(session: Session) -> None:
    """Also if it comes to what was there before."""
    session.clear()
    session.increment("count", 1)
    rebase_on(session, record_of(_impl.dumps(LOADED | {"count": 7})))
    assert dict(session) == {"count": 1}


def test_an_attempt_that_may_be_too_far_back_is_an_outage(session: Session) -> None:
    session.increment("count", 2)
    attempt(session)
    writes = [b"%8d" % number for number in range(REMEMBERED_WRITES)]
    with pytest.raises(StoreUnavailable):
        rebase_on(session, record_of(_impl.dumps(LOADED), *writes, revision=2 + REMEMBERED_WRITES))


def test_an_attempt_under_another_id_is_left_for_that_ids_record(session: Session) -> None:
    session.increment("count", 2)
    payload = attempt(session)
    rebase_on(session, record_of(_impl.dumps(LOADED), b"another!", revision=100, sid=bytes(16)))
    rebase_on(session, record_of(payload, b"mine...."))
    assert session["count"] == 3


def test_attempts_are_over_once_the_session_is_saved(session: Session) -> None:
    session["count"] = 2
    attempt(session)
    session.save()
    session["count"] = 3
    rebase_on(session, record_of(_impl.dumps(LOADED | {"count": 7}), b"mine....", revision=3))
    assert session["count"] == 3


class Unwritable(MemoryStore):
    """A store that answers, and never writes."""

    tries = 0

    def replace(self, key: str, data: bytes, *, expires_at: int, version: Version) -> Version:
        self.tries += 1
        raise StoreUnavailable("no quorum")


def unwritable_session(store: Unwritable, clock: Any) -> Session:
    manager = SessionManager(generate_key(), store=store, cookie_only_threshold=0)
    manager.config.driver.clock = clock
    session = with_session(manager, count=1).send()
    session["count"] = 2
    return session


def test_after_three_attempts_none_of_which_has_landed_the_save_is_an_outage() -> None:
    store = Unwritable()
    with pytest.raises(StoreUnavailable, match="no quorum"):
        unwritable_session(store, lambda: 0.0).save()
    assert store.tries == MAX_TRIES


def test_an_attempt_that_took_long_is_not_made_again() -> None:
    """The store hangs, and the client waits."""
    store = Unwritable()
    with pytest.raises(StoreUnavailable, match="no quorum"):
        unwritable_session(store, lambda: store.tries * SAVE_SECONDS).save()
    assert store.tries == 1
