import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from optuna.trial import FixedTrial, TrialState

from search.cli import cli
from search.errors import ObjectiveError
from search.workers.protocol import ReportReply, RunTrial
from search.workers.trial import WorkerTrial, never_asked

pytest.importorskip("keras_tuner")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hypermodels")]

WHOLE = {"num_layers": 2, "units_0": 8, "units_1": 16, "activation": "relu", "dropout": True, "rate": 0.01}
FLAG = '{ type = "categorical", choices = [true, false] }'
IMAGES = {"data": "hypermodels:load_images", "monitor": "val_accuracy", "mode": "max", "fit": {"epochs": 2, "verbose": 0}}


@pytest.fixture
def objective():
    """Makes an objective of something in the module `hypermodels`."""
    from search.keras_tuner import HyperModelObjective

    def make(name, **settings):
        return HyperModelObjective(hypermodel=f"hypermodels:{name}", **{**IMAGES, **settings})

    return make


def as_searched(params, told=None):
    """A trial of a study file, whose parameters were all drawn before; what it reports is added to `told`."""
    told = [] if told is None else told
    return WorkerTrial(RunTrial(0, params, {"seed": 5}), lambda report: told.append(report) or ReportReply(), lambda _: None)


def own_loop(objective, **settings):
    return objective("OwnLoop", data="hypermodels:load_ones", monitor="distance", mode="min", **settings)


def returning(result, mode="min"):
    hypermodels = importlib.import_module("hypermodels")

    from search.keras_tuner import HyperModelObjective

    return HyperModelObjective(hypermodel=hypermodels.Returns(result), data=dict, monitor="loss", mode=mode)


def test_only_what_is_active_is_asked_for(objective):
    assert 0 <= objective("layers_by_number")(FixedTrial(WHOLE)) <= 1
    with pytest.raises(ValueError, match="units_2"):
        objective("layers_by_number")(FixedTrial({**WHOLE, "num_layers": 3}))


def test_every_kind_of_hyperparameter_in_scopes():
    import keras_tuner

    from search.keras_tuner.hyperparameters import TrialHyperParameters

    params = {"model": "cnn", "cnn/filters": 16, "batch": 4, "flip": True, "rate": 0.25}
    hp = TrialHyperParameters(FixedTrial(params))
    assert hp.Choice("model", ["cnn", "mlp"]) == "cnn"
    with hp.conditional_scope("model", ["mlp"]):
        assert hp.Int("units", 8, 32) is None
    with hp.conditional_scope("model", "cnn"), hp.name_scope("cnn"):
        assert hp.Int("filters", 8, 32, step=8) == 16
        assert hp.get("filters") == 16
    assert hp.Int("batch", 2, 16, step=2, sampling="log") == 4
    assert hp.Float("rate", 0, 1, step=0.25, parent_name="model", parent_values=["cnn"]) == 0.25
    assert hp.Boolean("flip") is True
    assert hp.Fixed("optimizer", "sgd") == "sgd"
    assert hp.Choice("model", ["cnn", "mlp"]) == "cnn"
    assert hp.values == {**params, "optimizer": "sgd"}
    assert "units" not in hp
    more = keras_tuner.HyperParameters()
    more.Float("decay", 0.0, 1.0)
    hp.merge(more)
    with pytest.raises(ValueError, match="decay"):
        hp.Boolean("late")


def test_the_value_is_the_best_epoch_and_the_seed_repeats_it(objective):
    def train(number):
        trial = study.ask()
        trial.set_user_attr("seed", 7)
        value = objective("TunedTraining", fit={"epochs": 3, "verbose": 0})(trial)
        return value, study.trials[number].intermediate_values

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    for params in [{"size": 7, "rate": 0.01, "flip": True, "shuffle": True}] * 2:
        study.enqueue_trial(params)
    value, epochs = train(0)
    assert sorted(epochs) == [0, 1, 2]
    assert value == max(epochs.values())
    assert train(1) == (value, epochs)
    assert set(study.trials[0].params) == {"size", "rate", "flip", "shuffle"}


