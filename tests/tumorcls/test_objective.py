import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pytest

from search.study_file.load import load
from tumorcls.data.prepare import prepare
from tumorcls.data.split import SplitSettings
from tumorcls.errors import ConfigError, TumorclsError
from tumorcls.objective import CONFIG_KEY, PROVENANCE_KEY, BrainTumourObjective, suggest
from tumorcls.training.checkpoint import Checkpoints
from tumorcls.training.trainer import Seconds

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("shared_programs")

PARAMS = {"epochs": 2, "learning_rate": 0.01, "dropout": 0.2, "batch_size": 16, "noise_intensity": 0.5}


@pytest.fixture(scope="module")
def objective(settings, shared_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORCLS_CACHE", str(shared_cache))
        yield BrainTumourObjective(**settings)


@pytest.fixture
def quiet_study():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize")


def test_plain_optuna_runs_it_and_every_epoch_is_on_record(objective, quiet_study):
    quiet_study.enqueue_trial({**PARAMS, "epochs": 4, "batch_size": 16})
    quiet_study.optimize(objective, n_trials=1)
    trial = quiet_study.best_trial
    assert trial.params["epochs"] == 4
    assert set(trial.params) == set(PARAMS)
    assert list(trial.intermediate_values) == [0, 1, 2, 3]
    assert trial.value == pytest.approx(trial.user_attrs["robust_f1"], abs=1e-6)
    assert trial.user_attrs[CONFIG_KEY]["learning_rate"] == trial.params["learning_rate"]
    assert trial.user_attrs[CONFIG_KEY]["weights"] == objective._settings["weights"]
    assert sum(trial.user_attrs["train_images"].values()) > 20
    assert len(trial.user_attrs[PROVENANCE_KEY]["split_sha256"]) == 64
    assert "keras" in trial.user_attrs[PROVENANCE_KEY]
    assert objective.fingerprint().items() <= trial.user_attrs[PROVENANCE_KEY].items()
    assert trial.user_attrs[PROVENANCE_KEY]["device"]
    assert trial.user_attrs[PROVENANCE_KEY]["precision"] == "float32"
    assert not {"device", "precision"} & set(objective.fingerprint()), "a study may go on on another device"
    assert 0 < trial.user_attrs["validation_share_of_time"] < 1
    seconds = trial.user_attrs["seconds"]
    assert 0 < seconds["training"] + seconds["validation"] <= seconds["total"] + 0.01


def test_a_gpu_that_cannot_be_used_is_a_note_of_the_launch(settings, monkeypatch):
    monkeypatch.setattr("tumorcls.objective.device_notes", lambda: ("there is a GPU",))
    assert BrainTumourObjective(**settings).notes[-1] == "there is a GPU"


@pytest.mark.slow  # what it builds stays in the process
def test_a_notebook_may_ask_for_a_space_of_its_own(settings, quiet_study):
    objective = BrainTumourObjective(**settings)

    def with_my_space(trial):
        trial.suggest_categorical("optimizer", ["sgd"])
        trial.suggest_float("label_smoothing", 0.0, 0.2, step=0.05)
        return objective(trial)

    quiet_study.optimize(with_my_space, n_trials=1)
    [trial] = quiet_study.trials
    assert set(trial.params) == {"optimizer", "label_smoothing"}
    config = trial.user_attrs[CONFIG_KEY]
    assert {name: config[name] for name in trial.params} == trial.params
    assert config["epochs"] == len(trial.intermediate_values) == settings["epochs"], "what is not asked for keeps its setting"


def test_threads_take_turns_and_get_the_values_that_they_would_alone(objective, quiet_study):
    def values(jobs):
        study = optuna.create_study(direction="maximize")
        for rate in (1e-2, 1e-4, 3e-3, 3e-4):
            study.enqueue_trial({**PARAMS, "epochs": 4, "learning_rate": rate})
        study.optimize(objective, n_trials=4, n_jobs=jobs)
        return {trial.params["learning_rate"]: trial.value for trial in study.trials if trial.params}

    assert values(2) == values(1)


@pytest.mark.slow  # compiles the last block
def test_where_training_begins_can_be_sampled(settings, quiet_study):
    space = {"trainable_from": {"type": "categorical", "choices": ["head", "block7"]}}
    without = {name: value for name, value in settings.items() if name != "trainable_from"}
    assert BrainTumourObjective.check_space(space, [], without) == []

    sampled = BrainTumourObjective(**without)

    def with_depth(trial, objective=sampled):
        trial.suggest_categorical("trainable_from", space["trainable_from"]["choices"])
        trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
        return objective(trial)

    for start in ("head", "block7", "head"):
        quiet_study.enqueue_trial({"trainable_from": start, "learning_rate": 1e-3})
    quiet_study.optimize(with_depth, n_trials=3)
    assert [trial.user_attrs[CONFIG_KEY]["trainable_from"] for trial in quiet_study.trials] == ["head", "block7", "head"]
    deeper, head = (quiet_study.trials[number].user_attrs["seconds"] for number in (1, 2))
    assert deeper["training"] > head["training"], "what a trial costs is in its record"
    first = quiet_study.trials[0]
    alone = with_depth(optuna.trial.FixedTrial(first.params, number=0), BrainTumourObjective(**settings))
    assert alone == first.value, "as in a study of the head alone"


def test_the_same_seed_gives_the_same_value(objective, quiet_study):
    for _ in range(2):
        quiet_study.enqueue_trial({**PARAMS, "epochs": 4}, user_attrs={"seed": 11})
    quiet_study.optimize(objective, n_trials=2)
    first, second = quiet_study.trials
    assert first.user_attrs["training_seed"] == second.user_attrs["training_seed"] == 11
    assert first.intermediate_values == second.intermediate_values


def test_several_scores_make_several_values_and_no_reports(settings, objective):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "maximize"])
    both = BrainTumourObjective(**settings, score=["clean_f1", "noisy_f1"])
    study.enqueue_trial({**PARAMS, "epochs": 4})
    study.optimize(both, n_trials=1)
    [trial] = study.trials
    assert trial.values == pytest.approx([trial.user_attrs["clean_f1"], trial.user_attrs["noisy_f1"]], abs=1e-6)
    assert trial.intermediate_values == {}
    with pytest.raises(TumorclsError, match="one score for each of the study's 2 directions; got robust_f1"):
        objective(study.ask())


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"]])
def test_a_study_that_would_choose_the_worst_model_is_refused_before_a_training(objective, directions):
    study = optuna.create_study(directions=directions)
    with pytest.raises(ConfigError, match=f"must maximize, .*; got {', '.join(directions)}. Write optuna.create_study"):
        objective(study.ask())
    assert BrainTumourObjective.directions({"data": "phantoms:8", "score": "clean_f1", "folds": 2}) == ["maximize"]
    own = {"artifacts": False, "checkpoints": True, "repeats": 1}
    assert BrainTumourObjective.directions({"data": "phantoms:8", "score": ["clean_f1", "noisy_f1"], **own}) == ["maximize"] * 2


