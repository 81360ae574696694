"""Sessions for WSGI applications (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from gaesess import _impl
from gaesess._core import WSGI
from gaesess._headers import refusal
from gaesess.errors import SessionTerminated, StoreUnavailable
from gaesess.manager import SessionManager, check_protocol, refuse_async
from gaesess.pickling import refuse_keys
from gaesess.session import Session, current_session, leave

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from typing_extensions import Unpack

    from gaesess.config import Settings

    Headers = list[tuple[str, str]]
    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Write = Callable[[bytes], object]

ENVIRON_KEY = "gaesess.session"


class SessionMiddleware:
    """Gives every request of a WSGI application its session: `environ["gaesess.session"]`, `get_current_session()`.

    The settings are those of SessionManager. The session is saved when the headers must go out: at the first chunk of
    the body that is not empty, or at its end. A store that cannot answer gives the client 503 Service Unavailable, a
    session that another request terminated 409 Conflict, unless the application handles StoreUnavailable and
    SessionTerminated itself. If the application raises, the session is closed, and not saved.
    """

    def __init__(self, app: WSGIApplication, *positional: Any, **settings: Unpack[Settings]) -> None:
        check_protocol(app, "WSGI")
        self.app = app
        self.manager = refuse_async(SessionManager(*positional, **settings))
        self._config = self.manager.config
        self._has_passive_paths = bool(self._config.passive_paths)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse, send: Any = None) -> Iterable[bytes]:
        if send is not None:
            raise TypeError("this middleware is for WSGI, and was called by ASGI: use gaesess.asgi.SessionMiddleware")
        passive = self._has_passive_paths and self._config.is_passive(_path(environ))
        session = environ[ENVIRON_KEY] = Session(self._config, environ.get("HTTP_COOKIE"), passive)
        response = _Response(session, environ, start_response)
        outer = current_session.set(session)
        try:
            return response.deliver(self.app(environ, response.start))
        except (StoreUnavailable, SessionTerminated) as error:
            return response.refuse(error)
        except BaseException:
            session.abandon()
            raise
        finally:
            leave(outer)

    __reduce__ = refuse_keys


class _Response:
    """One response on its way out: its headers are held back until the session is saved."""

    _server_write: Write | None = None
    _status: str | None = None
    _headers: Headers
    _sent = False
    _refused = False
    _body: Iterable[bytes] = ()
    _iterator: Iterator[bytes] = iter(())

    def __init__(self, session: Session, environ: WSGIEnvironment, server_start: StartResponse) -> None:
        self._session = session
        self._environ = environ
        self._server_start = server_start

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Be the application's start_response."""
        if exc_info is None:
            if self._status is not None:
                raise AssertionError("start_response was called a second time without exc_info")
        elif self._sent:
            try:
                self._server_start(status, headers, exc_info)  # it raises the application's error, as the PEP asks
            finally:
                exc_info = None  # breaks the reference cycle through the traceback
        self._status, self._headers = status, headers
        return self.write

    def write(self, data: bytes) -> None:
        """Be the application's write callable; once the response is refused there is nothing to add to it."""
        if not data or self._refused:
            return
        try:
            self._send_headers()
        except (StoreUnavailable, SessionTerminated) as error:
            data = self.refuse(error)[0]
        assert self._server_write is not None
        self._server_write(data)

    def deliver(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """Return what the server is to send: the body itself if it is complete, else this, which watches over it."""
        self._body = body
        if self._refused:
            self.close()
            return []
        try:
            kind = type(body)
            if kind is list or kind is tuple or _is_file(body, self._environ.get("wsgi.file_wrapper")):
                self._send_headers()
                return body
            self._iterator = iter(body)
            return self
        except BaseException:  # the server has nothing yet that it could close
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        outer = current_session.set(self._session)
        try:
            chunk = next(self._iterator, None)
            while chunk == b"" and not self._sent:  # the application may still change its session
                chunk = next(self._iterator, None)
            self._send_headers()
        except (StoreUnavailable, SessionTerminated) as error:
            self._iterator = iter(())
            return self.refuse(error)[0]
        except BaseException:
            self._session.abandon()
            raise
        finally:
            leave(outer)
        if chunk is None or self._refused:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the application's body, once; what it still changes in the session would not be saved."""
        self._session.abandon()
        body, self._body, self._iterator = self._body, (), iter(())
        if hasattr(body, "close"):
            outer = current_session.set(self._session)
            try:
                body.close()
            finally:
                leave(outer)

    def refuse(self, error: StoreUnavailable | SessionTerminated) -> list[bytes]:
        """Answer in the application's place; if its headers are out already, raise the error instead."""
        if self._refused:
            return [b""]
        if self._sent:
            try:
                raise error
            finally:
                del error  # breaks the reference cycle through the traceback
        answer = refusal(error)
        headers = answer.headers + [("Set-Cookie", cookie) for cookie in self._session.abandon()]
        self._sent = self._refused = True
        self._server_write = self._server_start(f"{answer.status} {answer.reason}", headers)
        return [b"" if self._environ.get("REQUEST_METHOD") == "HEAD" else answer.text]

    def _send_headers(self) -> None:
        if self._sent:
            return
        if self._status is None:
            raise AssertionError("the application did not call start_response")
        session = self._session
        cookies, headers = session.commit(), self._headers
        if session.is_accessed():
            headers = _impl.with_session(headers, cookies, WSGI)
        self._sent = True
        self._server_write = self._server_start(self._status, headers)


def _path(environ: WSGIEnvironment) -> str:
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode(errors="replace")  # PEP 3333 has bytes as if they were Latin-1


def _is_file(body: Iterable[bytes], file_wrapper: object) -> bool:
    """Tell a file, which the server sends as a whole."""
    return isinstance(file_wrapper, type) and isinstance(body, file_wrapper)
