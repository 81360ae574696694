"""A counter in Bottle: `python examples/bottle_counter.py`, then open http://localhost:8000/"""

from bottle import Bottle, run

from gaesess import SessionMiddleware, generate_key, get_current_session
from gaesess.stores.sqlite import SQLiteStore

app = Bottle()


@app.get("/")
def visit():
    session = get_current_session()
    session["visits"] = session.get("visits", 0) + 1
    return f"Visit number {session['visits']}\n"


# In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
app = SessionMiddleware(app, cookie_key=generate_key(), store=SQLiteStore("sessions.sqlite3"))

if __name__ == "__main__":
    run(app, host="localhost", port=8000)
