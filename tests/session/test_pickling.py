"""What holds a session id or a key is neither pickled nor copied: the secret would end up in a cache or a queue."""

import copy
import pickle
from datetime import datetime, timezone
from multiprocessing.reduction import ForkingPickler

import pytest

from gaesess import Session, SessionManager, SessionMiddleware, asgi, generate_key, legacy
from gaesess.asgi import ASGISession

COPIES = [pickle.dumps, copy.copy, copy.deepcopy, ForkingPickler.dumps]
BIG = "x" * 5000  # more than one cookie holds


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("kind", [Session, ASGISession])
@pytest.mark.parametrize("filler", ["", BIG], ids=["cookie", "store"])
def test_a_session_is_refused_with_what_to_do_instead(manager, duplicate, kind, filler):
    session = kind(manager.config, None)
    session.update(user="ada", filler=filler)
    session.commit()
    with pytest.raises(TypeError, match=rf"^a {kind.__name__} .*the secret session id.*dict\(session\)"):
        duplicate(session)


@pytest.mark.parametrize("duplicate", COPIES)
def test_an_unread_session_is_refused_too(manager, duplicate):
    with pytest.raises(TypeError, match="the secret session id"):
        duplicate(manager.open("a=1"))


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize(
    "make",
    [
        SessionManager,
        lambda key: SessionMiddleware(lambda environ, start_response: [], key),
        lambda key: asgi.SessionMiddleware(lambda scope, receive, send: None, key),
    ],
    ids=["manager", "WSGI", "ASGI"],
)
def test_a_manager_and_a_middleware_are_refused_with_what_to_do_instead(duplicate, make):
    holder = make(generate_key())
    with pytest.raises(TypeError, match=rf"^a {type(holder).__name__} .*the secret keys.*from the settings in each"):
        duplicate(holder)


@pytest.mark.parametrize("duplicate", COPIES)
def test_a_reader_of_another_library_s_sessions_is_refused_for_it_has_that_one_s_key(duplicate):
    reader = legacy.accept(cookie_key=bytes(range(64)), until=datetime(2030, 1, 1, tzinfo=timezone.utc))
    with pytest.raises(TypeError, match="the secret keys"):
        duplicate(reader)


@pytest.mark.parametrize("copied", [dict, lambda session: {**session}])
def test_the_data_of_a_session_are_copied(manager, copied):
    session = Session(manager.config, None)
    session["user"] = "ada"
    data = copied(session)
    data["user"] = "eve"
    assert (type(data), session["user"]) == (dict, "ada")
    assert pickle.loads(pickle.dumps(data)) == {"user": "eve"}
