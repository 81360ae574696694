from __future__ import annotations

from contextlib import ExitStack

import pytest
import services
from engines.stack import Stack, ndb_client
from proxy import Proxy


@pytest.fixture
def memcached_server(tmp_path):
    """The "host:port" of a memcached of the test's own, and its process."""
    with services.memcached_server(tmp_path) as (address, server):
        yield address, server
        server.kill()  # at a SIGTERM it would take its time


@pytest.fixture
def datastore_proxy(datastore_emulator):
    """A proxy in front of the Datastore emulator."""
    with Proxy(datastore_emulator) as proxy:
        yield proxy


@pytest.fixture
def make_stack():
    """Make stacks on engines at these addresses."""
    with ExitStack() as stack:

        def make(memcached, datastore, **options):
            made = Stack(memcached, stack.enter_context(ndb_client(datastore)), **options)
            stack.callback(made.cache.close)
            return made

        yield make
