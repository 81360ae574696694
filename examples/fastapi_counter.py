"""A counter in FastAPI: `python examples/fastapi_counter.py`, then open http://localhost:8000/"""

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from gaesess import generate_key
from gaesess.asgi import SessionMiddleware
from gaesess.stores.sqlite import SQLiteStore

app = FastAPI()
# In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
app.add_middleware(SessionMiddleware, cookie_key=generate_key(), store=SQLiteStore("sessions.sqlite3"))


@app.get("/", response_class=PlainTextResponse)
async def visit(request: Request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return f"Visit number {request.session['visits']}\n"


if __name__ == "__main__":
    uvicorn.run(app, host="localhost", port=8000)
