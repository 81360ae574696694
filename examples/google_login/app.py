"""Sign in with Google, anywhere: `python examples/google_login/app.py`, then open http://localhost:8000/"""

from flask import Flask
from openid import OpenID
from pages import add_pages

from gaesess import generate_key
from gaesess.flask import GaeSess
from gaesess.stores.sqlite import SQLiteStore

app = Flask(__name__)
app.config["GAESESS"] = {
    # In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
    "cookie_key": generate_key(),
    "store": SQLiteStore("sessions.sqlite3"),  # what Authlib keeps of a few unfinished sign-ins outgrows a cookie
}
GaeSess(app)
add_pages(app, OpenID(app))

if __name__ == "__main__":
    app.run(host="localhost", port=8000)
