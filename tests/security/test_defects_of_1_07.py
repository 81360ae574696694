"""What was wrong in gae-sessions 1.07, and what Python 3 and its clients would have added: shown not to be so here.

One test for each defect that no other test shows under the name of its own.
"""

import pickle
import time
from http.cookies import SimpleCookie

import pytest
from browser import Browser, with_session
from django_site import Site as DjangoSite

from gaesess import StoreUnavailable, delete_expired_sessions
from gaesess.stores.base import CLOCK_MARGIN
from gaesess.stores.tiered import TAG_BYTES

NAME = "__Host-gaesess"
BIG = "x" * 5000  # outgrows the cookie
DAY = 24 * 3600  # seconds

executed = []


def run(code):
    executed.append(code)


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return run, ("code",)


@pytest.fixture
def stored(make_manager, engines):
    """A browser whose session lives in the store."""
    return with_session(make_manager(store=engines.store), filler=BIG, user="ada")


@pytest.fixture(params=["", BIG], ids=["cookie", "store"])
def anywhere(request, make_manager):
    """A browser whose session lives in its cookie or in the store."""
    return with_session(make_manager(), filler=request.param, user="ada")


def poison(store, prefix=b""):
    for key, record in list(store._records.items()):
        store.put(key, prefix + pickle.dumps({"user": Bomb()}), expires_at=record.expires_at)


def test_the_bomb_goes_off_where_it_is_unpickled():
    """Or the next tests would show nothing."""
    pickle.loads(pickle.dumps(Bomb()))
    assert executed.pop() == "code"


@pytest.mark.parametrize("start", [b"", bytes(TAG_BYTES + 12)], ids=["bare", "as an entry"])
def test_a_poisoned_cache_entry_runs_no_code(stored, engines, start):
    """What memcached had was unpickled: who could write there ran code in the application."""
    poison(engines.cache.store, start)
    assert stored.data()["user"] == "ada"
    assert executed == []


def test_a_poisoned_durable_record_runs_no_code(stored, engines):
    """So was what Datastore had."""
    engines.forget()
    poison(engines.durable.store)
    with pytest.raises(StoreUnavailable):
        stored.data()
    assert executed == []


@pytest.mark.parametrize(
    "name", ["er", "99", "1", ".99", ".20", ".100", ".01", ".x", ".", "_1", "-1", ".1.1", "\u0661", ".\uff11"]
)
def test_a_cookie_whose_name_begins_like_ours_does_not_end_the_session(anywhere, name):
    """Every cookie whose name began like that of the session was taken for a part of it."""
    before, after = f"{NAME}{name}=x; ", f"; {NAME}{name}=y"
    assert anywhere.manager.open(before + anywhere.header() + after)["user"] == "ada"


def test_with_the_expiry_0_a_record_is_kept_as_long_as_its_cookie_is_good_and_no_longer(make_manager, store, clock):
    """The cookie was good for ever, and the cron job deleted the record at its next run."""
    browser = Browser(make_manager())
    with browser.request() as session:
        session.start(expiration_ts=0)
        session["filler"] = BIG
    clock.time += 7 * DAY - 1
    assert delete_expired_sessions(store, clock=clock) == 0
    assert browser.data() == {"filler": BIG}
    clock.time += 1
    assert browser.data() == {}
    clock.time += CLOCK_MARGIN
    assert delete_expired_sessions(store, clock=clock) == 1


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kolkata"])
def test_the_dates_of_cookies_are_gmt_wherever_the_server_is(make_manager, monkeypatch, zone):
    """Local time was written, and called GMT."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        (line,) = with_session(make_manager(), user="ada").received
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "; Expires=Fri, 22 Jan 2027 08:00:00 GMT;" in line  # 1,800,000,000 Unix seconds and 7 days


def test_a_save_that_fails_is_not_rolled_back_by_an_eviction_for_it_was_never_acknowledged(stored, engines):
    """Memcache took what Datastore did not: it was there until memcache evicted it, and then was silently gone."""
    session = stored.send()
    session["user"] = "grace"
    engines.durable.down = True
    with pytest.raises(StoreUnavailable):
        session.commit()
    assert session.abandon() == []
    engines.durable.down = False
    assert stored.data()["user"] == "ada"
    engines.forget()
    assert stored.data()["user"] == "ada"


def test_a_one_time_token_that_was_popped_does_not_come_back_after_an_eviction(stored, engines):
    """`pop_quick` wrote to memcache alone. Here that says so itself, and `pop` is the one for such tokens."""
    with stored.request() as session:
        session["csrf"] = "once"
    with stored.request() as session:
        assert session.pop("csrf") == "once"
    engines.forget()
    assert "csrf" not in stored.data()
    assert "valid once" in type(session).pop_quick.__doc__


def test_requests_under_django_share_nothing():
    """The middleware was one object, and kept the session of the request in itself."""
    site = DjangoSite()

    def view(request):
        session = request.session
        session["user"] = request.headers["X-User"]
        if session["user"] == "ada":
            grace.send(HTTP_X_USER="grace")  # in the middle of Ada's request
        return session["user"], request.session is session

    with site.settings():
        ada, grace = site.wsgi(view), site.wsgi(view)
        assert ada.send(HTTP_X_USER="ada").body == b"('ada', True)"
        assert (site.data(ada), site.data(grace)) == ({"user": "ada"}, {"user": "grace"})
        assert site.session(ada).sid != site.session(grace).sid


@pytest.mark.parametrize("bad", ["bad[]=1", 'open="x', "=", "a b=c", "\xff=1", "{}", "a=b=c"])
def test_a_bad_morsel_beside_ours_takes_no_session_away(anywhere, bad):
    """http.cookies gives up the whole header for one cookie that it does not like."""
    for header in (f"{bad}; {anywhere.header()}", f"{anywhere.header()}; {bad}"):
        assert anywhere.manager.open(header)["user"] == "ada"


def test_http_cookies_would_have_taken_it():
    """Or the test before would show nothing."""
    assert not SimpleCookie("bad[]=1; gaesess=x")
