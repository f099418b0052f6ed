import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.errors import StudyError
from search.keras_tuner.importing import import_project
from search.keras_tuner.objective import parse_objective
from search.keras_tuner.project import read_project
from search.seeds import Stream, derive
from search.study_file import load as study_file

keras_tuner = pytest.importorskip("keras_tuner")
pytestmark = [
    pytest.mark.slow,
    # KerasTuner 1.4 asks Python for the current thread in the old way.
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning"),
]

SPACE = {
    "x": '{ type = "float", low = -10.0, high = 10.0 }',
    "rate": '{ type = "float", low = 1e-4, high = 1e-1, log = true }',
    "drop": '{ type = "float", low = 0.0, high = 1.0, step = 0.1 }',
    "units": '{ type = "int", low = 8, high = 32, step = 8 }',
    "batch": '{ type = "int", low = 1, high = 64, log = true }',
    "kind": '{ type = "categorical", choices = ["b", "a"] }',
    "flip": '{ type = "categorical", choices = [true, false] }',
    "factor": '{ type = "categorical", choices = [1, 0.5] }',
}


@pytest.fixture
def spec(write):
    def load(**study):
        return study_file.load(write(study={"objective": '"objectives:parabola"', **study}, space=SPACE))

    return load


def test_a_space_there(spec):
    from search.keras_tuner import hyper_parameters

    told = {parameter.name: parameter for parameter in hyper_parameters(spec().space).space}
    assert list(told) == list(SPACE)
    assert [type(parameter).__name__ for parameter in told.values()] == [
        *["Float"] * 3,
        *["Int"] * 2,
        "Choice",
        "Boolean",
        "Choice",
    ]
    assert list(told["drop"].values) == pytest.approx([step / 10 for step in range(11)])
    assert list(told["units"].values) == [8, 16, 24, 32]
    assert (told["rate"].sampling, told["batch"].sampling) == ("log", "log")
    assert (told["kind"].values, told["factor"].values) == (["b", "a"], [1.0, 0.5])


def test_choices_of_several_types():
    from search.keras_tuner import hyper_parameters

    with pytest.raises(StudyError, match=r'space.k: KerasTuner.s choices are of one type; got \["a", 1\]\. Write all as text'):
        hyper_parameters({"k": CategoricalDistribution(["a", 1])})


def test_values_back():
    from search.keras_tuner.tuner import params_of

    space = {
        "factor": CategoricalDistribution([1, 0.5]),
        "flag": CategoricalDistribution([True]),
        "n": IntDistribution(1, 3),
        "f": FloatDistribution(0, 0.3, step=0.1),
    }
    values = {"factor": 1.0, "flag": 1, "n": 3, "f": 0.1 * 3, "tuner/epochs": 2}
    params = params_of(values, space)
    assert params == {"factor": 1, "flag": True, "n": 3, "f": 0.3}
    assert [type(value) for value in params.values()] == [int, bool, int, float]


ORACLES = {
    "RandomSearchOracle": {"max_trials": 6},
    "GridSearchOracle": {"max_trials": 6},
    "BayesianOptimizationOracle": {"max_trials": 6, "num_initial_points": 6},
    "HyperbandOracle": {"max_epochs": 3},
}


@pytest.mark.parametrize("oracle", ORACLES)
def test_every_oracle_drives_an_objective(oracle, spec, folder):
    from search.keras_tuner import study_tuner

    reports = []
    tuner = study_tuner(
        spec(),
        getattr(keras_tuner.oracles, oracle),
        folder / "there",
        epochs="units" if oracle == "HyperbandOracle" else None,
        on_report=lambda trial, value, step: reports.append((trial, value, step)),
        **ORACLES[oracle],
    )
    tuner.search(verbose=0)
    done = tuner.oracle.trials
    assert len(done) >= 5
    assert [report[0] for report in reports] == [trial for trial in tuner.oracle.start_order for _ in range(4)]
    for trial in done.values():
        assert trial.score == pytest.approx(-((trial.hyperparameters.values["x"] - 2) ** 2), abs=1e-5)
    assert tuner.oracle.get_best_trials()[0].score == max(trial.score for trial in done.values())

    # And home again: the study has the space of the study file.
    study = optuna.create_study(direction="maximize")
    import_project(read_project(folder / "there"), study, [parse_objective("score:max")])
    for trial in study.trials:
        assert {name: spec().space[name] for name in trial.params if name not in ("factor", "flip")} == {
            name: distribution for name, distribution in trial.distributions.items() if name not in ("factor", "flip")
        }


