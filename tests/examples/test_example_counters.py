"""The counters among the examples, each in a process of its own under a server that people use."""

import os
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
import services
from wsgi.client import CookieJar

EXAMPLES = Path(__file__).parents[2] / "examples"
WAITRESS = ["waitress", "--listen=127.0.0.1:{port}"]
UVICORN = ["uvicorn", "--port={port}"]


def visit(port, cookies):
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/", headers={"Cookie": cookies.header()} if cookies else {})
        response = connection.getresponse()
        cookies.receive(response.headers.get_all("Set-Cookie", []))
        return response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("example", "server"),
    [
        ("counter", WAITRESS),
        ("bottle_counter", WAITRESS),
        ("pyramid_counter", WAITRESS),
        ("fastapi_counter", UVICORN),
    ],
)
def test_a_counter_counts(example, server, tmp_path):
    port = services.free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in server), f"{example}:app"]
    path = os.pathsep.join([str(EXAMPLES), services.python_path()])
    with services.running(command, tmp_path, lambda: services.accepts(port), PYTHONPATH=path):
        cookies = CookieJar()
        assert [visit(port, cookies) for _ in range(2)] == ["Visit number 1\n", "Visit number 2\n"]
