"""An AsyncStore under ASGI: the event loop waits for it itself, in no thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgi.client import BIG, Client, respond
from async_memory import AsyncMemoryStore

from gaesess import SessionManager, SessionMiddleware, StoreUnavailable, generate_key
from gaesess import asgi as gaesess_asgi
from gaesess.session import get_current_session
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore


class Broken(AsyncMemoryStore):
    """Cannot be reached while it is `down`."""

    down = False

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self.down:
            raise StoreUnavailable("it is down")
        assert threading.current_thread() is threading.main_thread()
        return await super()._call(name, *arguments, **options)


@pytest.fixture(params=["plain", "tiered"])
def store(request: pytest.FixtureRequest) -> Any:
    return Broken() if request.param == "plain" else TieredStore(Broken(), Broken())


def serve(app: Any, store: Any, **settings: Any) -> Client:
    settings = {"cookie_key": generate_key(), "store": store, "cookie_only_threshold": 0, **settings}
    return Client(gaesess_asgi.SessionMiddleware(app, **settings))


def counting(*verbs: str) -> Any:
    """Return an application that counts its requests, and awaits these methods of the session after it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        session.increment("n")
        for verb in verbs:
            await getattr(session, verb)()
        await respond(send, str(session.get("n")).encode())

    return app


