"""A FastAPI application under the middleware, as its author types it."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket

from gaesess import Session, generate_key, get_current_session
from gaesess.asgi import SessionMiddleware
from gaesess.stores.sqlite import SQLiteStore

app = FastAPI()
app.add_middleware(SessionMiddleware, cookie_key=generate_key(), store=SQLiteStore("sessions.sqlite3"))

CurrentSession = Annotated[Session, Depends(get_current_session)]


def user(session: CurrentSession) -> str:
    name = session.get("user")
    if not isinstance(name, str):
        raise HTTPException(401)
    return name


@app.get("/")
async def visit(request: Request) -> dict[str, int]:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return {"visits": request.session["visits"]}


@app.post("/sign-in")
async def sign_in(name: str, session: CurrentSession) -> None:
    session.regenerate_id()
    session["user"] = name


@app.post("/sign-out")
def sign_out(session: CurrentSession) -> None:
    session.terminate()


@app.get("/me")
def me(name: Annotated[str, Depends(user)]) -> str:
    return name


@app.websocket("/count")
async def count(websocket: WebSocket, session: CurrentSession) -> None:
    await websocket.accept()
    await websocket.send_json({"visits": session.get("visits")})
