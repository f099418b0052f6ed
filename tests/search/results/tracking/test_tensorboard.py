import dataclasses
import hashlib
import io
import math
import struct
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import TrialState
from PIL import Image

from search.results.tracking.projection import study_run, trial_run
from search.results.tracking.sync import Sync
from tests.patience import PATIENCE_S
from tests.search.results.tracking.conftest import read_events

pytest.importorskip("tensorboard")

from search.results.tracking import tensorboard_runs
from search.results.tracking.tensorboard_runs import TensorBoardRuns


def send(study, folder="runs"):
    return Sync(TensorBoardRuns(Path(folder)), Path("none")).send(study)


def files(folder="runs"):
    return {str(path.parent.name): path.read_bytes() for path in sorted(Path(folder).rglob("events*"))}


def scalars(content):
    events, end = tensorboard_runs._read(content)
    assert end == len(content), "no record is damaged"
    values = [(event.step, value) for event in events for value in event.summary.value]
    return [(value.tag, step, value.simple_value) for step, value in values if value.HasField("simple_value")]


def test_what_is_sent_is_sent_once(study):
    assert (send(study).sent, send(study).sent) == (8, 0)
    assert sorted(files()) == ["demo", *(f"trial-000{number}" for number in (0, 1, 2, 3, 4, 5, 6, 8))]
    assert scalars(files()["trial-0000"]) == [
        ("reported/score", 0, pytest.approx(0.1)),
        ("reported/score", 1, pytest.approx(0.3)),
        ("reported/score", 2, 0.5),
        ("score", 2, 0.5),
    ]


def test_it_is_not_sent_again_where_parameters_come_in_another_order_as_they_do_in_another_process(folder):
    study = optuna.create_study(study_name="demo")
    study.optimize(lambda trial: sum(trial.suggest_float(name, 0, 1) for name in "abcdefghijklmnop"), n_trials=1)
    run = trial_run(study, study.trials[0], Path("none"), ["score"])
    runs = TensorBoardRuns(Path("runs"))
    runs.open(study_run(study, study.trials, ""))
    assert runs.send_trial(run)
    assert not runs.send_trial(dataclasses.replace(run, params=dict(reversed(list(run.params.items())))))


def test_one_that_goes_on_is_appended_to(study):
    sync = Sync(TensorBoardRuns(Path("runs")), Path("none"))
    sync.send(study)
    before = files()["trial-0006"]
    study._storage.set_trial_intermediate_value(6, 1, 0.75)
    assert sync.send(study).sent == 1
    assert files()["trial-0006"].startswith(before), "a TensorBoard that shows it goes on"
    study.tell(6, 0.8)
    assert (sync.send(study).sent, sync.send(study).sent) == (1, 0)
    assert files()["trial-0006"].startswith(before)
    assert scalars(files()["trial-0006"])[-2:] == [("reported/score", 1, 0.75), ("score", 1, pytest.approx(0.8))]


