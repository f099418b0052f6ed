import importlib

import optuna
import pytest
from click.testing import CliRunner
from optuna.trial import FixedTrial, TrialState

from search.cli import cli
from search.errors import ObjectiveError
from search.workers.protocol import ReportReply, RunTrial
from search.workers.trial import WorkerTrial

pytest.importorskip("keras_tuner")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hypermodels")]

WHOLE = {"num_layers": 2, "units_0": 8, "units_1": 16, "activation": "relu", "dropout": True, "rate": 0.01}
IMAGES = {"data": "hypermodels:load_images", "monitor": "val_accuracy", "mode": "max", "fit": {"epochs": 2, "verbose": 0}}


@pytest.fixture
def objective():
    """Makes an objective of something in the module `hypermodels`."""
    from search.keras_tuner import HyperModelObjective

    def make(name, **settings):
        return HyperModelObjective(hypermodel=f"hypermodels:{name}", **{**IMAGES, **settings})

    return make


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
    study.optimize(HyperModelObjective(hypermodel=Seen(runs), data=dict, **given), n_trials=2)
    assert runs == [f"logs/trial-000{trial}/execution{execution}" for trial in (0, 1) for execution in (0, 1)]
    assert board.log_dir == "logs"


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
        ({"executions_per_trial": 0}, "objective.executions_per_trial: must be >= 1; got 0"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    from search.keras_tuner import HyperModelObjective

    with pytest.raises(ObjectiveError) as caught:
        HyperModelObjective(**{"hypermodel": "hypermodels:TunedTraining", **IMAGES, **settings})
    assert str(caught.value).startswith(message)


def test_what_is_not_in_the_space_is_one_line(objective):
    trial = WorkerTrial(RunTrial(0, {"size": 7, "rate": 0.01}, {}), lambda report: ReportReply(), lambda message: None)
    with pytest.raises(
        ValueError, match=r"trial.suggest_categorical\('flip'\): not in \[space\], .* has \['rate', 'size'\]. Add it"
    ):
        objective("TunedTraining")(trial)


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
fit = { epochs = 2, verbose = 0 }
""",
    )
    search("launch", path, "--quiet")
    assert [trial.state for trial in read_study().trials] == [TrialState.COMPLETE] * 2
    assert {*read_study().best_params} == {"size", "rate", "flip", "shuffle"}