def test_a_loop_of_ones_own(objective):
    study = optuna.create_study()
    study.optimize(own_loop(objective), n_trials=3)
    for trial in study.trials:
        distance = abs(trial.params["shift"]) + 1
        assert trial.value == pytest.approx(distance / 3)
        assert trial.intermediate_values == pytest.approx({0: distance, 1: distance / 2, 2: distance / 3})


def test_pruning(objective):
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=1.0))
    study.enqueue_trial({"units": 1, "shift": 0.9})
    study.optimize(own_loop(objective), n_trials=1)
    assert (study.trials[0].state, study.trials[0].intermediate_values) == (TrialState.PRUNED, {0: 1.9})


@pytest.mark.parametrize("ends", ["early", "by its epochs", "not yet"])
def test_a_trial_that_has_ended_is_not_pruned(objective, ends):
    import keras

    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=0, min_delta=1.0)  # after two epochs, whatever they reach
    fit = {"epochs": 2 if ends == "by its epochs" else 5, "verbose": 0, "callbacks": [stop] * (ends == "early")}
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=2, n_warmup_steps=1)
    )  # prunes all from the second epoch on
    study.enqueue_trial({"size": 7, "rate": 0.01, "flip": False, "shuffle": True})
    study.optimize(objective("TunedTraining", fit=fit), n_trials=1)
    assert study.trials[0].state is (TrialState.PRUNED if ends == "not yet" else TrialState.COMPLETE)
    assert sorted(study.trials[0].intermediate_values) == [0, 1]


def test_several_executions_are_averaged_and_the_first_one_reports(objective):
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"size": 7, "rate": 0.01, "flip": False, "shuffle": True})
    study.optimize(objective("TunedTraining", executions_per_trial=2), n_trials=1)
    assert sorted(study.trials[0].intermediate_values) == [0, 1]
    assert 0 <= study.best_value <= 1


def test_each_execution_of_a_trial_has_a_run_of_its_own_in_tensorboard(folder):
    import keras

    from search.keras_tuner import HyperModelObjective

    class Seen(importlib.import_module("hypermodels").Returns):
        def fit(self, hp, model, callbacks, **kwargs):
            self.result.append(callbacks[0].log_dir)
            return 0.5

    runs = []
    board = keras.callbacks.TensorBoard("logs")
    given = {"monitor": "loss", "mode": "min", "fit": {"callbacks": [board]}, "executions_per_trial": 2}
    study = optuna.create_study()
    objective = HyperModelObjective(hypermodel=Seen(runs), data=dict, **given)
    study.optimize(objective, n_trials=2)
    assert runs == [f"logs/trial-000{trial}/execution{execution}" for trial in (0, 1) for execution in (0, 1)]
    with pytest.raises(ObjectiveError):
        objective.best_model({}, seed=0)
    assert runs[4:] == ["logs"], "it is no trial"
    assert board.log_dir == "logs"


@pytest.mark.parametrize(("name", "settings"), [("TunedTraining", {}), ("TunedTraining", {"epochs": 1}), ("AsksForEpochs", {})])
def test_a_parameter_epochs_says_how_long_a_trial_trains_whether_the_hypermodel_asks_for_it_or_not(objective, name, settings):
    train = objective(name, fit={"verbose": 0}, **settings)
    for epochs in (3, 2):  # with the second trial it is known who asks for them
        told = []
        value = train(as_searched({"size": 8, "rate": 0.01, "flip": True, "shuffle": True, "epochs": epochs}, told))
        assert [report.step for report in told] == list(range(epochs))
        assert value == pytest.approx(max(report.value for report in told))


