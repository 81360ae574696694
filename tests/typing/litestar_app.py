"""A Litestar application under the middleware, as its author types it."""

from typing import Any

from litestar import Litestar, Request, get, post
from litestar.middleware import DefineMiddleware

from gaesess import generate_key, get_current_session
from gaesess.asgi import SessionMiddleware
from gaesess.stores.sqlite import SQLiteStore


@get("/")
async def visit(request: Request[Any, Any, Any]) -> dict[str, int]:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return {"visits": request.session["visits"]}


@post("/sign-in")
async def sign_in(request: Request[Any, Any, Any]) -> None:
    get_current_session().regenerate_id()
    request.set_session({"user": "ada"})


@post("/sign-out")
async def sign_out(request: Request[Any, Any, Any]) -> None:
    request.clear_session()


sessions = DefineMiddleware(SessionMiddleware, cookie_key=generate_key(), store=SQLiteStore("sessions.sqlite3"))
app = Litestar([visit, sign_in, sign_out], middleware=[sessions])
