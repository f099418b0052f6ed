import warnings

import optuna
import pytest
from optuna.trial import TrialState

from search.driver.initial_design import initial_design
from search.driver.tell import judge, tell_complete, tell_infeasible
from search.records.attributes import FAILURE_KEY, MEMORY_CONSTRAINT, TRACEBACK_KEY, is_infeasible
from search.results.ranking import best_trials
from search.study_file import samplers
from search.workers.protocol import Outcome

RAISED = Outcome(0, "failed", reason="ValueError")
OUT_OF_MEMORY = Outcome(0, "failed", reason="MemoryError", out_of_memory=True)


@pytest.mark.parametrize(
    ("outcome", "died", "fresh", "retries", "expected"),
    [
        (RAISED, False, True, 0, "failed"),
        (RAISED, False, False, 0, "failed"),
        (RAISED, True, True, 0, "retry"),
        (RAISED, True, True, 1, "failed"),
        (OUT_OF_MEMORY, False, True, 0, "infeasible"),
        (OUT_OF_MEMORY, False, False, 0, "retry"),
        (OUT_OF_MEMORY, False, False, 1, "infeasible"),
        (OUT_OF_MEMORY, True, True, 0, "retry"),
        (OUT_OF_MEMORY, True, True, 1, "infeasible"),
    ],
)
def test_what_becomes_of_a_trial(outcome, died, fresh, retries, expected):
    assert judge(outcome, died=died, fresh=fresh, retries=retries, max_retries=1) == expected


def drive(name, trials, directions, seed=0):
    """A study whose values depend on y, and whose configs with x > 0 need more memory than there is."""
    study = optuna.create_study(directions=directions)
    space = {name: optuna.distributions.FloatDistribution(-10, 10) for name in ("x", "y")}
    design = list(initial_design(space, {}, samplers.startup_trials(name, {}), seed))
    for number in range(trials):
        designed = number < len(design)
        study.sampler = (
            samplers.fixed(design[number]) if designed else samplers.make(name, {}, study_seed=seed, trial_index=number)
        )
        trial = study.ask(fixed_distributions=space)
        if trial.params["x"] > 0:
            tell_infeasible(trial, OUT_OF_MEMORY, name)
        else:
            values = tuple(trial.params["y"] if direction == "maximize" else -trial.params["y"] for direction in directions)
            tell_complete(trial, Outcome(number, "complete", values), name)
    return study


@pytest.mark.parametrize(("name", "trials"), [("tpe", 60), ("nsgaii", 200)])
def test_a_sampler_that_knows_constraints_keeps_away(name, trials):
    study = drive(name, trials, ["maximize"])
    late = study.trials[trials // 2 :]
    assert sum(is_infeasible(trial) for trial in late) < len(late) / 3, "half of them would be, if it did not know"
    assert study.best_trial.params["x"] <= 0
    assert best_trials(study) == [study.best_trial]


@pytest.mark.parametrize("name", ["tpe", "nsgaii", "random", "qmc"])
def test_with_several_directions_too(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = drive(name, 120, ["maximize", "minimize"])
    assert any(is_infeasible(trial) for trial in study.trials)
    assert not any(is_infeasible(trial) for trial in study.best_trials)


def test_an_infeasible_trial_says_why():
    study = optuna.create_study(direction="minimize")
    tell_infeasible(study.ask(), Outcome(0, "failed", reason="MemoryError", traceback="Traceback ..."), "tpe")
    trial = study.trials[0]
    assert (trial.state, trial.constraints) == (TrialState.PRUNED, {MEMORY_CONSTRAINT: 1.0})
    assert trial.user_attrs == {FAILURE_KEY: "MemoryError", TRACEBACK_KEY: "Traceback ..."}


def test_a_study_of_infeasible_trials_has_no_best_one():
    study = optuna.create_study(direction="minimize")
    tell_infeasible(study.ask(), OUT_OF_MEMORY, "nsgaii")
    assert study.trials[0].values == [float("inf")]
    assert best_trials(study) == []


def test_gp_gets_the_same_constraints_of_all_trials():
    study = optuna.create_study(direction="minimize")
    tell_complete(study.ask(), Outcome(0, "complete", (1.0,)), "gp")
    assert study.trials[0].constraints == {MEMORY_CONSTRAINT: -1.0}
    tell_infeasible(study.ask(), OUT_OF_MEMORY, "gp")
    assert [trial.constraints for trial in study.trials] == [{MEMORY_CONSTRAINT: -1.0}, {MEMORY_CONSTRAINT: 1.0}]
    assert study.best_trial.number == 0


def test_gp_gets_none_where_another_sampler_has_left_trials_without():
    study = optuna.create_study(direction="minimize")
    tell_complete(study.ask(), Outcome(0, "complete", (1.0,)), "tpe")
    tell_complete(study.ask(), Outcome(1, "complete", (2.0,)), "gp")
    tell_infeasible(study.ask(), OUT_OF_MEMORY, "gp")
    assert [trial.constraints for trial in study.get_trials(states=(TrialState.COMPLETE,))] == [{}, {}]
