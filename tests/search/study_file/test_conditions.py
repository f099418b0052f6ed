import importlib.util
import io
import tomllib
import warnings

import optuna
import pytest
from optuna.samplers import BruteForceSampler
from rich.console import Console

from search.driver.ask import TrialSource
from search.driver.compatibility import check_same
from search.errors import StudyError, StudyFileError
from search.results.export import export_trial
from search.results.report.page import render
from search.results.status import print_status
from search.study_file import samplers
from search.study_file.conditions import Condition
from search.study_file.load import load

# `nesterov` is there where `momentum` is, at one of its values; the file names children before parents.
SPACE = {
    "x": None,
    "nesterov": '{ type = "categorical", choices = [true, false], when = { param = "momentum", in = [8, 9] } }',
    "momentum": '{ type = "int", low = 7, high = 9, when = { param = "optimizer", is = "sgd" } }',
    "optimizer": '{ type = "categorical", choices = ["adam", "sgd", "rmsprop"] }',
    "decay": '{ type = "float", low = 0.0, high = 1.0, step = 0.5, when = { param = "optimizer", in = ["adam", "sgd"] } }',
}

PACKAGES = {"cmaes": "cmaes", "gp": "torch"}


@pytest.fixture(params=["tpe", "random", "qmc", "nsgaii", "nsgaiii", "cmaes", "gp"])
def sampler(request):
    """Each sampler that draws and is installed."""
    if importlib.util.find_spec(package := PACKAGES.get(request.param, "optuna")) is None:
        pytest.skip(f"needs {package}")
    return request.param


def present(params):
    """The names that a trial with these parameters must have, said anew."""
    names = {"optimizer"}
    if params["optimizer"] == "sgd":
        names |= {"momentum", "decay"}
        if params["momentum"] >= 8:
            names |= {"nesterov"}
    return names | {"decay"} if params["optimizer"] == "adam" else names


def ask_and_tell(spec, count):
    study = optuna.create_study(direction="maximize")
    asker = TrialSource(study, spec)
    for _ in range(count):
        if asker.exhausted:
            break
        trial = asker.ask({})
        study.tell(trial, value_of(trial.params))
    return study


def value_of(params):
    return {"sgd": 0.5, "adam": 0.2, "rmsprop": 0.0}[params["optimizer"]] + 0.1 * params.get("momentum", 0)


def test_parents_come_first_and_else_the_order_is_the_files(write):
    spec = load(write(space=SPACE))
    assert list(spec.space) == ["optimizer", "momentum", "nesterov", "decay"]
    assert spec.conditions["momentum"] == Condition("optimizer", ("sgd",))
    assert str(spec.conditions["momentum"]) == 'optimizer is "sgd"'
    assert str(spec.conditions["nesterov"]) == "momentum is in [8, 9]"


