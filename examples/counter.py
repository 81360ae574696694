"""A whole program: counts a visitor's visits. `python examples/counter.py`, then open http://localhost:8000/"""

from wsgiref.simple_server import make_server

from gaesess import SessionMiddleware, generate_key, get_current_session
from gaesess.stores.sqlite import SQLiteStore


def app(environ, start_response):
    session = get_current_session()
    session["visits"] = session.get("visits", 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"Visit number {session['visits']}\n".encode()]


# In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
app = SessionMiddleware(app, cookie_key=generate_key(), store=SQLiteStore("sessions.sqlite3"))

if __name__ == "__main__":
    make_server("localhost", 8000, app).serve_forever()
