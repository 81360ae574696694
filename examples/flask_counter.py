"""A counter in Flask: `python examples/flask_counter.py`, then open http://localhost:5000/"""

from flask import Flask, session

from gaesess import generate_key
from gaesess.flask import GaeSess
from gaesess.stores.sqlite import SQLiteStore

app = Flask(__name__)
# In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
app.config["GAESESS"] = {"cookie_key": generate_key(), "store": SQLiteStore("sessions.sqlite3")}
GaeSess(app)


@app.route("/")
def visit():
    session["visits"] = session.get("visits", 0) + 1
    return f"Visit number {session['visits']}\n"


if __name__ == "__main__":
    app.run(host="localhost")