@pytest.mark.parametrize("runs", [{"repeats": 3}, {"folds": 3}])
def test_a_trial_of_several_runs_has_their_mean_and_reports_each(settings, quiet_study, runs):
    several = BrainTumourObjective(**settings, **runs)
    quiet_study.enqueue_trial({**PARAMS, "epochs": 4}, user_attrs={"seed": 11})
    quiet_study.optimize(several, n_trials=1)
    [trial] = quiet_study.trials
    reported = list(trial.intermediate_values.values())
    assert len(reported) == 3
    assert len(set(reported)) > 1, "they were not the same run"
    assert trial.value == pytest.approx(np.mean(reported))
    assert trial.user_attrs["robust_f1"] == pytest.approx(trial.value, abs=1e-6)
    assert trial.user_attrs["robust_f1_of_runs"] == pytest.approx(reported, abs=1e-6)
    assert trial.user_attrs["robust_f1_stdev"] == pytest.approx(np.std(reported, ddof=1), abs=1e-6)
    assert set(trial.user_attrs[CONFIG_KEY]) & {"repeats", "folds"} == set()
    assert trial.user_attrs[PROVENANCE_KEY].items() >= runs.items(), "no other run's score is that value"


def test_the_first_repeat_is_the_run_that_a_trial_without_makes(settings, objective, quiet_study):
    for run in (objective, BrainTumourObjective(**settings, repeats=2)):
        quiet_study.enqueue_trial({**PARAMS, "epochs": 4}, user_attrs={"seed": 11})
        quiet_study.optimize(run, n_trials=1)
    once, twice = quiet_study.trials
    assert twice.intermediate_values[0] == once.value
    assert twice.user_attrs["robust_f1_of_runs"] == pytest.approx(list(twice.intermediate_values.values()), abs=1e-6)


@dataclass
class Run:
    """What a trial keeps of a run, without a training."""

    scores: dict[str, float]
    seconds: Seconds


@pytest.mark.parametrize("count", [1, 2, 16, 17])
def test_what_a_trial_keeps_of_its_runs(objective, tmp_path, monkeypatch, count):
    runs = [Run({"robust_f1": 0.5 + 0.01 * number}, Seconds(1.0, 0.5, 2.0)) for number in range(count)]
    left = []
    monkeypatch.setattr(objective, "_train_runs", lambda trial, config, planned: runs)
    monkeypatch.setattr(objective, "_leave_files", lambda trial, fitted: left.append(fitted))
    trial = Resumed(PARAMS, tmp_path)
    assert objective(trial) == pytest.approx(0.5 + 0.01 * (count - 1) / 2)
    assert left == [runs[-1]]
    assert trial.user_attrs["seconds"] == {"training": count, "validation": 0.5 * count, "total": 2.0 * count}
    assert trial.user_attrs["validation_share_of_time"] == 0.25
    listed = [round(run.scores["robust_f1"], 6) for run in runs] if count in (2, 16) else None  # more do not fit in a line
    assert trial.user_attrs.get("robust_f1_of_runs") == listed
    assert ("robust_f1_stdev" in trial.user_attrs) == (listed is not None)


