"""Requests whose sessions are in Django's own database: transactions of views, threads, tests, commands and checks."""

from __future__ import annotations

import asyncio
import threading

import pytest
from asgi.client import BIG
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.utils import OperationalError
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory, TestCase, override_settings
from django_databases import added, empty, settings_of
from django_site import Site, count, read

from gaesess import SessionManager, generate_key
from gaesess.django import DjangoSessionMiddleware, SessionStore
from gaesess.stores.django import DjangoStore
from gaesess.stores.memory import MemoryStore
from gaesess.stores.tiered import TieredStore

DJANGOS_OWN = "django.contrib.sessions.middleware.SessionMiddleware"
ENGINE = {"SESSION_ENGINE": "gaesess.django"}


class Boom(Exception):
    """What a view raises, so that Django answers 500."""


@pytest.fixture(scope="module", params=["default", "postgresql"])
def alias(request, database, tmp_path_factory):
    if request.param == "default":
        yield "default"
    else:
        with added("sessions", settings_of(request.param, request, tmp_path_factory.mktemp("x"))) as alias:
            yield alias


@pytest.fixture
def site(alias):
    """The project with all sessions in the database."""
    site = Site(store=DjangoStore(alias), cookie_only_threshold=0)
    site.alias = alias
    with site.settings():
        yield site
    empty(alias)
    connections[alias].close()


@pytest.fixture
def atomic_requests(alias, monkeypatch):
    monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)


@pytest.fixture
def visitor(site):
    """A client that has been here."""
    client = site.wsgi(count)
    client.send()
    return client


