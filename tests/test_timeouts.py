"""Which requests are a use of their session, and which only look whether there is anything new."""

from datetime import timedelta

import pytest
from asgi.client import Site as AsgiSite
from asgi.client import respond as asgi_respond
from browser import Browser
from clock import Clock
from wsgi.client import Site as WsgiSite
from wsgi.client import respond

from gaesess import Session, SessionManager, events, generate_key, get_current_session

IDLE = timedelta(minutes=10)
PATHS = ["/poll", "/näws/"]


def is_passive(path, paths=PATHS):
    return SessionManager(generate_key(), idle_timeout=IDLE, passive_paths=paths).config.is_passive(path)


@pytest.mark.parametrize("path", ["/poll", "/poll/", "/poll/inbox", "/näws", "/näws/today"])
def test_a_path_and_what_is_below_it_are_passive(path):
    assert is_passive(path)


@pytest.mark.parametrize("path", ["", "/", "/polling", "/pol", "/shop/poll", "poll", "/POLL", "/poll?x"])
def test_other_paths_are_not(path):
    assert not is_passive(path)


def test_below_the_root_is_everything():
    assert is_passive("/shop", ["/"])


@pytest.mark.parametrize("paths", ["/poll", ["poll"], [b"/poll"], [""], [None], None, 1])
def test_what_is_no_list_of_paths_is_refused(paths):
    with pytest.raises(ValueError, match=r"^passive_paths must be a list of paths of URLs, such as .*, got "):
        is_passive("/", paths)


def test_passive_paths_need_an_idle_timeout():
    with pytest.raises(ValueError, match=r"^passive_paths are for sessions with an idle_timeout"):
        SessionManager(generate_key(), passive_paths=["/poll"])


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def manager(clock):
    return SessionManager(generate_key(), idle_timeout=IDLE, passive_paths=PATHS, clock=clock)


def ask(browser, *, passive, **changes):
    session = Session(browser.manager.config, browser.header(), passive)
    session.update(changes)
    active = session.is_active()
    browser.receive(session)
    return active


@pytest.mark.parametrize("changes", [{}, {"seen": 1}], ids=["read", "changed"])
def test_a_passive_request_does_not_keep_its_session_from_being_idle(manager, clock, changes):
    browser = Browser(manager)
    ask(browser, passive=False, name="Ada")
    clock.time += 540
    assert ask(browser, passive=True, **changes)
    clock.time += 59
    assert ask(browser, passive=True)
    clock.time += 1
    assert not ask(browser, passive=True)


def test_a_passive_request_saves_what_it_changes(manager, clock):
    browser = Browser(manager)
    ask(browser, passive=False, name="Ada")
    clock.time += 300
    ask(browser, passive=True, seen=1)
    assert browser.data() == {"name": "Ada", "seen": 1}


def test_a_session_that_a_passive_request_starts_is_in_use_from_then(manager, clock):
    browser = Browser(manager)
    ask(browser, passive=True, name="Ada")
    clock.time += 599
    assert ask(browser, passive=False)


def wsgi(path, clock):
    def app(environ, start_response):
        get_current_session().get("name")
        respond(start_response)
        return [b""]

    site = WsgiSite(idle_timeout=IDLE, passive_paths=PATHS, clock=clock)
    client = site.visitor(app, name="Ada")
    clock.time += 300
    script, _, rest = path.partition("|")
    name, info = (part.encode().decode("latin-1") for part in (script, rest))
    return client.send(SCRIPT_NAME=name, PATH_INFO=info).headers.get_all("Set-Cookie")


def asgi(path, clock):
    async def app(scope, receive, send):
        scope["session"].get("name")
        await asgi_respond(send)

    site = AsgiSite(idle_timeout=IDLE, passive_paths=PATHS, clock=clock)
    client = site.visitor(app, name="Ada")
    clock.time += 300
    return client.send(path=path.replace("|", "")).all("set-cookie")


@pytest.mark.parametrize("protocol", [wsgi, asgi])
@pytest.mark.parametrize(("path", "refreshes"), [("|/shop", 1), ("|/poll/x", 0), ("/poll|/x", 0), ("|/näws", 0)])
def test_the_middleware_knows_passive_paths(protocol, path, refreshes, clock):
    assert len(protocol(path, clock)) == refreshes


# -- clocks that differ


@pytest.mark.parametrize(("ahead", "active"), [(60, True), (61, False), (7 * 24 * 3600, False)])
def test_a_session_from_a_clock_that_is_too_far_ahead_is_refused(clock, ahead, active):
    """It would outlive its timeout."""
    settings = {"cookie_key": generate_key(), "idle_timeout": IDLE}
    browser = Browser(SessionManager(**settings, clock=lambda: clock() + ahead))
    with browser.request() as session:
        session["name"] = "Ada"
    assert SessionManager(**settings, clock=clock).open(browser.header()).is_active() is active


def test_without_an_idle_timeout_a_clock_that_is_ahead_does_no_harm(clock):
    settings = {"cookie_key": generate_key()}
    browser = Browser(SessionManager(**settings, clock=lambda: clock() + 3600))
    with browser.request() as session:
        session["name"] = "Ada"
    assert SessionManager(**settings, clock=clock).open(browser.header()).is_active()


def test_a_session_that_was_refused_for_its_clock_is_an_event(clock):
    settings = {"cookie_key": generate_key(), "idle_timeout": IDLE}
    browser, heard = Browser(SessionManager(**settings, clock=lambda: clock() + 61)), []
    with browser.request() as session:
        session["name"] = "Ada"
    unsubscribe = events.subscribe(lambda event: heard.append((event.name, event.fields["reason"])))
    SessionManager(**settings, clock=clock).open(browser.header()).is_active()
    unsubscribe()
    assert heard == [("token_expired", "ExpiredToken")]