def test_seeds_of_repeats_are_what_they_have_always_been(objective, make_config, monkeypatch):
    """A study that goes on with another version would otherwise mix them."""
    monkeypatch.setattr(objective, "_repeats", 3)
    assert [seed for seed, _ in objective._runs(make_config(), 11)] == [11, 457128608, 1440047358]


def test_a_record_names_data_so_that_it_is_found_from_elsewhere(objective, make_config, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images.parent)
    monkeypatch.setattr("os.environ", {})
    trial = Resumed(PARAMS, tmp_path)
    objective._describe(trial, make_config(data=[images.name]), 0)
    assert trial.user_attrs[CONFIG_KEY]["data"] == [str(images)]


def test_two_folds_are_made_of_training_and_validation_images(settings):
    assert BrainTumourObjective(**settings, folds=2)._parts == ("development",)


def test_plain_optuna_samples_what_our_study_samples(quiet_study):
    suggest(trial := quiet_study.ask())
    assert trial.distributions == load(REPOSITORY / "studies" / "brain-mri.toml").space


def test_a_pruner_decides_between_runs(settings, quiet_study):
    class AfterTheSecond(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.last_step == 1

    quiet_study.pruner = AfterTheSecond()
    quiet_study.enqueue_trial({**PARAMS, "epochs": 4})
    quiet_study.optimize(BrainTumourObjective(**settings, repeats=4), n_trials=1)
    [trial] = quiet_study.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [0, 1]


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ({"repeats": 0}, "[objective]: repeats: must be a whole number >= 1; got 0."),
        ({"repeats": True}, "[objective]: repeats: must be a whole number >= 1; got True."),
        ({"folds": 2.0}, "[objective]: folds: must be a whole number >= 1; got 2.0."),
        ({"folds": 2, "repeats": 2}, "[objective]: repeats, folds: only one may be above 1; got 2 and 2."),
        ({"folds": 500}, "folds: each class must have 500 groups of images; got "),
    ],
)
def test_runs_that_cannot_be(settings, runs, says):
    with pytest.raises(TumorclsError) as caught:
        BrainTumourObjective(**settings, **runs)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("artifacts", [True, False])
def test_a_trial_that_can_keep_files_gets_pictures(objective, artifacts, monkeypatch):
    class Keeper(optuna.trial.FixedTrial):
        def upload_artifact(self, filename, content):
            files[filename] = content

    files = {}
    monkeypatch.setattr(objective, "_artifacts", artifacts)
    objective(Keeper({**PARAMS, "epochs": 4}))
    if artifacts:
        pictures = {"training-curve.svg", "confusion-matrix.svg", "robustness-curve.svg", "worst-mistakes.png"}
        assert set(files) == {*pictures, "config.json"}
        assert all(content.startswith(b"<svg ") for name, content in files.items() if name.endswith(".svg"))
        assert sum(map(len, files.values())) < 300_000
    else:
        assert files == {}


def test_a_pruner_ends_a_trial(objective):
    class Always(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.last_step == 1

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=Always())
    study.enqueue_trial({**PARAMS, "epochs": 8})
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state is optuna.trial.TrialState.PRUNED
    assert list(study.trials[0].intermediate_values) == [0, 1]


class Resumed:
    """A trial that comes again and again, as `search` gives it."""

    number = 3

    def __init__(self, params, folder):
        self.params, self.folder, self.user_attrs, self.reported = params, folder, {}, []
        self.set_user_attr = self.user_attrs.__setitem__

    def checkpoint_folder(self):
        return self.folder

    def report(self, value, step):
        self.reported.append(step)

    def should_prune(self):
        return False


@pytest.mark.parametrize("name", ["slices", "data", "split"])
def test_what_all_trials_share_is_no_parameter(objective, name, tmp_path):
    other = {"slices": "all", "data": ["phantoms:64"], "split": {"seed": 9}}[name]
    with pytest.raises(TumorclsError, match=rf"trial 3: {name}: must be that of the objective, .* Make an objective for each"):
        objective(Resumed({**PARAMS, name: other}, tmp_path))


