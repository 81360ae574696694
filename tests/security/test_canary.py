"""Nothing by which a session could be taken over, or read, gets into a log, an event, a traceback or a repr.

A session whose id, key, cookies and data are known goes through everything that can go wrong with it, under WSGI and
ASGI. All that was written about it meanwhile is then searched for them, in every spelling.
"""

import asyncio
import copy
import logging
import pickle
import traceback
from base64 import urlsafe_b64encode

import asgi.client
import pytest
import wsgi.client
from browser import with_session

from gaesess import (
    SessionDataLoss,
    SessionManager,
    SessionMiddleware,
    SessionTooLarge,
    _impl,
    events,
    get_current_session,
)
from gaesess._core import Token
from gaesess.drivers import run
from gaesess.keys import derive
from gaesess.stores.base import Stored, record_key
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore
from gaesess.testing import FaultyStore

NAME = "__Host-gaesess"
KEY = "canary-key-7f3a9c51e8d24b60-canary-key"
USER = "canary-user-ada-lovelace"
CARD = "canary-card-4929-1234-5678-9012"
BIG = CARD * 200  # outgrows the cookie
NOW = 1_800_000_000
WINDOW = 12  # characters: a shorter piece of a cookie is nothing to guess the rest from


def pieces(text):
    return {text[start : start + WINDOW] for start in range(len(text) - WINDOW + 1)}


def spellings(secret):
    """Return the pieces by which bytes can be told, as they are, in hex, in base64url and in the repr of bytes."""
    texts = [secret.decode("latin-1"), secret.hex(), repr(secret)[2:-1]]
    texts += [urlsafe_b64encode(bytes(shift) + secret).decode()[4:-4] for shift in range(3)]
    return set().union(*map(pieces, texts))


class Watch:
    """What is secret, and all that was written meanwhile."""

    def __init__(self, caplog):
        self.caplog = caplog
        self.events = []
        self.written = []
        self.secrets = set().union(*(spellings(text.encode()) for text in (KEY, USER, CARD)))

    def learn(self, manager, cookies):
        """Take the id and the cookies of a session for secrets."""
        self.secrets |= spellings(bytes.fromhex(manager.open(cookies.header()).sid[11:]))
        for value in cookies.values():
            self.secrets |= pieces(value[16:])  # before that are the suite, the key's id and the times

    def failed(self):
        """Take the traceback of the exception that is being handled."""
        self.written.append(traceback.format_exc())

    def everything(self):
        logged = [logging.Formatter().format(record) + repr(vars(record)) for record in self.caplog.records]
        return "\n".join([*logged, *map(repr, self.events), *self.written])

    def found(self):
        """Return the pieces of secrets that were written."""
        return pieces(self.everything()) & self.secrets


@pytest.fixture
def watch(caplog):
    caplog.set_level(logging.DEBUG)
    watch = Watch(caplog)
    unsubscribe = events.subscribe(watch.events.append)
    yield watch
    unsubscribe()


class WSGI(wsgi.client.Site):
    """A site whose application does with its session what it is told, and a server that writes what gets out of it."""

    def visit(self, watch, use, cookies):
        def app(environ, start_response):
            write = wsgi.client.respond(start_response)
            call(watch, use)
            write(b"so far")
            return [b"ok"]

        client = wsgi.client.Client(self.middleware(app))
        client.cookies.update(cookies)
        return end(watch, lambda: int(client.send().status[:3]))


class ASGI(asgi.client.Site):
    """The same under ASGI."""

    def visit(self, watch, use, cookies):
        async def app(scope, receive, send):
            await asyncio.to_thread(call, watch, use)
            await asgi.client.respond(send)

        client = self.serve(app)
        client.cookies.update(cookies)
        return end(watch, lambda: client.send().status)


def call(watch, use):
    try:
        use(get_current_session())
    except Exception:
        watch.failed()
        raise


def end(watch, send):
    try:
        return send()
    except Exception:  # as a server does, which writes it into its log
        watch.failed()
        return 500


