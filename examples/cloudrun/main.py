"""Notes in a session: it lives in its cookie while they are few, in memcached and Datastore when they are many."""

import os
import secrets

from flask import Flask, abort, flash, redirect, render_template, request, session, url_for

from gaesess.flask import GaeSess
from gaesess.stores.datastore import DatastoreStore
from gaesess.stores.memcache import MemcacheStore
from gaesess.stores.tiered import TieredStore

MAX_NAME_CHARS = 40
MAX_NOTE_CHARS = 500
MAX_NOTES = 200  # of up to 4 bytes a character: 400 KB, where memcached and Datastore each take 1 MB

app = Flask(__name__)
app.config["GAESESS"] = {
    "cookie_key": os.environ.get("COOKIE_KEY"),
    "store": TieredStore(MemcacheStore(os.environ["MEMCACHED"].split(",")), DatastoreStore()),
}
GaeSess(app)


@app.before_request
def refuse_forms_of_other_sites():
    if request.method == "POST":
        expected, sent = session.get("csrf_token"), request.form.get("csrf_token", "")
        if expected is None or not secrets.compare_digest(expected.encode(), sent.encode()):
            abort(403)


@app.get("/")
def home():
    session.setdefault("csrf_token", secrets.token_urlsafe())
    return render_template("page.html"), {"Cache-Control": "no-store"}


@app.post("/sign-in")
def sign_in():
    name = request.form.get("name", "").strip()[:MAX_NAME_CHARS]
    if name:
        session.regenerate_id()  # whoever knows the id or the token from before has nothing of them now
        del session["csrf_token"]
        session["name"] = name
    return redirect(url_for("home"))


@app.post("/note")
def note():
    text = request.form.get("text", "").strip()[:MAX_NOTE_CHARS]
    if len(session.get("notes", ())) >= MAX_NOTES:
        flash("There is no room for another note.")
    elif text:
        session.append("notes", text)  # overlapping requests each keep theirs
    return redirect(url_for("home"))


@app.post("/sign-out")
def sign_out():
    session.terminate()
    return redirect(url_for("home"))
