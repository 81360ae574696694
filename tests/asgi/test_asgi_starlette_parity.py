"""The same application under Starlette's own sessions and under these: what it sees is the same, or better."""

from datetime import datetime, timedelta
from importlib.metadata import version

import pytest
from asgi.client import Client
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import sessions
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from gaesess import generate_key
from gaesess.asgi import SessionMiddleware

MAX_AGE = 3600  # seconds
STARLETTE = tuple(map(int, version("starlette").split(".")[:2]))


def starlettes(app, clock):
    middleware = sessions.SessionMiddleware(app, generate_key(), max_age=MAX_AGE)
    middleware.signer.get_timestamp = clock
    return middleware


def ours(app, clock):
    return SessionMiddleware(app, generate_key(), timedelta(seconds=MAX_AGE), cookie_name="session", clock=clock)


class Visit:
    """One visitor's requests, each of which takes one step, and what the application has seen."""

    def __init__(self, middleware):
        self.now = 1_700_000_000
        routes = [Route("/", self._endpoint)]
        app = Starlette(routes=[*routes, Mount("/sub", Starlette(routes=routes))])
        self.client = Client(middleware(app, lambda: self.now))
        self.seen = []

    def take(self, step, path="/"):
        self._step = step
        exchange = self.client.send(path)
        self.seen.append((exchange.status, exchange.all("vary")))

    async def _endpoint(self, request):
        try:
            self.seen.append(self._step(request.session))
        except KeyError as error:
            self.seen.append((KeyError, error.args))
        return PlainTextResponse("ok")


def seen(middleware, *steps):
    visit = Visit(middleware)
    for step in (*steps, dict):
        visit.take(step)
    return visit.seen


def both(*steps):
    return seen(ours, *steps), seen(starlettes, *steps)


def set_items(session):
    session["user"] = "ada"
    session["cart"] = ["tea", {"n": 2, "price": 1.5, "gift": None, "note": "für dich"}]


def merged(session):
    session |= {"user": "grace", "n": 1}
    return dict(session)


def fails(session):
    session["user"] = "grace"
    raise HTTPException(401)


@pytest.mark.parametrize(
    "step",
    [
        lambda session: session["user"],
        lambda session: session["missing"],
        lambda session: (session.get("user"), session.get("missing"), session.get("missing", 1)),
        lambda session: ("user" in session, "missing" in session, len(session), bool(session)),
        lambda session: (list(session), list(session.keys()), list(session.values()), list(session.items())),
        lambda session: ({**session}, session == {"user": "ada"}, session != {}),
        lambda session: (session.pop("user"), session.pop("user", None), session.pop("missing", 1)),
        lambda session: session.pop("missing"),
        lambda session: session.__delitem__("user"),
        lambda session: session.__delitem__("missing"),
        lambda session: (
            session.setdefault("user", "grace"),
            session.setdefault("new", []),
            session.setdefault("none"),
        ),
        lambda session: session.update({"user": "grace"}, n=1),
        lambda session: session.update([("user", "grace")]),
        pytest.param(merged, marks=pytest.mark.skipif(STARLETTE < (1, 10), reason="it forgets this")),
        lambda session: session.clear(),
        lambda session: (session.clear(), session.update(user="grace")),
        lambda session: session.__setitem__("cart", [*session["cart"], "milk"]),
        fails,
    ],
)
def test_a_session_is_used_like_starlettes(step):
    mine, theirs = both(set_items, step, dict, set_items)
    assert mine == theirs


def test_a_session_that_was_emptied_can_be_filled_again():
    mine, theirs = both(set_items, lambda session: session.clear(), set_items)
    assert mine == theirs


def test_a_visitor_without_a_session_sees_the_same():
    mine, theirs = both(dict, lambda session: session.clear(), lambda session: session.pop("user", None))
    assert mine == theirs


@pytest.mark.parametrize("cookie", ["garbage", "", "null", "e30=.x.y", "\xff"])
def test_a_cookie_that_is_not_to_be_believed_is_an_empty_session(cookie):
    visits = [Visit(ours), Visit(starlettes)]
    for visit in visits:
        visit.client.cookies["session"] = cookie
        visit.take(dict)
        visit.take(set_items)
        visit.take(dict)
    assert visits[0].seen == visits[1].seen


def test_a_session_ends_after_its_time():
    visits = [Visit(ours), Visit(starlettes)]
    for visit in visits:
        visit.take(set_items)
        visit.now += MAX_AGE - 1
        visit.take(dict)
        visit.now += 2
        visit.take(dict)
    assert visits[0].seen == visits[1].seen


def test_a_mounted_application_has_the_same_session():
    visits = [Visit(ours), Visit(starlettes)]
    for visit in visits:
        visit.take(set_items, "/sub/")
        visit.take(dict)
        visit.take(dict, "/sub/")
    assert visits[0].seen == visits[1].seen


def change_inside(session):
    session["cart"].append("milk")


class TestDifferences:
    """What Starlette's own sessions lose, change or prolong, and these do not."""

    def test_a_change_inside_a_value_is_saved(self):
        mine, theirs = both(lambda session: session.update(cart=["tea"]), change_inside)
        assert (mine[-2], theirs[-2]) == ({"cart": ["tea", "milk"]}, {"cart": ["tea"]})

    def test_values_and_keys_keep_their_types(self):
        mine, theirs = both(lambda session: session.update({"pair": ("a", 1), 1: "one"}))
        assert (mine[-2], theirs[-2]) == ({"pair": ("a", 1), 1: "one"}, {"pair": ["a", 1], "1": "one"})

    def test_values_that_are_not_of_json_can_be_kept(self):
        when = datetime(2024, 2, 29, 12)

        def step(session):
            session["when"] = when

        assert seen(ours, step)[-2] == {"when": when}
        with pytest.raises(TypeError, match="JSON"):
            seen(starlettes, step)

    def test_a_change_does_not_make_a_session_last_longer(self):
        visits = [Visit(ours), Visit(starlettes)]
        for visit in visits:
            visit.take(set_items)
            visit.now += MAX_AGE - 1
            visit.take(set_items)
            visit.now += 2
            visit.take(bool)
        assert [visit.seen[-2] for visit in visits] == [False, True]
