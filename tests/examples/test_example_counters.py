"""The counters among the examples, each in a process of its own under a server that people use."""

import os
import sys
from pathlib import Path

import pytest
import services
from http_browser import HttpBrowser

EXAMPLES = Path(__file__).parents[2] / "examples"
WAITRESS = ["waitress", "--listen=127.0.0.1:{port}"]
UVICORN = ["uvicorn", "--port={port}"]


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
        browser = HttpBrowser(port)
        assert [browser.look() for _ in range(2)] == ["Visit number 1\n", "Visit number 2\n"]