def test_a_trial_that_begins_anew_goes_on_in_its_file(study):
    """As one does that was paused and is promoted, and the study with its first."""
    promoted = study._storage._get_trial(6)
    promoted.datetime_start -= timedelta(seconds=1000)
    send(study)
    before = files()
    promoted.datetime_start += timedelta(seconds=500)
    study._storage.set_trial_intermediate_value(6, 1, 0.75)
    other = Path("runs/demo/trial-0006/events.out.tfevents.9999999999.search")  # as one for each leg
    other.write_bytes(before["trial-0006"])
    assert (send(study).sent, send(study).sent) == (1, 0)
    assert len(list(Path("runs").rglob("events*"))) == len(before)
    assert files()["trial-0006"].startswith(before.pop("trial-0006")), "a TensorBoard that shows it goes on"
    assert before.items() <= files().items()


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty"])
def test_a_file_that_a_kill_or_a_disk_has_damaged_is_whole_again(study, damage):
    send(study)
    whole = {name: repr(scalars(content)) for name, content in files().items()}
    (path,) = Path("runs/demo/trial-0000").iterdir()
    content = path.read_bytes()
    damaged = {
        "cut": content[:-5],
        "flipped": content[:200] + bytes([content[200] ^ 1]) + content[201:],
        "other": content + content[:100],
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    assert send(study).sent == 1
    assert {name: repr(scalars(content)) for name, content in files().items()} == whole


def test_a_study_begun_anew_takes_the_place_of_the_former(study):
    send(study)
    Path("runs/demo/mine.txt").write_text("kept")
    study._storage.create_new_trial(study._study_id)
    assert send(study).sent == 1
    again = optuna.create_study(study_name="demo")
    assert send(again).sent == 0
    assert list(files()) == ["demo"], "none of its trials has begun"
    assert Path("runs/demo/mine.txt").read_text() == "kept"


@pytest.mark.parametrize("name", ["", ".", "..", "../demo", "demo/lr", "demo/trial-0000", "{folder}/other", ".search-study"])
def test_a_study_of_any_name_stays_in_a_folder_of_its_own(study, name, folder):
    send(study)
    before = files()
    name = name.format(folder=folder)
    other = optuna.create_study(study_name=name)
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert send(other, "runs/new").sent == 1
    (own,) = Path("runs/new").iterdir()
    assert sorted(str(path.parent.relative_to(own)) for path in own.rglob("events*")) == [".", "trial-0000"]
    assert send(other).sent == 1
    again = optuna.create_study(study_name=name)
    again.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert (send(again).sent, send(study).sent) == (1, 0)
    assert before.items() <= {path.parent.name: path.read_bytes() for path in Path("runs/demo").rglob("events*")}.items()


def test_only_what_another_study_of_that_folder_has_left_goes(study):
    """The folder of a study may be given as that of another one's board, and other programs write there too."""
    inner = optuna.create_study(study_name="trial-0009")
    inner.ask()
    send(inner, "runs/demo")
    others = ["runs/demo/mine/events.out.tfevents.1.search", "runs/demo/trial-0000-old/events.out.tfevents.1.search"]
    for other in others:
        Path(other).parent.mkdir()
        Path(other).touch()
    before = sorted(Path("runs").rglob("events*"))
    send(study)
    send(optuna.create_study(study_name="demo"))
    assert sorted(Path("runs").rglob("events*")) == sorted([*before, *Path("runs/demo").glob("events*")])


def test_where_no_study_has_left_its_mark_nothing_goes(study):
    found = Path("runs/demo/events.out.tfevents.1.search")
    found.parent.mkdir(parents=True)
    found.write_bytes(b"mine")
    send(study)
    assert found.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_written_is_told_and_not_raised(study):
    Path("runs").write_text("a file")
    done = send(study)
    assert (done.sent, done.missing, done.reason) == (0, 8, "Not a directory")


@pytest.mark.slow
def test_it_does_without_tensorflow(study):
    script = "import sys; from search.results.tracking import tensorboard_runs as t; t._scalar('a', 1.0); t._framed(b'x'); "
    script += "from search.results.tracking.projection import StudyRun; "
    script += "t._experiment(StudyRun('i', 'n', False, {}, {}, (), ['s'], {}, 0, 0), 0); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE_S)


def test_records_are_framed_as_tensorflow_does():
    # TFRecord: the length, its masked checksum, the data, and that of the data.
    framed = tensorboard_runs._framed(b"abc")
    assert struct.unpack("<Q", framed[:8]) == (3,)
    assert framed[12:15] == b"abc"
    assert len(framed) == 8 + 4 + 3 + 4


def add_files(folder, **contents):
    """Makes a study of one trial that has these artifacts, and sends it once it is over."""
    study = optuna.create_study(study_name="demo")
    store = folder / "demo.artifacts"
    store.mkdir()
    trial = study.ask()
    for name, content in contents.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content)
        upload_artifact(artifact_store=FileSystemArtifactStore(store), file_path=str(path), study_or_trial=trial)
    trial.report(0.5, 0)
    sync = Sync(TensorBoardRuns(Path("runs")), store)
    sync.send(study)
    before = files()["trial-0000"]
    study.tell(trial, 1.0)
    assert (sync.send(study).sent, sync.send(study).sent) == (1, 0)
    assert files()["trial-0000"].startswith(before), "a TensorBoard that shows it goes on"


