import sqlite3
from contextlib import closing

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
