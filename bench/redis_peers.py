"""The libraries that keep sessions in Redis, each held against gaesess in the same framework.

To add one: write a function that takes the Redis and returns an application which does `use(session)`, and name it in
`opened_peers`, together with what gaesess is in that framework.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from secrets import token_hex
from typing import Any, NamedTuple

import django
import flask
import redis
import redis.asyncio
from django.core.cache import caches
from django.db import connection
from django.test.utils import override_settings
from django_redis.cache import RedisCache
from flask_session import Session as FlaskSession
from starlette.requests import HTTPConnection
from starsessions import SessionMiddleware as StarsessionsMiddleware
from starsessions import load_session
from starsessions.stores.redis import RedisStore as StarsessionsStore

import gaesess.flask
from bench.cases import ALONE, CASES, SESSION, Use
from bench.interleaved import Call, SelfTimed, Timing, measure
from bench.ours import KEY, Peer, asgi_app, with_gaesess, with_gaesess_asgi, wsgi_app
from bench.peers import DjangoMiddleware, django_app, django_view, flask_app, flask_sessions
from bench.server import asgi_in, awaited
from gaesess.stores.redis import AsyncRedisStore, RedisStore

STORED_SESSION = {**SESSION, "basket": "x" * 480}  # about 600 bytes
LIFETIME_SECONDS = 3600
MEASURED = ("read", "modify")
READ_COMMANDS = ("get",)
WRITE_COMMANDS = ("set", "setex", "psetex", "evalsha")


class RedisPeer(NamedTuple):
    """A library, and what gaesess is in the same framework."""

    peer: Peer
    held_against: Peer
    reads: str  # the raw calls of the client that it has, as in `raw_calls`
    writes: str


class Sent(NamedTuple):
    """How many commands a request sends."""

    reads: int
    writes: int


class Added(NamedTuple):
    """What sessions add to one request: the commands, the time, and what of that time the raw commands do not take."""

    sent: Sent
    whole: Timing
    own: Timing


# -- applications


def gaesess_in_flask(store: Any, use: Use | None) -> Any:
    app = flask.Flask("bench")
    app.config["GAESESS"] = {"cookie_key": KEY, "store": store, "cookie_only_threshold": 0}
    gaesess.flask.GaeSess(app)
    return flask_sessions(app, app.session_interface, use)


def gaesess_in_django(store: Any, use: Use | None) -> Any:
    with override_settings(GAESESS={"cookie_key": KEY, "store": store, "cookie_only_threshold": 0}):
        from gaesess.django.middleware import DjangoSessionMiddleware

        return django_app(DjangoSessionMiddleware(django_view(use)))


def with_flask_session(client: Any, use: Use | None) -> Any:
    app = flask.Flask("bench")
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
    FlaskSession(app)
    return flask_sessions(app, app.session_interface, use)


def with_django_engine(engine: str, use: Use | None) -> Any:
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
        return django_app(DjangoMiddleware(django_view(use)))


def with_starsessions(client: Any, use: Use | None) -> Any:
    inner = asgi_app(use)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if use:
            await load_session(HTTPConnection(scope))
        await inner(scope, receive, send)

    return StarsessionsMiddleware(app, store=StarsessionsStore(connection=client))


# -- what is measured


@contextmanager
def opened_peers(url: str) -> Iterator[tuple[list[RedisPeer], dict[str, Call | SelfTimed]]]:
    """Give the peers on the Redis with that URL, and the raw calls of both clients, in one event loop."""
    loop = asyncio.new_event_loop()
    client = redis.Redis.from_url(url)
    async_client = redis.asyncio.Redis.from_url(url)
    store, async_store = RedisStore(url), AsyncRedisStore(url)
    caches["default"] = RedisCache(url, {})
    django.setup()
    from django.contrib.sessions.models import Session

    with connection.schema_editor() as schema:
        schema.create_model(Session)
    with closing(loop), closing(client), closing(store):
        yield _peers(loop, client, async_client, store, async_store), raw_calls(loop, client, async_client)
        loop.run_until_complete(async_client.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())  # which closes the connections of AsyncRedisStore
        connection.close()


def _peers(loop: Any, client: Any, async_client: Any, store: Any, async_store: Any) -> list[RedisPeer]:
    in_loop = asgi_in(loop)
    settings = {"store": store, "cookie_only_threshold": 0}
    wsgi = Peer("gaesess (WSGI)", partial(with_gaesess, **settings), wsgi_app())
    in_flask = Peer("gaesess in Flask", partial(gaesess_in_flask, store), flask_app())
    in_django = Peer("gaesess in Django", partial(gaesess_in_django, store), django_app(django_view()))
    asgi = Peer("gaesess (ASGI)", partial(with_gaesess_asgi, **settings | {"store": async_store}), asgi_app(), in_loop)
    flask_session = Peer("Flask-Session", partial(with_flask_session, client), flask_app())
    cache = Peer("django-redis, engine cache", partial(with_django_engine, "cache"), in_django.bare)
    cached_db = Peer("django-redis, engine cached_db", partial(with_django_engine, "cached_db"), in_django.bare)
    starsessions = Peer("starsessions (ASGI)", partial(with_starsessions, async_client), asgi_app(), in_loop)
    against = {
        wsgi: wsgi,
        in_flask: in_flask,
        flask_session: in_flask,
        in_django: in_django,
        cache: in_django,
        cached_db: in_django,
    }
    peers = [RedisPeer(peer, held_against, "get", "set") for peer, held_against in against.items()]
    return [*peers, *(RedisPeer(peer, asgi, "async get", "async set") for peer in (asgi, starsessions))]


def raw_calls(loop: Any, client: Any, async_client: Any) -> dict[str, Call | SelfTimed]:
    """Return what a request cannot do without: GET and SET PXAT of as many bytes, by either client."""
    key, data = f"raw:{token_hex(16)}", b"x" * 600
    expires_ms = (int(time.time()) + LIFETIME_SECONDS) * 1000
    client.set(key, data, pxat=expires_ms)
    return {
        "get": lambda: client.get(key),
        "set": lambda: client.set(key, data, pxat=expires_ms),
        "async get": awaited(loop, lambda: async_client.get(key)),
        "async set": awaited(loop, lambda: async_client.set(key, data, pxat=expires_ms)),
    }


def measured(url: str) -> dict[tuple[RedisPeer, str], Added]:
    """Return what each peer adds to a request by the case: all in one interleaved run, with the raw commands."""
    with opened_peers(url) as (peers, raw), closing(redis.Redis.from_url(url)) as client:
        rows = [(each, case) for each in peers for case in MEASURED]
        pairs = {row: row[0].peer.pair(CASES[row[1]], ALONE, STORED_SESSION) for row in rows}
        sent = {row: commands_of(client, pair.full) for row, pair in pairs.items()}
        calls = {(row, which): call for row, pair in pairs.items() for which, call in pair._asdict().items()}
        times: dict[Any, Timing] = measure({**calls, **raw})
    return {row: _added(row, times, sent[row]) for row in rows}


def _added(row: tuple[RedisPeer, str], times: Mapping[Any, Timing], sent: Sent) -> Added:
    whole = own = times[row, "full"].minus(times[row, "bare"])
    for raw, count in ((row[0].reads, sent.reads), (row[0].writes, sent.writes)):
        for _ in range(count):
            own = own.minus(times[raw])
    return Added(sent, whole, own)


def commands_of(client: Any, request: Call | SelfTimed) -> Sent:
    """Return how many commands one request sends; what a script calls in the server is not among them."""
    request_once = partial(request.run, 1) if isinstance(request, SelfTimed) else request
    request_once()  # which connects, and loads scripts
    client.config_resetstat()
    request_once()
    calls = Counter({name: each["calls"] for name, each in client.info("commandstats").items()})
    in_scripts = calls["cmdstat_evalsha"]
    writes = sum(calls[f"cmdstat_{name}"] for name in WRITE_COMMANDS)
    return Sent(sum(calls[f"cmdstat_{name}"] for name in READ_COMMANDS), writes - in_scripts)
