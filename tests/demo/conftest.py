"""The demo as its user runs it, and a browser to look at it with."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

BROWSER_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
STOP_SECONDS = 20


class Demo:
    """A running `python -m gaesess demo`."""

    def __init__(self, process, url):
        self.process = process
        self.url = url

    def stop(self, signal_number=signal.SIGTERM):
        """Send it a signal, and return its exit status, and what it writes from then on to stdout and stderr."""
        self.process.send_signal(signal_number)
        out, err = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, out, err


@contextmanager
def running_demo(*options, **env):
    command = [sys.executable, "-m", "gaesess", "demo", "--port", "0", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        try:
            first, second = process.stdout.readline(), process.stdout.readline()
            if not first.startswith("gaesess demo: http://127.0.0.1:") or second != "Press Ctrl+C to stop.\n":
                process.kill()
                pytest.fail(f"the demo began with {first + second!r}, then: {process.stderr.read()}")
            yield Demo(process, first.split(": ", 1)[1].strip())
        finally:
            process.terminate()  # not kill: it has a directory to take away


@pytest.fixture(scope="session")
def run_demo():
    return running_demo


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=BROWSER_ARGS)
        yield launched
        launched.close()


@pytest.fixture
def context(browser):
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    made.close()


@pytest.fixture
def page(context):
    """A page that must log no error and reach for no other host; the test ends with that check."""
    opened = context.new_page()
    complaints = []
    hosts = set()
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    yield opened
    assert complaints == []
    assert len(hosts) == 1