def test_a_trial_with_a_fidelity_goes_on_after_its_last_epoch(settings, tmp_path):
    objective = BrainTumourObjective(**settings | {"schedule": "ema"}, artifacts=False)
    whole = objective(Resumed(PARAMS | {"epochs": 4}, tmp_path))
    assert list(tmp_path.iterdir()) == [], "nothing is kept where nobody asked for it"
    objective.check_fidelity("epochs")
    first, second = (Resumed(PARAMS | {"epochs": epochs}, tmp_path) for epochs in (2, 4))
    objective(first)
    assert objective(second) == whole
    assert (first.reported, second.reported) == ([0, 1], [2, 3])
    assert second.user_attrs[CONFIG_KEY]["epochs"] == 4
    assert first.user_attrs["training_seed"] == Resumed.number, "of a study without seeds"
    assert isinstance(whole, float)


@pytest.mark.parametrize(("each_epoch", "paused"), [(True, False), (False, True), (True, True), (False, False)])
def test_states_are_kept_for_what_was_asked_for(objective, tmp_path, monkeypatch, each_epoch, paused):
    monkeypatch.setattr(objective, "_checkpoints", each_epoch)
    monkeypatch.setattr(objective, "_pauses", paused)
    expected = Checkpoints(tmp_path, each_epoch=each_epoch, paused=paused) if each_epoch or paused else None
    assert objective._checkpoints_of(Resumed(PARAMS, tmp_path)) == expected
    assert objective._checkpoints_of(Resumed(PARAMS, None)) is None, "its study keeps no files"
    assert objective._checkpoints_of(optuna.trial.FixedTrial(PARAMS)) is None


@pytest.mark.parametrize(
    ("changed", "name", "says"),
    [
        ({"schedule": "ema"}, "learning_rate", "space.learning_rate: fidelity: must be of epochs for this objective"),
        ({}, "epochs", 'a short run must be the beginning of a longer one where epochs is a fidelity; got "cosine"'),
        ({"schedule": "ema", "repeats": 2}, "epochs", "repeats: must be 1 where epochs is a fidelity"),
        ({"schedule": "ema", "folds": 2}, "epochs", "folds: must be 1 where epochs is a fidelity"),
    ],
)
def test_a_fidelity_that_cannot_be_is_one_line(settings, changed, name, says):
    with pytest.raises(TumorclsError) as caught:
        BrainTumourObjective(**settings | changed).check_fidelity(name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sampled_schedule_that_cannot_go_on_ends_its_trial(settings, tmp_path):
    objective = BrainTumourObjective(**settings | {"schedule": "constant"})
    objective.check_fidelity("epochs")
    with pytest.raises(TumorclsError, match=r'trial 3: schedule: .* got "cosine"'):
        objective(Resumed(PARAMS | {"schedule": "cosine"}, tmp_path))


def test_a_trial_that_brings_its_parameters_is_taken_as_it_is(objective):
    trial = optuna.trial.FixedTrial({**PARAMS, "epochs": 4})
    assert suggest(trial) == {**PARAMS, "epochs": 4}


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"artifacts": "no"}, "artifacts: must be true or false; got 'no'"),
        ({"data": "/nowhere"}, "must exist"),
        ({"epohcs": 3}, "Did you mean epochs?"),
        ({"weights": "no.h5"}, "does not exist"),
    ],
)
def test_what_is_wrong_shows_before_the_first_trial(settings, changed, rule, monkeypatch, tmp_path):
    monkeypatch.setenv("TUMORCLS_CACHE", str(tmp_path))
    with pytest.raises(TumorclsError) as caught:
        BrainTumourObjective(**{**settings, **changed})
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow  # for the memory of another process with TensorFlow
def test_no_part_of_a_search_opens_a_test_image(settings, images, tmp_path):
    # Another process, whose opened files are on record from its first import on; test images are then even gone.
    data = tmp_path / "sartaj"
    for path in images.rglob("*.jpg"):
        copy = data / path.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    split = SplitSettings(**settings["split"])
    prepared = prepare([data], split, tmp_path / "cache")
    parts = {
        part: {str(prepared.manifest.entries[i].path) for i in prepared.indices(part)}
        for part in ("train", "validation", "test")
    }
    assert len(parts["test"]) >= 12
    code = (
        "import sys, json\nopened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import optuna\nfrom tumorcls.objective import BrainTumourObjective\n"
        "settings, params = map(json.loads, sys.argv[1:])\n"
        "objective = BrainTumourObjective(**settings)\n"
        "print(objective(optuna.trial.FixedTrial(params)))\n"
        "print(json.dumps([path for path in opened if path.endswith('.jpg')]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps({**settings, "data": [str(data)]}), json.dumps({**PARAMS, "epochs": 2})],
        env={**os.environ, "TUMORCLS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    opened = set(json.loads(done.stdout.splitlines()[-1]))
    assert opened >= parts["train"] | parts["validation"], "the hook sees what is opened"
    assert not opened & parts["test"]
