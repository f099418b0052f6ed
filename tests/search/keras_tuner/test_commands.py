import contextlib
import sqlite3
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from search.cli import cli
from search.driver.ownership import claim
from search.errors import SearchError
from search.keras_tuner import importing
from search.keras_tuner.importing import import_project
from search.records.attributes import DRIVER_KEY, IMPORTED_KEY
from search.storage.open import close, create_study, open_study
from tests.search.keras_tuner.projects import metric, parameter, trial


@pytest.fixture
def search(folder):
    """Runs a command in this process, and returns what it prints."""

    def run(*arguments):
        return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False).output

    return run


def test_an_imported_study_goes_through_every_command(search, write_project):
    write_project(trial({"x": 0.5}, 0.25), trial({"x": 0.1}, 0.01), trial({"x": 0.3}, status="FAILED"))
    assert search("import-keras-tuner", "project").splitlines() == [
        "KerasTuner, 3 trials: 2 complete, 1 fail added.",
        "Best trial 1: val_loss 0.01 with x=0.1",
        "Look at it:  search dashboard 'sqlite:///project.db#project'",
    ]
    assert search("import-keras-tuner", "project").startswith("KerasTuner, 3 trials: 3 known.\n")
    named = "sqlite:///project.db#project"
    assert "project: 2 trials finished (2 complete · 1 fail)" in search("status", named)
    exported = tomllib.loads(search("export", named))
    assert exported["config"] == {"x": 0.1}
    assert (exported["provenance"]["trial"], exported["provenance"]["val_loss"]) == (1, 0.01)
    search("report", named)
    assert "val_loss" in Path("report.html").read_text()


def test_a_study_file_goes_on_from_an_imported_study(search, write, write_project, read_study):
    write_project(trial({"x": 0.5}, 0.25), trial({"x": 0.1}, 0.01), name="demo")
    search("import-keras-tuner", "demo")
    path = write(study={"direction": '"minimize"'}, space={"x": '{ type = "float", low = -1.0, high = 1.0 }'})
    search("launch", path, "--trials", "3")
    assert [trial.user_attrs.get(IMPORTED_KEY) for trial in read_study().trials] == ["00", "01", None]


def test_a_study_file_with_conditions_goes_on_from_an_imported_study(search, write, write_project, read_study):
    """The space that one command prints of a project takes the trials that another imports, with what was active in each."""
    wide = parameter("Int", "wide", [("kind", ["b"])], min_value=1, max_value=9, step=1, sampling="linear")
    space = (parameter("Choice", "kind", values=["a", "b"]), wide)
    write_project(trial({"kind": "a"}, 0.25), trial({"kind": "b", "wide": 3}, 0.01), name="demo", space=space)
    search("import-keras-tuner", "demo")
    printed = search("space-from-keras-tuner", "demo")
    assert printed.splitlines()[-1].endswith('when = { param = "kind", is = "b" } }')
    Path("scoped.py").write_text(
        "def objective(trial):\n"
        "    kind = trial.suggest_categorical('kind', ['a', 'b'])\n"
        "    return trial.suggest_int('wide', 1, 9) if kind == 'b' else 5\n"
    )
    path = write(study={"direction": '"minimize"', "objective": '"scoped:objective"'}, space=printed)
    search("launch", path, "--trials", "8")
    trials = read_study().trials
    assert [trial.user_attrs.get(IMPORTED_KEY) for trial in trials] == ["00", "01", *[None] * 6]
    assert {("wide" in trial.params, trial.params["kind"]) for trial in trials} == {(False, "a"), (True, "b")}


