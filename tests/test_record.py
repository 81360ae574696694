"""What a record's payload is: a frame, or refused whole."""

from __future__ import annotations

import pytest

from gaesess._core import Token
from gaesess.errors import MalformedToken
from gaesess.records import BURST_SECONDS, BURST_WRITES, REMEMBERED_WRITES, History, frame, tombstone, unframe

TOKEN = Token(0, 1_800_000_060, 1_800_000_000, 2, bytes(range(16)), b"")
HEIR = TOKEN._replace(sid=bytes(range(1, 17)))
OTHER_HEIR = TOKEN._replace(sid=bytes(16), expires=1_800_000_090)
WRITTEN = frame(b"data", History(bytes(16), 1))
ENDED = tombstone(HEIR)


def read(payload):
    return unframe(TOKEN._replace(payload=payload), version=1)


def test_a_written_record_comes_back():
    record = read(WRITTEN)
    assert (record.token, record.history) == (TOKEN._replace(payload=b"data"), History(bytes(16), 1))
    assert (record.ended, record.heirs) == (False, ())


@pytest.mark.parametrize("heirs", [(), (HEIR,), (HEIR, OTHER_HEIR)], ids=len)
def test_the_heirs_of_an_ended_session_come_back(heirs):
    record = read(tombstone(*heirs))
    assert record.ended
    assert [(heir.expires, heir.sid) for heir in record.heirs] == [(heir.expires, heir.sid) for heir in heirs]


@pytest.mark.parametrize("size", range(5 + 16))
def test_a_frame_that_is_cut_short_is_malformed(size):
    with pytest.raises(MalformedToken, match="cut short"):
        read(WRITTEN[:size])


@pytest.mark.parametrize(
    "payload",
    [
        ENDED[:-1],
        ENDED + b"\0",
        tombstone(HEIR._replace(expires=0)),
        tombstone(TOKEN),
        tombstone(HEIR, OTHER_HEIR)[:-1],
        tombstone(HEIR, TOKEN),
    ],
    ids=["short", "long", "expired before all time", "itself", "the second short", "the second itself"],
)
def test_an_heir_that_cannot_be_is_malformed(payload):
    with pytest.raises(MalformedToken, match="heir"):
        read(payload)


def written(times, seconds):
    """Return the history of a record that was written so many times, with so many seconds in between."""
    history = History()
    for number in range(times):
        history = history.continued(1_800_000_000 + number * seconds)
    return history


@pytest.mark.parametrize(("seconds", "remembered"), [(0, BURST_WRITES), (BURST_SECONDS, REMEMBERED_WRITES)])
def test_many_writes_are_remembered_while_one_follows_the_other(seconds, remembered):
    assert len(written(300, seconds).writes) == remembered


def test_after_a_burst_the_next_write_forgets_all_but_the_last_ones():
    history = written(100, 1)
    later = history.continued(history.written_at + BURST_SECONDS)
    assert later.writes[1:] == history.writes[: REMEMBERED_WRITES - 1]


@pytest.mark.parametrize("now", [-1, 2**33])
def test_a_clock_that_is_no_clock_can_write(now):
    history = History().continued(now)
    assert unframe(TOKEN._replace(payload=frame(b"", history)), None).history == history
