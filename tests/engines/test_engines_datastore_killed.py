"""The Datastore emulator itself, paused and killed."""

from __future__ import annotations

import pytest
import services
from engines.stack import noted_events
from engines.visitor import check


@pytest.fixture
def emulator(tmp_path):
    """The "host:port" of an emulator of the test's own, and its process."""
    directory = tmp_path / "emulator"
    directory.mkdir()
    with services.datastore_server(directory) as (address, server):
        yield address, server
        server.kill()  # at a SIGTERM it would take its time


def test_paused_and_then_killed(emulator, memcached_server, make_stack):
    address, server = emulator
    stack = make_stack(memcached_server[0], address)
    ada, bob = stack.visitor("ada"), stack.visitor("bob")
    joe = stack.visitor("joe", app=stack.degrading)

    server.pause()
    stack.expect_nothing()
    assert ada.increment().status == 503
    check([ada], ada.read())
    server.resume()
    stack.wait_for_datastore()
    assert ada.increment().status == 200
    check([ada], ada.read())

    server.kill()
    stack.expect_nothing()
    assert ada.increment().status == 503
    check([ada], ada.read())
    with noted_events() as happened:
        assert joe.increment().status == 200
    assert "degraded" in [event.name for event in happened]
    old_bob = bob.copy()
    assert bob.ask("terminate").status == 503
    assert bob.cookies == {}
    assert old_bob.ask("read").status == 503  # the cache was told
    stack.forget()
    answer = ada.ask("read")
    assert (answer.status, answer.set_cookie) == (503, [])
