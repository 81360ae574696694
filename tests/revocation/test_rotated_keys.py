"""A new cookie key, while the old one is retired: no sign-out is forgotten, and nobody is signed out by it."""

from datetime import datetime, timezone

import pytest
from browser import NEW_KEY, OLD_KEY
from revocation.test_users import BIG, is_of_user, sid, sids, sign_in, signed_in

from gaesess.users import CHECKED_SECONDS

HOMES = pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])


@pytest.fixture
def before(make_manager):
    return make_manager(cookie_key=OLD_KEY)


@pytest.fixture
def knows(make_manager):
    """The first step of a rolling deployment: a process that has the new key as a retired one, and does not use it."""
    return make_manager(cookie_key=OLD_KEY, retired_keys=[NEW_KEY])


@pytest.fixture
def uses(make_manager):
    """The second step: a process that uses the new key, and has the old one as a retired one."""
    return make_manager(cookie_key=NEW_KEY, retired_keys=[OLD_KEY])


@pytest.fixture
def after(make_manager):
    return make_manager(cookie_key=NEW_KEY)


@HOMES
def test_who_was_signed_out_before_the_rotation_stays_so_after_it(before, uses, filler):
    browser = sign_in(before, filler=filler)
    before.revoke_user("ada")
    assert not signed_in(browser.copy(uses))


@HOMES
def test_who_was_signed_in_before_the_rotation_stays_so_after_it(before, uses, filler):
    browser = sign_in(before, filler=filler)
    assert signed_in(browser.copy(uses))


@HOMES
@pytest.mark.parametrize("steps", [("before", "knows"), ("knows", "uses"), ("uses", "knows")], ids=" to ".join)
def test_in_a_rolling_deployment_each_process_signs_out_what_the_others_have_signed_in(request, clock, steps, filler):
    one, other = map(request.getfixturevalue, steps)
    here, there = sign_in(one, filler=filler), sign_in(other, filler=filler)
    copies = [browser.copy(manager) for browser in (here, there) for manager in (one, other)]
    assert all(map(signed_in, copies))
    one.revoke_user("ada")
    clock.time += CHECKED_SECONDS
    assert not any(map(signed_in, copies))


@pytest.mark.parametrize("steps", [("before", "knows"), ("knows", "uses"), ("uses", "knows")], ids=" to ".join)
def test_in_a_rolling_deployment_each_process_lists_what_the_others_have_signed_in(request, clock, steps):
    one, other = map(request.getfixturevalue, steps)
    here = sign_in(one)
    clock.time += 1
    there = sign_in(other)
    assert sids(other) == [sid(here), sid(there)]


@pytest.mark.parametrize("revoking", ["knows", "uses"])
def test_who_signs_in_after_it_is_signed_in_for_every_process(request, knows, uses, revoking):
    sign_in(knows)
    sign_in(uses)
    request.getfixturevalue(revoking).revoke_user("ada")
    for manager in (knows, uses):
        browser = sign_in(manager)
        assert signed_in(browser)
        assert signed_in(browser.copy(uses if manager is knows else knows))


def test_the_excepted_session_stays_signed_in_for_every_process(knows, uses, clock):
    here, there = sign_in(knows), sign_in(uses)
    with here.request() as session:
        knows.revoke_user("ada", except_=session)
    clock.time += CHECKED_SECONDS
    assert signed_in(here.copy(uses))
    assert signed_in(here)
    assert not signed_in(there)


def test_who_was_signed_out_during_the_rotation_stays_so_when_the_old_key_is_gone(knows, uses, after, clock):
    browser = sign_in(uses)
    knows.revoke_user("ada")
    clock.time += CHECKED_SECONDS
    assert not signed_in(browser.copy(after))


def test_who_signs_in_after_the_rotation_is_signed_in_when_the_old_key_is_gone(before, uses, after):
    sign_in(before)
    before.revoke_user("ada")
    browser = sign_in(uses)
    assert signed_in(browser.copy(after))


def test_a_process_with_a_key_past_its_deadline_does_not_ask_for_its_record(make_manager, clock, store):
    until = datetime.fromtimestamp(clock.time + 100, timezone.utc)
    manager = make_manager(cookie_key=NEW_KEY, retired_keys=[(OLD_KEY, until)])
    for seconds, records in ((0, 2), (100, 1)):
        clock.time += seconds
        assert len(manager.config.users._identities("ada")) == records


def test_to_sign_in_writes_one_record_and_to_revoke_one_for_each_key(uses, store):
    sign_in(uses)
    assert sum(map(is_of_user, store.store._records)) == 1
    uses.revoke_user("ada")
    assert sum(map(is_of_user, store.store._records)) == 2


def test_a_spoiled_record_of_the_old_key_signs_out_too(before, uses, store, clock):
    browser = sign_in(before)
    for key, record in store.store._records.items():
        store.store._records[key] = record._replace(data=b"?" * len(record.data))
    assert not signed_in(browser.copy(uses))
