"""The middleware under ASGI: the event loop never waits for the store, and is never left without need."""

import asyncio
import gc
import sys
import threading

import pytest
from asgi.client import BIG, Foreign
from asgiref.sync import iscoroutinefunction
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse

from gaesess import SessionManager, SessionTooLarge, get_current_session
from gaesess.django import DjangoSessionMiddleware
from gaesess.session import current_session


async def untouched(request):
    return "ok"


async def read(request):
    return await request.session.aget("filler")


async def change(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return request.session["n"]


async def grow(request):
    request.session["filler"] = BIG


async def shrink(request):
    await request.session.aset("filler", "")


async def regenerate(request):
    await request.session.acycle_key()


async def save(request):
    request.session["n"] = 1
    await request.session.asave()


async def flush(request):
    await request.session.aflush()


def visitor(site, use, size):
    """Return a client whose session has that much data already."""
    client = site.asgi(use)
    session = site.session(client)
    session["filler"] = "x" * size
    client.cookies.receive(session.commit())
    site.store.threads.clear()
    return client


def call(site, use, client):
    """Send a request through nothing but the middleware, and return the coroutine that answers it."""

    async def view(request):
        return HttpResponse(str(await use(request)))

    return DjangoSessionMiddleware(view)(ASGIRequest(client.begin().scope, None))


@pytest.mark.parametrize("use", [untouched, read, change, grow, shrink, regenerate, save, flush])
@pytest.mark.parametrize("size", [0, 5000])
def test_the_store_is_never_asked_on_the_event_loop(site, use, size):
    client = visitor(site, use, size)
    assert client.send("/async/").status == 200
    assert threading.get_ident() not in site.store.threads
    assert bool(site.store.threads) is (size > 0 or use is grow)


def test_a_coroutine_may_persist_a_session_that_stays_in_its_cookie(site):
    async def persist(request):
        request.session["n"] = 1
        sid = request.session.session_key
        await request.session.asave(persist_even_if_using_cookie=True)
        return request.session.session_key == sid

    client = site.asgi(persist)
    assert client.send("/async/").body == b"True"
    assert dict(SessionManager(**site.gaesess).load(site.session(client).sid)) == {"n": 1}


@pytest.mark.parametrize("use", [read, change, grow, shrink, save, flush])
def test_the_event_loops_default_executor_is_left_to_the_application(site, use):
    request = call(site, use, visitor(site, use, 5000))

    async def run():
        asyncio.get_running_loop().set_default_executor(Foreign())
        return await request

    assert asyncio.run(run()).status_code == 200


def test_thirty_requests_wait_for_the_store_at_once_and_nothing_else_waits(site):
    client = visitor(site, read, 5000)
    site.store.meeting = threading.Barrier(31)  # the thirty, and a thread of the application

    async def run():
        requests = [asyncio.create_task(call(site, read, client)) for _ in range(30)]
        await asyncio.sleep(0)
        await asyncio.to_thread(site.store.meeting.wait, 30)
        return [response.status_code for response in await asyncio.gather(*requests)]

    assert asyncio.run(run()) == [200] * 30


@pytest.mark.parametrize("use", [untouched, read, change, shrink, regenerate])
def test_a_session_that_lives_in_its_cookie_never_leaves_the_event_loop(site, use):
    steps = call(site, use, visitor(site, use, 10))
    with pytest.raises(StopIteration) as done:
        steps.send(None)  # there is no event loop: it could wait for nothing
    assert done.value.value.status_code == 200


def test_django_takes_it_for_a_coroutine_function_where_views_are(site):
    async def view(request): ...

    assert iscoroutinefunction(DjangoSessionMiddleware(view))
    assert not iscoroutinefunction(DjangoSessionMiddleware(lambda request: HttpResponse()))


def test_a_session_is_kept_from_request_to_request(site):
    client = site.asgi(change)
    assert [client.send("/async/").body for _ in range(2)] == [b"1", b"2"]
    exchange = client.send("/async/")
    assert exchange.all("vary") == ["Cookie"]


def test_a_session_moves_to_the_store_and_back(site):
    client = site.asgi(grow)
    client.send("/async/")
    assert site.data(client) == {"filler": BIG}
    site.use(shrink)
    client.send("/async/")
    site.store.down = True
    assert site.data(client) == {"filler": ""}


def test_a_view_in_a_thread_has_the_same_session(site):
    def view(request):
        assert get_current_session() is request.session
        request.session["n"] = request.session.get("n", 0) + 1
        return request.session["n"]

    client = visitor(site, view, 5000)
    assert [client.send().body for _ in range(2)] == [b"1", b"2"]


def test_an_async_view_has_its_session_under_wsgi_too(site):
    client = site.wsgi(change)
    assert [client.send(path="/async/").body for _ in range(2)] == [b"1", b"2"]


def test_the_session_is_the_current_one_in_the_view_and_not_after(site):
    seen = []

    async def view(request):
        seen.append(get_current_session() is request.session)
        return "ok"

    async def serve():
        response = await call(site, view, site.asgi())
        return response.status_code, current_session.get()

    assert asyncio.run(serve()) == (200, None)
    assert seen == [True]


def test_a_cookie_header_in_parts_is_one(site):
    client = visitor(site, read, 10)
    headers = [(b"cookie", b"a=1"), (b"cookie", client.cookies.header().encode()), (b"cookie", b"b=2")]
    assert client.begin("/async/", headers=headers).run().body == b"x" * 10


def test_a_stream_comes_after_the_session_is_saved(site):
    async def stream(request):
        request.session["n"] = 1

        async def body():
            yield str(request.session["n"])

        return StreamingHttpResponse(body())

    client = site.asgi(stream)
    assert client.send("/async/").body == b"1"
    assert site.data(client) == {"n": 1}


@pytest.mark.parametrize("use", [read, change, regenerate, flush])
def test_an_outage_is_a_503(site, use):
    client = visitor(site, use, 5000)
    site.store.down = True
    exchange = client.send("/async/")
    assert (exchange.status, exchange.all("vary")) == (503, ["Cookie"])


def test_an_outage_while_a_session_is_saved_is_a_503(site):
    client = site.asgi(grow)
    site.store.down = True
    assert client.send("/async/").status == 503
    assert client.cookies == {}


def test_an_outage_is_nothing_to_a_request_that_does_not_use_its_session(site):
    client = visitor(site, untouched, 5000)
    site.store.down = True
    assert client.send("/async/").status == 200


def test_a_session_that_another_request_terminates_is_a_409(site):
    async def late(request):
        request.session["late"] = True
        await asyncio.to_thread(site.session(client).terminate)

    client = visitor(site, late, 5000)
    assert client.send("/async/").status == 409


def test_a_session_that_is_too_large_is_the_applications_error(site):
    del site.gaesess["store"]
    with site.settings(), pytest.raises(SessionTooLarge):
        asyncio.run(call(site, grow, site.asgi()))


@pytest.mark.parametrize("size", [0, 5000])
def test_a_request_that_is_given_up_with_its_event_loop_is_collected_without_an_error(site, monkeypatch, size):
    errors, waiting = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: errors.append(raised.exc_value))

    async def wait(request):
        await read(request)
        waiting.append(True)
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(call(site, wait, visitor(site, wait, size)))
    while not waiting:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task
    gc.collect()
    assert [error for error in errors if not isinstance(error, asyncio.CancelledError)] == []
    assert current_session.get() is None