def test_who_asks_for_epochs_is_told_so_in_the_first_trial_as_in_the_second(objective):
    """That it asks shows in a call that fails; the trial's values are those of one that begins anew."""
    params = {"size": 8, "epochs": 2}
    train = objective("AsksForEpochs", fit={"verbose": 0})
    first, second = (train(as_searched(params)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "params",
    [
        {"kind": "mlp", "units": 8, "dropout": 0.25},
        {"kind": "cnn", "filters": 4, "deep": False, "dropout": 0.0},
        {"kind": "cnn", "filters": 4, "deep": True, "deep_filters": 8, "dropout": 0.0},
    ],
)
def test_a_trial_need_not_have_what_is_not_active(objective, params):
    assert 0 <= objective("ScopedTraining", epochs=1, fit={"verbose": 0})(as_searched(params)) <= 1


@pytest.mark.parametrize(("name", "asks"), [("TunedTraining", set()), ("AsksForEpochs", {"rate", "flip", "shuffle"})])
def test_what_a_hypermodel_never_asks_for_is_known(objective, name, asks):
    """A name that is misspelt, above all; that a trial has `epochs` is asked of it alone."""
    trial = as_searched({"size": 8, "rate": 0.01, "flip": True, "shuffle": True, "ratte": 0.1, "epochs": 1})
    objective(name, fit={"verbose": 0})(trial)
    assert {*never_asked(trial)} == {"ratte", *asks}


def test_a_setting_epochs(objective):
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"size": 7, "rate": 0.01, "flip": False, "shuffle": True})
    study.optimize(objective("TunedTraining", epochs=3, fit={"verbose": 0}), n_trials=1)
    assert sorted(study.trials[0].intermediate_values) == [0, 1, 2]


def test_what_it_reports_is_named_by_a_setting_so_that_a_launch_sees_how_often():
    from search.keras_tuner import HyperModelObjective

    named = {name for names in HyperModelObjective.reports.values() for name in names}
    assert named <= inspect.signature(HyperModelObjective).parameters.keys()


def test_a_type_error_of_the_users_own_is_raised(objective):
    train = objective("Typo", fit={"verbose": 0})
    with pytest.raises(TypeError, match="of the user's own"):
        train(as_searched({"epochs": 2}))


@pytest.mark.parametrize("name", ["TunedTraining", "OwnLoop"])
def test_the_best_model_is_trained_again_with_the_weights_of_its_best_epoch(objective, name):
    """Its value is the study's to the last digit, on the data that chose it."""
    hypermodels = importlib.import_module("hypermodels")
    train = own_loop(objective) if name == "OwnLoop" else objective(name, epochs=4, fit={"verbose": 0})
    study = optuna.create_study(direction="minimize" if name == "OwnLoop" else "maximize")
    study.optimize(train, n_trials=2)
    best = study.best_trial
    model = train.best_model(study.best_params, seed=best.number)
    if name == "OwnLoop":
        assert model.layers[-1].units == best.params["units"]
        return
    x, y = hypermodels.load_images()["validation_data"]
    size = best.params["size"]
    assert model.evaluate(x[:, :size, :size], y, verbose=0, return_dict=True)["accuracy"] == pytest.approx(best.value, abs=1e-7)


def test_a_fit_that_tells_of_no_epoch_has_no_best_one(objective):
    with pytest.raises(ObjectiveError, match=r"objective.monitor: must be in the logs of an epoch .*; got none with loss"):
        returning(0.5).best_model({}, seed=0)


