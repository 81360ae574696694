"""The current session: set wherever code of the application runs, and put back after."""

import asyncio

import pytest
from asgi.client import BIG, Site, respond

from gaesess import get_current_session
from gaesess.session import current_session


def name():
    return get_current_session()["name"]


async def name_in_task():
    return name()


async def called(scope, receive, send):
    await respond(send, name().encode())


async def in_a_task(scope, receive, send):
    await respond(send, (await asyncio.create_task(name_in_task())).encode())


async def in_a_task_group(scope, receive, send):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(name_in_task())
    await respond(send, task.result().encode())


async def in_a_thread(scope, receive, send):
    await respond(send, (await asyncio.to_thread(name)).encode())


of_python_3_11 = pytest.mark.skipif(not hasattr(asyncio, "TaskGroup"), reason="Python 3.11 brought task groups")


@pytest.mark.parametrize("app", [called, in_a_task, pytest.param(in_a_task_group, marks=of_python_3_11), in_a_thread])
def test_it_is_set_in_the_application_and_in_its_tasks_and_threads(site, app):
    assert site.visitor(app, name="Ada").send().body == b"Ada"


def test_overlapping_requests_each_have_their_own(site):
    met = []

    async def app(scope, receive, send):
        met.append(name())
        while len(met) < 2:
            await asyncio.sleep(0)
        await respond(send, name().encode())

    ada, bob = site.visitor(app, name="Ada").begin(), site.visitor(app, name="Bob").begin()

    async def both():
        await asyncio.gather(ada(), bob())

    asyncio.run(both())
    assert (ada.body, bob.body) == (b"Ada", b"Bob")


def test_of_two_middlewares_each_has_its_own():
    inner_site, outer_site = Site(cookie_name="inner"), Site(cookie_name="outer")

    async def inner(scope, receive, send):
        assert scope["session"] is get_current_session()
        scope["session"].update(who="inner", filler=BIG)
        await respond(send)

    inner = inner_site.serve(inner).app

    async def outer(scope, receive, send):
        session = get_current_session()
        session["who"] = "outer"
        await inner(scope, receive, send)
        assert get_current_session() is session

    client = outer_site.serve(outer)
    assert client.send().all("vary") == ["Cookie"]
    assert inner_site.data(client) == {"who": "inner", "filler": BIG}
    assert outer_site.data(client) == {"who": "outer"}


async def failing(scope, receive, send):
    raise RuntimeError("application")


async def refused(scope, receive, send):
    scope["session"]["name"]


@pytest.mark.parametrize(("app", "error"), [(called, None), (refused, None), (failing, RuntimeError)])
def test_outside_of_the_application_there_is_none(site, app, error):
    exchange = site.visitor(app, name="Ada" * 2000).begin()
    site.store.down = app is refused
    left = []

    async def request():
        try:
            await exchange()
        except RuntimeError as caught:
            left.append(type(caught))
        left.append(current_session.get())

    asyncio.run(request())
    assert left == ([error] if error else []) + [None]
