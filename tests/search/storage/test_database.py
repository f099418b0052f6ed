"""The tables of a new file are those that Optuna makes, and those of another version are refused."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.errors import StorageError
from search.optuna_internals import head_revision
from search.storage import database
from search.storage import open as storage

URL = "sqlite:///demo.db"


def create(url=URL):
    return storage.create_study(url, "demo", ["maximize"], ["score"])


def contents(path):
    """All tables and indices, and what is in the two that say which these are."""
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
        rows = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("version_info", "alembic_version")]
    return made, rows


def test_the_revision_is_what_alembic_finds():
    found = RDBStorage("sqlite:///plain.db")
    assert head_revision() == found.get_head_version() == found.get_current_version()


def test_a_new_file_has_what_optuna_makes_and_gives_no_id_again():
    storage.close(create())
    RDBStorage("sqlite:///plain.db").engine.dispose()
    (made, versions), (plain, plain_versions) = contents("demo.db"), contents("plain.db")
    assert [name for _, name, _, sql in made if "AUTOINCREMENT" in (sql or "")] == ["studies", "trials"]
    assert [entry[:3] for entry in made if entry[1] != "sqlite_sequence"] == [entry[:3] for entry in plain]
    assert parts("demo.db") == parts("plain.db")
    assert versions == plain_versions


def parts(path):
    """The columns, foreign keys and indices of all tables, in whatever order a statement has them."""
    with closing(sqlite3.connect(path)) as connection:

        def ask(pragma, name):
            return connection.execute(f"PRAGMA {pragma}({name})").fetchall()

        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: (
                ask("table_info", name),
                sorted(key[2:] for key in ask("foreign_key_list", name)),
                sorted(ask("index_list", name)),
                [ask("index_info", index[1]) for index in sorted(ask("index_list", name))],
            )
            for name in tables
            if name != "sqlite_sequence"
        }


def test_what_took_the_place_of_a_deleted_study_is_not_written_to():
    study = create()
    trial = study.ask()
    with closing(sqlite3.connect("demo.db")) as connection:
        optuna.delete_study(study_name="demo", storage=URL)
        other = optuna.create_study(study_name="demo", storage=URL).ask()
        with pytest.raises(KeyError):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0])
        assert connection.execute("SELECT trial_id, state FROM trials").fetchall() == [(other._trial_id, "RUNNING")]
    storage.close(study)


@pytest.mark.parametrize("made_by", [create, lambda: RDBStorage(URL).engine.dispose()], ids=["here", "Optuna"])
def test_a_study_that_is_deleted_while_a_trial_is_made_loses_nothing_that_is_known(monkeypatch, made_by):
    made_by()
    study = create()
    for value in (1.0, 2.0):
        study.tell(study.ask(), value)
    study.get_trials()
    prepare = RDBStorage._get_prepared_new_trial

    def delete_and_prepare(*arguments):
        with closing(sqlite3.connect("demo.db", timeout=30)) as connection:
            connection.executescript("DELETE FROM trial_values; DELETE FROM trials; DELETE FROM studies;")
        return prepare(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, "_get_prepared_new_trial", delete_and_prepare)
        with pytest.raises(StorageInternalError, match="trial 0 is there twice"):
            study.ask()
    ends = study._storage.known(study._study_id).ends()
    assert ends == {number: (TrialState.COMPLETE, (number + 1.0,)) for number in range(2)}
    storage.close(study)


def test_where_the_scripts_do_not_say_it_optuna_makes_them(monkeypatch):
    monkeypatch.setattr(database, "head_revision", lambda: None)
    storage.close(create())
    RDBStorage("sqlite:///plain.db").engine.dispose()
    assert contents("demo.db") == contents("plain.db")


def test_a_file_that_another_program_uses_as_well_gets_them_too():
    with closing(sqlite3.connect("demo.db")) as connection:
        connection.execute("CREATE TABLE theirs (x INTEGER)")
    storage.close(create())
    made, _ = contents("demo.db")
    RDBStorage("sqlite:///plain.db").engine.dispose()
    assert [entry for entry in made if entry[1] != "theirs"] == contents("plain.db")[0]


def look():
    return storage.open_study(URL, "demo")


@pytest.mark.parametrize(("opens", "lacks"), [(create, None), (look, None), (look, "trial_heartbeats")])
def test_tables_of_another_version_are_refused(opens, lacks):
    storage.close(create())
    with closing(sqlite3.connect("demo.db")) as connection:
        if lacks:
            connection.execute(f"DROP TABLE {lacks}")
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        connection.commit()
    before = Path("demo.db").read_bytes()
    with pytest.raises(StorageError, match=r"does not fit this version of Optuna; got: .*storage upgrade"):
        opens()
    assert Path("demo.db").read_bytes() == before


def test_several_that_make_them_in_one_instant_find_the_same():
    studies, together = [], threading.Barrier(4)

    def open_it():
        together.wait()
        studies.append(create())

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(studies) == 4
    assert len({study._study_id for study in studies}) == 1
    for study in studies:
        storage.close(study)
    assert optuna.get_all_study_names(URL) == ["demo"]
