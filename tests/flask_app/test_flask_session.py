"""`flask.session`: saved with the response, and with the attributes and the ways of Flask's own."""

import copy
import pickle
import threading
from datetime import timedelta

import flask
import pytest
from dictionary import OPERATIONS, POP_OF_A_MISSING_KEY, TRUTH, outcome
from flask import after_this_request, copy_current_request_context, flash, get_flashed_messages, session
from flask_app.flask_site import BIG, FlaskSite

from gaesess.flask import FlaskSession


def session_id(site, client):
    return site.manager().open(client.cookies.header()).sid


def count():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


def test_a_session_goes_on_from_request_to_request(site):
    client = site.serve_view(count)
    assert [client.send().body for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_session_in_the_store_goes_on(site):
    client = site.serve_view(count, filler=BIG)
    assert [client.send().body for _ in range(2)] == [b"1", b"2"]
    assert site.data(client) == {"filler": BIG, "visits": 2}


def test_every_chunk_of_a_long_session_is_set():
    site = FlaskSite(cookie_only_threshold=10_000)

    def view():
        session["filler"] = BIG
        return ""

    client = site.serve_view(view)
    assert len(client.send().headers.get_all("Set-Cookie")) == 2
    assert site.data(client) == {"filler": BIG}


def test_a_change_inside_a_value_is_saved(site):
    def view():
        session["cart"].append("egg")
        return ""

    client = site.serve_view(view, cart=[])
    client.send()
    assert site.data(client) == {"cart": ["egg"]}


def test_what_functions_after_the_request_change_is_saved(site):
    @site.app.after_request
    def after(response):
        session["after"] = response.status_code
        return response

    def view():
        @after_this_request
        def after_this(response):
            session["after this"] = True
            return response

        return ""

    client = site.serve_view(view)
    client.send()
    assert site.data(client) == {"after": 200, "after this": True}


def test_pop_is_that_of_a_dictionary(site):
    def view():
        assert session.pop("missing", "default") == "default"
        with pytest.raises(KeyError):
            session.pop("missing")
        return session.pop("name")

    client = site.serve_view(view, name="Ada", other=1)
    assert client.send().body == b"Ada"
    assert site.data(client) == {"other": 1}


@pytest.mark.parametrize("data", [{}, {"old": 1}, {"old": 1, "filler": BIG}], ids=["new", "cookie", "store"])
def test_it_does_what_a_dictionary_does(site, data):
    def view():
        for name, operation in (OPERATIONS | POP_OF_A_MISSING_KEY | TRUTH).items():
            session.clear()
            outcomes[name] = outcome(operation, session._get_current_object()), outcome(operation, {})
        return ""

    outcomes = {}
    site.serve_view(view, **data).send()
    assert {name: ours for name, (ours, _) in outcomes.items()} == {
        name: dicts for name, (_, dicts) in outcomes.items()
    }


def test_a_new_id_keeps_the_data_and_ends_the_record_of_the_old_one(site):
    def view():
        session.regenerate_id()
        return ""

    client = site.serve_view(view, filler=BIG)
    old = session_id(site, client)
    client.send()
    assert session_id(site, client) != old
    assert site.data(client) == {"filler": BIG}
    assert not site.manager().load(old).is_active()


COOKIES_OF_NO_SESSION = {  # and how many cookies of ours there are
    "none": (None, 0),
    "another": ("lang=en", 0),
    "bad": ("__Host-gaesess=junk", 1),
    "twice": ("__Host-gaesess=a; __Host-gaesess=b", 1),
    "bad chunks": ("__Host-gaesess=a; __Host-gaesess.1=b; __Host-gaesess.2=c", 3),
}
every_cookie = pytest.mark.parametrize(("cookie", "ours"), COOKIES_OF_NO_SESSION.values(), ids=COOKIES_OF_NO_SESSION)


def send_with(client, cookie):
    return client.send(**({"HTTP_COOKIE": cookie} if cookie else {})).headers.get_all("Set-Cookie")


@every_cookie
@pytest.mark.parametrize("end", [lambda: session.terminate(), lambda: session.clear()], ids=["terminate", "clear"])
def test_to_end_what_is_no_session_takes_back_cookies_of_ours_alone(site, end, cookie, ours):
    lines = send_with(site.serve_view(lambda: end() or ""), cookie)
    assert (len(lines), all("Max-Age=0" in line for line in lines)) == (ours, True)


@every_cookie
def test_to_take_a_value_out_of_what_is_no_session_sends_no_cookie(site, cookie, ours):
    assert send_with(site.serve_view(lambda: session.pop("name", None) or ""), cookie) == []


def in_a_thread(work):
    thread = threading.Thread(target=copy_current_request_context(work))
    thread.start()
    thread.join()


def in_a_copy(work):
    with flask.globals.request_ctx.copy():
        work()


@pytest.mark.parametrize("run", [in_a_thread, in_a_copy])
def test_the_end_of_a_copied_context_is_not_that_of_the_request(site, run):
    seen = []

    def view():
        session["before"] = 1
        run(lambda: seen.append(session["before"]))
        session["after"] = 2
        return ""

    client = site.serve_view(view)
    client.send()
    assert seen == [1]
    assert site.data(client) == {"before": 1, "after": 2}


@pytest.mark.parametrize("data", [{"cart": [1]}, {"cart": [1], "filler": BIG}], ids=["cookie", "store"])
def test_two_sign_ins_of_one_browser_that_overlap_both_succeed(site, data):
    """The second one begins and ends within the first."""

    def view():
        number = len(answers)
        answers.append(session["cart"])
        if number == 0:
            client_of_the_other.cookies.update(cookies)
            answers.append(client_of_the_other.send().status)
        session.regenerate_id()
        session["user"] = "ada"
        return "signed in"

    answers = []
    client = site.serve_view(view, **data)
    client_of_the_other, cookies = site.serve(site.app), dict(client.cookies)
    assert client.send().body == b"signed in"
    assert answers == [[1], [1], "200 OK"]
    assert site.data(client) == site.data(client_of_the_other) == {**data, "user": "ada"}
    assert session_id(site, client) != session_id(site, client_of_the_other)


# -- caches


def test_a_request_that_does_not_use_its_session_has_neither_vary_nor_cookie(site):
    headers = site.serve_view(lambda: "", name="Ada").send().headers
    assert (headers.get("Vary"), headers.get("Set-Cookie")) == (None, None)


@pytest.mark.parametrize(
    "use",
    [
        lambda: session.get("name"),
        lambda: "name" in session,
        lambda: len(session),
        lambda: list(session),
        lambda: bool(session),
        lambda: session.permanent,
        lambda: session.update(name="Grace"),
    ],
)
def test_every_use_is_told_to_caches(site, use):
    def view():
        use()
        return "", {"Vary": "Accept"}

    assert site.serve_view(view, name="Ada").send().headers["Vary"] == "Accept, Cookie"


@pytest.mark.parametrize(
    ("own", "sent"), [({}, "private, no-store"), ({"Cache-Control": "max-age=60"}, "max-age=60, private")]
)
def test_a_response_with_a_cookie_is_kept_by_no_shared_cache(site, own, sent):
    def view():
        session["name"] = "Ada"
        return "", own

    assert site.serve_view(view).send().headers.get_all("Cache-Control") == [sent]


# -- permanence


def test_a_new_session_ends_with_the_browser(site):
    assert "Max-Age" not in site.serve_view(count).send().headers["Set-Cookie"]


def test_a_permanent_session_outlives_the_browser(site):
    def view():
        session["name"] = "Ada"
        session.permanent = True
        return ""

    assert "Max-Age=" in site.serve_view(view).send().headers["Set-Cookie"]


@pytest.mark.parametrize("data", [{"name": "Ada"}, {"filler": BIG}])
def test_to_make_a_session_permanent_changes_neither_its_id_nor_its_end_and_lasts(site, data):
    def view():
        was = session.permanent
        session.permanent = True
        return repr(was)

    client = site.serve_view(view)
    opened = FlaskSession(site.manager().config, None)
    opened.update(data)
    client.cookies.receive(opened.commit())
    before = opened.sid
    assert [client.send().body for _ in range(2)] == [b"False", b"True"]
    assert session_id(site, client) == before
    assert site.data(client) == data


def test_a_session_with_a_lifetime_made_elsewhere_is_permanent_until_it_is_told_otherwise(site):
    def view():
        was = session.permanent
        session.permanent = False
        return repr(was)

    client = site.serve_view(view, name="Ada")
    response = client.send()
    assert response.body == b"True"
    assert "Max-Age" not in response.headers["Set-Cookie"]


def test_to_say_what_is_so_sends_no_cookie(site):
    def view():
        session.permanent = True
        return ""

    assert site.serve_view(view, name="Ada").send().headers.get("Set-Cookie") is None


def test_permanence_by_itself_makes_no_session_but_holds_for_the_one_that_is_made(site):
    site.app.before_request(lambda: setattr(session, "permanent", True))
    site.app.add_url_rule("/without", "without", lambda: "")
    client = site.serve_view(count)
    assert client.send(path="/without").headers.get("Set-Cookie") is None
    assert "Max-Age=" in client.send().headers["Set-Cookie"]


# -- attributes


@pytest.mark.parametrize(
    ("use", "modified"),
    [
        (lambda: None, False),
        (lambda: session.get("cart"), False),
        (lambda: session["cart"].append("egg"), True),
        (lambda: session.pop("name"), True),
        (lambda: session.clear(), True),
        (lambda: session.terminate(), True),
        (lambda: session.regenerate_id(), True),
        (lambda: setattr(session, "permanent", False), True),
        (lambda: (session.update(name="Grace"), session.save()), True),
        (lambda: session.update(name="Ada"), False),
        (lambda: setattr(session, "modified", True), False),
    ],
)
def test_modified_says_whether_there_is_something_to_save_or_to_tell(site, use, modified):
    def view():
        use()
        return repr(session.modified)

    response = site.serve_view(view, name="Ada", cart=[]).send()
    assert response.body == repr(modified).encode()
    assert bool(response.headers.get("Set-Cookie")) == modified


def test_to_say_that_nothing_was_modified_loses_nothing(site):
    def view():
        session["name"] = "Ada"
        session.modified = session.accessed = False
        return repr((session.modified, session.accessed))

    client = site.serve_view(view)
    assert client.send().body == b"(True, True)"
    assert site.data(client) == {"name": "Ada"}


def test_a_session_is_new_in_the_request_that_starts_it(site):
    def view():
        session.setdefault("name", "Ada")
        return repr(session.new)

    client = site.serve_view(view)
    assert [client.send().body for _ in range(2)] == [b"True", b"False"]


# -- emptied


@pytest.mark.parametrize("data", [{"name": "Ada"}, {"name": BIG}])
@pytest.mark.parametrize("empty", [lambda: session.clear(), lambda: session.pop("name"), lambda: session.terminate()])
def test_a_session_that_is_emptied_ends(site, empty, data):
    def view():
        empty()
        return ""

    client = site.serve_view(view, **data)
    sid, cookie = session_id(site, client), client.cookies.header()
    client.send()
    assert client.cookies == {}
    assert not site.manager().load(sid).is_active()
    assert site.manager().open(cookie).is_active() == (data["name"] == "Ada")  # which no store knows of


def test_a_session_that_is_emptied_after_it_was_saved_ends(site):
    def view():
        session["filler"] = BIG
        session.save()
        session.clear()
        return session.sid

    client = site.serve_view(view)
    sid = client.send().body.decode()
    assert client.cookies == {}
    assert not site.manager().load(sid).is_active()


def test_a_new_session_that_stays_empty_sets_no_cookie(site):
    def view():
        session["name"] = "Ada"
        del session["name"]
        return ""

    assert site.serve_view(view).send().headers.get("Set-Cookie") is None


def test_a_session_that_came_empty_and_was_only_read_goes_on(site):
    client = site.serve_view(lambda: repr(dict(session)))
    opened = site.manager().open(None)
    opened.start()
    client.cookies.receive(opened.commit())
    assert client.send().headers.get("Set-Cookie") is None
    assert session_id(site, client) == opened.sid


# -- messages


def test_a_flashed_message_is_there_in_the_next_request_and_then_gone_with_its_session(site):
    site.app.add_url_rule("/flash", "flash", lambda: flash("saved", "info") or "")
    client = site.serve_view(lambda: repr(get_flashed_messages(with_categories=True)))
    client.send(path="/flash")
    assert [client.send().body for _ in range(2)] == [b"[('info', 'saved')]", b"[]"]
    assert client.cookies == {}


# -- copies


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_it_is_not_copied_by_its_proxy_either(site, duplicate):
    def view():
        with pytest.raises(TypeError, match=r"^a FlaskSession .*the secret session id.*dict\(session\)"):
            duplicate(session)
        return repr(dict(session))

    assert site.serve_view(view, name="Ada").send().body == b"{'name': 'Ada'}"


def test_it_is_not_pickled_by_its_proxy_either(site):
    def view():
        with pytest.raises(pickle.PicklingError):  # as with any proxy of Werkzeug's
            pickle.dumps(session)
        with pytest.raises(TypeError, match="the secret session id"):
            pickle.dumps(session._get_current_object())
        return ""

    assert site.serve_view(view, name="Ada").send().status == "200 OK"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_opens_the_sessions_is_neither_pickled_nor_copied(site, duplicate):
    with pytest.raises(TypeError, match=r"^a GaeSessInterface .*the secret keys"):
        duplicate(site.app.session_interface)


# -- idleness


@pytest.mark.parametrize(("path", "refreshes"), [("/", 1), ("/poll", 0)])
def test_a_passive_path_is_no_use_of_the_session(path, refreshes):
    now = [1_800_000_000]
    settings = {"idle_timeout": timedelta(minutes=10), "passive_paths": ["/poll"], "clock": lambda: now[0]}
    site = FlaskSite(**settings)
    site.app.add_url_rule("/poll", "poll", lambda: session["name"])
    client = site.serve_view(lambda: session["name"], name="Ada")
    now[0] += 300
    exchange = client.send(PATH_INFO=path)
    assert (exchange.body, len(exchange.headers.get_all("Set-Cookie"))) == (b"Ada", refreshes)


# -- bad input


@pytest.mark.parametrize("cookie", ["{}=junk", "{}", "{}=\xff\xfe", "{}=a; {}=b", "=;;=", ""])
def test_a_cookie_that_is_not_to_be_believed_is_none(site, cookie):
    client = site.serve_view(count)
    assert client.send(HTTP_COOKIE=cookie.replace("{}", "__Host-gaesess")).body == b"1"
