"""Two applications with one store: their users and sessions are none of each other's business."""

import pytest
from browser import NEW_KEY, OLD_KEY
from revocation.test_users import BIG, sid, sids, sign_in, signed_in

from gaesess.users import CHECKED_SECONDS

OTHERS = pytest.mark.parametrize(
    "settings",
    [
        {"cookie_key": NEW_KEY, "cookie_name": "shop"},
        {"cookie_key": NEW_KEY},
        {"cookie_name": "shop"},
        {"cookie_name": "shop", "encrypt": True},
    ],
    ids=["another key and name", "another key", "another name", "another name, encrypted"],
)
HOMES = pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])


@pytest.fixture
def ours(make_manager):
    return make_manager(cookie_key=OLD_KEY)


@OTHERS
@HOMES
def test_a_user_of_the_other_application_who_has_the_same_id_stays_signed_in(
    ours, make_manager, clock, settings, filler
):
    theirs = make_manager(**{"cookie_key": OLD_KEY, **settings})
    here, there = sign_in(ours, filler=filler), sign_in(theirs, filler=filler)
    ours.revoke_user("ada")
    clock.time += CHECKED_SECONDS
    assert (signed_in(here), signed_in(there)) == (False, True)


@OTHERS
def test_each_application_lists_its_own_sessions(ours, make_manager, settings):
    theirs = make_manager(**{"cookie_key": OLD_KEY, **settings})
    here, there = sign_in(ours), sign_in(theirs)
    assert (sids(ours), sids(theirs)) == ([sid(here)], [sid(there)])


@OTHERS
def test_each_application_has_a_record_of_its_own_for_a_user(ours, make_manager, store, settings):
    theirs = make_manager(**{"cookie_key": OLD_KEY, **settings})
    sign_in(ours)
    before = dict(store.store._records)
    sign_in(theirs)
    assert {key: store.store._records[key] for key in before} == before
    assert len(store.store._records) == len(before) + 1


def test_with_the_same_key_and_name_it_is_one_application(ours, make_manager, clock):
    theirs = make_manager(cookie_key=OLD_KEY)
    there = sign_in(theirs)
    ours.revoke_user("ada")
    clock.time += CHECKED_SECONDS
    assert not signed_in(there)
