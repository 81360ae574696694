"""The real servers that the tests run against: found, started on loopback ports of their own, and stopped again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

START_SECONDS = 60  # gcloud and a JVM on a busy machine
STOP_SECONDS = 10
PROJECT = "gaesess-test"


class Service(NamedTuple):
    """A program that tests need: how to see whether it is there, and what to install where it is not."""

    name: str
    found: Callable[[], bool]
    install: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def python_path() -> str:
    """Return what a process in another directory needs as PYTHONPATH to import what this one can."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)


def emulator_found(component: str) -> bool:
    """Look for the component before gcloud is started: it would try to download one that is missing."""
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        return False
    return (Path(gcloud).resolve().parents[1] / "platform" / component).is_dir()


MEMCACHED = Service("memcached", lambda: shutil.which("memcached") is not None, "the package memcached")
DATASTORE = Service(
    "Cloud Datastore emulator",
    lambda: emulator_found("cloud-datastore-emulator"),
    "a Java runtime and gcloud's component cloud-datastore-emulator (Debian: google-cloud-cli-datastore-emulator)",
)
FIRESTORE = Service(
    "Firestore emulator",
    lambda: emulator_found("cloud-firestore-emulator"),
    "a Java runtime and gcloud's component cloud-firestore-emulator (Debian: google-cloud-cli-firestore-emulator)",
)
CHROMIUM = Service("chromium", lambda: shutil.which("chromium") is not None, "the package chromium")
SERVICES = (MEMCACHED, DATASTORE, FIRESTORE, CHROMIUM)


@contextmanager
def running(command: list[str], directory: Path, answers: Callable[[], bool], **env: str) -> Iterator[None]:
    """Run a server in a process group of its own until the block is left; then kill the whole group."""
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # gcloud leaves the emulator's JVM behind when it alone is killed
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        stop_group(process)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Ask every process of the group to end, and kill those that have not after a while."""
    deadline = time.monotonic() + STOP_SECONDS
    os.killpg(process.pid, signal.SIGTERM)
    while group_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    if group_alive(process):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def group_alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # reaps the leader, which would otherwise count as alive for ever
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def run_memcached(directory: Path) -> Iterator[str]:
    """Run a memcached and yield its "host:port"."""
    port = free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64"]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]  # it refuses to run as root
    with running(command, directory, lambda: memcached_answers(port)):
        yield f"127.0.0.1:{port}"


def memcached_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"version\r\n")
            return connection.recv(64).startswith(b"VERSION")
    except OSError:
        return False


@contextmanager
def run_datastore_emulator(directory: Path) -> Iterator[str]:
    """Run the Cloud Datastore emulator, in memory and strongly consistent, and yield its "host:port"."""
    options = ["--no-store-on-disk", "--consistency=1.0", f"--data-dir={directory / 'data'}"]
    with run_emulator(["beta", "emulators", "datastore", "start", *options], directory) as address:
        yield address


@contextmanager
def run_firestore_emulator(directory: Path) -> Iterator[str]:
    """Run the Firestore emulator in Datastore mode, and yield its "host:port"."""
    command = ["emulators", "firestore", "start", "--database-mode=datastore-mode"]
    with run_emulator(command, directory) as address:
        yield address


@contextmanager
def run_emulator(command: list[str], directory: Path) -> Iterator[str]:
    port = free_port()
    address = f"127.0.0.1:{port}"
    with running(
        ["gcloud", *command, f"--host-port={address}", f"--project={PROJECT}"],
        directory,
        lambda: emulator_answers(port),
        CLOUDSDK_CONFIG=str(directory / "gcloud"),  # nothing of the user's own is read or changed
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
        CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="true",
    ):
        yield address


def emulator_answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().strip() == b"Ok"
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
