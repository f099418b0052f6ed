"""A storage is deleted, cut, damaged or replaced under its driver, raced for, and read by all sorts of programs at once.

Whatever happens, each finished trial is in the storage with its value, or the launch ends with one line, exit code 1, and all
of its trials in a file beside it.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from search import storage

TRIALS = 30
SLOW = {"study": {"trials": str(TRIALS)}, "objective": {"steps": "2", "pause": "0.05"}, "pruner": {"name": '"none"'}}
PLACES = {"sqlite": "sqlite:///store/demo.db", "journal": "journal:///store/demo.log"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, toml, environment):
    """The values that the study's trials have, whatever happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(Path(__file__).parents[1] / "search" / "objectives.py", folder)
    tables = {**SLOW, "objective": {"steps": "2"}}
    (folder / "demo.toml").write_text(toml(**tables))
    command = [sys.executable, "-m", "search", "launch", "demo.toml", "--quiet"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return [trial.value for trial in optuna.load_study(study_name="demo", storage=f"sqlite:///{folder}/demo.db").trials]


def values(url, name="demo"):
    study = storage.open_study(url, name)
    found = {trial.number: trial.value for trial in study.trials if trial.state.name == "COMPLETE"}
    storage.close(study)
    return found


def other_study(path):
    url = f"{'journal' if path.suffix == '.log' else 'sqlite'}:///{path}"
    made = storage.create_study(url, "demo", ["maximize"], ["score"])
    for number in range(60):
        made.add_trial(optuna.create_trial(value=float(number)))
    storage.close(made)
    return path


def delete(path):
    path.unlink()


def empty(path):
    os.truncate(path, 0)


def cut(path):
    os.truncate(path, path.stat().st_size // 3)


def garbage(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(os.urandom(size // 2))


def replace(path):
    other_study(path.with_stem("other")).replace(path)


def overwrite(path):
    shutil.copyfile(other_study(path.with_stem("other")), path)


def remove_folder(path):
    while path.parent.exists():
        shutil.rmtree(path.parent, ignore_errors=True)  # the driver may write into it in this very moment


def rename_folder(path):
    path.parent.rename("elsewhere")


def delete_log(path):
    path.with_name(f"{path.name}-wal").unlink()


def empty_log(path):
    os.truncate(f"{path}-wal", 0)


def delete_index(path):
    path.with_name(f"{path.name}-shm").unlink()


def sql(statement):
    def run(path):
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.executescript(statement)

    return run


def delete_study(path):
    optuna.delete_study(study_name="demo", storage=f"sqlite:///{path}")


EVERYWHERE = [delete, empty, cut, garbage, replace, overwrite, remove_folder, rename_folder]
IN_SQLITE = {
    "log deleted": delete_log,
    "log emptied": empty_log,
    "index deleted": delete_index,
    "a table dropped": sql("DROP TABLE trial_values"),
    "the schema dropped": sql("DROP TABLE trials; DROP TABLE studies; DROP TABLE study_user_attributes"),
    "trials deleted": sql("DELETE FROM trials WHERE number < 2"),
    "a value changed": sql("UPDATE trial_values SET value = 7 WHERE trial_id = 2"),
    "the study deleted": delete_study,
    "the study renamed": sql("UPDATE studies SET study_name = 'other'"),
}


def attack(write, start, kind, harm):
    """Does harm to a storage in the middle of a launch; returns how that ended."""
    url = PLACES[kind]
    Path("store").mkdir()
    write(**{**SLOW, "study": {**SLOW["study"], "storage": f'"{url}"'}})
    driver = start("launch", "demo.toml")
    for _ in range(3):
        while " complete" not in driver.stdout.readline():
            assert driver.poll() is None
    harm(Path(url.partition("///")[2]))
    _, errors = driver.communicate(timeout=120)
    return driver.returncode, errors


def assert_saved(errors, undisturbed):
    """One line says so, and names a file with all trials that the driver had ended."""
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("error: "), errors
    assert "No further trial is started." in errors
    saved = re.search(r"search status '(journal:///[^']*)#demo'", errors)
    assert saved, errors
    found = values(saved.group(1))
    assert len(found) >= 3
    assert found == {number: undisturbed[number] for number in found}
    assert sorted(found) == list(range(len(found)))
    return saved.group(1), len(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("harm", EVERYWHERE)
def test_a_file_is_harmed(write, start, search, undisturbed, kind, harm):
    code, errors = attack(write, start, kind, harm)
    if code == 0:  # what was harmed had been written anew from the log
        assert values(PLACES[kind]) == dict(enumerate(undisturbed))
        return
    assert code == 1
    saved, count = assert_saved(errors, undisturbed)
    assert count < TRIALS, "it ends at once"
    search("launch", "demo.toml", "--storage", saved)
    assert sorted(values(saved).values()) == sorted(undisturbed), "and goes on from there"


@pytest.mark.slow
@pytest.mark.parametrize("harm", IN_SQLITE.values(), ids=IN_SQLITE)
def test_a_database_is_harmed(write, start, undisturbed, harm):
    code, errors = attack(write, start, "sqlite", harm)
    if code == 0:
        assert values(PLACES["sqlite"]) == dict(enumerate(undisturbed))
        return
    assert code == 1
    assert_saved(errors, undisturbed)
