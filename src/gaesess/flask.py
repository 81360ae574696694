"""Sessions for Flask: `flask.session`, as applications and extensions use it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from flask import has_request_context
from flask import session as current
from flask.sessions import SessionInterface, SessionMixin

try:
    from flask.globals import _cv_request as _current_context
except ImportError:  # Flask 3.2 has one kind of context for the request and the application
    from flask.globals import _cv_app as _current_context  # type: ignore[assignment]

from gaesess._core import ACTIVE, BROWSER, INACTIVE
from gaesess._headers import keep_private, refusal, vary_by_cookie
from gaesess.errors import SessionTerminated, StoreUnavailable
from gaesess.manager import manager_from, refuse_async
from gaesess.pickling import refuse_keys
from gaesess.session import Session, finders
from gaesess.users import USER_KEY

if TYPE_CHECKING:
    from flask import Flask, Request, Response

    from gaesess.manager import SessionManager

LOGIN_KEY = "_user_id"  # what Flask-Login's `login_user` sets first: it begins a session in the place of a lost one


class GaeSess:
    """Gives a Flask application its sessions: `flask.session`, and `get_current_session()` where that is to be had.

    The settings are those of SessionManager, in `app.config["GAESESS"]`; `lifetime` is by default that of Flask's
    permanent sessions, from the session's start. Flask's own settings of the session are not looked at. Raises
    ValueError for settings that are unknown, missing, unsafe or contradict each other.

    A store that cannot answer gives the client 503 Service Unavailable, a session that another request terminated 409
    Conflict. To answer in another way, register error handlers for StoreUnavailable and SessionTerminated after this:
    they are called also for what goes wrong when the session is saved, and in functions after the request. What they
    change in the session they save themselves, by `session.save()`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give it to an application that is made by a factory, after its configuration."""
        settings = app.config.get("GAESESS", {})
        if isinstance(settings, Mapping):
            settings = {"lifetime": app.permanent_session_lifetime, **settings}
        app.session_interface = GaeSessInterface(refuse_async(manager_from(settings, 'app.config["GAESESS"]')))
        for error in (StoreUnavailable, SessionTerminated):
            app.register_error_handler(error, _refuse)
        # What is raised there, by functions after the request and by the save, Flask would answer with 500.
        app.teardown_request(_close)
        app.process_response = partial(_process_response, app, app.process_response)  # type: ignore[method-assign]


class FlaskSession(Session, SessionMixin):
    """What `flask.session` is: a session with the attributes and the ways of Flask's own.

    It expires with the browser unless it is `permanent`. One that the request has emptied is terminated.
    """

    dict_pop = True
    _context = 0  # of the request, by its number: the object would be a cycle of references

    @property
    def permanent(self) -> bool:
        """Whether it goes on when the browser is closed. To set it changes neither the session's id nor its end."""
        return self.is_active() and not self._flags & BROWSER

    @permanent.setter
    def permanent(self, value: bool) -> None:
        if bool(value) != self.permanent:
            with self._changing():
                self._writable()
                self._flags = self._flags & ~BROWSER if value else self._flags | BROWSER
                self._unsaved = True

    def start(self, expiration_ts: int | None = None, ssl_only: bool = False) -> None:
        """Start a new, empty session, as Session.start does; by default its cookie ends with the browser."""
        super().start(expiration_ts or 0, ssl_only)
        self.new = True

    def clear(self) -> None:
        """Delete every key; where the client has sent what is no session, delete its cookies."""
        if self.is_active():
            super().clear()
        elif self._taken or self._old:
            self.terminate()

    def __setitem__(self, key: Hashable, value: Any) -> None:
        if key == LOGIN_KEY and self.is_lost():
            self.start()
        super().__setitem__(key, value)

    def commit(self) -> list[str]:
        """Save what has changed, as Session.commit does, but end a session that this request has emptied."""
        with self._exclusive():
            if self._state == ACTIVE and not self._data.keys() - {USER_KEY} and self.modified:
                if self._taken or self._old or self._cookies:
                    self.terminate()
                else:
                    self._state = INACTIVE  # no client has heard of it
            return super().commit()


class GaeSessInterface(SessionInterface):
    """Opens and saves the sessions of an application; its `manager` loads them by their ids, for instance in a task."""

    def __init__(self, manager: SessionManager) -> None:
        self.manager = manager

    __reduce__ = refuse_keys

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        """Return the session of a request, which reads its cookie only if it is used."""
        config = self.manager.config
        passive = config.is_passive(request.root_path + request.path)
        session = FlaskSession(config, request.environ.get("HTTP_COOKIE"), passive)
        session._context = _context()
        return session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Save the session, and add its headers to the response. Raises as `commit` does.

        An object that the application has put in its place is left alone.
        """
        if isinstance(session, FlaskSession):
            _add_headers(response, session, session.commit())


def _process_response(app: Flask, process: Callable[..., Response], *arguments: Any) -> Response:
    """Be the application's process_response, which calls the functions after the request and saves the session."""
    *context, response = arguments  # Flask 3.2 passes its context first
    try:
        return process(*arguments)
    except (StoreUnavailable, SessionTerminated) as error:
        response.close()
        response = app.make_response(app.handle_user_exception(*context, error))  # type: ignore[call-arg]
        _add_headers(response, current, cast(FlaskSession, current).abandon())
        return response


def _close(error: BaseException | None) -> None:
    """Close the session at the end of the request, also if its error was raised again, as in tests.

    The end of a copy of its context, as `copy_current_request_context` makes for a thread, is not that.
    """
    session = current._get_current_object()  # type: ignore[attr-defined]
    if isinstance(session, FlaskSession) and session._context == _context():
        session.abandon()


def _context() -> int:
    return id(_current_context.get(None))


def _refuse(error: StoreUnavailable | SessionTerminated) -> tuple[bytes, int, list[tuple[str, str]]]:
    answer = refusal(error)
    return answer.text, answer.status, answer.headers


def _add_headers(response: Response, session: SessionMixin, cookies: list[str]) -> None:
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    private = keep_private(response.headers.getlist("Cache-Control")) if cookies else None
    if private:
        response.headers["Cache-Control"] = private
    vary = vary_by_cookie(response.headers.getlist("Vary")) if session.accessed else None
    if vary:
        response.headers["Vary"] = vary


def _session_of_the_context() -> Session | None:
    session = current._get_current_object() if has_request_context() else None  # type: ignore[attr-defined]
    return session if isinstance(session, FlaskSession) else None


finders.append(_session_of_the_context)
