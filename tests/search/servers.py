"""Real database servers, private to the tests: started once a session, each test in a database of its own."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.storage import open as storage

SERVERS = [pytest.param(name, marks=pytest.mark.server) for name in ("postgresql", "mariadb")]
"""For a fixture that is run with each of the servers' fixtures."""

USER = "tester"
PASSWORD = "pa55/w%rd:Zebra"
ENCODED = "pa55%2Fw%25rd%3AZebra"


def find(program):
    """Returns the path of a program, which Debian keeps apart for each version of PostgreSQL, or None."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return shutil.which(program) or (str(versions[-1]) if versions else None)


@pytest.fixture
def study(url):
    """A study in a storage of its own, which the module's `url` chooses."""
    made = storage.create_study(url, "demo", ["maximize"], ["score"])
    yield made
    storage.close(made)


@pytest.fixture
def other(url):
    """The same study in another process, as far as anybody can tell."""
    made = storage.create_study(url, "demo", ["maximize"], ["score"])
    yield made
    storage.close(made)


@pytest.fixture
def small_disk(folder):
    """A file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    disk = folder / "small"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mount is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def password():
    """The password of the servers' user."""
    return PASSWORD


@dataclass
class Server:
    """A server in a folder of its own, listening on one port of this machine.

    Attributes:
        scheme: Of its URLs.
        command: What starts it in the foreground.
        account: The account it runs as, since both refuse root; None for ours.
        sql: What executes the statement that follows it, as an administrator.
        log: What it says, for whoever asks why it ended.
    """

    scheme: str
    command: list[str]
    account: str | None
    port: int
    sql: list[str]
    log: Path
    process: subprocess.Popen | None = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, user=self.account, start_new_session=True)
        deadline = time.monotonic() + 60
        while self.execute("SELECT 1", check=False).returncode:
            self.assert_alive()
            assert time.monotonic() < deadline, f"{self.command[0]} does not answer: {self.last_words()}"
            time.sleep(0.1)

    def assert_alive(self):
        code = self.process.poll()
        assert code is None, f"{self.command[0]} ended with {code}: {self.last_words()}"

    def last_words(self):
        return self.log.read_text(errors="replace")[-4000:]

    def stop(self):
        """Ends it at once, transactions included, as an administrator's restart does."""
        self.process.send_signal(signal.SIGINT if self.scheme == "postgresql" else signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def discard(self):
        """Ends it for good, its data being of no more use."""
        self.process.send_signal(signal.SIGQUIT if self.scheme == "postgresql" else signal.SIGKILL)
        self.process.wait()

    def execute(self, statement, check=True):
        return subprocess.run([*self.sql, statement], check=check, capture_output=True, text=True, user=self.account)

    def cut_waiting(self):
        """Ends the connections that wait for a lock in the middle of a transaction; returns whether there was one."""
        if self.scheme == "postgresql":
            return self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").stdout
        waiting = "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        ended = self.execute(waiting).stdout.split()
        for connection in ended:
            self.execute(f"KILL {connection}")
        return ended

    def new_database(self):
        """Returns the URL of a database that nobody has used."""
        self.assert_alive()
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return f"{self.scheme}://{USER}:{ENCODED}@127.0.0.1:{self.port}/{name}"


@pytest.fixture
def assert_no_password():
    """Fails where a text has the servers' password in it, or a good part of it, in whatever way it is written."""

    def check(*texts):
        for text in texts:
            assert not [part for part in ("pa55", "w%rd", "w%25rd", "Zebra") if part in text], text

    return check


@contextlib.contextmanager
def data_folder(account):
    """A folder with a short path, since that of a socket has at most 107 bytes; in memory where there is room."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    with tempfile.TemporaryDirectory(prefix="db", dir=memory if roomy else "/tmp") as folder:
        if account is not None:
            shutil.chown(folder, account)
        yield Path(folder)


def account_for(name):
    """The account of a Debian package where we are root, as whom no server runs; else ours."""
    return name if os.geteuid() == 0 else None


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(server):
    server.start()
    try:
        yield server
    finally:
        server.discard()


@pytest.fixture(scope="session")
def postgresql():
    initdb, postgres, psql = find("initdb"), find("postgres"), find("psql")
    if not (initdb and postgres and psql):
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    account = account_for("postgres")
    with data_folder(account) as folder:
        data, port = folder / "data", free_port()
        subprocess.run(
            [initdb, "--no-sync", "--auth=scram-sha-256", "--auth-local=trust", "--username=admin", "-E", "UTF8", "-D", data],
            check=True,
            capture_output=True,
            user=account,
        )
        command = [postgres, "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(port), "-F"]
        sql = [psql, "-h", str(folder), "-p", str(port), "-U", "admin", "-tA", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c"]
        with running(Server("postgresql", command, account, port, sql, folder / "log")) as server:
            server.execute(f"CREATE USER {USER} SUPERUSER PASSWORD '{PASSWORD}'")
            yield server


@pytest.fixture(scope="session")
def mariadb():
    install, mariadbd, client = find("mariadb-install-db"), shutil.which("mariadbd") or "/usr/sbin/mariadbd", find("mariadb")
    if not (install and client and Path(mariadbd).exists()):
        pytest.skip("no MariaDB here: apt-get install mariadb-server")
    account = account_for("mysql")
    with data_folder(account) as folder:
        data, port, socket_path = folder / "data", free_port(), folder / "socket"
        options = ["--no-defaults", f"--datadir={data}", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"]
        make = [install, *options, "--skip-test-db", "--auth-root-authentication-method=normal"]
        subprocess.run(make, check=True, capture_output=True, user=account)
        command = [mariadbd, *options, f"--socket={socket_path}", "--bind-address=127.0.0.1", f"--port={port}"]
        command += [f"--pid-file={folder / 'pid'}"]
        sql = [client, "--no-defaults", f"--socket={socket_path}", "--user=root", "-BN", "-e"]
        with running(Server("mariadb", command, account, port, sql, folder / "log")) as server:
            user = f"{USER}@'127.0.0.1'"
            server.execute(f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {user}")
            yield server


@pytest.fixture(params=["sqlite", "journal", *SERVERS])
def url(request):
    """An empty storage of each kind."""
    if request.param == "sqlite":
        return "sqlite:///every.db"
    if request.param == "journal":
        return "journal:///every.log"
    return request.getfixturevalue(request.param).new_database()
