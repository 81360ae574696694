"""Schedules by which earlier versions broke a guarantee: each printed by the checker, for a fault that was put back."""

import pytest

from model.explore import replay
from model.world import Case, patched

STORIES = {
    "what ended while the cache failed is not believed for ever": "terminate|read@store tiered,2p A A A B B A:fail",
    "a check that is answered late does not let an ended session in": (
        "terminate|read@cookie durable,revocable,1p A A:fail A B B:answer A B"
    ),
    "a cookie from before the move shows what is stored": "write|old_read@store durable,revocable,2p A A A B B",
    "a process does not let in what it has ended": "terminate|read@cookie durable,revocable,1p A A B",
    "nor a user whom it has signed out": "revoke_user|read@cookie durable,revocable,1p A A A B",
    "a first save that is late brings no ended session back": (
        "grow|terminate@cookie tiered,revocable,2p A A A B B B B evict:the-record A"
    ),
    "what was saved before the id changed is kept": "regenerate|increment@store durable,2p A A A B B B A A A",
    "overlapping increments add up": "increment|increment@store durable,2p A A B B B A A A",
    "an entry that changed meanwhile is marked": "write|read@store tiered,2p A A B evict:the-record B B B B B A A",
    "both of two new ids end with the old one": (
        "regenerate|regenerate|terminate@store durable,2p A A A B B B B A A A C C C C C C"
    ),
    "an increment that is sent twice counts once": "increment|read@store durable,2p A A B B A:twice A A",
    "an increment whose reply was lost counts once": "increment|read@store durable,2p A A B B A:lost A A A",
    "a quick write makes no entry younger": "terminate|slow_quick@store tiered,2p A A A B B A:fail clock:60 B B",
    "a quick write does not hide what was settled meanwhile": (
        "increment|quick@store tiered,2p A A A:lost A B B B A A"
    ),
    "a new id brings nobody back whose tombstone was evicted": (
        "regenerate|terminate@store memory,2p A A A B B B evict:the-record A A A A A"
    ),
    "nor does it lose what was saved before an eviction": (
        "regenerate|shrink@store memory,2p A A A B B B evict:the-record A A A A A"
    ),
    "a process that moves a session forgets its cookie if the reply is lost too": (
        "grow|read@cookie durable,revocable,1p A A:twice A B"
    ),
    "a process that moves a session forgets its cookie if the write lands late too": (
        "grow|bind@cookie durable,revocable,1p A A:late B B B B land:0 A"
    ),
    "a reader who is overtaken fills no cache": "terminate|read@store tiered,2p A A B A:fail A A A B B A A A B",
    "a sign-out of a user is not asked of the cache": "revoke_user|read@cookie tiered,revocable,2p A A A B B B B",
    "a new id does not sign in again": "regenerate|revoke_user@store durable,revocable,2p A A A B B A A A A",
    "a sign-out of which a reply is lost is whole": "regenerate|terminate@store durable,2p A A A A A A B B B:lost B",
    "after an eviction a session may move again, from a cookie of before": (
        "grow|grow|increment@cookie memory,revocable,1p A A C C evict:the-record C C B B B"
    ),
    "a write does not overwrite a tombstone": "increment|terminate@store durable,2p A A B B B A A A",
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_story_ends_well(story):
    script, config, *choices = story.split()
    with patched():
        wrong, lines, _ = replay(Case.parse(script, config), choices, story=True)
    assert wrong is None, "\n".join(lines)
