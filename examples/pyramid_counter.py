"""A counter in Pyramid: `python examples/pyramid_counter.py`, then open http://localhost:8000/"""

from pyramid.config import Configurator
from waitress import serve

from gaesess import SessionMiddleware, generate_key, get_current_session
from gaesess.stores.sqlite import SQLiteStore


def visit(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return f"Visit number {request.session['visits']}\n"


def session(request):
    return get_current_session()


with Configurator() as config:
    config.add_request_method(session, reify=True)  # a mapping, but no ISession: it has no flash()
    config.add_route("visit", "/")
    config.add_view(visit, route_name="visit", renderer="string")
    app = config.make_wsgi_app()

# In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
app = SessionMiddleware(app, cookie_key=generate_key(), store=SQLiteStore("sessions.sqlite3"))

if __name__ == "__main__":
    serve(app, host="localhost", port=8000)