def test_a_trial_has_the_parameters_whose_condition_holds_and_no_others(write, sampler):
    spec = load(write(space=SPACE, sampler={"name": f'"{sampler}"'}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = ask_and_tell(spec, 30)
    assert all(set(trial.params) == present(trial.params) for trial in study.trials)
    assert {trial.params["optimizer"] for trial in study.trials} == {"adam", "sgd", "rmsprop"}


def test_what_is_there_under_a_condition_has_another_value_in_each_trial(write, sampler):
    rate = '{ type = "float", low = 0.0, high = 1.0, when = { param = "optimizer", is = "sgd" } }'
    space = {"optimizer": '{ type = "categorical", choices = ["adam", "sgd"] }', "rate": rate}
    study = ask_and_tell(load(write(space=space, sampler={"name": f'"{sampler}"'})), 30)
    rates = [trial.params["rate"] for trial in study.trials if "rate" in trial.params]
    assert len(set(rates)) == len(rates) > 5


@pytest.mark.parametrize("seed", range(4))
def test_cmaes_goes_on_where_the_first_trials_share_a_parameter_that_later_ones_do_not_have(write, seed):
    pytest.importorskip("cmaes")
    ranges = dict.fromkeys("xyz", '{ type = "float", low = 0.0, high = 1.0 }')
    rare = '{ type = "float", low = 0.0, high = 1.0, when = { param = "kind", in = [1, 2, 3, 4, 5, 6, 7] } }'
    kind = '{ type = "categorical", choices = [0, 1, 2, 3, 4, 5, 6, 7] }'
    tables = {"space": {**ranges, "kind": kind, "rare": rare}, "study": {"seed": str(seed)}}
    study = optuna.create_study(direction="maximize")
    source = TrialSource(study, load(write(**tables, sampler={"name": '"cmaes"', "with_margin": "true"})))
    for trial in (source.ask({}) for _ in range(40)):
        study.tell(trial, trial.params["x"])
    assert {"rare" in trial.params for trial in study.trials} == {True, False}
    assert all(any(key.startswith("cmawm:") for key in trial.system_attrs) for trial in study.trials[1:])


def test_tpe_learns_below_a_condition_too(write):
    study = ask_and_tell(load(write(space=SPACE, sampler={"name": '"tpe"'})), 60)
    late = [trial.params for trial in study.trials[30:]]
    by_sgd = [params["momentum"] for params in late if params["optimizer"] == "sgd"]
    assert len(by_sgd) > 20
    assert by_sgd.count(9) > len(by_sgd) / 2


def test_the_grid_holds_what_optunas_tree_search_holds_each_point_once(write):
    spec = load(write(space=SPACE, sampler={"name": '"grid"'}))

    def objective(trial):
        optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
        if optimizer == "sgd" and trial.suggest_int("momentum", 7, 9) >= 8:
            trial.suggest_categorical("nesterov", [True, False])
        if optimizer != "rmsprop":
            trial.suggest_float("decay", 0.0, 1.0, step=0.5)
        return 0.0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        tree = optuna.create_study(sampler=BruteForceSampler(seed=0))
    tree.optimize(objective)
    ours = ask_and_tell(spec, 100)

    def points(study):
        return sorted(repr(sorted(trial.params.items())) for trial in study.trials)

    assert points(ours) == points(tree)
    assert len(points(ours)) == 3 + (1 + 2 * 2) * 3 + 1


def test_an_enqueued_config_fixes_what_it_names_and_the_rest_is_drawn(write):
    spec = load(write(space=SPACE, enqueue='[[enqueue]]\noptimizer = "sgd"\nmomentum = 8'))
    [trial] = ask_and_tell(spec, 1).trials
    assert (trial.params["optimizer"], trial.params["momentum"]) == ("sgd", 8)
    assert set(trial.params) == present(trial.params)


def test_a_config_without_what_it_cannot_have_is_whole(write):
    spec = load(write(space=SPACE, sampler={"name": '"none"'}, enqueue='[[enqueue]]\noptimizer = "rmsprop"'))
    assert [trial.params for trial in ask_and_tell(spec, 2).trials] == [{"optimizer": "rmsprop"}]


def test_what_is_exported_leaves_absent_parameters_out(write):
    spec = load(write(space=SPACE, enqueue='[[enqueue]]\noptimizer = "rmsprop"', objective={"epochs": "3"}))
    study = ask_and_tell(spec, 1)
    assert tomllib.loads(export_trial(study, spec, "sqlite:///demo.db"))["config"] == {"epochs": 3, "optimizer": "rmsprop"}


def test_a_condition_is_part_of_what_must_stay(write):
    spec = load(write(space=SPACE))
    study = ask_and_tell(spec, 1)
    check_same(study, spec)
    check_same(study, load(write(space=SPACE)))
    other = SPACE | {"momentum": SPACE["momentum"].replace('is = "sgd"', 'is = "adam"')}
    with pytest.raises(StudyError, match=r'space\.momentum: must stay as it was .*in = \["sgd"\].*; got .*in = \["adam"\]'):
        check_same(study, load(write(space=other)))


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ('{ param = "y", is = 1 }', 'space.x.when: param must be in [space]; got "y". Known: a, f, x.'),
        ('{ param = "f", is = 1.0 }', "space.x.when: param must be categorical or int; got f, a float."),
        ('{ param = "x", is = 1 }', "space.x.when: conditions must not run in a circle; got x -> x. Break it."),
        ('{ param = "a", is = 9 }', "space.x.when: a must lie in [1, 3]; got 9."),
        ('{ param = "a", in = [1, "b"] }', 'space.x.when: a must be a whole number; got "b".'),
        ('{ param = "a", in = [] }', "space.x.when.in: must not be empty; got []."),
        ('{ param = "a" }', "space.x.when: exactly one of is and in is required; got neither."),
        ('{ param = "a", is = 1, in = [1] }', "space.x.when: exactly one of is and in is required; got both."),
        ('{ param = "a", equals = 1 }', "space.x.when.equals: unknown key; got 1. Known: in, is, param."),
        ("1", "space.x.when: must be a table; got 1."),
    ],
)
def test_each_broken_condition_is_one_line(write, when, expected):
    space = {
        "a": '{ type = "int", low = 1, high = 3 }',
        "f": '{ type = "float", low = 0.0, high = 1.0 }',
        "x": f'{{ type = "int", low = 1, high = 2, when = {when} }}',
    }
    with pytest.raises(StudyFileError) as caught:
        load(write(space=space))
    assert str(caught.value).startswith(f"demo.toml: {expected}")


