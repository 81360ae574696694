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
    "command",
    [
        [*WAITRESS, "counter:app"],
        [*WAITRESS, "bottle_counter:app"],
        [*WAITRESS, "pyramid_counter:app"],
        [*WAITRESS, "flask_counter:app"],
        ["django_counter", "runserver", "--noreload", "{port}"],
        [*UVICORN, "fastapi_counter:app"],
    ],
    ids=" ".join,
)
def test_a_counter_counts(command, tmp_path):
    port = services.free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in command)]
    path = os.pathsep.join([str(EXAMPLES), services.python_path()])
    with services.running(command, tmp_path, lambda: services.accepts(port), PYTHONPATH=path):
        cookies = CookieJar()
        assert [visit(port, cookies) for _ in range(2)] == ["Visit number 1\n", "Visit number 2\n"]