@pytest.mark.parametrize(("result", "value"), [(0.5, 0.5), ({"loss": 2, "accuracy": 0.1}, 2.0), ([1.0, {"loss": 2.0}], 1.5)])
def test_what_fit_may_return(result, value):
    assert returning(result)(FixedTrial({})) == value


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "fit must return a History, a dictionary, a number or a list of these; got NoneType"),
        ([], "fit must return a History, a dictionary, a number or a list of these; got list"),
        ({"los": 1.0}, 'objective.monitor: fit must return it; got "loss". Did you mean "los"?'),
    ],
)
def test_what_fit_may_not_return(result, message):
    with pytest.raises(ObjectiveError) as caught:
        returning(result)(FixedTrial({}))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"hypermodel": "hypermodels:TunedTrainig"},
            'hypermodels has no attribute "TunedTrainig". Did you mean "TunedTraining"?',
        ),
        ({"hypermodel": "hypermodel:X"}, 'no module named "hypermodel". Check objective.hypermodel'),
        ({"hypermodel": "hypermodels:np"}, "objective.hypermodel: must be a HyperModel or a function of hp; got module"),
        ({"hypermodel": "builtins:dict"}, "objective.hypermodel: must be a HyperModel or a function of hp; got dict"),
        ({"data": "hypermodels:load_a_list"}, "objective.data: must return the keyword arguments of fit"),
        ({"mode": "auto"}, 'objective.mode: must be "min" or "max"; got "auto"'),
        ({"executions_per_trial": 0}, "objective.executions_per_trial: must be a whole number >= 1; got 0"),
        ({"epochs": True, "fit": {}}, "objective.epochs: must be a whole number >= 1; got true"),
        ({"epochs": 3}, "objective.epochs: must stand in one place; got 3, and 2 in fit or data. Remove one"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    from search.keras_tuner import HyperModelObjective

    with pytest.raises(ObjectiveError) as caught:
        HyperModelObjective(**{"hypermodel": "hypermodels:TunedTraining", **IMAGES, **settings})
    assert str(caught.value).startswith(message)


def test_what_is_not_in_the_space_is_one_line(objective):
    with pytest.raises(
        ValueError, match=r"trial.suggest_categorical\('flip'\): not in \[space\], .* has \['rate', 'size'\]. Add it"
    ):
        objective("TunedTraining")(as_searched({"size": 7, "rate": 0.01}))


def test_a_study_file(search, write, read_study):
    """The space that one command prints is searched by another."""
    arguments = ["space-from-keras-tuner", "hypermodels:TunedTraining", "--data", "hypermodels:load_images"]
    printed = CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout
    path = write(
        study={"objective": '"search.keras_tuner:HyperModelObjective"', "metric": '"val_accuracy"', "trials": "2"},
        space=printed,
        objective="""[objective]
hypermodel = "hypermodels:TunedTraining"
data = "hypermodels:load_images"
monitor = "val_accuracy"
mode = "max"
epochs = 3
fit = { verbose = 0 }
""",
    )
    search("launch", path, "--quiet")
    assert [trial.state for trial in read_study().trials] == [TrialState.COMPLETE] * 2
    assert {*read_study().best_params} == {"size", "rate", "flip", "shuffle"}


def test_the_page_makes_the_best_model_of_an_export(search, write, environment):
    """Its value, on the data that chose it, is the study's."""
    settings = {key: json.dumps(IMAGES[key]) for key in ("data", "monitor", "mode")}
    number = '{ type = "int", low = 8, high = 32, step = 8 }'
    write(
        "mnist.toml",
        study={
            "name": '"mnist"',
            "objective": '"search.keras_tuner:HyperModelObjective"',
            "metric": '"val_accuracy"',
            "trials": "2",
        },
        space={
            **{"x": None, "num_layers": '{ type = "int", low = 1, high = 1 }', "units_0": number},
            **{"activation": '{ type = "categorical", choices = ["relu"] }', "epochs": '{ type = "int", low = 3, high = 4 }'},
            **{"dropout": FLAG, "rate": '{ type = "float", low = 1e-3, high = 1e-1, log = true }'},
        },
        objective={**settings, "hypermodel": '"hypermodels:layers_by_number"', "fit": "{ verbose = 0 }"},
    )
    search("launch", "mnist.toml", "--quiet")
    search("export", "mnist.toml", "-o", "best.toml")
    section = (Path(__file__).parents[3] / "docs" / "keras-tuner.md").read_text(encoding="utf-8").split("### The best model")[1]
    measure = (
        "import hypermodels, keras\nmodel = keras.saving.load_model('best.keras')\n"
        "print(model.evaluate(*hypermodels.load_images()['validation_data'], verbose=0)[1])"
    )
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1] + measure
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    best = tomllib.loads(Path("best.toml").read_text())["provenance"]
    assert float(done.stdout.splitlines()[-1]) == best["val_accuracy"]
