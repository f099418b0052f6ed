import datetime

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.driver.budget import BudgetUsage
from search.records.attributes import MEMORY_CONSTRAINT
from search.study_file.policy import Policy, RayResources

SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}


def add(study, value=None, *, seconds=10.0, reports=0, state=TrialState.COMPLETE, **more):
    values = value if isinstance(value, tuple) else None if value is None else (value,)
    trial = create_trial(state=state, values=values, intermediate_values=dict.fromkeys(range(reports), 0.0), **more)
    start = datetime.datetime(2026, 1, 1) + datetime.timedelta(hours=len(study.trials))
    trial.datetime_start, trial.datetime_complete = start, start + datetime.timedelta(seconds=seconds)
    study.add_trial(trial)


@pytest.fixture
def study():
    study = optuna.create_study(direction="maximize")
    add(study, 1.0, reports=3)
    add(study, 2.0, reports=3)
    add(study, state=TrialState.FAIL, reports=1, seconds=5)
    add(study, state=TrialState.PRUNED, reports=2)
    add(study, 2.0, reports=3)
    study.enqueue_trial({"x": 0.5})
    return study


def test_what_a_study_has_used(study):
    usage = BudgetUsage.of(study)
    assert (usage.finished, usage.reports, usage.trial_seconds) == (4, 12, 45.0)
    assert usage.since_better == 2, "an equal value is no better, and a failed trial does not count"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(trials=5), None),
        (Policy(trials=4), "budget"),
        (Policy(trials=5, timeout_s=1e-9), "timeout"),
        (Policy(trials=5, max_reports=12), "reports"),
        (Policy(trials=5, max_reports=13), None),
        (Policy(trials=5, max_device_time_s=45), "device_time"),
        (Policy(trials=5, max_device_time_s=45, workers_per_device=2), None),
        (Policy(trials=5, max_device_time_s=45, executor=RayResources("auto", 0.5, 1)), None),
        (Policy(trials=5, max_device_time_s=45, executor=RayResources("auto", 0, 1)), "device_time"),
        (Policy(trials=5, max_device_time_s=90, executor=RayResources("auto", 2, 1)), "device_time"),
        (Policy(trials=5, patience=2), "patience"),
        (Policy(trials=5, patience=3), None),
    ],
)
def test_which_budget_is_used_up(study, policy, reason):
    assert BudgetUsage.of(study).exhausted(policy, 0, 0.0) == reason


def test_what_runs_counts_too(study):
    usage = BudgetUsage.of(study)
    assert usage.exhausted(Policy(trials=6), 2, 0.0) == "budget"
    assert usage.exhausted(Policy(trials=6, max_device_time_s=60), 1, 15.0) == "device_time"


def test_a_better_trial_starts_patience_anew(study):
    usage = BudgetUsage.of(study)
    usage.add(1.0, counts=True, values=(3.0,))
    assert usage.since_better == 0


def test_an_infeasible_trial_is_never_better():
    study = optuna.create_study(direction="minimize")
    add(study, 1.0)
    add(study, float("-inf"), constraints={MEMORY_CONSTRAINT: 1.0})
    assert BudgetUsage.of(study).since_better == 1


def test_with_several_directions_better_means_not_dominated():
    usage = BudgetUsage(optuna.create_study(directions=["minimize", "maximize"]).directions)
    counts = []
    for values in [(1.0, 1.0), (2.0, 2.0), (2.0, 1.5), (1.0, 1.0), (0.5, 3.0), (0.6, 2.9)]:
        usage.add(1.0, counts=True, values=values)
        counts.append(usage.since_better)
    assert counts == [0, 0, 1, 2, 0, 1]


def test_what_is_left_is_that_of_the_budget_nearest_to_its_end(study, clock):
    usage = BudgetUsage.of(study)
    usage._started_at = clock.now
    assert usage.budget_left(Policy(trials=8)) == 0.5
    assert usage.budget_left(Policy(trials=8, max_reports=16)) == 0.25
    assert usage.budget_left(Policy(trials=8, max_device_time_s=50)) == pytest.approx(0.1)
    assert usage.budget_left(Policy(trials=3)) == 0.0
    clock.pass_(90)
    assert usage.budget_left(Policy(trials=8, timeout_s=100)) == pytest.approx(0.1)
