"""The threads that call the store are the middleware's own: a store that hangs holds up nothing else."""

import asyncio
import os
import signal
import threading
from contextvars import ContextVar

import pytest
from asgi.client import BIG, Foreign, Site, respond

FORK_IN_THREADS = "ignore:.* is multi-threaded, use of fork:DeprecationWarning"

variable = ContextVar("variable", default=None)


async def reading(scope, receive, send):
    await respond(send, scope["session"]["filler"].encode())


async def growing(scope, receive, send):
    scope["session"]["filler"] = BIG
    await respond(send)


APPS = pytest.mark.parametrize("app", [reading, growing])


def client_of(site, app):
    """Return a client whose next request reads a session from the store, or saves one there."""
    return site.visitor(app, filler=BIG) if app is reading else site.serve(app)


def store_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("gaesess")}


@APPS
def test_the_event_loops_default_executor_is_left_to_the_application(site, app):
    exchange = client_of(site, app).begin()

    async def run():
        asyncio.get_running_loop().set_default_executor(Foreign())
        await exchange()

    asyncio.run(run())
    assert exchange.status == 200


@APPS
def test_thirty_requests_wait_for_the_store_at_once_and_nothing_else_waits(site, app):
    client = client_of(site, app)
    site.store.meeting = threading.Barrier(31)  # the thirty, and a thread of the application

    async def run():
        requests = [asyncio.create_task(client.begin()()) for _ in range(30)]
        await asyncio.sleep(0)
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
        await asyncio.to_thread(site.store.meeting.wait, 30)
        return [exchange.status for exchange in await asyncio.gather(*requests)]

    assert asyncio.run(run()) == [200] * 30


def test_no_thread_is_started_before_the_store_is_used():
    before = store_threads()
    site = Site()
    assert site.visitor(reading, filler="small").send().status == 200
    assert not store_threads() - before


@pytest.mark.parametrize(("limit", "started"), [(1, 1), (3, 3), (64, 5)])
def test_as_many_threads_are_started_as_are_needed_and_allowed(limit, started):
    before = store_threads()
    site = Site(store_threads=limit)
    client = site.visitor(reading, filler=BIG)
    site.store.gate.clear()

    async def run():
        requests = [asyncio.create_task(client.begin()()) for _ in range(5)]
        await asyncio.sleep(0)
        seen = len(store_threads() - before)
        site.store.gate.set()
        return seen, [exchange.status for exchange in await asyncio.gather(*requests)]

    assert asyncio.run(run()) == (started, [200] * 5)


@APPS
def test_the_store_is_called_in_the_context_of_the_request(site, app):
    client = client_of(site, app)
    middleware, call = client.app, site.store._call
    seen = []
    site.store._call = lambda *arguments, **options: seen.append(variable.get()) or call(*arguments, **options)

    async def outer(scope, receive, send):
        variable.set("of the request")
        await middleware(scope, receive, send)

    client.app = outer
    assert client.send().status == 200
    assert seen == ["of the request"]


def test_a_save_that_outlives_its_event_loop_is_finished(caplog):
    site = Site(store_threads=1)
    client = site.serve(growing)

    async def cancel():
        site.store.gate.clear()
        request = asyncio.create_task(client.begin()())
        await asyncio.to_thread(site.store.called.wait, 30)
        request.cancel()
        await asyncio.wait([request])

    asyncio.run(cancel())
    site.store.gate.set()
    assert client.send().status == 200  # in the same thread, so after that save
    assert site.store.count_expired(now=2**32 - 1) == 2
    assert caplog.messages == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings(FORK_IN_THREADS)
def test_a_forked_child_starts_threads_of_its_own(site):
    client = site.visitor(reading, filler=BIG)
    assert client.send().status == 200
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            os._exit(client.send().status != 200)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0) == (child, 0)
    assert client.send().status == 200