def test_a_study_learns_from_an_imported_one(search, write, write_project, read_study):
    write_project(trial({"x": 0.5}, 0.25), trial({"x": -0.5}, 0.01), trial({"x": 0.3}, status="FAILED"), name="old")
    search("import-keras-tuner", "old")
    path = write(study={"direction": '"minimize"'}, space={"x": '{ type = "float", low = 0.0, high = 1.0 }'})
    shown = search("launch", path, "--trials", "1", "--warm-start", "sqlite:///old.db#old").splitlines()
    assert shown[0].startswith("Runs the code of objectives.py in this folder")
    assert shown[1] == "Warm start: 1 trial of old taken over; they count against no budget."
    assert shown[2] == "Left out, 1 trial: x must lie in [0.0, 1.0]."
    assert read_study().trials[0].params["x"] == 0.5
    assert "Best trial 1:" in "".join(shown), "whether KerasTuner measured the same, nobody knows"


def test_names_and_objectives(search, write_project, read_study):
    history = {"val_loss": metric("min", 0.5), "accuracy": metric("max", 0.9)}
    write_project(trial({"x": 0.1}, -0.4, history))
    arguments = ("import-keras-tuner", "project", "--study", "both", "--storage", "sqlite:///demo.db")
    with pytest.raises(SearchError, match="one metric must explain the scores of the trials; got none of val_loss, accuracy"):
        search(*arguments)
    search(*arguments, "--objective", "val_loss:min", "--objective", "accuracy:max")
    study = read_study("both")
    assert (study.metric_names, study.trials[0].values) == (["val_loss", "accuracy"], [0.5, 0.9])
    with pytest.raises(SearchError, match='study "both" must minimize; got one that does minimize and maximize'):
        search(*arguments, "--objective", "val_loss:min")


def test_values_of_another_metric_are_refused_and_rename_nothing(search, write_project, read_study):
    write_project(trial({"x": 0.1}, 0.5, {"val_loss": metric("min", 0.5), "loss": metric("min", 0.4)}))
    arguments = ("import-keras-tuner", "project", "--study", "demo", "--storage", "sqlite:///demo.db")
    search(*arguments)
    with pytest.raises(SearchError, match=r'study "demo" must have the values of loss; got those of val_loss\. Add --study'):
        search(*arguments, "--objective", "loss:min")
    study = read_study()
    assert (study.metric_names, study.trials[0].values) == (["val_loss"], [0.5])


def test_a_foreign_folder_is_one_line(search):
    Path("photos").mkdir()
    with pytest.raises(SearchError, match=r"^photos: a KerasTuner project must hold oracle.json; got none\."):
        search("import-keras-tuner", "photos")
    assert not Path("photos.db").exists()


def test_the_driver_at_work_stays_the_only_writer(search, write_project):
    project = write_project(trial({"x": 0.1}, 0.1))
    study = create_study("sqlite:///project.db", "project", ["minimize"], ["val_loss"])
    claim(study)
    study.set_user_attr(DRIVER_KEY, {**study.user_attrs[DRIVER_KEY], "host": "elsewhere"})
    with pytest.raises(SearchError, match="one driver at a time"):
        search("import-keras-tuner", project)
    assert not study.trials
    close(study)


def test_an_import_is_read_back(search, write_project, monkeypatch):
    """What another program deletes while it is written is missed at the end, and is saved beside the storage."""

    def import_and_lose(*arguments):
        imported = import_project(*arguments)
        with contextlib.closing(sqlite3.connect("project.db")) as connection:
            connection.execute("DELETE FROM trials WHERE number = 0")
            connection.commit()
        return imported

    monkeypatch.setattr(importing, "import_project", import_and_lose)
    write_project(trial({"x": 0.5}, 0.25), trial({"x": 0.1}, 0.01))
    with pytest.raises(SearchError, match=r"must keep what was written to it; got: 1 of 2 trials not as they were") as caught:
        search("import-keras-tuner", "project")
    assert "Check the storage, and try again." in str(caught.value), "what is missing is imported again"
    assert "search launch" not in str(caught.value)
    assert read_values("journal:///project.rescued.log") == [0.25, 0.01]


def read_values(url):
    study = open_study(url, "project")
    values = [trial.value for trial in study.trials]
    close(study)
    return values
