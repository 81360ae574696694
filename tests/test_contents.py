"""What a request has changed in a session's data, and how that is replayed on what another one has saved since."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaesess import codec
from gaesess._core import RECORDED, Token
from gaesess.contents import Contents
from gaesess.errors import MalformedToken, StoreUnavailable
from gaesess.record import REMEMBERED_WRITES, History, Record

LOADED = {"count": 1, "name": "ada", "cart": ["tea"], "nested": ({"deep": [1]},), "when": None}

names = st.sampled_from("abcdef")
values = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2))
datas = st.dictionaries(names, values)
changes = st.dictionaries(names, st.one_of(st.just("delete"), st.just("append"), values))  # by key


@pytest.fixture
def contents() -> Contents:
    return Contents(codec.dumps(LOADED))


def apply(change: dict[str, Any], contents: Contents) -> None:
    """Make changes as an application does: set, delete, and change in place what is a list."""
    for key, value in change.items():
        if value == "delete":
            if key in contents.data:
                contents.delete(key)
        elif value == "append":
            if isinstance(contents.data.get(key), list):
                contents.read(key).append("more")
        else:
            contents.write(key, list(value) if isinstance(value, list) else value)


def changed_data(contents: Contents) -> Any:
    payload = contents.changed_payload()
    return None if payload is None else codec.loads(payload)


# -- has it changed?


def test_nothing_done_is_no_change(contents: Contents) -> None:
    assert contents.changed_payload() is None


def test_reading_is_no_change(contents: Contents) -> None:
    assert [contents.read(key) for key in LOADED] == list(LOADED.values())
    assert contents.changed_payload() is None


def test_data_never_read_are_not_even_encoded(contents: Contents) -> None:
    contents.read("count")
    contents.data["count"] = object()  # which could not be
    assert contents.changed_payload() is None


@pytest.mark.parametrize(
    ("key", "value"), [("count", 2), ("count", 1.0), ("count", True), ("new", None), ("cart", ("tea",)), (1, 1)]
)
def test_another_value_or_only_another_type_is_a_change(contents: Contents, key: Any, value: Any) -> None:
    contents.write(key, value)
    assert changed_data(contents) == LOADED | {key: value}


def test_writing_what_is_there_is_no_change(contents: Contents) -> None:
    for key, value in LOADED.items():
        contents.write(key, value)
    assert contents.changed_payload() is None


def test_deleting_is_a_change(contents: Contents) -> None:
    contents.delete("count")
    assert "count" not in changed_data(contents)


def test_deleting_what_is_not_there_is_a_key_error_and_no_change(contents: Contents) -> None:
    with pytest.raises(KeyError):
        contents.delete("other")
    assert contents.changed_payload() is None


def test_clearing_is_a_change(contents: Contents) -> None:
    contents.clear()
    assert changed_data(contents) == {}


def test_a_change_in_place_is_seen(contents: Contents) -> None:
    contents.read("cart").append("milk")
    assert changed_data(contents) == LOADED | {"cart": ["tea", "milk"]}


def test_a_change_in_place_within_a_tuple_is_seen(contents: Contents) -> None:
    contents.read("nested")[0]["deep"].append(2)
    assert changed_data(contents) == LOADED | {"nested": ({"deep": [1, 2]},)}


def test_a_change_in_place_of_a_value_written_and_saved_before_is_seen(contents: Contents) -> None:
    basket: list[str] = []
    contents.write("basket", basket)
    contents.saved(contents.encode())
    basket.append("milk")
    assert changed_data(contents) == LOADED | {"basket": ["milk"]}


def test_a_change_undone_is_no_change(contents: Contents) -> None:
    contents.read("cart").append("milk")
    contents.read("cart").pop()
    assert contents.changed_payload() is None


def test_what_was_saved_is_no_change_any_more(contents: Contents) -> None:
    contents.write("count", 2)
    contents.saved(contents.encode())
    assert contents.changed_payload() is None


def test_a_new_session_is_saved_even_if_it_stays_empty() -> None:
    assert changed_data(Contents()) == {}


def test_a_payload_that_cannot_be_read_is_malformed() -> None:
    with pytest.raises(MalformedToken):
        Contents(b"\xc1")


def test_a_value_that_a_session_cannot_hold_is_named(contents: Contents) -> None:
    contents.write("file", object())
    with pytest.raises(TypeError, match=r"^session\['file'\]: values of type object are not supported"):
        contents.changed_payload()


# -- was it changed quickly only?


def test_quick_writes_and_deletions_alone_are_only_quick(contents: Contents) -> None:
    contents.write("count", 2, quick=True)
    contents.delete("name", quick=True)
    assert contents.only_quick()


def test_no_change_is_not_only_quick(contents: Contents) -> None:
    contents.read("cart")
    assert not contents.only_quick()


@pytest.mark.parametrize(
    "change",
    [
        lambda contents: contents.write("name", "bob"),
        lambda contents: contents.delete("name"),
        lambda contents: contents.clear(),
        lambda contents: contents.read("cart").append("milk"),
        lambda contents: contents.write("count", 2),
    ],
    ids=["write", "delete", "clear", "in place", "write of the same key"],
)
@pytest.mark.parametrize("quick_first", [True, False])
def test_any_other_change_besides_is_not_only_quick(contents: Contents, change: Any, quick_first: bool) -> None:
    if quick_first:
        contents.write("count", 3, quick=True)
        change(contents)
    else:
        change(contents)
        contents.write("count", 3, quick=True)
    assert not contents.only_quick()


def test_a_new_session_is_never_only_quick() -> None:
    contents = Contents()
    contents.write("count", 1, quick=True)
    assert not contents.only_quick()


def test_quickness_ends_with_saving(contents: Contents) -> None:
    contents.write("count", 2, quick=True)
    contents.saved(contents.encode())
    contents.write("count", 3)
    assert not contents.only_quick()


# -- replayed on what another request has saved


SID = bytes(range(16))
EXPIRY = 4_000_000_000


def record_of(payload: bytes, *writes: bytes, revision: int = 2, sid: bytes = SID) -> Record:
    """Return a record as another request left it, with the ids of its latest writes."""
    return Record(token_of(payload, revision, sid), 1, History(b"".join(writes) or b"another!"))


def token_of(payload: bytes, revision: int, sid: bytes = SID) -> Token:
    return Token(RECORDED, EXPIRY, 0, revision, sid, payload)


def rebased(contents: Contents, **fresh: Any) -> Any:
    contents.rebase(record_of(codec.dumps(LOADED | fresh)))
    return contents.data


def test_without_changes_the_other_ones_are_taken_over(contents: Contents) -> None:
    contents.read("cart")
    assert rebased(contents, count=7, cart=["milk"]) == LOADED | {"count": 7, "cart": ["milk"]}


def test_a_written_key_wins_over_the_other_write(contents: Contents) -> None:
    contents.write("count", 2)
    assert rebased(contents, count=7, other=1) == LOADED | {"count": 2, "other": 1}


def test_a_written_key_wins_over_the_other_deletion(contents: Contents) -> None:
    contents.write("count", 2)
    contents.rebase(record_of(codec.dumps({})))
    assert contents.data == {"count": 2}


def test_a_deleted_key_stays_deleted(contents: Contents) -> None:
    contents.delete("count")
    assert "count" not in rebased(contents, count=7)


def test_a_key_deleted_by_both_is_no_error(contents: Contents) -> None:
    contents.delete("count")
    contents.rebase(record_of(codec.dumps({"name": "ada"})))
    assert contents.data == {"name": "ada"}


def test_a_key_deleted_by_the_other_is_gone_if_it_was_only_read(contents: Contents) -> None:
    contents.read("cart")
    contents.rebase(record_of(codec.dumps({"name": "ada"})))
    assert contents.data == {"name": "ada"}


def test_clearing_leaves_what_was_written_after_it_and_nothing_else(contents: Contents) -> None:
    contents.write("before", 1)
    contents.clear()
    contents.write("after", 1)
    assert rebased(contents, other=1) == {"after": 1}


def test_a_change_in_place_and_a_change_of_another_key_are_both_kept(contents: Contents) -> None:
    contents.read("cart").append("milk")
    assert rebased(contents, name="bob") == LOADED | {"cart": ["tea", "milk"], "name": "bob"}


def test_a_change_in_place_wins_over_the_other_change_of_that_key(contents: Contents) -> None:
    contents.read("cart").append("milk")
    assert rebased(contents, cart=["coffee"])["cart"] == ["tea", "milk"]


def test_a_quick_write_is_replayed_and_from_then_on_is_not_quick(contents: Contents) -> None:
    contents.write("count", 2, quick=True)
    assert rebased(contents, name="bob") == LOADED | {"count": 2, "name": "bob"}
    assert not contents.only_quick()


def test_the_next_change_is_seen_against_the_fresh_data(contents: Contents) -> None:
    contents.write("count", 2)
    rebased(contents, count=2)
    assert contents.changed_payload() is None
    contents.write("count", 3)
    assert changed_data(contents) == LOADED | {"count": 3}


def test_changes_are_replayed_as_often_as_it_takes(contents: Contents) -> None:
    contents.write("count", 2)
    contents.read("cart").append("milk")
    contents.delete("name")
    rebased(contents, a=1)
    rebased(contents, b=1)
    assert contents.data == {key: LOADED[key] for key in ("nested", "when")} | {
        "count": 2,
        "cart": ["tea", "milk"],
        "b": 1,
    }


def test_a_value_in_the_hands_of_the_application_is_still_the_sessions(contents: Contents) -> None:
    cart = contents.read("cart")
    rebased(contents, name="bob")
    cart.append("milk")
    assert changed_data(contents) == LOADED | {"name": "bob", "cart": ["tea", "milk"]}


def test_a_record_that_cannot_be_read_here_is_an_outage_and_changes_nothing(contents: Contents) -> None:
    contents.write("count", 2)
    with pytest.raises(StoreUnavailable):
        contents.rebase(record_of(b"\xc1"))
    assert changed_data(contents) == LOADED | {"count": 2}


@given(datas, changes, changes)
def test_changes_of_different_keys_are_all_kept(before: Any, mine: Any, others: Any) -> None:
    """Replayed on the other request's result, they give what both, one after the other, would have given."""
    others = {key: change for key, change in others.items() if key not in mine}
    here, there, in_turn = (Contents(codec.dumps(before)) for _ in range(3))
    apply(mine, here)
    apply(others, there)
    apply(others, in_turn)
    apply(mine, in_turn)
    here.rebase(record_of(there.encode()))
    assert here.data == in_turn.data


