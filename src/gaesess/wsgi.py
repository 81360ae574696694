"""Sessions for WSGI applications (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from gaesess import events
from gaesess.errors import SessionTerminated, StoreUnavailable
from gaesess.manager import SessionManager
from gaesess.pickling import refuse_keys
from gaesess.responses import keep_private, refusal, vary_by_cookie
from gaesess.session import Session, current_session
from gaesess.timeouts import DEFAULT_LIFETIME

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from typing_extensions import Unpack

    from gaesess.settings import KeywordSettings

    Headers = list[tuple[str, str]]
    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    Write = Callable[[bytes], object]

ENVIRON_KEY = "gaesess.session"


class SessionMiddleware:
    """Gives every request of a WSGI application its session: `environ["gaesess.session"]`, `get_current_session()`.

    The settings are those of SessionManager. The session is saved when the headers must go out: at the first chunk of
    the body that is not empty, or at its end. A store that cannot answer gives the client 503 Service Unavailable, a
    session that another request terminated 409 Conflict, unless the application handles StoreUnavailable and
    SessionTerminated itself.
    """

    def __init__(
        self,
        app: WSGIApplication,
        cookie_key: str | bytes | None = None,
        lifetime: timedelta = DEFAULT_LIFETIME,
        no_datastore: bool = False,
        cookie_only_threshold: int | None = None,
        **settings: Unpack[KeywordSettings],
    ) -> None:
        self.app = app
        self.manager = SessionManager(cookie_key, lifetime, no_datastore, cookie_only_threshold, **settings)
        self._has_passive_paths = bool(self.manager.timeouts.passive_paths)

    __reduce__ = refuse_keys

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        passive = self._has_passive_paths and self.manager.timeouts.is_passive(_path(environ))
        session = Session(self.manager, environ.get("HTTP_COOKIE"), passive)
        environ[ENVIRON_KEY] = session
        response = _Response(session, start_response, environ.get("REQUEST_METHOD") == "HEAD")
        outer = current_session.set(session)
        try:
            return response.deliver(self.app(environ, response.start), environ)
        except (StoreUnavailable, SessionTerminated) as error:
            return response.refuse(error)
        finally:
            current_session.reset(outer)


class _Response:
    """One response on its way out: its headers are held back until the session is saved."""

    def __init__(self, session: Session, server_start: StartResponse, to_head: bool) -> None:
        self._session = session
        self._server_start = server_start
        self._to_head = to_head
        self._server_write: Write | None = None
        self._status: str | None = None
        self._headers: Headers = []
        self._sent = self._refused = False
        self._body: Iterable[bytes] = ()
        self._iterator: Iterator[bytes] = iter(())

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Be the application's start_response."""
        if exc_info is None and self._status is not None:
            raise AssertionError("start_response was called a second time without exc_info")
        try:
            if exc_info is not None and self._sent:
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

    def deliver(self, body: Iterable[bytes], environ: WSGIEnvironment) -> Iterable[bytes]:
        """Return what the server is to send: the body itself if it is complete, else this, which watches over it."""
        self._body = body
        if self._refused:
            self.close()
            return []
        try:
            if type(body) in (list, tuple) or _is_file(body, environ.get("wsgi.file_wrapper")):
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
        finally:
            current_session.reset(outer)
        if chunk is None or self._refused:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the application's body, once."""
        body, self._body, self._iterator = self._body, (), iter(())
        if hasattr(body, "close"):
            outer = current_session.set(self._session)
            try:
                body.close()
            finally:
                current_session.reset(outer)

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
        events.emit("response_refused", f"refused a response: {error}", status=answer.status)
        headers = answer.headers + _set_cookie(self._session.abandon())
        self._sent = self._refused = True
        self._server_write = self._server_start(f"{answer.status} {answer.reason}", headers)
        return [b"" if self._to_head else answer.text]

    def _send_headers(self) -> None:
        if self._sent:
            return
        if self._status is None:
            raise AssertionError("the application did not call start_response")
        headers, cookies = self._headers, self._session.commit()
        if cookies:
            headers = _merge(headers + _set_cookie(cookies), "Cache-Control", keep_private)
        if self._session.is_accessed():
            headers = _merge(headers, "Vary", vary_by_cookie)
        self._sent = True
        self._server_write = self._server_start(self._status, headers)


def _path(environ: WSGIEnvironment) -> str:
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode(errors="replace")  # PEP 3333 has bytes as if they were Latin-1


def _set_cookie(values: list[str]) -> Headers:
    return [("Set-Cookie", value) for value in values]


def _is_file(body: Iterable[bytes], file_wrapper: object) -> bool:
    """Tell a file, which the server sends as a whole."""
    return isinstance(file_wrapper, type) and isinstance(body, file_wrapper)


def _merge(headers: Headers, name: str, merge: Callable[[list[str]], str | None]) -> Headers:
    """Return the headers with what `merge` makes of the values that one has; None leaves it as it is."""
    size, lower = len(name), name.lower()
    values = [value for other, value in headers if len(other) == size and other.lower() == lower]
    merged = merge(values)
    if merged is None:
        return headers
    others = [header for header in headers if header[0].lower() != lower] if values else headers
    return [*others, (name, merged)]