def test_a_circle_of_several_is_named(write):
    space = {
        "x": None,
        "a": '{ type = "int", low = 1, high = 3, when = { param = "b", is = 1 } }',
        "b": '{ type = "int", low = 1, high = 3, when = { param = "a", is = 1 } }',
    }
    with pytest.raises(StudyFileError, match=r"space\.b\.when: conditions must not run in a circle; got a -> b -> a"):
        load(write(space=space))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            'optimizer = "adam"\nmomentum = 8',
            'enqueue[0].momentum: is only there when optimizer is "sgd"; got 8. Remove it, or change optimizer.',
        ),
        ("momentum = 8", 'enqueue[0].momentum: is only there when optimizer is "sgd"; got 8. Add optimizer.'),
    ],
)
def test_an_enqueued_parameter_needs_its_condition(write, entry, expected):
    with pytest.raises(StudyFileError) as caught:
        load(write(space=SPACE, enqueue=f"[[enqueue]]\n{entry}"))
    assert str(caught.value) == f"demo.toml: {expected}"


def test_a_whole_config_has_what_its_conditions_ask_for(write):
    entry = '[[enqueue]]\noptimizer = "sgd"\nmomentum = 8\ndecay = 0.5'
    with pytest.raises(StudyFileError, match=r"enqueue\[0\]: the none sampler needs whole configs; got none for nesterov"):
        load(write(space=SPACE, sampler={"name": '"none"'}, enqueue=entry))


def test_samplers_that_cannot_model_a_condition_are_told_of():
    conditions = {"momentum": Condition("optimizer", ("sgd",))}
    assert samplers.drawn_alone("tpe", conditions) == ""
    assert samplers.drawn_alone("gp", {}) == ""
    note = "gp models the parameters that all trials have, and draws the others at random: momentum."
    assert samplers.drawn_alone("gp", conditions) == note


def test_an_objective_does_not_see_what_is_absent(write, search, read_study):
    space = SPACE | {"decay": None}
    write(space=space, study={"objective": '"objectives:conditional"', "trials": "20"}, sampler={"name": '"grid"'})
    assert "Every config was tried: 7/20 trials." in search("launch", "demo.toml").stdout
    study = read_study()
    assert len(study.trials) == 7
    assert all(trial.user_attrs["seen"] == sorted(trial.params) for trial in study.trials)
    out = io.StringIO()
    print_status(study, budget=20, rows=None, console=Console(file=out, width=120))
    [line] = [line for line in out.getvalue().splitlines() if "rmsprop" in line]
    assert "momentum" not in line
    assert "nesterov" in render(study)
