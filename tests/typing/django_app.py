"""A typical Django application, for mypy to check; nothing runs it."""

from datetime import timedelta

from django.contrib import auth
from django.http import HttpRequest, HttpResponse
from django.urls import path
from typing_extensions import assert_type

from gaesess import Session, StoreUnavailable, generate_key, get_current_session
from gaesess.config import Settings
from gaesess.django import DjangoSession, DjangoSessionMiddleware, SessionStore
from gaesess.stores.sqlite import SQLiteStore

GAESESS: Settings = {
    "cookie_key": generate_key(),
    "store": SQLiteStore("sessions.sqlite3"),
    "lifetime": timedelta(days=7),
}


def visit(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    session = get_current_session()
    assert_type(session, Session)
    session.increment("pages")
    return HttpResponse(f"{request.session['visits']}")


def sign_in(request: HttpRequest) -> HttpResponse:
    user = auth.authenticate(request, username=request.POST["name"], password=request.POST["password"])
    if user is None:
        return HttpResponse(status=403)
    auth.login(request, user)
    request.session.set_expiry(timedelta(hours=1))
    return HttpResponse("Welcome")


class Request(HttpRequest):
    """A request whose session shows its own methods."""

    session: DjangoSession  # type: ignore[assignment]


def own(request: Request) -> HttpResponse:
    session = request.session
    session.append("cart", 1)
    session.set_expiry(None)
    assert_type(session.session_key, str | None)
    assert_type(session.get_expiry_age(), int)
    assert_type(session.modified, bool)
    try:
        session.save()
    except StoreUnavailable:
        return HttpResponse(status=503)
    return HttpResponse("ok")


async def asynchronous(request: Request) -> HttpResponse:
    session = request.session
    await session.aset("visits", 1)
    assert_type(await session.aget_expiry_age(), int)
    assert_type(await session.aexists("key"), bool)
    await session.aset_expiry(timedelta(hours=1))
    await session.aupdate({"pages": 1})
    await session.acycle_key()
    await session.asave(must_create=True)
    await session.aflush()
    return HttpResponse("ok")


def of_a_test(key: str) -> None:
    session = SessionStore(key)
    session["visits"] = 1
    session.save()
    assert_type(session.session_key, str | None)


urlpatterns = [path("", visit), path("sign-in", sign_in)]
middleware = DjangoSessionMiddleware(visit)
