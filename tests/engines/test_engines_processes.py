"""Eight processes that write to one session at the same time: every increment and every item is there, once."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from engines.processes import Http, engines_env, run_gunicorn
from engines.stack import IN_STORE
from engines.visitor import Visitor, at_once, check

WORKERS = 8


@pytest.fixture(scope="module")
def port(memcached, datastore_emulator, tmp_path_factory):
    directory = tmp_path_factory.mktemp("gunicorn")
    env = engines_env(directory, memcached, datastore_emulator)
    with run_gunicorn(directory, "--workers", str(WORKERS), **env) as site:
        yield site.port
        site.server.kill()  # at a SIGTERM it would take its time


@pytest.mark.parametrize(("mount", "writes"), [("/sqlite", 25), ("/datastore", 8)])
def test_no_write_is_lost_or_doubled(port, mount, writes):
    with closing(Http(port, mount)) as http:
        ada = Visitor(http.send, "ada").sign_in(IN_STORE)
        processes = set()

        def work(number):
            with closing(Http(port, mount)) as http:
                visitor = Visitor(http.send, "ada", ada.cookies)
                for step in range(writes):
                    processes.add(json.loads(visitor.increment().body)["pid"])
                    visitor.append(f"{number} {step}")
                return visitor

        visitors = at_once([lambda number=number: work(number) for number in range(WORKERS)])
        told = ada.read()
    check(visitors, told)
    assert (told["n"], len(told["items"])) == (WORKERS * writes, WORKERS * writes)
    assert len(processes) > 1
