import os
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import pytest

from search.errors import StorageError
from search.storage import open as storage
from search.storage import sqlite


def create(url="sqlite:///demo.db"):
    return storage.create_study(url, "demo", ["maximize"], ["score"])


def test_a_locked_database_says_so(monkeypatch):
    storage.close(create())
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect("demo.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match=r"locked\. Another program holds it"):
            create()


def test_a_read_only_database_says_so(monkeypatch):
    def refuse(*_):
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(sqlite, "prepare", refuse)  # the tests may run as root, whom no permission stops
    with pytest.raises(StorageError, match="Give yourself write permission"):
        create()


def test_a_network_file_system_is_refused(monkeypatch):
    monkeypatch.setattr(sqlite, "network_file_system", lambda path: "nfs4")
    with pytest.raises(StorageError) as caught:
        create()
    assert str(caught.value) == (
        "sqlite:///demo.db: SQLite needs a local file system, as its locks and shared memory fail on others; got nfs4. "
        "Use a local path, journal:///demo.log, or a database server."
    )


def files():
    return {path.name for path in Path().glob("demo.db*")}


def test_who_reads_anothers_database_leaves_nothing_beside_it_and_sees_what_is_written_meanwhile(monkeypatch):
    storage.close(create())
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    read = storage.open_study("sqlite:///demo.db", "demo")
    assert (read.trials, files()) == ([], {"demo.db"})
    with pytest.raises(optuna.exceptions.StorageInternalError):
        read.set_user_attr("key", 1)
    study = create()
    study.add_trial(optuna.create_trial(value=1.0))
    assert [trial.value for trial in read.trials] == [1.0]
    storage.close(study)
    assert [trial.value for trial in read.trials] == [1.0]
    storage.close(read)
    assert files() == {"demo.db"}


OWNER, COLLEAGUE = 65_501, 65_502


@contextmanager
def acting_as(user):
    os.setresuid(user, user, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def shared_folder(monkeypatch):
    """A folder that everybody may write to, as /tmp; what is used is imported before, as only root may be able to."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as two users")
    storage.close(create())
    storage.close(storage.open_study("sqlite:///demo.db", "demo"))
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o1777)
        monkeypatch.chdir(name)
        yield
        monkeypatch.undo()


@pytest.mark.usefixtures("shared_folder")
def test_a_colleagues_look_does_not_end_the_owners_writing():
    with acting_as(OWNER):
        storage.close(create())
    with acting_as(COLLEAGUE):
        storage.close(storage.open_study("sqlite:///demo.db", "demo"))
    with acting_as(OWNER):
        storage.close(create())
    assert files() == {"demo.db"}


@pytest.mark.usefixtures("shared_folder")
def test_what_a_colleagues_other_program_has_left_is_named_with_its_owner():
    with acting_as(OWNER):
        storage.close(create())
    with acting_as(COLLEAGUE), closing(sqlite3.connect("demo.db")) as other:
        other.execute("SELECT * FROM studies").fetchall()
    with acting_as(OWNER), pytest.raises(StorageError) as caught:
        create()
    assert str(caught.value) == (
        f"sqlite:///demo.db: the files beside it must be writable too; got demo.db-wal of user {COLLEAGUE}. "
        f"Have them run: chmod a+w {Path.cwd()}/demo.db-wal {Path.cwd()}/demo.db-shm."
    )
    for name in ("demo.db-wal", "demo.db-shm"):
        Path(name).chmod(0o666)
    with acting_as(OWNER):
        storage.close(create())