def test_hyperband_sets_the_epochs_and_keeps_the_seed(spec, folder):
    from search.keras_tuner import ObjectiveTuner, hyper_parameters

    seen = []

    def objective(trial):
        seen.append((trial.params["epochs"], trial.params["x"], trial.user_attrs["seed"]))
        return trial.params["x"]

    space = {"x": FloatDistribution(0, 1)}
    oracle = keras_tuner.oracles.HyperbandOracle(
        keras_tuner.Objective("value", "max"), max_epochs=3, seed=1, hyperparameters=hyper_parameters(space)
    )
    ObjectiveTuner(oracle, objective, space, epochs="epochs", seed=5, directory=str(folder), project_name="hb").search()
    assert {epochs for epochs, _, _ in seen} == {1, 3}
    seeds = {}
    for _, x, seed in seen:
        assert seeds.setdefault(x, seed) == seed
    assert len(seeds) < len(seen)
    assert seen[0][2] == derive(5, Stream.TRIAL, 0)


def test_what_the_objective_gives_up_has_failed(folder):
    from search.keras_tuner import ObjectiveTuner, hyper_parameters

    def objective(trial):
        raise optuna.TrialPruned

    space = {"x": FloatDistribution(0, 1)}
    oracle = keras_tuner.oracles.RandomSearchOracle(
        keras_tuner.Objective("value", "max"), max_trials=1, hyperparameters=hyper_parameters(space)
    )
    ObjectiveTuner(oracle, objective, space, directory=str(folder), project_name="pruned").search()
    assert [trial.status for trial in oracle.trials.values()] == ["FAILED"]


CHANGES = {
    "another range": {"x": '{ type = "float", low = -10.0, high = 1.0 }'},
    "another step": {"units": '{ type = "int", low = 8, high = 32, step = 4 }'},
    "other choices": {"kind": '{ type = "categorical", choices = ["b", "c"] }'},
    "log no more": {"batch": '{ type = "int", low = 1, high = 64 }'},
    "another type": {"flip": '{ type = "categorical", choices = ["yes", "no"] }'},
    "one more": {"y": '{ type = "float", low = 0.0, high = 1.0 }'},
}


def begin(path, folder, **options):
    from search.keras_tuner import study_tuner

    oracle = keras_tuner.oracles.RandomSearchOracle
    return study_tuner(study_file.load(path), oracle, folder / "there", **{"max_trials": 2, **options})


def test_a_project_is_gone_on_with_where_its_space_is_the_same(write, folder):
    study = {"objective": '"objectives:parabola"'}
    begin(write(study=study, space=SPACE), folder).search(verbose=0)
    tuner = begin(write(study=study, space=dict(reversed(SPACE.items()))), folder, max_trials=4)
    tuner.search(verbose=0)
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["COMPLETED"] * 4


@pytest.mark.parametrize("change", CHANGES)
def test_a_project_of_another_space_is_not_gone_on_with(write, folder, change):
    study = {"objective": '"objectives:parabola"'}
    begin(write(study=study, space=SPACE), folder).search(verbose=0)
    path = write(study=study, space={**SPACE, **CHANGES[change]})
    with pytest.raises(StudyError, match=rf"there: must be .* differs in {next(iter(CHANGES[change]))}\. .* overwrite=True"):
        begin(path, folder)
    begin(path, folder, overwrite=True)


