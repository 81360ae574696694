"""Sign in by name, a view counter, messages that are shown once, and sign out, with nothing but gaesess.

`pip install gaesess`, `python examples/login_form/app.py`, then open http://localhost:8000/
"""

import secrets
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qsl
from wsgiref.simple_server import make_server

from gaesess import SessionMiddleware, generate_key, get_current_session
from gaesess.stores.sqlite import SQLiteStore

MAX_NAME_CHARS = 40
MAX_FORM_BYTES = 2000  # 40 characters of up to 12 bytes each ("%F0%9F%91%8B"), the CSRF token and the names
SIGN_IN = f"""\
<label>Your name <input name="name" maxlength="{MAX_NAME_CHARS}" required autofocus></label>
  <button>Sign in</button>"""
SIGN_OUT = "<button>Sign out</button>"
PAGE = Template(Path(__file__).with_name("page.html").read_text("utf-8"))


def show():
    """Count the view, and return the page."""
    session = get_current_session()
    session.increment("views")
    name = session.get("name")
    return PAGE.substitute(
        message=escape(session.pop("message", "")),
        title=f"Hello, {escape(name)}" if name else "You are not signed in",
        views=session["views"],
        action="/sign-out" if name else "/sign-in",
        csrf_token=session.setdefault("csrf_token", secrets.token_urlsafe()),
        fields=SIGN_OUT if name else SIGN_IN,
    )


def sign_in(form):
    session = get_current_session()
    name = form.get("name", "").strip()[:MAX_NAME_CHARS]
    if not name:
        session["message"] = "Please enter your name."
        return
    session.regenerate_id()  # whoever knows the id or the token from before has nothing of them now
    del session["csrf_token"]
    session["name"] = name
    session["message"] = f"Welcome, {name}."


def sign_out(form):
    session = get_current_session()
    session.terminate()
    session["message"] = "You have signed out."  # begins a new session


ACTIONS = {"/sign-in": sign_in, "/sign-out": sign_out}


def app(environ, start_response):
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if (method, path) == ("GET", "/"):
        return respond(start_response, "200 OK", show())
    if method != "POST" or path not in ACTIONS:
        return respond(start_response, "404 Not Found", "There is no such page.")
    form = read_form(environ)
    if not is_from_this_site(form):
        return respond(start_response, "403 Forbidden", "This form is out of date. Go back, reload, and try again.")
    ACTIONS[path](form)
    # The browser gets the page by a GET then, and a reload does not send the form again.
    return respond(start_response, "303 See Other", "", ("Location", "/"))


def read_form(environ):
    length = environ.get("CONTENT_LENGTH", "")
    size = min(int(length), MAX_FORM_BYTES) if length.isdecimal() else 0
    return dict(parse_qsl(environ["wsgi.input"].read(size).decode("utf-8", "replace")))


def is_from_this_site(form):
    """Return whether the form is one that this session was shown; another site's page cannot read the token in it."""
    token = get_current_session().get("csrf_token")
    return token is not None and secrets.compare_digest(token.encode(), form.get("csrf_token", "").encode())


def respond(start_response, status, html, *headers):
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"), *headers])
    return [html.encode()]


app = SessionMiddleware(
    app,
    # In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
    cookie_key=generate_key(),
    store=SQLiteStore("sessions.sqlite3"),
    cookie_only_threshold=0,  # keeps every session in the store, so that signing out ends all copies of its cookie
)

if __name__ == "__main__":
    make_server("localhost", 8000, app).serve_forever()
