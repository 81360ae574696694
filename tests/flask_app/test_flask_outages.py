"""What cannot be read or saved is a response that says so, wherever in the request it comes out."""

from contextlib import suppress

import pytest
from flask import Response, current_app, has_request_context, session, stream_with_context
from flask_app.flask_site import BIG, FlaskSite

from gaesess import SessionClosed, SessionTerminated, SessionTooLarge, StoreUnavailable, events


def read():
    return session.get("name", "")


def write():
    session["name"] = "Ada"
    return "saved", {"X-Saved": "yes", "ETag": '"1"'}


@pytest.fixture(params=[False, True])
def debug(request, site):
    """In both of Flask's ways with errors: to answer 500, and to let them through to the debugger or the test."""
    site.app.config["PROPAGATE_EXCEPTIONS"] = request.param


@pytest.fixture
def refusals():
    """The statuses of the responses that were refused, as they are logged."""
    statuses = []

    def listen(event):
        if event.name == "response_refused":
            statuses.append(event.fields["status"])

    unsubscribe = events.subscribe(listen)
    yield statuses
    unsubscribe()


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("view", [read, write])
def test_a_session_that_cannot_be_read_is_503(site, refusals, view, method):
    client = site.serve_view(view, filler=BIG)
    cookies = dict(client.cookies)
    site.store.down = True
    response = client.send(method)
    assert (response.status, response.headers["Cache-Control"]) == ("503 SERVICE UNAVAILABLE", "no-store")
    assert response.body == (
        b"" if method == "HEAD" else b"The session store did not answer. Please try again in a moment.\n"
    )
    assert client.cookies == cookies
    assert refusals == [503]


@pytest.mark.usefixtures("debug")
def test_a_session_that_cannot_be_saved_is_503_and_nothing_of_the_response_remains(site, refusals):
    def view():
        session["filler"] = BIG
        site.store.down = True
        return write()

    response = site.serve_view(view).send()
    assert response.status == "503 SERVICE UNAVAILABLE"
    assert (response.headers.get("X-Saved"), response.headers.get("ETag")) == (None, None)
    assert response.headers.get("Set-Cookie") is None
    assert refusals == [503]


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("change", [lambda: session.update(name="Ada"), lambda: session.save()])
def test_a_session_that_another_request_ended_is_409(site, change):
    def view():
        session["name"] = "Ada"
        site.manager().open(cookie).terminate()
        change()
        return "saved"

    client = site.serve_view(view, filler=BIG)
    cookie = client.cookies.header()
    response = client.send()
    assert (response.status, b"sign in again" in response.body) == ("409 CONFLICT", True)


@pytest.mark.usefixtures("debug")
def test_a_session_that_cannot_be_ended_is_503_and_its_cookie_goes(site):
    def view():
        site.store.down = True
        session.terminate()

    client = site.serve_view(view, filler=BIG)
    assert client.send().status == "503 SERVICE UNAVAILABLE"
    assert client.cookies == {}


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("path", ["/", "/reads"])
def test_functions_before_and_after_the_request_may_meet_with_it_too(site, path):
    site.app.after_request(lambda response: session.get("name") or response)
    site.app.add_url_rule("/reads", "reads", read)
    client = site.serve_view(lambda: "not read", filler=BIG)
    site.store.down = True
    assert client.send(path=path).status == "503 SERVICE UNAVAILABLE"
    site.app.before_request_funcs[None] = [read]
    assert client.send(path=path).status == "503 SERVICE UNAVAILABLE"


def test_a_request_that_does_not_use_its_session_does_not_notice(site):
    client = site.serve_view(lambda: "ok", filler=BIG)
    site.store.down = True
    assert client.send().body == b"ok"


def write_big():
    session["filler"] = BIG
    return "saved"


@pytest.mark.parametrize("view", [read, write_big])
def test_a_handler_of_the_application_answers_instead(site, refusals, view):
    @site.app.errorhandler(StoreUnavailable)
    def sorry(error):
        return "our own", 503

    client = site.serve_view(view, filler="y" + BIG)
    site.store.down = True
    response = client.send()
    assert (response.status, response.body) == ("503 SERVICE UNAVAILABLE", b"our own")
    assert response.headers["Vary"] == "Cookie"
    assert refusals == []