@pytest.fixture(params=[WSGI, ASGI])
def make_site(request, watch):
    """Make a site, and the cookies of a session on it, in its cookie or in the store."""

    def make(filler="", **settings):
        site = request.param(**{"cookie_key": KEY, "clock": lambda: site.now, **settings})
        site.now = NOW
        site.store.may_forget = False
        cookies = site.visitor(None, user=USER, card=filler or CARD).cookies
        watch.learn(SessionManager(**site.settings), cookies)
        return site, cookies

    return make


def read(session):
    return session["user"]


def is_there(session):
    return session.is_active()


def change(session):
    session["more"] = CARD


def fail(session):
    raise RuntimeError(f"the application failed, with {len(session['user'])} characters in its hands")


def hold_what_cannot_be_held(session):
    session["user"] = {USER, object()}


def outgrow(session):
    session["more"] = BIG


class Poisoned(MemoryStore):
    """Gives everybody the record of another session."""

    def get(self, key, *, fresh=False):
        return super().get(next(iter(self._records)), fresh=fresh)


def test_the_search_finds_what_is_written(watch):
    """Or no test here would show anything."""
    manager = SessionManager(KEY)
    browser = with_session(manager, user=USER)
    jar = wsgi.client.CookieJar(browser.cookies)
    watch.learn(manager, jar)
    assert not watch.found()
    sid = manager.open(jar.header()).sid
    for leak in (KEY, f"user {USER}", sid, repr(bytes.fromhex(sid[11:])), jar[NAME], jar[NAME][-20:], repr(USER[3:])):
        watch.written = [leak]
        assert watch.found()
    watch.written = []
    logging.getLogger("any").debug("%s", jar[NAME])
    assert watch.found()


@pytest.mark.parametrize(
    ("use", "status"),
    [(read, 200), (change, 200), (fail, 500), (hold_what_cannot_be_held, 500)],
    ids=["read", "changed", "an error of the application", "a value that cannot be held"],
)
@pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])
def test_nothing_is_told_of_a_session_that_is_used(make_site, watch, use, status, filler):
    site, cookies = make_site(filler)
    assert site.visit(watch, use, cookies) == status
    assert watch.everything()
    assert not watch.found()


@pytest.mark.parametrize("use", [read, change, lambda session: session.terminate(), lambda session: session.start()])
@pytest.mark.parametrize("failure", ["down", "deaf"])
def test_nothing_is_told_of_a_session_whose_store_does_not_answer(make_site, watch, use, failure):
    site, cookies = make_site(BIG)
    setattr(site.store, failure, True)
    assert site.visit(watch, use, cookies) == 503
    assert "store_unavailable" in watch.everything()
    assert not watch.found()


def test_nothing_is_told_of_a_session_that_is_too_large(make_site, watch):
    site, cookies = make_site(store=None)
    assert site.visit(watch, outgrow, cookies) == 500
    assert SessionTooLarge.__name__ in watch.everything()
    assert not watch.found()


def test_nothing_is_told_of_a_session_that_is_lost(make_site, watch):
    site, cookies = make_site(BIG)
    site.store.store._records.clear()
    assert site.visit(watch, read, cookies) == 503
    assert SessionDataLoss.__name__ in watch.everything()
    assert not watch.found()


def test_nothing_is_told_of_a_session_that_another_request_ends(make_site, watch):
    site, cookies = make_site(BIG)

    def overtaken(session):
        change(session)
        SessionManager(**site.settings).open(cookies.header()).terminate()

    assert site.visit(watch, overtaken, cookies) == 409
    assert not watch.found()