@given(datas, changes, changes)
def test_of_changes_of_the_same_key_the_replayed_one_wins(before: Any, mine: Any, others: Any) -> None:
    here, there = (Contents(codec.dumps(before)) for _ in range(2))
    apply(mine, here)
    apply(others, there)
    ours, theirs = dict(here.data), dict(there.data)
    touched = {key for key in mine if ours.get(key) != before.get(key)}
    here.rebase(record_of(there.encode()))
    for key in touched:
        assert here.data.get(key) == ours.get(key)
    for key in before.keys() - mine.keys():
        assert here.data.get(key) == theirs.get(key)


# -- added to


def test_an_amount_is_added_to_what_is_there(contents: Contents) -> None:
    contents.add("count", 2)
    contents.add("cart", ["milk"])
    assert contents.data == LOADED | {"count": 3, "cart": ["tea", "milk"]}


def test_what_is_not_there_starts_at_nothing() -> None:
    contents = Contents()
    contents.add("count", 2)
    contents.add("cart", ["milk"])
    assert contents.data == {"count": 2, "cart": ["milk"]}


@pytest.mark.parametrize(
    ("key", "amount"), [("name", 1), ("when", 1), ("cart", 1), ("count", ["milk"]), ("when", ["x"])]
)
def test_nothing_is_added_to_what_is_of_another_type(contents: Contents, key: str, amount: Any) -> None:
    with pytest.raises(TypeError, match=repr(key)):
        contents.add(key, amount)
    assert contents.changed_payload() is None