@pytest.mark.parametrize("where", ["in the view", "when it is saved"])
def test_a_handler_of_the_application_may_begin_a_new_session(site, where):
    @site.app.errorhandler(SessionTerminated)
    def begin_anew(error):
        session.start()
        session["notice"] = "You were signed out."
        session.save()
        return "begun anew"

    def view():
        session["name"] = "Ada"
        site.manager().open(cookie).terminate()
        if where == "in the view":
            session.save()
        return "saved"

    client = site.serve_view(view, filler=BIG)
    cookie = client.cookies.header()
    assert client.send().body == b"begun anew"
    assert site.data(client) == {"notice": "You were signed out."}


def test_a_view_may_handle_it_itself(site):
    def view():
        try:
            return session["name"]
        except StoreUnavailable:
            return "later"

    client = site.serve_view(view, filler=BIG)
    site.store.down = True
    assert client.send().body == b"later"


@pytest.mark.parametrize("stream", [iter, stream_with_context])
def test_a_stream_that_is_refused_is_closed(site, stream):
    closed = []

    def view():
        session["filler"] = BIG
        site.store.down = True
        response = Response(stream(["never"]))
        response.call_on_close(lambda: closed.append(True))
        return response

    assert site.serve_view(view).send().status == "503 SERVICE UNAVAILABLE"
    assert closed == [True]
    assert not has_request_context()


def test_what_was_saved_before_the_outage_keeps_its_cookie(site):
    def view():
        session["filler"] = BIG
        session.save()
        session["more"] = BIG
        site.store.down = True
        return "saved"

    client = site.serve_view(view)
    assert client.send().status == "503 SERVICE UNAVAILABLE"
    site.store.down = False
    assert site.data(client) == {"filler": BIG}


def test_an_error_of_the_application_is_its_own(site):
    site.app.config["PROPAGATE_EXCEPTIONS"] = False

    def view():
        session["n"] = 1
        raise RuntimeError("application")

    client = site.serve_view(view)
    assert client.send().status == "500 INTERNAL SERVER ERROR"
    assert site.data(client) == {"n": 1}  # as with Flask's own sessions


def fail():
    session["n"] = 1
    raise RuntimeError("application")


def fail_unused():
    raise RuntimeError("application")


def leave():
    session["n"] = 1
    raise SystemExit


def hold_what_cannot_be_held():
    session["n"] = object()
    return "saved"


def write_in_vain():
    session["filler"] = BIG
    current_app.config["STORE"].down = True
    return "saved"


@pytest.mark.parametrize("propagate", [False, True])
@pytest.mark.parametrize("data", [{}, {"name": "Ada"}, {"filler": BIG}], ids=["new", "cookie", "store"])
@pytest.mark.parametrize("view", [fail, fail_unused, leave, hold_what_cannot_be_held, write_in_vain])
def test_however_a_view_fails_later_changes_of_its_session_raise(site, view, data, propagate):
    kept = []

    def keeping():
        kept.append(session._get_current_object())
        return view()

    site.app.config.update(PROPAGATE_EXCEPTIONS=propagate, STORE=site.store)
    client = site.serve_view(keeping, **data)
    with suppress(RuntimeError, SystemExit, TypeError):
        client.send()
    site.store.down = False
    with pytest.raises(SessionClosed):
        kept[0]["late"] = True
    assert "late" not in kept[0]


@pytest.mark.parametrize("propagate", [False, True])
@pytest.mark.parametrize("when", ["before", "after", "teardown"])
def test_a_function_beside_the_view_that_fails_leaves_the_session_closed(site, when, propagate):
    kept = []

    def failing(*arguments):
        kept.append(session._get_current_object())
        raise RuntimeError("application")

    site.app.config["PROPAGATE_EXCEPTIONS"] = propagate
    {"before": site.app.before_request, "after": site.app.after_request, "teardown": site.app.teardown_request}[when](
        failing
    )
    with suppress(RuntimeError):
        site.serve_view(write, name="Ada").send()
    with pytest.raises(SessionClosed):
        kept[0]["late"] = True


def test_a_session_that_is_too_large_is_an_error_of_the_application():
    site = FlaskSite(store=None)
    with pytest.raises(SessionTooLarge):
        site.serve_view(write_big).send()


def test_a_value_that_a_session_cannot_hold_is_an_error_of_the_application(site):
    def view():
        session["value"] = object()
        return "saved"

    with pytest.raises(TypeError, match="value"):
        site.serve_view(view).send()
