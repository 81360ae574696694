"""Sessions for ASGI 3 applications: Starlette, FastAPI, Litestar and others, under asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from gaesess import events
from gaesess.errors import SessionTerminated, StoreUnavailable
from gaesess.manager import SessionManager
from gaesess.pickling import refuse_keys
from gaesess.responses import keep_private, refusal, vary_by_cookie
from gaesess.session import MappingSession, Session, current_session
from gaesess.timeouts import DEFAULT_LIFETIME

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gaesess.settings import KeywordSettings

Scope = Any  # every framework has its own types of a scope and a message
Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
T = TypeVar("T")

_STARTS = ("http.response.start", "websocket.http.response.start")
_BODIES = ("http.response.body", "websocket.http.response.body")
_HANDSHAKE = ("websocket.accept", "websocket.close")
_DENIAL = "websocket.http.response"  # the extension by which a handshake is answered with a response


class SessionMiddleware:
    """Gives every request and websocket its session: `scope["session"]`, `request.session`, `get_current_session()`.

    The settings are those of SessionManager. The session is saved when the headers must go out: at the first chunk of
    the body that is not empty, or at its end; for a websocket when it is accepted or denied. A store that cannot answer
    gives the client 503 Service Unavailable, a session that another request terminated 409 Conflict, unless the
    application handles StoreUnavailable and SessionTerminated itself. A websocket that is refused before it is accepted
    gets its cookies, and these answers, if the server has the extension "websocket.http.response"; else it is closed.

    The store is never asked on the event loop: a session in the store is read before the application is called, and
    saved, in one of `store_threads` threads that are for nothing else. Only `session.terminate()` and `session.save()`
    ask it at once, where they are called: from a coroutine write `await asyncio.to_thread(session.terminate)`. Where
    the store is used the event loop is asyncio's.
    """

    def __init__(
        self,
        app: ASGIApp,
        cookie_key: str | bytes | None = None,
        lifetime: timedelta = DEFAULT_LIFETIME,
        no_datastore: bool = False,
        cookie_only_threshold: int | None = None,
        **settings: Unpack[KeywordSettings],
    ) -> None:
        self.app = app
        self.manager = SessionManager(cookie_key, lifetime, no_datastore, cookie_only_threshold, **settings)
        self._has_store = self.manager.has_store
        self._has_passive_paths = bool(self.manager.timeouts.passive_paths)

    __reduce__ = refuse_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        passive = self._has_passive_paths and self.manager.timeouts.is_passive(scope["path"])
        session = scope["session"] = MappingSession(self.manager, scope["headers"], passive)
        if self._has_store and session.read_waits():
            await _in_thread(session, Session.read_ahead)
        response = _Response(session, scope, send, self._has_store)
        token = current_session.set(session)
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
            current_session.reset(token)


class _Response:
    """One response on its way out: its start is held back until the session is saved."""

    __slots__ = ("_has_store", "_saving", "_scope", "_server_send", "_session", "_start", "failure", "sent")

    def __init__(self, session: Session, scope: Scope, server_send: Send, has_store: bool) -> None:
        self._session = session
        self._scope = scope
        self._server_send = server_send
        self._has_store = has_store
        self._start: Message | None = None
        self._saving: asyncio.Future[list[str]] | None = None  # in a thread
        self.failure: StoreUnavailable | SessionTerminated | None = None  # of a save
        self.sent = False  # nothing can be taken back any more

    async def send(self, message: Message) -> None:
        """Be the application's send."""
        if self.sent:
            await self._server_send(message)
            return
        kind = message["type"]
        if kind in _STARTS:
            self._start = message
            return
        start = self._start
        if start is None and kind not in _HANDSHAKE:  # such as http.response.debug
            await self._server_send(message)
            return
        if message.get("more_body") and kind in _BODIES and not message.get("body"):
            return  # the application may still change its session
        session = self._session
        if self._scope.get("session") is not session and self._saving is None:
            self._take_over()
        if self._saving or (self._has_store and session.close()):
            cookies = await self._commit_in_thread()
            if self.sent:  # by another task of the application, which was here before
                await self._server_send(message)
                return
        else:
            cookies = session.commit()
        self.sent = True
        if start is None:
            await self._answer_handshake(message, cookies)
            return
        await self._server_send(_with_session(start, cookies) if session.is_accessed() else start)
        await self._server_send(message)

    async def refuse(self, error: StoreUnavailable | SessionTerminated) -> None:
        """Answer in the application's place."""
        answer = refusal(error)
        events.emit("response_refused", f"refused a response: {error}", status=answer.status)
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        headers += _set_cookie(self._session.abandon())
        self.sent = True
        if self._scope["type"] == "http" or self._can_deny():
            await self._answer(answer.status, headers, answer.text)
        else:
            await self._server_send({"type": "websocket.close"})

    def _take_over(self) -> None:
        """Give the session what Litestar's set_session or clear_session has put in its place in the scope."""
        held = self._scope["session"]
        if "litestar_app" not in self._scope or isinstance(held, Session):  # then it is that of a middleware inside
            return
        from litestar.types import Empty  # in memory already

        data = {} if held is Empty else dict(held)
        self._session.clear()
        self._session.update(data)
        self._scope["session"] = self._session

    async def _commit_in_thread(self) -> list[str]:
        """Save the session where it may wait for the store.

        The thread ends its work also if the task that waits for it is cancelled. The next task that has something to
        send waits for the same save; if there is none, asyncio logs what went wrong with it.
        """
        if self._saving is None:
            self._saving = _in_thread(self._session, Session.commit)
        saving = self._saving
        await asyncio.wait([saving])
        if self._saving is saving:
            self._saving = None
        try:
            return saving.result()
        except (StoreUnavailable, SessionTerminated) as error:
            self.failure = error
            raise

    async def _answer_handshake(self, message: Message, cookies: list[str]) -> None:
        if cookies and message["type"] == "websocket.accept":
            message = _with_session(message, cookies)
        elif cookies and self._can_deny():  # servers make a 403 of the close, but one without headers
            await self._answer(403, _set_cookie(cookies), b"")
            return
        await self._server_send(message)

    def _can_deny(self) -> bool:
        return _DENIAL in (self._scope.get("extensions") or ())

    async def _answer(self, status: int, headers: Headers, text: bytes) -> None:
        prefix = "http.response" if self._scope["type"] == "http" else _DENIAL
        await self._server_send({"type": f"{prefix}.start", "status": status, "headers": headers})
        await self._server_send({"type": f"{prefix}.body", "body": text})


