"""Sessions in a store: the event loop never waits for it, and what it cannot do the client hears."""

import asyncio
import gc
import threading

import pytest
from asgi.client import BIG, BODY, START, Site, respond

from gaesess import SessionClosed, SessionTerminated, SessionTooLarge, StoreUnavailable, generate_key
from gaesess.asgi import SessionMiddleware
from gaesess.session import current_session


async def untouched(scope, receive, send):
    await respond(send)


async def reading(scope, receive, send):
    await respond(send, scope["session"]["filler"].encode())


async def changing(scope, receive, send):
    scope["session"]["n"] = 1
    await respond(send)


async def growing(scope, receive, send):
    scope["session"]["filler"] = BIG
    await respond(send)


async def shrinking(scope, receive, send):
    scope["session"]["filler"] = ""
    await respond(send)


async def regenerating(scope, receive, send):
    scope["session"].regenerate_id()
    await respond(send)


async def restarting(scope, receive, send):
    scope["session"].start()
    await respond(send)


async def terminating(scope, receive, send):
    await asyncio.to_thread(scope["session"].terminate)
    await respond(send)


@pytest.mark.parametrize("app", [reading, changing, growing, shrinking, regenerating, restarting, terminating])
@pytest.mark.parametrize("size", [0, 5000])
def test_the_store_is_never_asked_on_the_event_loop(site, app, size):
    client = site.visitor(app, filler="x" * size)
    assert client.send().status == 200
    assert threading.get_ident() not in site.store.threads
    assert bool(site.store.threads) is (size > 0 or app is growing)


@pytest.mark.parametrize("app", [untouched, reading, changing, regenerating, restarting])
def test_a_session_that_lives_in_its_cookie_never_leaves_the_event_loop(site, app):
    assert site.visitor(app, filler="small").begin().drive().status == 200


def test_a_session_moves_to_the_store_and_back(site):
    client = site.visitor(growing, n=1)
    client.send()
    assert site.data(client) == {"n": 1, "filler": BIG}
    client.app.app = shrinking
    client.send()
    assert site.data(client) == {"n": 1, "filler": ""}


def test_a_session_read_ahead_and_not_used_leaves_no_trace(site):
    exchange = site.visitor(untouched, filler=BIG).send()
    assert exchange.sent[0] is START


def test_an_outage_is_none_to_a_request_that_does_not_use_its_session(site):
    client = site.visitor(untouched, filler=BIG)
    site.store.down = True
    assert client.send().status == 200


@pytest.mark.parametrize("app", [reading, changing])
def test_an_outage_is_503(site, app, caplog):
    client = site.visitor(app, filler=BIG)
    cookies = dict(client.cookies)
    site.store.down = True
    exchange = client.send()
    assert (exchange.status, exchange.all("cache-control")) == (503, ["no-store"])
    assert exchange.all("content-length") == [str(len(exchange.body))]
    assert client.cookies == cookies
    assert caplog.messages[-1] == "refused a response: FaultyStore is down"


def test_an_outage_at_the_save_is_503_and_the_rest_of_the_application_does_not_run(site):
    reached = []

    async def app(scope, receive, send):
        scope["session"]["filler"] = BIG
        site.store.down = True
        await respond(send)
        reached.append("the mail that says it was saved")

    client = site.serve(app)
    assert client.send().status == 503
    assert client.cookies == {}
    assert reached == []


def test_a_session_that_another_request_terminated_is_409(site):
    async def app(scope, receive, send):
        session = scope["session"]
        session["n"] = 1
        manager = client.app.manager
        other = manager.open(client.cookies.header())
        await asyncio.to_thread(other.terminate)
        await respond(send)

    client = site.visitor(app, filler=BIG)
    exchange = client.send()
    assert (exchange.status, b"sign in again" in exchange.body) == (409, True)


def test_a_refusal_brings_what_was_saved_before(site):
    async def app(scope, receive, send):
        scope["session"]["n"] = 1
        await asyncio.to_thread(scope["session"].save)
        scope["session"]["filler"] = BIG
        site.store.down = True
        await respond(send)

    client = site.serve(app)
    assert client.send().status == 503
    assert site.data(client) == {"n": 1}


def test_a_refusal_brings_what_was_ended_before(site):
    async def app(scope, receive, send):
        site.store.down = True
        await asyncio.to_thread(scope["session"].terminate)

    client = site.visitor(app, filler=BIG)
    assert client.send().status == 503
    assert client.cookies == {}


def test_the_application_may_handle_an_outage_of_its_own_use(site):
    async def app(scope, receive, send):
        with pytest.raises(StoreUnavailable):
            scope["session"].get("n")
        await respond(send, b"handled")

    client = site.visitor(app, filler=BIG)
    site.store.down = True
    exchange = client.send()
    assert (exchange.status, exchange.body) == (200, b"handled")


def test_the_application_may_handle_an_outage_at_the_save(site):
    async def app(scope, receive, send):
        scope["session"]["filler"] = BIG
        site.store.down = True
        with pytest.raises(StoreUnavailable):
            await respond(send)
        del scope["session"]["filler"]
        await send({**START, "status": 507})
        await send(BODY)

    client = site.serve(app)
    assert client.send().status == 507
    assert site.data(client) == {}