def test_amounts_add_up_with_those_of_others(contents: Contents) -> None:
    contents.add("count", 2)
    contents.add("count", 3)
    contents.add("cart", ["milk"])
    assert rebased(contents, count=10, cart=["tea", "bread"]) == LOADED | {
        "count": 15,
        "cart": ["tea", "bread", "milk"],
    }


def test_amounts_add_up_replay_after_replay(contents: Contents) -> None:
    contents.add("count", 2)
    contents.add("cart", ["milk"])
    rebased(contents, count=5, cart=["tea", "bread"])
    assert rebased(contents, count=6, cart=["bread"]) == LOADED | {"count": 8, "cart": ["bread", "milk"]}


def test_an_amount_added_to_what_others_have_deleted_is_all_there_is(contents: Contents) -> None:
    contents.add("count", 2)
    contents.add("cart", ["milk"])
    contents.rebase(record_of(codec.dumps({})))
    assert contents.data == {"count": 2, "cart": ["milk"]}


def test_an_amount_added_to_what_others_have_made_another_type_wins(contents: Contents) -> None:
    contents.add("count", 2)
    assert rebased(contents, count="many")["count"] == 3


@pytest.mark.parametrize("first", ["set", "delete", "clear", "quick"])
def test_an_amount_added_after_another_write_is_part_of_that(contents: Contents, first: str) -> None:
    if first == "set":
        contents.write("count", 100)
    elif first == "quick":
        contents.write("count", 100, quick=True)
    elif first == "delete":
        contents.delete("count")
    else:
        contents.clear()
    contents.add("count", 1)
    mine = contents.data["count"]
    assert rebased(contents, count=7)["count"] == mine


