import gc
import os
import sqlite3
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

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


ENDS = {
    "complete": lambda study, trial: study.tell(trial, 1.0),
    "pruned": lambda study, trial: study.tell(trial, state=TrialState.PRUNED),
    "failed": lambda study, trial: study.tell(trial, state=TrialState.FAIL),
    "paused": lambda study, trial: study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING),
    "earlier": lambda study, trial: storage.end_trial(study, trial._trial_id, TrialState.FAIL, None, datetime(2026, 1, 1)),
}
NORMAL, FULL = 1, 2


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_how_a_trial_ended_is_on_the_disk_before_the_next_begins_and_reports_wait_for_no_disk(end):
    study = create()
    levels = []

    def note(connection):
        """Notes whether SQLite has the disk confirm a commit, where it writes at all: the log holds what came before too."""
        raw = connection.connection.dbapi_connection
        if raw.in_transaction:
            levels.append(raw.execute("PRAGMA synchronous").fetchone()[0])

    sqlalchemy.event.listen(study._storage.backend.engine, "commit", note)
    for step in range(2):  # of two trials, or of the same one taken up again
        trial = study.ask()
        trial.report(0.5, step)
        trial.set_user_attr("note", 1)
        assert set(levels) == {NORMAL}
        levels.clear()
        end(study, trial)
        assert levels == [FULL]
        levels.clear()
    storage.close(study)


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


@pytest.fixture
def opened(monkeypatch):
    """What SQLite is asked to open from then on, in a process that is not the owner's."""
    study = create()
    study.set_user_attr("key", 1)
    storage.close(study)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    connect = sqlite3.connect
    asked = []
    monkeypatch.setattr(
        sqlite3, "connect", lambda name, *args, **options: asked.append(name) or connect(name, *args, **options)
    )
    return asked


def change_time(seconds):
    os.utime("demo.db", (seconds, seconds))


def test_anothers_database_is_copied_once_for_all_threads_until_it_changes(opened):
    change_time(1_000)
    read = storage.open_study("sqlite:///demo.db", "demo")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: read.get_trials(), range(20))) == [[]] * 20
    assert sum("immutable" in name for name in opened) == 1
    for value in (1.0, 2.0):
        study = create()
        study.add_trial(optuna.create_trial(value=value))
        storage.close(study)
        change_time(1_000 * (1 + value))
        assert [read.get_trials()[-1].value for _ in range(3)] == [value] * 3
    assert sum("immutable" in name for name in opened) == 3
    storage.close(read)


def test_a_change_of_anothers_database_in_the_same_tick_of_the_clock_is_seen(opened):
    now = int(time.time())
    change_time(now)
    read = storage.open_study("sqlite:///demo.db", "demo")
    assert read.user_attrs == {"key": 1}
    with closing(sqlite3.connect("demo.db")) as owner, owner:
        owner.execute("UPDATE study_user_attributes SET value_json = '2'")
    change_time(now)
    assert read.user_attrs == {"key": 2}
    storage.close(read)


def test_a_copy_of_anothers_database_goes_with_its_study(opened):
    change_time(1_000)
    read = storage.open_study("sqlite:///demo.db", "demo")
    copy = next(name for name in opened if "mode=memory" in name)
    for held in (1, 0):
        gc.collect()
        with closing(sqlite3.connect(copy, uri=True)) as connection:
            assert bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]) == held
        if held:
            storage.close(read)
            del read


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