def test_an_error_after_the_headers_is_raised(site):
    async def app(scope, receive, send):
        await respond(send)
        raise SessionTerminated("later")

    exchange = site.serve(app).begin()
    with pytest.raises(SessionTerminated, match="later"):
        exchange.run()
    assert exchange.types == ["http.response.start", "http.response.body"]


def test_a_change_while_a_thread_saves_raises(site):
    async def app(scope, receive, send):
        session = scope["session"]
        session["filler"] = BIG
        site.store.gate.clear()
        answer = asyncio.create_task(respond(send))
        await asyncio.to_thread(site.store.called.wait, 30)
        with pytest.raises(SessionClosed):
            session["late"] = True
        site.store.gate.set()
        await answer

    client = site.serve(app)
    client.send()
    assert site.data(client) == {"filler": BIG}


def test_a_chunk_of_another_task_waits_for_the_headers(site):
    async def app(scope, receive, send):
        scope["session"]["filler"] = BIG
        site.store.gate.clear()
        start = asyncio.create_task(send(START))
        await asyncio.to_thread(site.store.called.wait, 30)
        chunk = asyncio.create_task(send(BODY))
        await asyncio.sleep(0)
        assert exchange.sent == []
        site.store.gate.set()
        await asyncio.gather(start, chunk)

    exchange = site.serve(app).begin()
    exchange.run()
    assert exchange.types == ["http.response.start", "http.response.body"]


def test_what_takes_the_place_of_a_response_that_was_given_up_during_its_save_waits_for_that_save(site):
    async def app(scope, receive, send):
        scope["session"]["filler"] = BIG
        site.store.gate.clear()
        given_up = asyncio.create_task(respond(send))
        await asyncio.to_thread(site.store.called.wait, 30)
        given_up.cancel()
        await asyncio.wait([given_up])
        late = asyncio.create_task(respond_late(send))
        await asyncio.sleep(0)
        site.store.gate.set()
        await late

    async def respond_late(send):
        await send({**START, "status": 504})
        await send(BODY)

    client = site.serve(app)
    assert client.send().status == 504
    assert site.data(client) == {"filler": BIG}
    assert site.store.count_expired(now=2**32 - 1) == 1


def test_every_task_that_waits_for_a_save_hears_that_it_failed(site):
    async def app(scope, receive, send):
        scope["session"]["filler"] = BIG
        site.store.gate.clear()
        messages = [asyncio.create_task(send(message)) for message in (START, BODY)]
        await asyncio.to_thread(site.store.called.wait, 30)
        site.store.down = True
        site.store.gate.set()
        errors.extend(await asyncio.gather(*messages, return_exceptions=True))
        raise errors[0]

    errors = []
    assert site.serve(app).send().status == 503
    assert [type(error) for error in errors] == [StoreUnavailable] * 2


class Cancelled:
    """A request that is cancelled while a thread saves its session, and what was heard of it."""

    def __init__(self, site, **faults):
        site.settings["store_threads"] = 1
        self.client = site.serve(growing)
        self.exchange = self.client.begin()
        self.logged = []
        asyncio.run(self._run(site.store, faults))

    async def _run(self, store, faults):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.logged.append(context["exception"]))
        store.gate.clear()
        task = asyncio.create_task(self._request())
        await asyncio.to_thread(store.called.wait, 30)
        task.cancel()
        await asyncio.wait([task])
        self.cancelled = task.cancelled()
        for name, value in faults.items():
            setattr(store, name, value)
        store.gate.set()
        await self.client.begin()()  # its save comes after that of the cancelled request, as there is one thread
        del task
        gc.collect()

    async def _request(self):
        try:
            await self.exchange()
        finally:
            self.current = current_session.get()


def test_a_request_cancelled_during_the_save_acknowledges_nothing(site):
    request = Cancelled(site)
    assert request.cancelled
    assert request.exchange.sent == []
    assert request.current is None


def test_the_thread_of_a_cancelled_request_ends_its_save(site):
    assert Cancelled(site).logged == []
    assert site.store.count_expired(now=2**32 - 1) == 2  # with that of the next request


def test_what_fails_in_the_thread_of_a_cancelled_request_is_logged(site):
    request = Cancelled(site, down=True)
    assert [type(error) for error in request.logged] == [StoreUnavailable]


def test_a_request_cancelled_while_its_session_is_read_leaves_nothing_behind(site):
    exchange = site.visitor(reading, filler=BIG).begin()
    seen = []

    async def run():
        site.store.gate.clear()
        task = asyncio.create_task(exchange())
        await asyncio.to_thread(site.store.called.wait, 30)
        task.cancel()
        await asyncio.wait([task])
        seen.append((task.cancelled(), exchange.sent))
        site.store.gate.set()

    asyncio.run(run())
    assert seen == [(True, [])]


def test_settings_are_those_of_the_manager():
    middleware = SessionMiddleware(untouched, cookie_key=generate_key(), cookie_name="own")
    assert middleware.app is untouched
    assert middleware.manager.cookie.name == "own"
    with pytest.raises(ValueError, match="cookie_key"):
        SessionMiddleware(untouched)


def test_a_site_without_a_store_tells_of_a_session_too_large():
    with pytest.raises(SessionTooLarge):
        Site(store=None).serve(growing).send()
