"""Django's cache of whole pages beside sessions: nobody gets another's page, or another's session."""

import pytest
from django.core.cache import cache
from django_settings import MIDDLEWARE

CACHED = [
    "django.middleware.cache.UpdateCacheMiddleware",
    *MIDDLEWARE,
    "django.middleware.cache.FetchFromCacheMiddleware",
]


@pytest.fixture
def site(site):
    cache.clear()
    with site.settings(MIDDLEWARE=CACHED):
        yield site


class Page:
    """A page made of the session, which counts how often it is really made."""

    def __init__(self, use):
        self.made = 0
        self.use = use

    def __call__(self, request):
        self.made += 1
        return self.use(request.session)


def visitor(site, page, name):
    """Return a client whose session has this name in it."""
    client = site.wsgi(page)
    session = site.session(client)
    session["name"] = name
    client.cookies.receive(session.commit())
    return client


def test_two_users_never_see_each_others_page(site):
    page = Page(lambda session: session["name"])
    for name in ("ada", "bob"):
        client = visitor(site, page, name)
        assert [client.send().body for _ in range(2)] == [name.encode()] * 2
    assert page.made == 2


def test_a_page_without_its_session_is_cached_for_all(site):
    page = Page(lambda session: "ok")
    for name in ("ada", "bob"):
        assert visitor(site, page, name).send().body == b"ok"
    assert page.made == 1


@pytest.mark.parametrize("cookies", [{}, {"lang": "en"}])
def test_a_new_session_is_not_cached_for_others_that_send_the_same_cookies(site, cookies):
    page = Page(lambda session: session.update(new=True))
    tokens = set()
    for _ in range(2):
        client = site.wsgi(page)
        client.cookies.update(cookies)
        client.send()
        tokens.add(client.cookies["__Host-gaesess"])
    assert len(tokens) == page.made == 2
