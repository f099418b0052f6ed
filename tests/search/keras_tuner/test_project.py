import shutil
from pathlib import Path

import pytest

from search.errors import ProjectError
from search.keras_tuner.project import read_project
from tests.search.keras_tuner.projects import trial


def test_a_project(write_project):
    project = read_project(write_project(trial({"x": 0.5}, 0.25), trial({"x": -1.0}, 1.0), brackets=[]))
    assert project.tuner == "Hyperband"
    assert [(file.trial_id, file.hyperparameters.values, file.score) for file in project.trials] == [
        ("00", {"x": 0.5}, 0.25),
        ("01", {"x": -1.0}, 1.0),
    ]


def test_a_trial_that_a_killed_tuner_wrote_last_is_read(write_project):
    """KerasTuner writes the trial first, then oracle.json with its name."""
    folder = write_project(trial({"x": 0.5}, 0.25), trial({"x": 0.1}, status="RUNNING"), start_order=["00"])
    assert [file.trial_id for file in read_project(folder).trials] == ["00", "01"]


def _break(folder, how):
    oracle, last = folder / "oracle.json", folder / "trial_01" / "trial.json"
    match how:
        case "no folder":
            shutil.rmtree(folder)
        case "a file":
            shutil.rmtree(folder)
            folder.touch()
        case "no oracle":
            oracle.unlink()
        case "above":
            shutil.move(folder, "inner")
            shutil.move("inner", folder / "inner")
        case "no trials":
            for path in folder.glob("trial_*"):
                shutil.rmtree(path)
            oracle.write_text(oracle.read_text().replace('["00", "01"]', "[]"))
        case "a trial is missing":
            shutil.rmtree(last.parent)
        case "cut off":
            last.write_text(last.read_text()[:100])
        case "empty":
            last.write_text("")
        case "binary":
            oracle.write_bytes(b"\xff\xfe\x00")
        case "foreign":
            oracle.write_text('{"name": "oracle"}')
        case "a list":
            oracle.write_text("[]")
        case "foreign trial":
            last.write_text(last.read_text().replace('"COMPLETED"', '"SOLD"'))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no folder", "project: the project must be a folder; got no such folder."),
        ("a file", "project: the project must be a folder; got a file."),
        ("no oracle", "project: a KerasTuner project must hold oracle.json; got none. Name directory/project_name"),
        ("above", "project: a KerasTuner project must hold oracle.json; got none. Did you mean project/inner?"),
        ("no trials", "project: must hold trials; got no trial_*/trial.json."),
        ("a trial is missing", "project: each trial of oracle.json must have its file; got no trial_01/trial.json."),
        ("binary", "project/oracle.json: must be whole JSON; got: "),
        ("foreign", "project/oracle.json: hyperparameters: must be as KerasTuner writes it; got: Field required."),
        ("a list", "project/oracle.json: the file: must be as KerasTuner writes it; got: "),
    ],
)
def test_what_is_no_project(write_project, how, message):
    _break(write_project(trial({"x": 0.5}, 0.25), trial({"x": 0.1}, 0.01)), how)
    with pytest.raises(ProjectError) as caught:
        read_project(Path("project"))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut off", "project/trial_01/trial.json: must be whole JSON; got: "),
        ("empty", "project/trial_01/trial.json: must be whole JSON; got: Expecting value"),
        ("foreign trial", "project/trial_01/trial.json: status: must be as KerasTuner writes it; got: "),
    ],
)
def test_a_trial_that_cannot_be_read_is_left_out_and_named(write_project, how, message):
    _break(write_project(trial({"x": 0.5}, 0.25), trial({"x": 0.1}, 0.01)), how)
    project = read_project(Path("project"))
    assert [file.trial_id for file in project.trials] == ["00"]
    [line] = project.unread.values()
    assert line.startswith(message)
    assert "\n" not in line
    shutil.rmtree(Path("project/trial_00"))
    Path("project/oracle.json").write_text(Path("project/oracle.json").read_text().replace('"00", "01"', '"01"'))
    with pytest.raises(ProjectError, match=r"project/trial_01/trial.json: "):
        read_project(Path("project"))
