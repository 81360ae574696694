"""The application that the tests have uvicorn serve."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from gaesess import generate_key
from gaesess.asgi import SessionMiddleware
from gaesess.stores.memory import MemoryStore

go_on = asyncio.Event()


async def visit(request):
    session = request.session
    session["visits"] = session.get("visits", 0) + 1
    return PlainTextResponse(str(session["visits"]))


async def grow(request):
    request.session["filler"] = "x" * 5000
    return PlainTextResponse(request.session.home.value)


async def stream(request):
    async def chunks():
        yield visits
        yield b" and more"

    visits = (await visit(request)).body
    return StreamingResponse(chunks())


async def slow_stream(request):
    async def chunks():
        await go_on.wait()
        yield b"at last"

    go_on.clear()
    await visit(request)
    return StreamingResponse(chunks())


async def let_it_go_on(request):
    go_on.set()
    return PlainTextResponse("ok")


async def sign_out(request):
    await run_in_threadpool(request.session.terminate)
    return PlainTextResponse("bye")


async def accept(websocket):
    text = (await visit(websocket)).body.decode()
    await websocket.accept()
    await websocket.send_text(text)
    await websocket.close()


async def reject(websocket):
    await visit(websocket)
    await websocket.close()


routes = [
    Route("/visit", visit),
    Route("/grow", grow),
    Route("/stream", stream),
    Route("/slow-stream", slow_stream),
    Route("/go-on", let_it_go_on),
    Route("/sign-out", sign_out),
    WebSocketRoute("/accept", accept),
    WebSocketRoute("/reject", reject),
]
application = SessionMiddleware(Starlette(routes=routes), cookie_key=generate_key(), store=MemoryStore())