def _in_thread(session: Session, method: Callable[[Session], T]) -> asyncio.Future[T]:
    """Call a method of the session where it may wait for the store, in a copy of the caller's context."""
    executor = session.manager.store_threads.executor
    return asyncio.get_running_loop().run_in_executor(executor, copy_context().run, method, session)


def _set_cookie(values: list[str]) -> Headers:
    return [(b"set-cookie", value.encode("latin-1")) for value in values]


def _with_session(message: Message, cookies: list[str]) -> Message:
    """Return the message with the headers of an accessed session; the application may send its own to others too."""
    headers: Headers = list(message.get("headers", ()))
    if cookies:
        headers = _merge(headers + _set_cookie(cookies), b"cache-control", keep_private)
    return {**message, "headers": _merge(headers, b"vary", vary_by_cookie)}


def _merge(headers: Headers, name: bytes, merge: Callable[[list[str]], str | None]) -> Headers:
    """Return the headers with what `merge` makes of the values that one has; None leaves it as it is."""
    size = len(name)
    values = [value.decode("latin-1") for other, value in headers if len(other) == size and other.lower() == name]
    merged = merge(values)
    if merged is None:
        return headers
    others = [header for header in headers if header[0].lower() != name] if values else headers
    return [*others, (name, merged.encode("latin-1"))]
