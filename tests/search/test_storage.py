import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from search import storage
from search.errors import StorageError, StudyError


def create(url="sqlite:///demo.db"):
    return storage.create_study(url, "demo", ["maximize"], ["score"])


def test_sqlite_is_in_wal_mode_while_open_and_one_file_when_closed(folder):
    study = create()
    with closing(sqlite3.connect("demo.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    storage.close(study)
    assert [path.name for path in folder.iterdir() if "demo" in path.name] == ["demo.db"]


def test_a_study_is_found_again():
    create().set_user_attr("key", 1)
    assert storage.open_study("sqlite:///demo.db", "demo").user_attrs == {"key": 1}
    assert create().user_attrs == {"key": 1}


def test_what_is_not_there():
    with pytest.raises(StudyError, match=r"^sqlite:///demo.db: the study must have been launched; got no such file\."):
        storage.open_study("sqlite:///demo.db", "demo")
    assert not Path("demo.db").exists(), "looking creates nothing"
    create()
    with pytest.raises(StudyError, match='holds no study "other"'):
        storage.open_study("sqlite:///demo.db", "other")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("sqlite:///none/demo.db", "the folder must exist; got no folder none"),
        ("sqlite:///objectives.py/demo.db", "the folder must exist"),
        ("sqlite:///folder", "must be a file; got a folder"),
        ("sqlite:///objectives.py", "must be an SQLite database; got a file of another kind"),
        ("sqlite:///truncated.db", "malformed"),
        ("sqlite:///:memory:", "the storage must be a file; got a database in memory"),
        ("sqlite://", "the storage must be a file; got a database in memory"),
        ("demo.db", "must be a URL such as sqlite:///"),
        ("oracel://u:secret@host/x", "the kind of storage must be sqlite, postgresql or mysql"),
        ("mysql://u:secret@host/x", "needs a driver that is not installed"),
    ],
)
def test_storages_that_cannot_be(folder, url, rule):
    (folder / "folder").mkdir()
    storage.close(storage.create_study("sqlite:///whole.db", "demo", ["maximize"], []))
    content = (folder / "whole.db").read_bytes()
    (folder / "truncated.db").write_bytes(content[: len(content) // 3])
    with pytest.raises(StorageError) as caught:
        create(url)
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_locked_database_says_so(monkeypatch):
    storage.close(create())
    monkeypatch.setattr(storage, "_BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect("demo.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match=r"locked\. Another program holds it"):
            create()


def test_a_read_only_database_says_so(monkeypatch):
    def refuse(*_):
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(storage, "_prepare_sqlite", refuse)  # the tests may run as root, whom no permission stops
    with pytest.raises(StorageError, match="Give yourself write permission"):
        create()


def test_the_folder_of_a_storage():
    assert storage.folder("sqlite:////data/x/demo.db") == Path("/data/x")
    assert storage.folder("sqlite:///demo.db") == Path()
    assert storage.folder("postgresql://u:p@host/x") == Path()


def test_passwords_are_hidden():
    assert storage.hide_password("postgresql://u:secret@host/x") == "postgresql://u:***@host/x"
