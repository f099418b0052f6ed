import json
import subprocess
import time
from pathlib import Path

import numpy as np
import optuna
import pytest

from benchmarks import keras_peer
from benchmarks.search_quality import contenders
from benchmarks.search_quality.contenders import SPACE, Record, write_study
from benchmarks.search_quality.launched import LOG, Launched
from benchmarks.search_quality.records import Run, Task
from tumorcls.objective import BrainTumourObjective

pytest.importorskip("keras_tuner")
pytestmark = [
    pytest.mark.slow,
    # KerasTuner 1.4 asks Python for the current thread in the old way.
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning"),
]

SETTINGS = {
    "data": ["phantoms:8"],
    "weights": "none",
    "batch_norm": "train",
    "image_size": 32,
    "score": "clean_f1",
    "measured_noises": [],
}
TASK = Task(SETTINGS, 3600.0, "own")
SMALL = SPACE.replace("high = 16", "high = 4")


@pytest.fixture
def own_stacks(monkeypatch):
    """The module, with four training images, two validation images, and a model of one layer for EfficientNet."""
    import keras

    from benchmarks.search_quality import own_stacks

    def build(config, classes):
        model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(classes, "softmax")])
        metric = keras.metrics.F1Score(average="macro", name="macro_f1")
        loss = "categorical_crossentropy"
        model.compile(keras.optimizers.SGD(config.learning_rate), loss, metrics=[metric], run_eagerly=True)
        return model

    images, targets = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3), np.eye(4, dtype=np.float32)
    monkeypatch.setattr(keras_peer, "build", build)
    monkeypatch.setattr(own_stacks, "_images", lambda spec, cache: ((images, targets), (images[:2], targets[:2])))
    return own_stacks


def record_of(monkeypatch, **options):
    record = Record(**options)
    monkeypatch.setattr(contenders, "record", record)
    return record


def test_a_tuner_searches_with_the_epochs_and_the_batch_size_of_the_space(own_stacks, monkeypatch, tmp_path):
    record = record_of(monkeypatch)
    spec = write_study(tmp_path, TASK, 0, SMALL)
    own_stacks.search_hypermodel(own_stacks.keras_tuner.RandomSearch, max_trials=2)(spec, tmp_path)
    assert record.begun == len(record.finished) == 2
    for trial in record.finished:
        assert set(trial.params) == set(spec.space)
        assert trial.params["epochs"] in (2, 4)
        assert 0.0 <= trial.value <= 1.0


def test_hyperband_says_the_epochs_itself(own_stacks, monkeypatch, tmp_path):
    record = record_of(monkeypatch)
    make = own_stacks.search_hypermodel(own_stacks.keras_tuner.Hyperband, max_epochs=2, factor=2)
    make(write_study(tmp_path, TASK, 0, SMALL), tmp_path)
    assert {trial.params["epochs"] for trial in record.finished} == {1, 2}


def test_no_trial_of_a_tuner_begins_when_the_time_is_up(own_stacks, monkeypatch, tmp_path):
    record = record_of(monkeypatch, seconds=0.0)
    own_stacks.search_hypermodel(own_stacks.keras_tuner.RandomSearch, max_trials=2)(
        write_study(tmp_path, TASK, 0, SMALL), tmp_path
    )
    assert (record.begun, record.finished) == (0, [])


def test_a_pruned_trial_of_optuna_counts_for_nothing_but_its_time(own_stacks, monkeypatch, tmp_path):
    class OddOnes(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            if trial.number == 2:
                study.stop()
            return trial.number == 1

    record = record_of(monkeypatch)
    own_stacks.optimize(OddOnes())(write_study(tmp_path, TASK, 0, SMALL), tmp_path)
    assert record.begun == 3
    assert [trial.seed for trial in record.finished] == [0, 2]


def test_what_ends_late_does_not_count():
    record = Record(started=100.0, seconds=10.0)
    record.end(0.5, {}, 0, ended=109.0)
    record.end(0.6, {}, 1, ended=111.0)
    assert [(trial.ended, trial.value) for trial in record.finished] == [(9.0, 0.5)]


def test_a_launch_counts_what_its_worker_wrote_down_and_its_winner_is_what_is_exported(own_stacks, monkeypatch, tmp_path):
    exported = subprocess.CompletedProcess([], 0, stdout="[provenance]\nseed = 5\n")

    def run(command, *, cwd, env=None, check, **_):
        if "export" in command:
            assert command[1:] == ["-m", "search", "export", str(tmp_path / "study.toml")]
            return exported
        assert command[1:] == ["-m", "search", "launch", "--quiet", str(tmp_path / "study.toml")]
        assert env["TUMORCLS_CACHE"] == str(tmp_path / "cache")
        value = {"ended": record.started + 8.0, "value": 0.7, "params": {"epochs": 2}, "seed": 5}
        promoted = {**value, "ended": record.started + 9.0, "params": {"epochs": 4}}
        luckier = {**value, "ended": record.started + 10.0, "value": 0.8, "seed": 6}
        late = {**value, "ended": record.started + 3601.0, "value": 0.9}
        Path(env[LOG]).write_text("".join(f"{json.dumps(line)}\n" for line in (value, promoted, luckier, late)))

    record = record_of(monkeypatch, seconds=3600.0)
    monkeypatch.setattr(own_stacks.subprocess, "run", run)
    own_stacks.launch_ours(write_study(tmp_path, TASK, 0), tmp_path)
    assert record.begun == 4
    assert [(trial.ended, trial.value, trial.seed) for trial in record.finished] == [
        (pytest.approx(8.0), 0.7, 5),
        (pytest.approx(9.0), 0.7, 5),
        (pytest.approx(10.0), 0.8, 6),
    ]
    assert Run.of("tumorcls", 0, record.begun, record.finished, record.chosen).winner == record.finished[1]
    assert Run.of("tumorcls", 0, record.begun, record.finished).winner == record.finished[2]


def test_the_objective_of_a_launch_writes_down_when_its_value_was_there(monkeypatch, tmp_path):
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    monkeypatch.setattr(BrainTumourObjective, "__init__", lambda self: None)
    monkeypatch.setattr(BrainTumourObjective, "__call__", lambda self, trial: 0.75)
    trial = optuna.trial.create_trial(value=0.0, user_attrs={"training_seed": 3})
    before = time.perf_counter()
    assert Launched()(trial) == 0.75
    line = json.loads((tmp_path / "log").read_text())
    assert before <= line.pop("ended") <= time.perf_counter()
    assert line == {"value": 0.75, "params": {}, "seed": 3}
