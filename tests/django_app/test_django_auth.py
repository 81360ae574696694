"""Django's users, messages and admin, on our sessions."""

import django
import pytest
from django.contrib import auth, messages
from django.test import Client
from django_settings import MIDDLEWARE


def sign_in(request):
    auth.login(request, auth.authenticate(request, username="ada", password="secret"))
    return request.session.session_key


def who(request):
    return f"{request.user} {request.session.session_key}"


@pytest.fixture(params=["cookie", "store"])
def client(site, user, request):
    """A client with something in its session, before anybody signs in."""
    site.gaesess["cookie_only_threshold"] = 0 if request.param == "store" else None
    with site.settings():
        client = site.wsgi(lambda request: request.session.update(cart=[1]))
        client.send()
        yield client


def test_signing_in_keeps_the_session_under_a_new_id(site, client):
    before = site.session(client).sid
    site.use(sign_in)
    after = client.send().body.decode()
    assert after != before
    site.use(who)
    assert client.send().body.decode() == f"ada {after}"
    assert site.data(client)["cart"] == [1]


def test_signing_out_ends_the_session(site, client):
    site.use(sign_in)
    client.send()
    site.use(lambda request: auth.logout(request))
    client.send()
    assert client.cookies == {}
    site.use(who)
    assert client.send().body == b"AnonymousUser None"


def test_two_sign_ins_of_one_browser_that_overlap_both_succeed(site, client):
    """The second one begins and ends within the first."""
    other = site.wsgi()
    other.cookies.update(client.cookies)

    def first(request):
        assert request.session["cart"] == [1]
        site.use(sign_in)
        other.send()
        return sign_in(request)

    site.use(first)
    assert client.send().status == "200 OK"
    site.use(who)
    assert [sent.send().body.split()[0] for sent in (client, other)] == [b"ada", b"ada"]
    assert site.session(client).sid != site.session(other).sid
    assert site.data(client)["cart"] == site.data(other)["cart"] == [1]


@pytest.mark.parametrize(
    ("cookie", "deletions"),
    [(None, 0), ("lang=en", 0), ("__Host-gaesess=junk", 1), ("__Host-gaesess=a; __Host-gaesess.1=b", 2)],
    ids=["none", "another", "bad", "bad chunks"],
)
@pytest.mark.parametrize("end", [auth.logout, lambda request: request.session.flush()], ids=["logout", "flush"])
@pytest.mark.usefixtures("database")
def test_to_sign_out_a_visitor_without_a_session_takes_back_only_cookies_of_ours(site, end, cookie, deletions):
    lines = site.wsgi(end).send(**({"HTTP_COOKIE": cookie} if cookie else {})).headers.get_all("Set-Cookie")
    assert (len(lines), all("Max-Age=0" in line for line in lines)) == (deletions, True)


def test_signing_in_as_another_ends_the_first_ones_session(site, client, user):
    site.use(sign_in)
    client.send()
    other = type(user).objects.create_user("bob")
    site.use(lambda request: auth.login(request, other, "django.contrib.auth.backends.ModelBackend"))
    client.send()
    other.delete()
    assert "cart" not in site.data(client)


@pytest.mark.parametrize(("update", "left"), [(True, "ada"), (False, "AnonymousUser")])
def test_a_new_password_signs_out_all_sessions_but_its_own(site, client, user, update, left):
    def change(request):
        request.user.set_password("another")
        request.user.save()
        if update:
            auth.update_session_auth_hash(request, request.user)

    site.use(sign_in)
    client.send()
    site.use(change)
    client.send()
    site.use(who)
    assert client.send().body.decode().split()[0] == left


@pytest.mark.skipif(not hasattr(auth, "alogin"), reason="Django has it since 5.0")
def test_users_come_and_go_under_asgi(site, user):
    async def sign_in(request):
        await auth.alogin(request, await auth.aauthenticate(request, username="ada", password="secret"))

    async def sign_out(request):
        await auth.alogout(request)

    async def who(request):
        return await request.auser()

    client = site.asgi(sign_in)
    client.send("/async/")
    site.use(who)
    assert client.send("/async/").body == b"ada"
    site.use(sign_out)
    client.send("/async/")
    assert client.cookies == {}


def test_a_message_is_shown_once(site, client):
    site.use(lambda request: messages.info(request, "Saved."))
    client.send()
    site.use(lambda request: [str(message) for message in messages.get_messages(request)])
    assert [client.send().body for _ in range(2)] == [b"['Saved.']", b"[]"]
    assert site.data(client) == {"cart": [1]}


OWN = ["gaesess.django.DjangoSessionMiddleware"]
DJANGOS = ["django.contrib.sessions.middleware.SessionMiddleware"]


@pytest.mark.parametrize("sessions", [OWN, DJANGOS], ids=["own", "Django's"])
def test_the_admin_takes_a_sign_in(site, user, sessions):
    with site.settings(MIDDLEWARE=sessions + MIDDLEWARE[1:], SESSION_ENGINE="gaesess.django"):
        client = Client()
        assert client.get("/admin/").status_code == 302
        page = client.post("/admin/login/?next=/admin/", {"username": "ada", "password": "secret"}, follow=True)
        assert b"Site administration" in page.content
        assert dict(client.session)["_auth_user_id"] == str(user.pk)
        client.post("/admin/logout/")
        assert client.get("/admin/").status_code == 302


NEW_ENOUGH = pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 5.0 was the first with alogin")


@pytest.mark.parametrize("path", ["/", pytest.param("/async/", marks=NEW_ENOUGH)])
def test_signing_in_begins_a_new_session_where_the_store_has_lost_the_old_one(site, user, path):
    site.gaesess["cookie_only_threshold"] = 0
    site.store.may_forget = False
    with site.settings():
        client = site.asgi(lambda request: request.session.update(cart=[1]))
        client.send()
        site.store.store._records.clear()
        site.use(asign_in if path == "/async/" else sign_in)
        assert client.send(path).status == 200
        assert site.data(client)[auth.SESSION_KEY]
        assert "cart" not in site.data(client)


async def asign_in(request):
    await auth.alogin(request, await auth.aauthenticate(request, username="ada", password="secret"))
    return "welcome"