def png(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


CHOICES = (None, "relu", [1, 2], {"units": [3, None]}, True, 0, 0.5, float("inf"))
NO_SCALARS = pytest.mark.filterwarnings("ignore:Choices for a categorical distribution:UserWarning")


@pytest.mark.slow
@NO_SCALARS
def test_a_choice_of_any_kind_is_shown():
    study = optuna.create_study(study_name="demo")
    for choice in CHOICES:
        study.enqueue_trial({"x": choice})
    study.optimize(lambda trial: bool(trial.suggest_categorical("x", CHOICES)), n_trials=len(CHOICES))
    assert send(study).sent == len(CHOICES)
    found = read_events(*(f"runs/demo/trial-{number:04}" for number in range(len(CHOICES))))
    shown = [run["hparams"]["x"] for run in found]
    assert shown == ["None", "relu", "[1, 2]", "{'units': [3, None]}", True, 0.0, 0.5, float("inf")]
    assert [type(value) for value in shown[4:6]] == [bool, float]


@pytest.mark.parametrize(
    ("choices", "kind"),
    [
        ([True, False], "BOOL"),
        ([0, 0.5], "FLOAT64"),
        (["a", "b"], "STRING"),
        ([True, 1], "STRING"),
        ([None, 1], "STRING"),
        ([[1], {"a": 1}], "STRING"),
    ],
)
def test_the_kind_of_a_parameter(choices, kind):
    from tensorboard.plugins.hparams import api_pb2

    assert tensorboard_runs._data_type(choices) == getattr(api_pb2, f"DATA_TYPE_{kind}")


@pytest.mark.slow
def test_pictures_among_the_artifacts_are_images(folder):
    shown, jpeg = png(40, 30), io.BytesIO()
    Image.new("L", (20, 10)).save(jpeg, "JPEG")
    others = {
        "cut_png": shown[:20],
        "large_png": shown + bytes(2**20),
        "curve_svg": b"<svg/>",
        "config_json": b"{}",
        "no_png": b"",
    }
    add_files(folder, mistakes_png=shown, map_jpg=jpeg.getvalue(), **others)
    (found,) = read_events("runs/demo/trial-0000")
    assert found["images"] == {
        "mistakes.png": [[0, 40, 30, hashlib.sha256(shown).hexdigest()]],
        "map.jpg": [[0, 20, 10, hashlib.sha256(jpeg.getvalue()).hexdigest()]],
    }
    assert found["scalars"] == {"reported/value": [[0, 0.5]], "value": [[0, 1.0]]}


@pytest.mark.slow
def test_tensorboards_own_reader_finds_the_storage(study):
    send(study)
    complete, pruned, failed, running, whole = read_events(
        *(f"runs/demo/trial-000{number}" for number in (0, 1, 2, 6)), "runs/demo"
    )
    reported = [[0, pytest.approx(0.1)], [1, pytest.approx(0.3)], [2, 0.5]]
    assert complete["scalars"] == {"reported/score": reported, "score": [[2, 0.5]]}
    assert complete["hparams"] == {"x": 0.25, "kind": "a"}
    assert math.isnan(pruned["scalars"]["reported/score"][1][1])
    assert [run["status"] for run in (complete, pruned, failed, running)] == [1, 1, 2, None]  # success, failure, none yet
    assert whole["scalars"] == {"best/score": [[0, 0.5], [4, pytest.approx(0.9)]]}
    assert whole["experiment"]["metrics"] == ["score", "reported/score"]
    assert study.get_trials(states=(TrialState.COMPLETE,))