def test_nothing_is_told_of_a_record_that_is_not_to_be_believed(make_site, watch):
    site, _ = make_site(BIG)
    other = site.visitor(None, user=USER, card=BIG).cookies
    watch.learn(SessionManager(**site.settings), other)
    poisoned = Poisoned()
    poisoned._records = site.store.store._records
    site.store.store = poisoned
    assert site.visit(watch, read, other) == 503
    assert "poisoned_record" in watch.everything()
    assert not watch.found()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value[:-1] + ("A" if value[-1] != "A" else "Q"),
        lambda value: value[:-10],
        lambda value: value + "!",
        lambda value: f'"{value}"',
        lambda value: f"{value}; {NAME}={value}",
        lambda value: value[:1] + "B" + value[2:],
    ],
    ids=["changed", "cut", "no base64url", "quoted", "twice", "another key's"],
)
def test_nothing_is_told_of_a_cookie_that_is_refused(make_site, watch, spoil):
    site, cookies = make_site()
    assert site.visit(watch, is_there, {NAME: spoil(cookies[NAME])}) == 200
    assert "token_refused" in watch.everything()
    assert not watch.found()


def test_nothing_is_told_of_a_cookie_whose_time_is_over(make_site, watch):
    site, cookies = make_site()
    site.now += 8 * 86400
    assert site.visit(watch, is_there, cookies) == 200
    assert "token_expired" in watch.everything()
    assert not watch.found()


def test_nothing_is_told_of_a_cookie_of_another_application(make_site, watch):
    _, cookies = make_site()
    other, _ = make_site(cookie_key=KEY[::-1])
    watch.secrets |= spellings(KEY[::-1].encode())
    assert other.visit(watch, is_there, cookies) == 200
    assert "token_refused" in watch.everything()
    assert not watch.found()


@pytest.fixture(
    params=[(False, CARD), (False, BIG), (True, CARD), (True, BIG)],
    ids=["signed, cookie", "signed, store", "encrypted, cookie", "encrypted, store"],
)
def parts(request, watch):
    """What a site and its session are made of: the objects that hold an id or a key, and the others."""
    encrypt, filler = request.param
    store = TieredStore(MemoryStore(), FaultyStore(MemoryStore()))
    settings = {"store": store, "encrypt": encrypt, "revocable": True, "clock": lambda: NOW}
    manager = SessionManager(KEY, retired_keys=[KEY[::-1]], **settings)
    watch.secrets |= spellings(KEY[::-1].encode())
    jar = wsgi.client.CookieJar(with_session(manager, user=USER, card=filler).cookies)
    watch.learn(manager, jar)
    session = manager.open(jar.header())
    session.ensure_data_loaded()
    keys = derive(KEY, [KEY[::-1]], cookie_name=NAME, encrypt=encrypt)
    config, records = manager.config, manager.config.records
    token, _, _ = _impl.unseal_cookies(config.keys, jar.header(), NAME, NOW)
    holders = [session, token, manager, config, records, session._draft()]
    holders += [keys, keys.cookie, config.key, *keys.record.values(), *keys.user.values()]
    holders += [SessionMiddleware(None, KEY), asgi.client.SessionMiddleware(None, KEY)]
    holders += [config.users, config.users._records, records._store]
    holders += [run(records.load(token))] if filler is BIG else []
    for secret in (*keys.cache, *(handle for handle, _ in keys.handles)):
        watch.secrets |= spellings(secret)
    key, *_ = keys.record.values()
    sealed = _impl.seal(key, token._replace(flags=0, payload=filler.encode()), 1)
    others = [session._history, manager.cookie, Stored(sealed, 1), store, store.cache, store.durable]
    return holders, others


def test_no_representation_shows_any_of_it(watch, parts):
    holders, others = parts
    watch.written = [f"{thing!r} {thing}" for thing in holders + others]
    assert not watch.found()


def test_nothing_that_holds_an_id_or_a_key_can_be_pickled_or_copied(parts):
    holders, _ = parts
    for thing in holders:
        for duplicate in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                duplicate(thing)


def test_a_token_still_says_which_revision_it_is():
    assert repr(Token(0, NOW, NOW, 7, bytes(16), b"data")) == "<Token revision=7>"


def test_the_key_of_a_record_names_no_session(watch):
    """What a store's own messages and listings show."""
    sid = bytes(range(16))
    watch.secrets = spellings(sid)
    watch.written = [record_key(NOW, sid)]
    assert not watch.found()
