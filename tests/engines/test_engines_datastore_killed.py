"""The Datastore emulator itself paused, killed, and started again with nothing in it."""

from __future__ import annotations

import pytest
import services
from engines.stack import noted_events
from engines.visitor import check


@pytest.fixture
def emulator(datastore_emulator, tmp_path):  # datastore_emulator: skips the test, or fails it, where there is none
    """The "host:port" of an emulator of the test's own, and its process."""
    directory = tmp_path / "emulator"
    directory.mkdir()
    with services.datastore_server(directory) as (address, server):
        yield address, server
        server.kill()  # at a SIGTERM it would take its time


def test_paused_killed_and_started_again_empty(emulator, memcached_server, make_stack):
    address, server = emulator
    stack = make_stack(memcached_server[0], address, datastore_seconds=0.4)
    ada, eve, bob = (stack.visitor(user) for user in ("ada", "eve", "bob"))
    joe = stack.visitor("joe", app=stack.degrading)

    server.pause()
    assert ada.increment().status == 503
    check([ada], ada.read())
    server.resume()
    stack.wait_for_datastore()
    assert ada.increment().status == 200
    check([ada], ada.read())

    server.kill()
    assert ada.increment().status == 503
    check([ada], ada.read())
    with noted_events() as happened:
        assert joe.increment().status == 200
    assert "degraded" in [event.name for event in happened]
    cookies = bob.copy()
    assert bob.ask("terminate").status == 503
    assert bob.cookies == {}
    assert cookies.read()["user"] is None  # the cache knows

    server.start()
    stack.wait_for_datastore()
    for visitor in (ada, joe):  # whom the cache still knows
        assert visitor.increment().status == 200
    stack.forget()
    for visitor in (ada, joe):
        check([visitor], visitor.read())
    answer = eve.ask("read")  # whom nobody knows any more
    assert (answer.status, answer.set_cookie) == (503, [])
    assert b"lost your session" in answer.body
