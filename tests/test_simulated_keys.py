"""The simulation of key ranges: that it has the keys of the stores, and shows what the documents say it shows."""

from secrets import token_bytes, token_hex

import pytest
from bench.simulate_keys import RANGE_LIMIT, changed, cleaned, key, new, simulate

from gaesess.stores.base import SHARDS, record_key

NOW = 1_800_000_000
PER_SECOND = 2_000  # reached in the 20th of 60 minutes
GAE_SESSIONS, SIXTEEN, GAESESS = 0, 1, 2  # digits of the shard


def hottest(writes, digits, per_second=PER_SECOND):
    return [minute.ranges[0] for minute in simulate(writes, digits, per_second)[-10:]]


def test_keys_are_those_of_the_stores():
    stored = record_key(NOW, token_bytes(16))
    assert (key(GAESESS, NOW, stored[:2] + stored[12:]), 16**GAESESS) == (stored, len(SHARDS))


def test_keys_of_gae_sessions_sort_by_expiry_as_those_without_a_shard():
    sessions = [(NOW + number, token_hex(16)) for number in range(9)]
    assert sorted(f"{expires:010d}_{name}" for expires, name in sessions) == [
        f"{expires:010d}_{name}" for expires, name in sessions
    ]
    assert sorted(key(GAE_SESSIONS, *session) for session in sessions) == [
        key(GAE_SESSIONS, *session) for session in sessions
    ]


@pytest.mark.parametrize("writes", [new, cleaned])
def test_keys_in_the_order_of_expiry_all_go_to_one_range_however_often_it_is_cut(writes):
    assert hottest(writes, GAE_SESSIONS) == pytest.approx([PER_SECOND] * 10)


@pytest.mark.parametrize("writes", [new, changed, cleaned])
def test_with_shards_no_range_stays_too_hot(writes):
    assert max(hottest(writes, GAESESS)) < RANGE_LIMIT


def test_shards_that_are_too_few_stay_too_hot():
    assert min(hottest(new, SIXTEEN, per_second=10_000)) > RANGE_LIMIT


def test_each_run_is_the_same():
    assert simulate(new, GAESESS, 500) == simulate(new, GAESESS, 500)
