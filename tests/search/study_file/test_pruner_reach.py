import math
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from pydantic_core import PydanticCustomError

from search.errors import StudyFileError
from search.study_file import pruners
from search.study_file.arguments import asked
from search.study_file.load import check_reports, load, unpruned
from search.study_file.pruner_reach import Reach, reach_of, steps_of
from search.study_file.rule_errors import format_error

REPORTS = {"run": ("folds", "repeats"), "epoch": ("epochs",)}

# Each pruner with the fewest reports after which it can prune.
FIRST = [
    ("median", {"n_startup_trials": 1}, 1),
    ("median", {"n_startup_trials": 1, "n_warmup_steps": 3}, 4),
    ("percentile", {"percentile": 25.0, "n_startup_trials": 1, "n_warmup_steps": 2}, 3),
    ("threshold", {"lower": 0.0, "n_warmup_steps": 2}, 3),
    ("patient", {"patience": 3}, 5),
    ("patient", {"patience": 1, "wrapped": {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 4}}, 5),
    ("successive_halving", {}, 2),
    ("successive_halving", {"min_resource": 2, "reduction_factor": 2, "min_early_stopping_rate": 1}, 5),
    ("hyperband", {"min_resource": 3, "max_resource": 9}, 4),
    ("wilcoxon", {}, 4),
    ("wilcoxon", {"p_threshold": 0.5}, 2),
    ("wilcoxon", {"p_threshold": 0.25}, 3),  # it must be below that
    ("wilcoxon", {"p_threshold": 0.9, "n_startup_steps": 0}, 2),
    ("wilcoxon", {"p_threshold": 0.2, "n_startup_steps": 6}, 6),
]


