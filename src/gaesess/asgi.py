"""Sessions for ASGI 3 applications: Starlette, FastAPI, Litestar and others, under asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from gaesess import _impl
from gaesess._core import ASGI
from gaesess._headers import refusal
from gaesess.errors import SessionTerminated, StoreUnavailable
from gaesess.manager import SessionManager, check_protocol
from gaesess.pickling import refuse_keys
from gaesess.session import Session, current_session, leave

if TYPE_CHECKING:
    from asyncio import Future

    from typing_extensions import Unpack

    from gaesess.config import Settings

Scope = Any  # every framework has its own types of a scope and a message
Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# The messages with which headers go out.
_STARTS = ("http.response.start", "websocket.accept", "websocket.close", "websocket.http.response.start")
_DENIAL = "websocket.http.response"  # the extension by which a handshake is answered with a response


class ASGISession(Session):
    """What `request.session` is in Starlette and Litestar: a session whose `pop` is a dictionary's."""

    dict_pop = True


class SessionMiddleware:
    """Gives every request and websocket its session: `scope["session"]`, `request.session`, `get_current_session()`.

    The settings are those of SessionManager. The session is saved when the headers go out, at `http.response.start`;
    for a websocket when it is accepted or denied. Later changes raise SessionClosed. A store that cannot answer gives
    the client 503 Service Unavailable, a session that another request terminated 409 Conflict, unless the application
    handles StoreUnavailable and SessionTerminated itself. A websocket that is refused before it is accepted gets its
    cookies, and these answers, if the server has the extension "websocket.http.response"; else it is closed. If the
    application raises, the session is closed, and not saved.

    The event loop does not wait for the store: a session in the store is read before the application is called, and
    saved, in one of `store_threads` threads; an AsyncStore is awaited. A store in memory or SQLite is read on the event
    loop, which takes less time than a thread. Only `session.terminate()` and `session.save()`
    query it at once, where they are called: from a coroutine, await `session.aterminate()` and `session.asave()`. Where
    the store is used the event loop must be asyncio's.
    """

    def __init__(self, app: ASGIApp, *positional: Any, **settings: Unpack[Settings]) -> None:
        check_protocol(app, "ASGI")
        self.app = app
        self.manager = SessionManager(*positional, **settings)
        self._config = self.manager.config
        self._asks_store = self._config.asks_store
        self._has_passive_paths = bool(self._config.passive_paths)

    __reduce__ = refuse_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        passive = self._has_passive_paths and self._config.is_passive(scope["path"])
        session = scope["session"] = ASGISession(self._config, scope["headers"], passive)
        if self._asks_store and session.read_waits():
            await session.read_ahead()
        response = _Response(session, scope, send, self._asks_store)
        outer = current_session.set(session)
        try:
            await self.app(scope, receive, response.send)
        except (StoreUnavailable, SessionTerminated) as error:
            if response.sent:
                raise
            await response.refuse(error)
        except Exception:
            if response.failure and not response.sent:  # the framework has made another error of it, as Litestar does
                await response.refuse(response.failure)
            raise
        finally:
            session.abandon()
            leave(outer)


class _Response:
    """One response on its way out: the session is saved before its headers go."""

    _start: Message = None  # the message with which headers go out
    _saving: Future[list[str]] | None = None
    failure: StoreUnavailable | SessionTerminated | None = None  # of a save
    sent = False  # nothing can be taken back any more

    def __init__(self, session: Session, scope: Scope, server_send: Send, asks_store: bool) -> None:
        self._session = session
        self._scope = scope
        self._server_send = server_send
        self._asks_store = asks_store

    async def send(self, message: Message) -> None:
        """Be the application's send."""
        if not self.sent:
            kind = message["type"]
            if kind in _STARTS:
                self._start = message
            if self._start is not None:  # else it is such as http.response.debug
                session = self._session
                if self._saving is None and self._scope.get("session") is not session:
                    self._take_over()
                waits = self._asks_store and (self._saving or session.close())
                cookies = await self._commit() if waits else session.commit()
                if not self.sent:  # else by another task of the application, which was here before
                    self.sent = True
                    await self._send_start(cookies)
                if message is self._start:
                    return
        await self._server_send(message)

    async def _send_start(self, cookies: list[str]) -> None:
        start = self._start
        if start["type"] == "websocket.close":
            if cookies and self._can_deny():  # servers make a 403 of the close, but one without headers
                await self._answer(403, _impl.with_session([], cookies, ASGI), b"")
                return
        elif self._session.is_accessed():
            start = {**start, "headers": _impl.with_session(start.get("headers", ()), cookies, ASGI)}
        await self._server_send(start)

    async def refuse(self, error: StoreUnavailable | SessionTerminated) -> None:
        """Answer in the application's place."""
        answer = refusal(error)
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        headers += [(b"set-cookie", cookie.encode("latin-1")) for cookie in self._session.abandon()]
        self.sent = True
        if self._scope["type"] == "http" or self._can_deny():
            await self._answer(answer.status, headers, answer.text)
        else:
            await self._server_send({"type": "websocket.close"})

    def _take_over(self) -> None:
        """Give the session what Litestar's set_session or clear_session has put in its place in the scope."""
        held = self._scope.get("session")
        if "litestar_app" not in self._scope or held is None or isinstance(held, Session):
            return  # deleted, or that of a middleware inside
        from litestar.types import Empty  # in memory already, as is msgspec
        from msgspec import to_builtins

        if held is Empty:
            held = {}
        elif not isinstance(held, Mapping):
            held = to_builtins(held, enc_hook=dict)  # its fields
        if not isinstance(held, Mapping):
            return  # it has none: nothing that a session could be
        self._session.clear()
        self._session.update(held)
        self._scope["session"] = self._session

    async def _commit(self) -> list[str]:
        """Save the session where it may wait for the store.

        The save goes on also if the task that waits for it is cancelled. The next task that has something to send waits
        for the same save; if there is none, asyncio logs what went wrong with it.
        """
        from asyncio import ensure_future, wait  # in memory already, where there is an event loop of asyncio's

        if self._saving is None:
            self._saving = ensure_future(self._session.acommit())
        saving = self._saving
        await wait([saving])
        if self._saving is saving:
            self._saving = None
        try:
            return saving.result()
        except (StoreUnavailable, SessionTerminated) as error:
            self.failure = error
            raise

    def _can_deny(self) -> bool:
        return _DENIAL in (self._scope.get("extensions") or ())

    async def _answer(self, status: int, headers: list[tuple[bytes, bytes]], text: bytes) -> None:
        prefix = "http.response" if self._scope["type"] == "http" else _DENIAL
        await self._server_send({"type": f"{prefix}.start", "status": status, "headers": headers})
        await self._server_send({"type": f"{prefix}.body", "body": text})
