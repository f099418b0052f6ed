"""Projects that the installed KerasTuner makes: the study says what KerasTuner itself says."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from search.keras_tuner.importing import import_project
from search.keras_tuner.objective import find_objective, parse_objective
from search.keras_tuner.project import read_project
from search.records.attributes import IMPORTED_KEY

keras_tuner = pytest.importorskip("keras_tuner")

pytestmark = [
    pytest.mark.slow,
    # KerasTuner 1.4 asks Python for the current thread in the old way.
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

DISTRIBUTIONS = {
    "x": FloatDistribution(-1, 1),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "batch_size": CategoricalDistribution([2, 4, 8, 16]),
    "model": CategoricalDistribution(["cnn", "mlp"]),
    "cnn/filters": IntDistribution(8, 32, step=8),
    "momentum": FloatDistribution(0, 0.9, step=0.1),
    "optimizer": CategoricalDistribution(["sgd"]),
    "shuffle": CategoricalDistribution([False, True]),
}


def score(hp):
    """Asks for every kind of hyperparameter; fails where x is near its upper end."""
    x = hp.Float("x", -1, 1)
    rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Int("batch_size", 2, 16, step=2, sampling="log")
    hp.Choice("model", ["cnn", "mlp"])
    with hp.conditional_scope("model", ["cnn"]), hp.name_scope("cnn"):
        hp.Int("filters", 8, 32, step=8)
    momentum = hp.Float("momentum", 0, 0.9, step=0.1, parent_name="model", parent_values=["mlp"])
    hp.Fixed("optimizer", "sgd")
    hp.Boolean("shuffle")
    if x > 0.6:
        raise ValueError("x is too large")
    return x**2 + math.log10(rate) ** 2 / 10 + (momentum or 0.5)


def declared():
    hp = keras_tuner.HyperParameters()
    score(hp)
    return hp


def run_trial(self, trial, *args, **kwargs):
    value = score(trial.hyperparameters)
    return {"val_loss": value, "val_accuracy": 1 - value}


def tuner(base):
    return type(base.__name__, (base,), {"run_trial": run_trial})


LIMITS = {"max_consecutive_failed_trials": 99, "overwrite": True, "directory": "."}
OWN = {"max_trials": 5, "seed": 4, "max_consecutive_failed_trials": 99}
KINDS = {
    "RandomSearch": lambda **kw: tuner(keras_tuner.RandomSearch)(max_trials=8, seed=3, **kw),
    "BayesianOptimization": lambda **kw: tuner(keras_tuner.BayesianOptimization)(
        max_trials=5, num_initial_points=5, seed=3, **kw
    ),
    "Hyperband": lambda **kw: tuner(keras_tuner.Hyperband)(max_epochs=4, seed=3, hyperparameters=declared(), **kw),
    "GridSearch": lambda **kw: tuner(keras_tuner.GridSearch)(max_trials=9, **kw),
    "own": lambda max_consecutive_failed_trials, objective, **kw: tuner(keras_tuner.Tuner)(
        oracle=keras_tuner.oracles.RandomSearchOracle(objective, **OWN), **kw
    ),
}


@pytest.fixture
def study():
    return optuna.create_study(storage="sqlite:///demo.db", study_name="demo")


@pytest.mark.parametrize("kind", KINDS)
def test_the_study_says_what_keras_tuner_says(kind, study, folder):
    made = KINDS[kind](objective=keras_tuner.Objective("val_loss", "min"), project_name=kind, **LIMITS)
    made.search()
    project = read_project(folder / kind)
    assert project.tuner == (kind if kind in ("Hyperband", "BayesianOptimization") else "KerasTuner")
    objective = find_objective(project)
    assert objective == parse_objective("val_loss:min")
    import_project(project, study, [objective])

    theirs = made.oracle.trials
    assert len(study.trials) == len(theirs) > 4
    for trial in study.trials:
        told = theirs[trial.user_attrs[IMPORTED_KEY]]
        values = told.hyperparameters.values
        assert trial.params == {name: value for name, value in values.items() if not name.startswith("tuner/")}
        assert {name: trial.user_attrs[name] for name in values if name.startswith("tuner/")} == {
            name: value for name, value in values.items() if name.startswith("tuner/")
        }
        assert trial.value == told.score
        assert trial.state is (TrialState.COMPLETE if told.status == "COMPLETED" else TrialState.FAIL)
        assert trial.distributions.items() <= DISTRIBUTIONS.items()
        assert trial.datetime_start.isoformat() == made.oracle._display.trial_start[told.trial_id].isoformat()
        assert 0 <= trial.duration.total_seconds() < 60
    best = made.oracle.get_best_trials()[0]
    assert study.best_value == best.score
    assert study.best_trial.user_attrs[IMPORTED_KEY] == best.trial_id
    if kind == "Hyperband":
        assert {trial.user_attrs["tuner/round"] for trial in study.trials} == {0, 1}

    assert import_project(read_project(folder / kind), study, [objective]).known == len(theirs)
    assert len(study.trials) == len(theirs)


def test_several_objectives(folder):
    objectives = [keras_tuner.Objective("val_loss", "min"), keras_tuner.Objective("val_accuracy", "max")]

    class Several(keras_tuner.RandomSearch):  # type: ignore[name-defined]
        def run_trial(self, trial, *args, **kwargs):
            value = trial.hyperparameters.Float("x", -1, 1) ** 2
            return {"val_loss": value, "val_accuracy": 1 - value, "multi_objective": 2 * value - 1}

    made = Several(objective=objectives, max_trials=4, seed=1, project_name="several", **LIMITS)
    made.search(verbose=0)
    project = read_project(folder / "several")
    assert find_objective(project) == parse_objective("multi_objective:min")
    study = optuna.create_study(directions=["minimize", "maximize"])
    import_project(project, study, [parse_objective("val_loss:min"), parse_objective("val_accuracy:max")])
    losses = [trial.metrics.get_best_value("val_loss") for trial in made.oracle.trials.values()]
    assert [trial.values for trial in study.trials] == [[loss, 1 - loss] for loss in losses]


def test_a_search_that_was_killed_goes_on(study, folder):
    def make():
        return KINDS["RandomSearch"](objective=keras_tuner.Objective("val_loss", "min"), project_name="cut", **keep)

    keep = {**LIMITS, "overwrite": False}
    made = make()
    for _ in range(2):
        trial = made.oracle.create_trial("tuner0")
        made.on_trial_begin(trial)
        if trial.trial_id == "0":
            made._try_run_and_update_trial(trial)
            made.on_trial_end(trial)
    objective = find_objective(read_project(folder / "cut"))
    import_project(read_project(folder / "cut"), study, [objective])
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]
    again = make()
    again.search()
    import_project(read_project(folder / "cut"), study, [objective])
    theirs = again.oracle.trials
    assert [trial.value for trial in study.trials] == [theirs[trial.user_attrs[IMPORTED_KEY]].score for trial in study.trials]
    assert len(study.trials) == len(theirs) == 8


def test_the_best_epoch_of_a_keras_model(study, folder):
    pytest.importorskip("tensorboard")  # KerasTuner imports it with TensorFlow
    import keras
    import numpy as np

    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 4)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    x = np.ones((8, 2), "float32")
    made = keras_tuner.RandomSearch(build, "val_loss", max_trials=2, seed=1, project_name="keras", **LIMITS)
    made.search(x, x[:, :1], validation_data=(x, x[:, :1]), epochs=3, verbose=0)
    project = read_project(folder / "keras")
    objective = find_objective(project)
    import_project(project, study, [objective])
    best = made.oracle.get_best_trials()[0]
    assert (objective.name, study.best_value, study.best_params) == ("val_loss", best.score, best.hyperparameters.values)
    assert study.best_trial.intermediate_values == {best.best_step: best.score}