def test_a_write_after_an_amount_was_added_wins(contents: Contents) -> None:
    contents.add("count", 2)
    contents.write("count", 100)
    assert rebased(contents, count=7)["count"] == 100


def test_a_list_changed_in_other_ways_too_wins_as_it_is(contents: Contents) -> None:
    contents.add("cart", ["milk"])
    contents.read("cart").pop(0)
    assert rebased(contents, cart=["tea", "bread"])["cart"] == ["milk"]


def test_a_list_in_the_hands_of_the_application_is_still_the_sessions_after_a_replay(contents: Contents) -> None:
    cart = contents.read("cart")
    contents.add("cart", ["milk"])
    rebased(contents, cart=["tea", "bread"])
    cart.append("salt")
    assert contents.data["cart"] == ["tea", "bread", "milk", "salt"]


# -- attempts to save whose outcome is not known


def attempt(contents: Contents, write_id: bytes = b"mine....", revision: int = 2) -> bytes:
    payload = contents.encode()
    contents.attempted(write_id, token_of(payload, revision))
    return payload


def test_an_attempt_that_has_landed_is_not_replayed(contents: Contents) -> None:
    contents.write("count", 2)
    contents.delete("name")
    attempt(contents)
    contents.rebase(record_of(codec.dumps(LOADED | {"count": 7}), b"another!", b"mine....", revision=3))
    assert contents.data == LOADED | {"count": 7}


def test_amounts_of_an_attempt_that_has_landed_are_not_added_again(contents: Contents) -> None:
    contents.add("count", 2)
    contents.add("cart", ["milk"])
    payload = attempt(contents)
    contents.rebase(record_of(payload, b"mine...."))
    assert contents.changed_payload() is None
    assert contents.data == LOADED | {"count": 3, "cart": ["tea", "milk"]}


def test_what_was_added_after_an_attempt_that_has_landed_is_replayed(contents: Contents) -> None:
    contents.add("count", 2)
    attempt(contents)
    contents.add("count", 5)
    contents.write("name", "bob")
    contents.rebase(record_of(codec.dumps(LOADED | {"count": 103}), b"another!", b"mine....", revision=3))
    assert contents.data == LOADED | {"count": 108, "name": "bob"}


def test_a_deletion_after_an_attempt_that_has_landed_is_replayed(contents: Contents) -> None:
    contents.write("count", 2)
    payload = attempt(contents)
    contents.delete("name")
    contents.rebase(record_of(payload, b"mine...."))
    assert "name" not in contents.data


def test_an_attempt_that_has_not_landed_is_replayed(contents: Contents) -> None:
    contents.add("count", 2)
    attempt(contents)
    assert rebased(contents, count=100)["count"] == 102


def test_a_clearing_that_has_landed_does_not_clear_what_came_after_it(contents: Contents) -> None:
    contents.clear()
    attempt(contents)
    contents.rebase(record_of(codec.dumps({"other": 1}), b"another!", b"mine....", revision=3))
    assert contents.data == {"other": 1}


def test_what_was_added_after_a_clearing_is_all_there_is(contents: Contents) -> None:
    """Also if it comes to what was there before."""
    contents.clear()
    contents.add("count", 1)
    contents.rebase(record_of(codec.dumps(LOADED | {"count": 7})))
    assert contents.data == {"count": 1}


def test_an_attempt_that_may_be_too_far_back_is_an_outage(contents: Contents) -> None:
    contents.add("count", 2)
    attempt(contents)
    writes = [b"%8d" % number for number in range(REMEMBERED_WRITES)]
    with pytest.raises(StoreUnavailable):
        contents.rebase(record_of(codec.dumps(LOADED), *writes, revision=2 + REMEMBERED_WRITES))


def test_an_attempt_under_another_id_is_left_for_that_ids_record(contents: Contents) -> None:
    contents.add("count", 2)
    payload = attempt(contents)
    contents.rebase(record_of(codec.dumps(LOADED), b"another!", revision=100, sid=bytes(16)))
    contents.rebase(record_of(payload, b"mine...."))
    assert contents.data["count"] == 3


def test_attempts_are_over_once_the_session_is_saved(contents: Contents) -> None:
    contents.write("count", 2)
    contents.saved(attempt(contents))
    contents.write("count", 3)
    contents.rebase(record_of(codec.dumps(LOADED | {"count": 7}), b"mine....", revision=3))
    assert contents.data["count"] == 3


def test_attempts_are_counted(contents: Contents) -> None:
    counts = [contents.attempted(b"%8d" % number, token_of(b"", 2)) for number in range(3)]
    assert counts == [1, 2, 3]