def test_a_score_is_kept_with_the_value_that_ran(folder):
    from search.keras_tuner import ObjectiveTuner, hyper_parameters

    space = {"batch": IntDistribution(1, 64, log=True), "drop": FloatDistribution(0, 0.3, step=0.1)}
    seen = []

    def objective(trial):
        seen.append(dict(trial.params))
        return 0.0

    hp = hyper_parameters(space)
    ends = {parameter.name: parameter.prob_to_value(1.0) for parameter in hp.space}  # as an optimizer may end at them
    assert ends == {"batch": 65, "drop": pytest.approx(0.3)}
    assert ends["drop"] > 0.3
    oracle = keras_tuner.oracles.RandomSearchOracle(keras_tuner.Objective("value", "max"), max_trials=1, hyperparameters=hp)
    oracle.populate_space = lambda trial_id: {"status": "RUNNING", "values": ends}
    ObjectiveTuner(oracle, objective, space, directory=str(folder), project_name="ends").search(verbose=0)
    assert [trial.hyperparameters.values for trial in oracle.trials.values()] == seen == [{"batch": 64, "drop": 0.3}]


def test_epochs_must_be_a_parameter(write, folder):
    path = write(study={"objective": '"objectives:parabola"'}, space={**SPACE, "epochs": '{ type = "int", low = 1, high = 9 }'})
    with pytest.raises(StudyError, match=r'epochs: must be in \[space\]; got "epoch"\. Did you mean "epochs"\?'):
        begin(path, folder, epochs="epoch")
    assert not (folder / "there").exists()


def test_conditions_are_refused(write, folder):
    rule = r"space.x.when: study_tuner declares no conditional scopes; got flip is true. Remove it"
    condition = SPACE["x"].replace(" }", ', when = { param = "flip", is = true } }')
    with pytest.raises(StudyError, match=rule):
        begin(write(study={"objective": '"objectives:parabola"'}, space={**SPACE, "x": condition}), folder)


@pytest.mark.usefixtures("hypermodels")
def test_hyperband_says_how_long_a_hypermodel_trains(write, folder):
    """Its HyperModel asks for no epochs; those of Hyperband reach it all the same."""
    from search.keras_tuner import study_tuner

    flag = '{ type = "categorical", choices = [true, false] }'
    space = {
        **{"x": None, "size": '{ type = "int", low = 6, high = 8 }', "rate": '{ type = "float", low = 1e-3, high = 1e-1 }'},
        **{"flip": flag, "shuffle": flag, "epochs": '{ type = "int", low = 1, high = 3 }'},
    }
    settings = {"hypermodel": '"hypermodels:TunedTraining"', "data": '"hypermodels:load_images"', "mode": '"max"'}
    path = write(
        study={"objective": '"search.keras_tuner:HyperModelObjective"'},
        space=space,
        objective={**settings, "monitor": '"val_accuracy"', "fit": "{ verbose = 0 }"},
    )
    reports = []
    tuner = study_tuner(
        study_file.load(path),
        keras_tuner.oracles.HyperbandOracle,
        folder / "there",
        epochs="epochs",
        on_report=lambda trial, _, step: reports.append((trial, step)),
        max_epochs=3,
    )
    tuner.search(verbose=0)
    wanted = {number: trial.hyperparameters.values["tuner/epochs"] for number, trial in tuner.oracle.trials.items()}
    assert set(wanted.values()) == {1, 3}
    assert sorted(reports) == sorted((number, step) for number, epochs in wanted.items() for step in range(epochs))


def test_several_directions_are_refused(write, folder):
    from search.keras_tuner import study_tuner

    study = {
        "direction": None,
        "metric": None,
        "directions": '["minimize", "maximize"]',
        "objective": '"objectives:two_values"',
    }
    with pytest.raises(StudyError, match="KerasTuner has one value"):
        study_tuner(study_file.load(write(study=study)), keras_tuner.oracles.RandomSearchOracle, folder / "there")


def test_a_direction_in_which_the_objective_gets_worse_is_refused(write, folder):
    from search.keras_tuner import HyperModelObjective, study_tuner

    spec = study_file.load(write(study={"objective": '"objectives:Knows"', "direction": '"minimize"'}))
    with pytest.raises(StudyError, match='direction: must be "maximize" for this objective'):
        study_tuner(spec, keras_tuner.oracles.RandomSearchOracle, folder / "there")
    assert [HyperModelObjective.directions({"mode": mode}) for mode in ("min", "max")] == [["minimize"], ["maximize"]]