def test_a_session_is_read_and_saved(store: Any) -> None:
    client = serve(counting(), store)
    assert [client.send().body for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_session_in_its_cookie_needs_no_store(store: Any) -> None:
    client = serve(counting(), store, cookie_only_threshold=None)
    assert [client.send().body for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_session_that_outgrows_its_cookie_moves_into_the_store(store: Any) -> None:
    async def grow(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].append("parts", BIG)
        await respond(send, str(len(scope["session"]["parts"])).encode())

    client = serve(grow, store, cookie_only_threshold=None)
    assert [client.send().body for _ in range(2)] == [b"1", b"2"]


def test_it_can_be_saved_early(store: Any) -> None:
    client = serve(counting("asave", "asave"), store)
    assert [client.send().body for _ in range(2)] == [b"1", b"2"]


def test_it_can_get_a_new_id(store: Any) -> None:
    client = serve(counting("aregenerate_id"), store)
    client.send()
    old = dict(client.cookies)
    assert client.send().body == b"2"
    client.cookies.clear()
    client.cookies.update(old)
    assert client.send().body == b"1"


def test_it_can_be_terminated(store: Any) -> None:
    key = generate_key()
    client, ending = serve(counting(), store, cookie_key=key), serve(counting("aterminate"), store, cookie_key=key)
    client.send()
    ending.cookies.update(client.cookies)
    ending.send()
    assert client.send().body == b"1"


def test_requests_that_overlap_are_all_counted(store: Any) -> None:
    client = serve(counting(), store)
    client.send()

    async def overlap() -> None:
        await asyncio.gather(*(client.begin()() for _ in range(20)))

    asyncio.run(overlap())
    assert client.send().body == b"22"


def test_an_outage_is_503(store: Any) -> None:
    client = serve(counting(), store)
    client.send()
    for part in [store.cache, store.durable] if isinstance(store, TieredStore) else [store]:
        part.down = True
    assert client.send().status == 503


def test_a_save_goes_on_when_its_task_is_cancelled() -> None:
    class Slow(Broken):
        async def add(self, key: str, data: bytes, *, expires_at: int) -> Any:
            await gate.wait()
            return await super().add(key, data, expires_at=expires_at)

    gate = asyncio.Event()
    store = Slow()
    client = serve(counting(), store)

    async def cancel() -> None:
        request = asyncio.ensure_future(client.begin()())
        for _ in range(10):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait([request])
        gate.set()
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(cancel())
    assert len(store.store._records) == 1


def test_another_task_that_saves_waits_for_the_first() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["n"] = 1
        await asyncio.gather(*(scope["session"].asave() for _ in range(5)))
        await respond(send, str(scope["session"].revision).encode())

    assert serve(app, Broken()).send().body == b"1"


def test_what_cannot_wait_for_it_says_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["n"] = 1
        with pytest.raises(RuntimeError, match=r"await .* asave\(\)"):
            scope["session"].save()
        await respond(send)

    assert serve(app, Broken()).send().status == 200


def test_users_are_signed_out_by_coroutines(store: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = get_current_session()
        manager = session.manager
        if scope["path"] == "/in":
            session["user"] = "ada"
            session.bind_user("ada")
        elif scope["path"] == "/list":
            return await respond(send, str(len(await manager.alist_sessions("ada"))).encode())
        elif scope["path"] == "/others":
            await manager.arevoke_user("ada", except_=session)
        elif scope["path"] == "/one":
            (other, *_) = await manager.alist_sessions("ada")
            await manager.arevoke_session(other.sid)
            assert not (await manager.aload(other.sid)).is_active()
        await respond(send, str(session.get("user")).encode())

    first = serve(app, store, revocable=True, cookie_only_threshold=None)
    second = Client(first.app)
    for client in (first, second):
        client.send("/in")
    assert first.send("/list").body == b"2"
    assert first.send("/others").body == b"ada"
    assert [client.send().body for client in (first, second)] == [b"ada", b"None"]
    assert second.send("/one").body == b"None"
    assert first.send().body == b"None"


class Lasting(AsyncMemoryStore):
    may_forget = False


@pytest.mark.parametrize("kind", [Lasting, lambda: TieredStore(AsyncMemoryStore(), Lasting())])
def test_a_sign_in_begins_a_new_session_in_the_place_of_a_lost_one(kind: Any) -> None:
    store = kind()

    async def use() -> None:
        manager = SessionManager(generate_key(), store=store, cookie_only_threshold=0)
        session = manager.open(None)
        session["n"] = 1
        cookie = (await session.acommit())[0].partition(";")[0]
        for part in [store.cache, store.durable] if isinstance(store, TieredStore) else [store]:
            part.store._records.clear()
        session = manager.open(cookie)
        await session.read_ahead()
        assert session.is_lost()
        await session.aregenerate_id()
        assert dict(session) == {}

    asyncio.run(use())


@pytest.mark.parametrize("kind", [AsyncMemoryStore, lambda: TieredStore(AsyncMemoryStore(), AsyncMemoryStore())])
def test_a_server_with_threads_refuses_it(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"gaesess\.asgi"):
        SessionMiddleware(lambda environ, start_response: [], generate_key(), store=kind())


def test_two_kinds_make_no_tiered_store() -> None:
    with pytest.raises(TypeError, match="both"):
        TieredStore(AsyncMemoryStore(), MemoryStore())


class ReadOnTheLoop(MemoryStore):
    """Notes the threads that read it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[threading.Thread] = set()

    def get(self, key: str, *, fresh: bool = False) -> Any:
        self.threads.add(threading.current_thread())
        return super().get(key, fresh=fresh)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_store_whose_very_class_says_so_is_read_on_the_event_loop(says_so: bool) -> None:
    class Store(ReadOnTheLoop):
        if says_so:
            reads_at_once = True

    store = Store()
    client = serve(counting(), store)
    client.send()
    client.send()
    assert (store.threads == {threading.main_thread()}) is says_so


def test_a_coroutine_over_a_store_for_threads_leaves_the_event_loop_alone() -> None:
    manager = SessionManager(generate_key(), store=ReadOnTheLoop(), cookie_only_threshold=0, revocable=True)

    async def use() -> None:
        session = manager.open(None)
        session["n"] = 1
        session.bind_user("ada")
        await session.asave()
        (listed,) = await manager.alist_sessions("ada")
        loaded = await manager.aload(listed.sid)
        assert loaded["n"] == 1
        await loaded.aregenerate_id()
        await loaded.asave()
        await manager.arevoke_user("ada")
        assert await manager.alist_sessions("ada") == []
        await loaded.aterminate()

    asyncio.run(use())
    store: Any = manager.config.records and manager.config.records._store
    assert threading.main_thread() not in store._store.threads
