"""Errors of the application, and clients that leave: later changes of the session raise, as nobody would save them."""

import asyncio
from contextlib import suppress

import pytest
from asgi.client import BIG, BODY, START, respond

from gaesess import SessionClosed

ACCEPT = {"type": "websocket.accept"}


async def before_the_start(scope, receive, send):
    scope["session"]["name"] = "Grace"
    raise RuntimeError("application")


async def unused(scope, receive, send):
    raise RuntimeError("application")


async def after_the_start(scope, receive, send):
    scope["session"]["name"] = "Grace"
    await send(ACCEPT if scope["type"] == "websocket" else START)
    raise RuntimeError("application")


async def by_an_exit(scope, receive, send):
    scope["session"]["name"] = "Grace"
    raise SystemExit


async def cancelled(scope, receive, send):
    scope["session"]["name"] = "Grace"
    raise asyncio.CancelledError


async def without_a_response(scope, receive, send):
    scope["session"]["name"] = "Grace"


async def with_a_value_that_no_session_holds(scope, receive, send):
    scope["session"]["name"] = object()
    await send(ACCEPT if scope["type"] == "websocket" else START)


FAILURES = [
    before_the_start, unused, after_the_start, by_an_exit, cancelled, without_a_response,
    with_a_value_that_no_session_holds,
]  # fmt: skip


def keeping(app, kept):
    async def application(scope, receive, send):
        kept.append(scope["session"])
        await app(scope, receive, send)

    return application


@pytest.mark.parametrize("data", [{}, {"name": "Ada"}, {"name": "Ada", "big": BIG}], ids=["new", "cookie", "store"])
@pytest.mark.parametrize("app", FAILURES)
@pytest.mark.parametrize("begin", ["begin", "begin_websocket"])
def test_however_the_application_fails_later_changes_of_its_session_raise(site, app, data, begin):
    kept = []
    client = site.visitor(keeping(app, kept), **data) if data else site.serve(keeping(app, kept))
    with suppress(RuntimeError, SystemExit, TypeError, asyncio.CancelledError):
        getattr(client, begin)().run()
    with pytest.raises(SessionClosed):
        kept[0]["late"] = True
    assert "late" not in kept[0]


@pytest.mark.parametrize("app", [before_the_start, unused, by_an_exit, cancelled, without_a_response])
def test_an_application_that_fails_before_its_start_saves_nothing(site, app):
    client = site.visitor(app, name="Ada", big=BIG)
    with suppress(RuntimeError, SystemExit, asyncio.CancelledError):
        client.begin().run()
    assert site.data(client) == {"name": "Ada", "big": BIG}


@pytest.mark.parametrize("fault", ["down", "deaf"])
def test_a_session_whose_save_was_refused_is_closed(site, fault):
    kept = []

    async def app(scope, receive, send):
        scope["session"]["big"] = BIG
        setattr(site.store, fault, True)
        await respond(send)

    assert site.serve(keeping(app, kept)).send().status == 503
    with pytest.raises(SessionClosed):
        kept[0]["late"] = True


def cancel(site, app, fault):
    """Make a request that is cancelled while a thread saves its session; return that when the save has ended."""
    kept = []
    site.settings["store_threads"] = 1
    client = site.serve(keeping(app, kept))

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        site.store.gate.clear()
        request = asyncio.create_task(client.begin()())
        await asyncio.to_thread(site.store.called.wait, 30)
        request.cancel()
        await asyncio.wait([request])
        site.store.down = fault
        site.store.gate.set()
        executor = client.app.manager.config.driver.executor
        await asyncio.get_running_loop().run_in_executor(executor, int)  # after that save, in the one thread

    asyncio.run(run())
    return kept[0]


async def growing(scope, receive, send):
    scope["session"]["big"] = BIG
    await respond(send)


@pytest.mark.parametrize("fault", [False, True], ids=["the save succeeds", "the save fails"])
def test_a_session_whose_request_was_cancelled_during_the_save_is_closed(site, fault):
    session = cancel(site, growing, fault)
    with pytest.raises(SessionClosed):
        session["late"] = True


def test_a_session_whose_request_was_cancelled_while_the_application_waits_is_closed(site):
    kept, waiting = [], asyncio.Event()

    async def app(scope, receive, send):
        scope["session"]["name"] = "Grace"
        waiting.set()
        await asyncio.Event().wait()

    async def run():
        request = asyncio.create_task(site.serve(keeping(app, kept)).begin()())
        await waiting.wait()
        request.cancel()
        await asyncio.wait([request])

    asyncio.run(run())
    with pytest.raises(SessionClosed):
        kept[0]["late"] = True


def test_a_task_that_outlives_its_request_cannot_change_the_session(site):
    tasks = []

    async def late(session):
        await ended.wait()
        with pytest.raises(SessionClosed):
            session["late"] = True

    async def app(scope, receive, send):
        tasks.append(asyncio.create_task(late(scope["session"])))
        await send(START)
        await send(BODY)

    async def run():
        await exchange()
        ended.set()
        await tasks[0]

    ended, exchange = asyncio.Event(), site.serve(app).begin()
    asyncio.run(run())
    assert exchange.status == 200
