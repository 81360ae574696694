"""Where Flask's contexts go, the session and `get_current_session` go along: streams, threads, tests, async views."""

import threading

import pytest
from flask import Flask, Response, copy_current_request_context, session, stream_with_context
from flask.globals import request_ctx
from flask_app.flask_site import BIG, FlaskSite

from gaesess import SessionClosed, StoreUnavailable, get_current_session
from gaesess.flask import FlaskSession


def name():
    assert get_current_session()["name"] == session["name"]
    return session["name"]


def none_is_current():
    with pytest.raises(LookupError):
        get_current_session()
    return True


def test_it_is_current_in_a_request_and_not_after(site):
    assert site.serve_view(name, name="Ada").send().body == b"Ada"
    assert none_is_current()


async def async_name():
    return name()


def test_it_is_current_in_an_async_view(site):
    pytest.importorskip("asgiref")
    assert site.serve_view(async_name, name="Ada").send().body == b"Ada"


def streamed_name():
    return Response(stream_with_context(f() for f in (name, name)))


def test_it_is_current_in_a_stream_that_keeps_its_context_and_not_after(site):
    assert site.serve_view(streamed_name, name="Ada").send().body == b"AdaAda"
    assert none_is_current()


def test_a_stream_is_too_late_to_change_it(site):
    def stream():
        with pytest.raises(SessionClosed):
            session["name"] = "Grace"
        yield "late"

    assert site.serve_view(lambda: Response(stream_with_context(stream())), name="Ada").send().body == b"late"


class Foreign(dict):
    """A session of another library, as Flask asks for them."""

    accessed = modified = permanent = new = False


@pytest.mark.parametrize("data", [{}, {"old": 1}, {"filler": BIG}], ids=["new", "cookie", "store"])
def test_a_session_that_is_put_in_its_place_is_left_alone(site, data):
    foreign = Foreign(other=1)

    def view():
        session["a"] = 1
        request_ctx._session = foreign  # a property without a setter: `session`
        return str(session["other"])

    client = site.serve_view(view, **data)
    exchange = client.send()
    assert (exchange.body, exchange.headers.get_all("Set-Cookie")) == (b"1", [])
    assert foreign == {"other": 1}


def run_in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append((function(), none_is_current())))
    thread.start()
    thread.join()
    return results


def name_in_thread():
    assert run_in_thread(copy_current_request_context(name)) == [(name(), True)]
    return name()


def test_it_is_current_in_a_thread_that_has_a_copy_of_the_context_and_not_after(site):
    assert site.serve_view(name_in_thread, name="Ada").send().body == b"Ada"


def test_a_thread_changes_the_session_of_its_request(site):
    def view():
        run_in_thread(copy_current_request_context(lambda: session.update(name="Grace")))
        return ""

    client = site.serve_view(view, name="Ada")
    client.send()
    assert site.data(client) == {"name": "Grace"}


def test_each_of_nested_contexts_has_its_own_also_of_another_application(site):
    other = FlaskSite()
    with site.app.test_request_context():
        session["name"] = "outer"
        with site.app.test_request_context():
            session["name"] = "inner"
            with other.app.test_request_context():
                assert "name" not in get_current_session()
            assert name() == "inner"
        assert name() == "outer"
    assert none_is_current()


def test_without_gaesess_there_is_none_in_a_flask_context():
    with Flask("plain").test_request_context():
        assert none_is_current()


# -- the test client


def visit():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@pytest.mark.parametrize("filler", ["", BIG])
def test_a_transaction_of_the_test_client_reads_and_changes_the_session(site, filler):
    site.serve_view(visit)
    client = site.app.test_client()
    with client.session_transaction() as opened:
        assert isinstance(opened, FlaskSession)
        opened.update(visits=41, filler=filler)
    assert client.get("/").text == "42"
    with client.session_transaction() as opened:
        assert dict(opened) == {"visits": 42, "filler": filler}
    assert none_is_current()


def test_a_transaction_that_empties_the_session_deletes_its_cookie(site):
    site.serve_view(visit)
    client = site.app.test_client()
    client.get("/")
    with client.session_transaction() as opened:
        opened.clear()
    assert client.get_cookie("__Host-gaesess") is None


def test_a_transaction_that_cannot_be_saved_says_so(site):
    site.store.down = True
    with pytest.raises(StoreUnavailable), site.app.test_client().session_transaction() as opened:
        opened["filler"] = BIG


def test_the_session_can_be_looked_at_after_a_request_of_a_client_that_keeps_its_context(site):
    site.serve_view(visit)
    with site.app.test_client() as client:
        client.get("/")
        assert get_current_session()["visits"] == session["visits"] == 1
        client.get("/")
        assert session["visits"] == 2
    assert none_is_current()
