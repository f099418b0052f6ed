import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from search.errors import StorageError, StudyError
from search.storage import errors
from search.storage import open as storage


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
        ("journal:///none/demo.log", "the folder must exist; got no folder none"),
        ("sqlite:///folder", "must be a file; got a folder"),
        ("journal:///folder", "must be a file; got a folder"),
        ("sqlite:///objectives.py", "must be an SQLite database; got a file of another kind"),
        ("sqlite:///truncated.db", "malformed"),
        (
            "mysql+oracel://u:secret@host/x",
            "the driver must be one that SQLAlchemy knows; got oracel. Leave it out: mysql://...",
        ),
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


@pytest.mark.parametrize(("kind", "module"), [("postgresql", "psycopg"), ("mysql", "pymysql"), ("mariadb", "pymysql")])
def test_a_missing_driver_names_its_extra(monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    extra = "postgresql" if kind == "postgresql" else "mysql"
    with pytest.raises(StorageError, match=rf"needs a driver that is not installed; .* pip install 'tumorcls\[{extra}\]'\."):
        create(f"{kind}://u:secret@host/x")


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ("database or disk is full", "Free some disk space, and try again."),
        ("The table 'trials' is full", "Free some disk space, and try again."),
        ("Can't reconnect until the transaction is rolled back. Please rollback() fully", "Start the server or correct host"),
        ("unable to open database file", "write permission to the file and its folder, make room there (space and inodes)"),
        ("fe_sendauth: no password supplied", "Give it in ~/.pgpass (mode 600) or PGPASSWORD, on every machine."),
        ('FATAL: password authentication failed for user "lab"', "Correct user and password in the URL."),
        ("Access denied for user 'lab'@'localhost' (using password: NO)", "Give it in ~/.my.cnf, and ?read_default_file="),
        ("Access denied for user 'lab'@'localhost' (using password: YES)", "Correct user and password in the URL."),
        ("permission denied for schema public\nLINE 2: CREATE TABLE studies (", "Make the role the database's owner, or GRANT"),
        ("permission denied for table studies", "Make the role the database's owner, or GRANT what it lacks."),
        ("CREATE command denied to user 'lab'@'localhost' for table 'x'.'studies'", "Make the role the database's owner"),
        ("Access denied for user 'lab'@'%' to database 'studies'", "Make the role the database's owner"),
        ("[Errno 13] Permission denied: 'demo.db'", "Give yourself write permission to the file"),
        ("2 of 4 trials not as they were written", "Check the storage, and try again."),
    ],
)
def test_the_remedy_fits_what_was_said_whichever_command_says_it(said, then):
    assert then in errors.remedy(said)
    assert "launch" not in errors.remedy(said)


def write_much(study, url):
    with errors.storage_errors(url):
        for number in range(100):
            study.set_user_attr(f"key {number}", "y" * 5000)


@pytest.mark.parametrize("url", ["sqlite:///small/demo.db", "journal:///small/demo.log"])
def test_a_full_disk_says_so_and_spoils_nothing(small_disk, url):
    study = create(url)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * shutil.disk_usage(small_disk).free)
    with pytest.raises(StorageError, match="Free some disk space, and try again"):
        write_much(study, url)
    storage.close(study)
    filler.unlink()
    again = storage.open_study(url, "demo", writable=True)
    again.set_user_attr("after", 1)
    assert again.user_attrs["after"] == 1
    storage.close(again)


@pytest.mark.parametrize("url", ["sqlite:///small/demo.db", "journal:///small/demo.log"])
@pytest.mark.parametrize("there", [True, False])
def test_a_read_only_disk_says_so(small_disk, url, there):
    if there:
        storage.close(create(url))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="Give yourself write permission to the file and its folder") as caught:
        create(url)
    assert "\n" not in str(caught.value)