def first_prune(name, options):
    """Returns after how many reports Optuna prunes a trial that gets ever worse, after one that was better."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="any", pruner=pruners.make(name, options), direction="maximize")

    def run(value):
        trial = study.ask()
        for step in range(12):
            trial.report(value - 0.01 * step, step)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return step + 1
        study.tell(trial, value)
        return math.inf

    run(1.0)
    return min(run(-1.0 - number) for number in range(20))  # hyperband deals trials out to brackets


def test_it_is_known_of_every_pruner_when_it_can_prune():
    assert {"none", *(name for name, *_ in FIRST)} == {*pruners._KINDS}


@pytest.mark.parametrize(("name", "options", "first"), FIRST)
def test_a_pruner_is_refused_where_optuna_would_never_prune(name, options, first):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        assert first_prune(name, options) == first
    pruners.check(name, options, 1, Reach(9, first, "space.epochs = 9"))
    with pytest.raises(PydanticCustomError) as caught:
        pruners.check(name, options, 1, Reach(9, first - 1, "space.epochs = 9"))
    line = format_error(caught.value, "pruner")
    assert f"can never prune: it needs {first} reports of a trial, and space.epochs = 9 has {first - 1} before the last" in line


@pytest.mark.parametrize(
    ("name", "options", "trials", "option"),
    [
        ("median", {"n_startup_trials": 0}, 1, "name"),
        ("median", {"n_startup_trials": 4}, 4, "n_startup_trials"),
        ("percentile", {"percentile": 50.0, "n_startup_trials": 1, "n_min_trials": 4}, 4, "n_min_trials"),
        ("wilcoxon", {}, 1, "name"),
        ("successive_halving", {}, 1, "name"),
        ("hyperband", {}, 1, "name"),
    ],
)
def test_a_pruner_that_waits_for_more_trials_than_there_will_be(name, options, trials, option):
    pruners.check(name, options, 1, Reach(trials + 1))
    with pytest.raises(PydanticCustomError) as caught:
        pruners.check(name, options, 1, Reach(trials))
    assert format_error(caught.value, "pruner").startswith(f"pruner.{option}: {name} can never prune: it waits for")


@pytest.mark.parametrize(("name", "options"), [("threshold", {"lower": 0.0}), ("patient", {"patience": 1})])
def test_a_pruner_that_compares_a_trial_with_no_other_one_waits_for_none(name, options):
    pruners.check(name, options, 1, Reach(1))


def test_a_hyperband_without_a_bracket():
    with pytest.raises(PydanticCustomError, match="hyperband can never prune: max_resource must be at least min_resource = 4"):
        pruners.check("hyperband", {"min_resource": 4, "max_resource": 3}, 1, Reach(9))
    pruners.check("hyperband", {"min_resource": 4, "max_resource": 4}, 1, Reach(9))


def test_a_pruner_that_believes_no_p_value():
    with pytest.raises(PydanticCustomError, match="wilcoxon can never prune: it needs inf reports"):
        pruners.check("wilcoxon", {"p_threshold": 0.0}, 1, Reach(9, 99, "space.epochs = 100"))


@pytest.mark.parametrize(
    ("name", "options", "settings", "says"),
    [
        ("wilcoxon", {}, {"epochs": 9}, "objective.epochs = 9 makes a trial report its epochs"),
        ("patient", {"patience": 1}, {"folds": 9}, "objective.folds = 9 makes a trial report runs that are independent"),
        (
            "patient",
            {"patience": 1, "wrapped": {"name": "wilcoxon"}},
            {"repeats": 9, "epochs": 9},
            "objective.repeats = 9 makes a trial report runs that are independent",
        ),
    ],
)
def test_a_pruner_that_takes_runs_for_epochs_or_epochs_for_runs(name, options, settings, says):
    with pytest.raises(PydanticCustomError) as caught:
        pruners.check(name, options, 1, reach_of({}, settings, REPORTS))
    line = format_error(caught.value, "pruner")
    assert line.startswith(f"pruner.name: {name} ")
    assert says in line


@pytest.mark.parametrize(
    ("space", "settings", "expected"),
    [
        ({"epochs": IntDistribution(4, 20, step=4)}, {}, Reach(None, 19, "space.epochs = 20", "epoch")),
        ({"epochs": CategoricalDistribution([5, 30, 10])}, {}, Reach(None, 29, "space.epochs = 30", "epoch")),
        ({}, {"epochs": 3}, Reach(None, 2, "objective.epochs = 3", "epoch")),
        ({"epochs": IntDistribution(1, 2)}, {"epochs": 30}, Reach(None, 1, "space.epochs = 2", "epoch")),
        ({"epochs": IntDistribution(1, 2)}, {"folds": 5}, Reach(None, 4, "objective.folds = 5", "run")),
        ({"epochs": IntDistribution(1, 2)}, {"repeats": 3, "folds": 1}, Reach(None, 2, "objective.repeats = 3", "run")),
        ({"folds": IntDistribution(2, 5)}, {"epochs": 30}, Reach(None, 4, "space.folds = 5", "run")),
        ({"folds": IntDistribution(2, 5)}, {"epochs": 30, "folds": 9}, Reach(None, 4, "space.folds = 5", "run")),
        ({"repeats": CategoricalDistribution([3, 2])}, {"epochs": 30}, Reach(None, 2, "space.repeats = 3", "run")),
        ({"folds": IntDistribution(1, 5)}, {"epochs": 30}, Reach()),
        ({"folds": CategoricalDistribution([None, 5])}, {"epochs": 30}, Reach()),
        ({"folds": IntDistribution(0, 1)}, {"epochs": 30}, Reach(None, 29, "objective.epochs = 30", "epoch")),
        ({}, {"epochs": "${EPOCHS}"}, Reach()),
        ({}, {"epochs": True}, Reach()),
        ({}, {}, Reach()),
    ],
)
def test_file_and_objective_tell_how_often_a_trial_reports(space, settings, expected):
    assert reach_of(space, settings, {}) == Reach()
    assert reach_of(space, settings, REPORTS) == expected


@pytest.mark.parametrize(
    ("params", "settings", "steps"),
    [
        ({"epochs": 5}, {}, 5),
        ({}, {"epochs": 3}, 3),
        ({"epochs": 5}, {"epochs": 3}, 5),
        ({"epochs": 5}, {"folds": 4}, 4),
        ({"epochs": 5}, {"folds": 1}, 5),
        ({"epochs": 5}, {"folds": 1, "repeats": 2}, 2),
        ({"folds": 4}, {"epochs": 5}, 4),
        ({"folds": 4, "epochs": 5}, {"folds": 2}, 4),
        ({"folds": 1}, {"folds": 4, "epochs": 5}, 5),
        ({"folds": None}, {"epochs": 5}, 5),
        ({}, {"epochs": True}, None),
        ({}, {}, None),
    ],
)
def test_a_trial_makes_so_many_reports(params, settings, steps):
    assert steps_of(params, settings, REPORTS) == steps
    assert steps_of(params, settings, {}) is None


def test_a_study_file_with_a_warm_up_beyond_its_epochs(write):
    spec = load(write(pruner={"name": '"median"', "n_warmup_steps": "20"}, objective={"epochs": "20"}))
    check_reports(spec, {})
    with pytest.raises(StudyFileError) as caught:
        check_reports(spec, REPORTS)
    assert str(caught.value) == (
        "demo.toml: pruner.n_warmup_steps: median can never prune: it needs 21 reports of a trial, and objective.epochs = 20 "
        'has 19 before the last; got 20. Change n_warmup_steps, or write name = "none".'
    )


def test_the_default_pruner_is_no_mistake(write):
    check_reports(load(write(objective={"epochs": "1"})), REPORTS)
    assert unpruned(asked(load(write()), 1, "launch", trials=1)[0]) == "", "who names none is not told of it"


def test_a_call_may_give_fewer_trials_than_the_file(write):
    spec = load(write(pruner={"name": '"patient"', "patience": "1", "wrapped": '{ name = "median", n_startup_trials = 4 }'}))
    assert unpruned(spec) == ""
    notes = ["note: with 1 trial nothing is pruned", "note: with 4 trials nothing is pruned", ""]
    for trials, note in zip((1, 4, 5), notes, strict=True):
        given, _ = asked(spec, 1, "launch", trials=trials)
        check_reports(given, REPORTS)
        assert unpruned(given) == note
