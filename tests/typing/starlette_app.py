"""A Starlette application under the middleware, as its author types it."""

import asyncio

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from gaesess import generate_key, get_current_session
from gaesess.asgi import SessionMiddleware
from gaesess.stores.sqlite import SQLiteStore


async def visit(request: Request) -> Response:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(dict(request.session))


async def sign_in(request: Request) -> Response:
    session = get_current_session()  # for Starlette `request.session` is a dictionary, which has no new ids
    session.regenerate_id()
    session["user"] = "ada"
    return PlainTextResponse("welcome")


async def sign_out(request: Request) -> Response:
    await asyncio.to_thread(get_current_session().terminate)
    return PlainTextResponse("bye")


async def count(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(str(websocket.session.get("visits")))
    await websocket.close()


routes = [
    Route("/", visit),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
    WebSocketRoute("/count", count),
]
store = SQLiteStore("sessions.sqlite3")
app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, cookie_key=generate_key(), store=store)])

other = Starlette(routes=routes)
other.add_middleware(SessionMiddleware, cookie_key=generate_key(), cookie_name="other")

wrapped: ASGIApp = SessionMiddleware(Starlette(routes=routes), cookie_key=generate_key())

uvicorn.run(wrapped)
