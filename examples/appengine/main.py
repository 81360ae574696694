"""Notes in a session on App Engine: README.md tells how to run it under dev_appserver, and how to deploy it."""

import os
from html import escape
from urllib.parse import parse_qsl

from google.appengine.api import wrap_wsgi_app

from gaesess import SessionMiddleware, delete_expired_sessions, get_current_session
from gaesess.stores.appengine import AppEngineDatastore, AppEngineMemcache
from gaesess.stores.tiered import TieredStore

PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>gaesess on App Engine</title>'
MAX_FORM_BYTES = 10_000
MAX_NOTES = 90  # of up to MAX_FORM_BYTES: memcache and Datastore each take 1 MB

store = TieredStore(AppEngineMemcache(namespace="sessions"), AppEngineDatastore(namespace="sessions"))


def home():
    session = get_current_session()
    if "name" not in session:
        return form("/sign-in", '<label>Your name <input name="name" required></label>', "Sign in")
    notes = "".join(f"<li>{escape(text)}</li>" for text in session.get("notes", ()))
    return (
        f"<h1>Notes of {escape(session['name'])}</h1>"
        f"<p>This session lives in its {session.home.value}.</p><ul>{notes}</ul>"
        + form("/note", '<textarea name="text" required></textarea>', "Keep it")
        + form("/sign-out", "", "Sign out")
    )


def form(action, fields, button):
    return f'<form method="post" action="{action}">{fields} <button>{button}</button></form>'


def sign_in(fields):
    session = get_current_session()
    session.regenerate_id()  # whoever knows the id from before has nothing of it now
    session["name"] = fields.get("name", "")


def note(fields):
    session = get_current_session()
    if "name" in session and len(session.get("notes", ())) < MAX_NOTES:
        session.append("notes", fields.get("text", ""))  # overlapping requests each keep theirs


def sign_out(fields):
    get_current_session().terminate()


FORMS = {"/sign-in": sign_in, "/note": note, "/sign-out": sign_out}  # SameSite=Lax keeps other sites from using them


def app(environ, start_response):
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if (method, path) == ("GET", "/"):
        return respond(start_response, "200 OK", PAGE + home())
    if method == "POST" and path in FORMS:
        size = min(int(environ.get("CONTENT_LENGTH") or 0), MAX_FORM_BYTES)
        FORMS[path](dict(parse_qsl(environ["wsgi.input"].read(size).decode("utf-8", "replace"))))
        return respond(start_response, "303 See Other", "", ("Location", "/"))
    if path == "/tasks/cleanup":
        return cleanup(environ, start_response)
    return respond(start_response, "404 Not Found", "There is no such page.")


def cleanup(environ, start_response):
    """Delete expired sessions: cron.yaml has App Engine call it every day. Cut short, it goes on the next day."""
    # App Engine takes this header out of requests from outside.
    # https://cloud.google.com/appengine/docs/standard/scheduling-jobs-with-cron-yaml#securing_urls_for_cron
    if environ.get("HTTP_X_APPENGINE_CRON") != "true":
        return respond(start_response, "403 Forbidden", "This is for App Engine's cron only.")
    return respond(start_response, "200 OK", f"{delete_expired_sessions(store)} deleted")


def respond(start_response, status, html, *headers):
    start_response(status, [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"), *headers])
    return [html.encode()]


app = SessionMiddleware(app, cookie_key=os.environ.get("COOKIE_KEY"), store=store)
app = wrap_wsgi_app(app)  # around the sessions: it is in there that the services answer
