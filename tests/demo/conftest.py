"""The demo as its user runs it."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

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
