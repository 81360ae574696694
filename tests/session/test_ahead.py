"""What middleware on an event loop needs to know: whether to read or save a session would wait for the store."""

import asyncio
from datetime import timedelta

import pytest
from browser import Browser

from gaesess import SessionClosed, State, StoreUnavailable
from gaesess.stores.memory import MemoryStore
from gaesess.testing import FaultyStore

BIG = "x" * 5000


class CountingStore(FaultyStore):
    """Counts the calls that reach it."""

    def __init__(self):
        super().__init__(MemoryStore())
        self.calls = 0

    def _call(self, method, *arguments, **options):
        self.calls += 1
        return super()._call(method, *arguments, **options)


@pytest.fixture
def store():
    return CountingStore()


def returning(manager, *steps):
    """Return a browser that has saved each of these data before."""
    browser = Browser(manager)
    for data in steps:
        with browser.request() as session:
            session.update(data)
    return browser


def do_nothing(session):
    pass


def read(session):
    dict(session)


def change(session):
    session["n"] = 1


def grow(session):
    session["filler"] = BIG


def shrink(session):
    session["filler"] = ""


def change_in_place(session):
    session["list"].append(1)


def regenerate(session):
    session.regenerate_id()


def start(session):
    session.start()


def terminate(session):
    session.terminate()


SMALL, STORED, RETURNED = [{"list": []}], [{"list": [], "filler": BIG}], [{"list": [], "filler": BIG}, {"filler": ""}]


@pytest.mark.parametrize(
    ("before", "verb", "waits"),
    [
        ([], change, False),
        ([], grow, True),
        (SMALL, do_nothing, False),
        (SMALL, read, False),
        (SMALL, change, False),
        (SMALL, change_in_place, False),
        (SMALL, regenerate, False),
        (SMALL, start, False),
        (SMALL, terminate, False),
        (SMALL, grow, True),
        (STORED, do_nothing, False),
        (STORED, read, False),
        (STORED, change, True),
        (STORED, change_in_place, True),
        (STORED, shrink, True),
        (STORED, regenerate, True),
        (STORED, start, True),
        (STORED, terminate, False),  # it has asked the store itself
        (RETURNED, change, False),
        (RETURNED, regenerate, True),
    ],
)
def test_close_tells_whether_commit_asks_the_store(manager, store, before, verb, waits):
    session = returning(manager, *before).send()
    verb(session)
    calls = store.calls
    assert session.close() is waits
    assert store.calls == calls
    session.commit()
    assert (store.calls > calls) is waits


def test_without_a_store_nothing_waits(make_manager):
    session = make_manager(store=None).open(None)
    grow(session)
    assert not session.close()


def test_a_closed_session_takes_no_more_changes_and_is_still_committed(manager):
    session = manager.open(None)
    grow(session)
    session.close()
    with pytest.raises(SessionClosed):
        change(session)
    assert session.commit()


@pytest.mark.parametrize("use", [len, lambda session: session.start() or session.terminate()], ids=["none", "ended"])
def test_what_is_no_session_has_no_id_while_it_is_closed_and_after(manager, use):
    session = manager.open(None)
    use(session)
    session.close()
    assert session.sid is None
    session.commit()
    assert session.sid is None


def test_a_session_is_open_again_after_its_commit_failed(manager, store):
    session = manager.open(None)
    grow(session)
    session.close()
    store.down = True
    with pytest.raises(StoreUnavailable):
        session.commit()
    session.terminate()
    assert session.state is State.TERMINATED


def test_a_session_that_cannot_be_encoded_is_not_closed(manager):
    session = manager.open(None)
    session["bad"] = object()
    with pytest.raises(TypeError, match="bad"):
        session.close()
    del session["bad"]
    assert session.commit()


@pytest.mark.parametrize(("before", "waits"), [([], False), (SMALL, False), (STORED, True), (RETURNED, False)])
def test_read_waits_tells_whether_the_first_use_asks_the_store(manager, store, before, waits):
    session = returning(manager, *before).send()
    calls = store.calls
    assert session.read_waits() is waits
    assert store.calls == calls
    read(session)
    assert (store.calls > calls) is waits


def test_what_was_read_is_not_waited_for(manager):
    session = returning(manager, *STORED).send()
    read(session)
    assert not session.read_waits()


def test_a_session_read_ahead_is_not_read_again(manager, store):
    session = returning(manager, *STORED).send()
    asyncio.run(session.read_ahead())
    calls = store.calls
    assert session["filler"] == BIG
    assert store.calls == calls


def test_a_record_that_is_gone_is_not_looked_for_again(manager, store):
    browser = returning(manager, *STORED)
    session = browser.send()
    browser.send().terminate()
    asyncio.run(session.read_ahead())
    calls = store.calls
    assert not session.is_active()
    assert store.calls == calls


def test_to_read_ahead_is_no_use(make_manager, clock):
    session = returning(make_manager(idle_timeout=timedelta(minutes=10)), *STORED).send()
    clock.time += 300
    asyncio.run(session.read_ahead())
    assert not session.is_accessed()
    assert session.commit() == []


def test_an_outage_met_ahead_comes_at_every_use_and_the_store_is_not_asked_again(manager, store):
    session = returning(manager, *STORED).send()
    store.down = True
    asyncio.run(session.read_ahead())
    calls = store.calls
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="FaultyStore is down"):
            read(session)
    assert store.calls == calls


def test_header_fields_are_searched_at_the_first_use(manager):
    browser = returning(manager, {"name": "Ada"})
    fields = [(b"host", b"localhost")]
    session = manager.open(fields)
    fields.append((b"cookie", browser.header().encode()))
    assert session["name"] == "Ada"


def test_a_cookie_header_in_parts_is_put_together(make_manager):
    manager = make_manager(cookie_only_threshold=20_000)
    browser = returning(manager, {"filler": BIG})
    fields = [(b"cookie", f"{name}={value}".encode()) for name, value in browser.cookies.items()]
    assert len(fields) > 1
    assert manager.open(fields)["filler"] == BIG


def test_bytes_beyond_ascii_in_other_cookies_do_no_harm(manager):
    browser = returning(manager, {"name": "Ada"})
    fields = [(b"cookie", b"other=\xff\xfe; " + browser.header().encode())]
    assert manager.open(fields)["name"] == "Ada"
