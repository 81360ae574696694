"""`request.session`, and the session as a dependency, in FastAPI."""

from typing import Annotated

import pytest
from asgi.client import BIG, Site
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket

from gaesess import Session, get_current_session
from gaesess.asgi import SessionMiddleware

CurrentSession = Annotated[Session, Depends(get_current_session)]


class FastAPISite(Site):
    """Serves one endpoint, as a page and as a websocket."""

    def serve_endpoint(self, endpoint):
        return self.lead(self.serve(None), endpoint)

    def lead(self, client, endpoint):
        """Let the client visit that endpoint from now on."""
        app = FastAPI()
        app.add_middleware(SessionMiddleware, **self.settings)
        app.get("/")(endpoint)
        app.websocket("/ws")(endpoint)
        client.app = app
        return client


@pytest.fixture
def site():
    return FastAPISite()


async def count(request: Request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return request.session["visits"]


def count_in_thread(request: Request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return request.session["visits"]


async def count_dependency(request: Request, session: CurrentSession):
    assert session is request.session
    return await count(request)


def count_dependency_in_thread(request: Request, session: CurrentSession):
    assert session is request.session
    return count_in_thread(request)


async def count_before(request: Request):
    yield await count(request)


async def count_in_dependency(visits: Annotated[int, Depends(count_before)]):
    return visits


ENDPOINTS = [count, count_in_thread, count_dependency, count_dependency_in_thread, count_in_dependency]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("filler", ["", BIG])
def test_a_session_goes_on_from_request_to_request(site, endpoint, filler):
    client = site.lead(site.visitor(None, filler=filler), endpoint)
    assert [client.send().body for _ in range(2)] == [b"1", b"2"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_outage_is_503(site, endpoint):
    client = site.lead(site.visitor(None, filler=BIG), endpoint)
    site.store.down = True
    assert client.send().status == 503


async def sign_out(session: CurrentSession):
    session.clear()


def sign_out_in_thread(session: CurrentSession):
    session.terminate()


@pytest.mark.parametrize("endpoint", [sign_out, sign_out_in_thread])
def test_a_session_ends(site, endpoint):
    client = site.lead(site.visitor(None, filler=BIG), endpoint)
    client.send()
    assert site.data(client) == {}


def test_what_was_changed_before_an_http_exception_is_saved(site):
    async def endpoint(session: CurrentSession):
        session["attempts"] = 1
        raise HTTPException(401)

    client = site.serve_endpoint(endpoint)
    assert client.send().status == 401
    assert site.data(client) == {"attempts": 1}


def test_a_websocket_has_its_session(site):
    async def endpoint(websocket: WebSocket, session: CurrentSession):
        session["n"] = websocket.session["n"] + 1
        await websocket.accept()
        await websocket.close()

    client = site.lead(site.visitor(None, n=1), endpoint)
    client.connect("/ws")
    assert site.data(client) == {"n": 2}