def records(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM gaesess_record")
        return cursor.fetchone()[0]


# -- without transactions of the view


def test_a_session_is_kept_from_request_to_request(site, visitor):
    assert [visitor.send().body for _ in range(3)] == [b"2", b"3", b"4"]
    assert records(site.alias) == 1


def test_a_session_that_has_ended_stays_so(site, visitor):
    old = visitor.cookies.header()
    site.use(lambda request: request.session.flush())
    visitor.send()
    assert visitor.cookies == {}
    assert not SessionManager(**site.gaesess).open(old).is_active()


def test_requests_that_overlap_lose_no_change(site, visitor):
    def overtaken(request):
        request.session.increment("visits")
        other = site.session(visitor)
        other.increment("visits")
        other.save()

    site.use(overtaken)
    visitor.send()
    assert site.data(visitor) == {"visits": 3}


# -- transactions of the view


def roll_back(alias, use):
    """Return a view that uses the session in a transaction which is rolled back, and answers as usual."""

    def view(request):
        with transaction.atomic(using=alias):
            use(request)
            transaction.set_rollback(True, using=alias)
        return "rolled back"

    return view


def save(request):
    request.session["saved"] = True
    request.session.save()


def test_a_save_in_a_transaction_takes_place_after_it(site, visitor):
    def view(request):
        with transaction.atomic(using=site.alias):
            save(request)
            before = "saved" in site.session(visitor)
        return before, "saved" in site.session(visitor)

    site.use(view)
    assert visitor.send().body == b"(False, True)"
    assert site.data(visitor) == {"visits": 1, "saved": True}


def test_a_save_in_a_transaction_that_is_rolled_back_takes_place_with_the_response(site, visitor):
    site.use(roll_back(site.alias, save))
    visitor.send()
    assert site.data(visitor) == {"visits": 1, "saved": True}


def test_a_new_session_may_be_saved_in_a_transaction_that_is_rolled_back(site):
    client = site.wsgi(roll_back(site.alias, save))
    client.send()
    assert site.data(client) == {"saved": True}


def test_a_session_may_be_persisted_in_a_transaction(site):
    def view(request):
        request.session["saved"] = True
        request.session.save(persist_even_if_using_cookie=True)
        request.session.save()

    site.gaesess["cookie_only_threshold"] = None
    with site.settings():
        client = site.wsgi(roll_back(site.alias, view))
        client.send()
        assert dict(SessionManager(**site.gaesess).load(site.session(client).sid)) == {"saved": True}


def request_of(client):
    """Return a request with its session, of which there will be no response."""
    request = RequestFactory().get("/", HTTP_COOKIE=client.cookies.header())
    DjangoSessionMiddleware(lambda request: HttpResponse()).process_request(request)
    return request


def test_a_transaction_that_is_committed_has_signed_out_though_the_client_is_gone(site, visitor):
    request = request_of(visitor)
    with transaction.atomic(using=site.alias):
        request.session.flush()
    assert not site.session(visitor).is_active()


def test_a_transaction_that_is_committed_has_saved_though_the_client_is_gone(site, visitor):
    request = request_of(visitor)
    with transaction.atomic(using=site.alias):
        save(request)
    assert site.data(visitor) == {"visits": 1, "saved": True}


@pytest.mark.parametrize("use", [save, lambda request: request.session.flush()])
def test_a_transaction_that_is_longer_than_the_request_changes_nothing_at_its_end(site, visitor, use):
    request = RequestFactory().get("/", HTTP_COOKIE=visitor.cookies.header())
    with transaction.atomic(using=site.alias):  # no WSGIHandler, which would close the connection
        DjangoSessionMiddleware(lambda request: HttpResponse(use(request)))(request)
        version = DjangoStore(site.alias).get(key_of_the_only_record(site.alias)).version
    assert DjangoStore(site.alias).get(key_of_the_only_record(site.alias)).version == version
    assert not request.session.has_put_off()


def key_of_the_only_record(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {connections[alias].ops.quote_name('key')} FROM gaesess_record")
        ((key,),) = cursor.fetchall()
    return key


@pytest.mark.usefixtures("atomic_requests")
class TestWithAtomicRequests:
    def test_a_view_that_saves_its_session_counts(self, site, visitor):
        site.use(lambda request: (count(request), request.session.save())[0])
        assert [visitor.send().body for _ in range(2)] == [b"2", b"3"]

    def test_a_view_that_fails_changes_nothing(self, site, visitor):
        def fail(request):
            save(request)
            raise Boom

        site.use(fail)
        assert visitor.send().status.startswith("500")
        assert site.data(visitor) == {"visits": 1}
        site.use(count)
        assert visitor.send().body == b"2"

    def test_a_view_that_fails_starts_no_session(self, site):
        def fail(request):
            save(request)
            raise Boom

        client = site.wsgi(fail)
        assert client.send().headers.get_all("Set-Cookie") == []
        assert records(site.alias) == 0

    @pytest.mark.parametrize("goes_on", [False, True])
    def test_a_view_that_fails_has_signed_out_all_the_same(self, site, visitor, goes_on):
        def fail(request):
            request.session.flush()
            if goes_on:
                request.session["message"] = "bye"
            raise Boom

        old = visitor.cookies.header()
        site.use(fail)
        assert visitor.send().status.startswith("500")
        assert visitor.cookies == {}
        assert not SessionManager(**site.gaesess).open(old).is_active()

    def test_a_sign_out_of_a_session_in_its_cookie_stays_too(self, site):
        def fail(request):
            request.session.flush()
            raise Boom

        site.gaesess |= {"cookie_only_threshold": None, "revocable": True}
        with site.settings():
            client = site.wsgi(count)
            client.send()
            old = client.cookies.header()
            site.use(fail)
            client.send()
            assert not SessionManager(**site.gaesess).open(old).is_active()

    def test_a_sign_out_that_cannot_be_stored_is_a_503(self, site, visitor):
        def refuse(execute, sql, params, many, context):
            if "UPDATE gaesess_record" in sql:
                raise OperationalError("no")
            return execute(sql, params, many, context)

        site.use(lambda request: request.session.flush())
        with connections[site.alias].execute_wrapper(refuse):
            assert visitor.send().status.startswith("503")
        assert visitor.cookies == {}

    def test_a_sign_out_that_cannot_be_stored_at_once_is_stored_before_the_response(self, site, visitor):
        def refuse(execute, sql, params, many, context):
            if refused and "UPDATE gaesess_record" in sql:
                raise OperationalError("no")
            return execute(sql, params, many, context)

        def view(request):
            request.session.flush()
            transaction.on_commit(refused.clear, using=site.alias)

        refused, old = [True], visitor.cookies.header()
        site.use(view)
        with connections[site.alias].execute_wrapper(refuse):
            assert visitor.send().status.startswith("200")
        assert not SessionManager(**site.gaesess).open(old).is_active()

    def test_a_sign_in_gives_the_session_a_new_id(self, site, visitor):
        old = visitor.cookies.header()
        site.use(lambda request: (request.session.cycle_key(), request.session.save()))
        visitor.send()
        assert site.data(visitor) == {"visits": 1}
        assert not SessionManager(**site.gaesess).open(old).is_active()

    def test_a_session_can_be_used_again_after_its_sign_out(self, site, visitor):
        site.use(lambda request: (request.session.flush(), count(request), request.session.save()))
        visitor.send()
        assert site.data(visitor) == {"visits": 1}

    def test_a_view_in_a_thread_signs_out_under_asgi(self, site):
        def fail(request):
            request.session.flush()
            raise Boom

        client = site.asgi(count)
        client.send()
        old = client.cookies.header()
        site.use(fail)
        assert client.send().status == 500
        assert client.cookies == {}
        assert not SessionManager(**site.gaesess).open(old).is_active()


def test_a_session_made_by_hand_is_part_of_the_transaction(site):
    with transaction.atomic(using=site.alias):
        session = SessionStore()
        session["a"] = 1
        session.save()
        assert dict(SessionStore(session.session_key)) == {"a": 1}
        transaction.set_rollback(True, using=site.alias)
    assert records(site.alias) == 0


@pytest.mark.parametrize("use", [count, lambda request: request.session.flush()])
def test_with_a_cache_before_it_a_rollback_leaves_nothing_in_the_cache_that_was_not_saved(site, visitor, use):
    def view(request):
        use(request)
        request.session.save()

    site.gaesess["store"] = TieredStore(MemoryStore(), DjangoStore(site.alias))
    with site.settings():
        client = site.wsgi(count)
        client.send()
        site.use(roll_back(site.alias, view))
        client.send()
        site.use(count)
        assert client.send().body == (b"3" if use is count else b"1")


# -- Django's own middleware


@pytest.fixture
def own(site):
    with site.settings(MIDDLEWARE=[DJANGOS_OWN], SESSION_COOKIE_NAME="id", **ENGINE):
        yield site


def test_under_djangos_own_middleware_a_save_that_was_rolled_back_takes_place_with_the_response(own):
    client = own.wsgi(count)
    client.send()
    own.use(roll_back(own.alias, save))
    client.send()
    assert dict(SessionStore(client.cookies["id"])) == {"visits": 1, "saved": True}


def test_under_djangos_own_middleware_a_new_session_may_be_saved_in_a_transaction_that_is_rolled_back(own):
    client = own.wsgi(roll_back(own.alias, save))
    client.send()
    assert dict(SessionStore(client.cookies["id"])) == {"saved": True}


# -- ASGI


async def acount(request):
    await request.session.aset("visits", await request.session.aget("visits", 0) + 1)
    await request.session.asave()
    return await request.session.aget("visits")


def threads_of_gaesess():
    return {thread for thread in threading.enumerate() if thread.name.startswith("gaesess")}


def test_an_async_view_uses_the_connection_of_djangos_async_orm_which_django_closes(site, monkeypatch):
    used, threads = [], threads_of_gaesess()
    run = DjangoStore._run

    def note(store, *arguments):
        try:
            return run(store, *arguments)
        finally:
            used.append((threading.get_ident(), connections[store.alias]))

    monkeypatch.setattr(DjangoStore, "_run", note)
    client = site.asgi(acount)
    assert [client.send("/async/").body for _ in range(3)] == [b"1", b"2", b"3"]
    assert threading.get_ident() not in {thread for thread, _ in used}
    assert len(used) > 3
    assert all(wrapper.connection is None for _, wrapper in used)
    assert threads_of_gaesess() <= threads


def test_an_async_view_and_a_view_in_a_thread_have_one_session(site):
    client = site.asgi(acount)
    client.send("/async/")
    site.use(count)
    assert client.send().body == b"2"


def test_async_requests_at_the_same_time_do_not_wait_for_each_other(site):
    meeting = threading.Barrier(5)

    def view(request):
        meeting.wait(30)
        return count(request)

    clients = [site.asgi(view) for _ in range(5)]

    async def run():
        return [exchange.body for exchange in await asyncio.gather(*(client.begin()() for client in clients))]

    assert asyncio.run(run()) == [b"1"] * 5
    assert records(site.alias) == 5


def test_a_cache_before_it_changes_no_threads(site):
    site.gaesess["store"] = TieredStore(MemoryStore(), DjangoStore(site.alias))
    threads = threads_of_gaesess()
    with site.settings():
        client = site.asgi(acount)
        assert [client.send("/async/").body for _ in range(2)] == [b"1", b"2"]
    assert threads_of_gaesess() <= threads


def test_to_save_without_await_in_a_coroutine_is_what_django_forbids(site):
    async def view(request):
        request.session["n"] = 1
        try:
            request.session.save()
        except Exception as error:
            return type(error).__name__

    assert site.asgi(view).send("/async/").body == b"SynchronousOnlyOperation"


# -- tests of a project


async def aopened(cookies):
    session = SessionManager(**GAESESS).open(cookies)
    await session.aload()
    return session


GAESESS = {"cookie_key": generate_key(), "store": DjangoStore(), "cookie_only_threshold": 0}
MIDDLEWARE = ["gaesess.django.DjangoSessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"]


@pytest.mark.usefixtures("database")
@override_settings(GAESESS=GAESESS, MIDDLEWARE=MIDDLEWARE, **ENGINE)
class SessionsOfATestCase(TestCase):
    """Each test finds the database without the sessions of the others."""

    def setUp(self):
        from django_site import pages

        assert records("default") == 0
        self.pages = pages
        pages["use"] = count

    def test_a_session_that_the_test_has_saved(self):
        session = self.client.session
        session["visits"] = 41
        session.save()
        assert self.client.get("/").content == b"42"
        assert self.client.session["visits"] == 42

    def test_a_session_that_a_view_has_saved(self):
        self.pages["use"] = lambda request: (count(request), request.session.save())[0]
        assert [self.client.get("/").content for _ in range(2)] == [b"1", b"2"]

    def test_a_user_who_signs_in_and_out(self):
        from django.contrib.auth import logout
        from django.contrib.auth.models import User

        self.client.force_login(User.objects.create_user("ada"))
        self.pages["use"] = lambda request: request.user
        assert self.client.get("/").content == b"ada"
        self.pages["use"] = logout
        self.client.get("/")
        assert self.client.cookies["__Host-gaesess"].value == ""
        self.pages["use"] = lambda request: request.user
        assert self.client.get("/").content == b"AnonymousUser"

    def test_a_view_that_fails(self):
        def fail(request):
            save(request)
            raise Boom

        self.client.get("/")
        self.pages["use"] = fail
        with pytest.raises(Boom):
            self.client.get("/")
        self.pages["use"] = read
        assert self.client.get("/").content == b"1"

    async def test_an_async_client(self):
        self.pages["use"] = acount
        client = AsyncClient()
        assert [(await client.get("/async/")).content for _ in range(2)] == [b"1", b"2"]

    async def test_a_sign_out_by_an_async_client(self):
        async def flush(request):
            await request.session.aflush()

        self.pages["use"] = acount
        client = AsyncClient()
        await client.get("/async/")
        old = client.cookies["__Host-gaesess"].OutputString(attrs=[])
        self.pages["use"] = flush
        await client.get("/async/")
        assert client.cookies["__Host-gaesess"].value == ""
        assert not (await aopened(old)).is_active()

    def test_the_number_of_queries(self):
        self.client.get("/")
        with self.assertNumQueries(2 * 3):  # a read and a write, each with a savepoint
            self.client.get("/")


# -- commands and checks


def test_manage_clearsessions_deletes_expired_sessions(site, visitor):
    with site.settings(**ENGINE):
        call_command("clearsessions")
        assert records(site.alias) == 1
        site.now += 8 * 24 * 60 * 60
        call_command("clearsessions")
    assert records(site.alias) == 0


def test_the_test_client_needs_nothing_else(site):
    site.use(count)
    with site.settings(**ENGINE):
        client = Client()
        client.get("/")
        assert client.session["visits"] == 1


def found(store):
    with override_settings(GAESESS={"cookie_key": generate_key(), "store": store}):
        return [message for message in run_checks() if message.id.startswith("gaesess.")]


def test_a_store_whose_table_is_there_is_not_remarked_on():
    assert found(DjangoStore()) == []


@pytest.mark.parametrize("wrap", [lambda store: store, lambda store: TieredStore(MemoryStore(), store)])
def test_a_database_that_does_not_exist_is_an_error(wrap):
    (error,) = found(wrap(DjangoStore("nowhere")))
    assert (error.id, error.is_serious()) == ("gaesess.E002", True)
    assert error.msg == "DjangoStore('nowhere') is for a database that is not in DATABASES."
    assert "'default'" in error.hint


def test_a_table_that_no_application_has_is_an_error(settings_without_app):
    (error,) = found(DjangoStore())
    assert (error.id, error.is_serious()) == ("gaesess.E003", True)
    assert error.msg == "DjangoStore needs 'gaesess.django.database' in INSTALLED_APPS, which has its table."


@pytest.fixture
def settings_without_app():
    from django_settings import INSTALLED_APPS

    with override_settings(INSTALLED_APPS=[app for app in INSTALLED_APPS if app != "gaesess.django.database"]):
        yield


def test_a_migration_has_all_of_the_model(database):
    call_command("makemigrations", "gaesess_database", check=True, dry_run=True, verbosity=0)


def test_a_router_may_keep_the_table_in_one_database(tmp_path):
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "database"}
    with override_settings(DATABASE_ROUTERS=[OnlyThere()]):
        with added("routed", settings):
            assert "gaesess_record" in connections["routed"].introspection.table_names()
        settings["NAME"] = tmp_path / "another"
        with pytest.raises(OperationalError, match="no such table"), added("others", settings):
            pass


class OnlyThere:
    def allow_migrate(self, db, app_label, **hints):
        return db == "routed" if app_label == "gaesess_database" else None


def test_a_request_that_does_not_use_its_session_makes_no_query(site, visitor):
    queries = []

    def note(execute, sql, params, many, context):
        queries.append(sql)
        return execute(sql, params, many, context)

    site.use(lambda request: HttpResponse())
    with connection.execute_wrapper(note), connections[site.alias].execute_wrapper(note):
        visitor.send()
    assert queries == []


def test_a_small_session_in_its_cookie_makes_no_query(site):
    site.gaesess["cookie_only_threshold"] = None
    with site.settings():
        client = site.wsgi(count)
        client.send()
        client.send()
    assert records(site.alias) == 0
    site.use(lambda request: request.session.update(filler=BIG))
    client.send()
    assert records(site.alias) == 1
