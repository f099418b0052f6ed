import datetime

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.driver.budget import BudgetUsage
from search.driver.retry import requeue
from search.records.attributes import RAN_KEY
from search.records.constraints import MEMORY_CONSTRAINT
from search.records.rungs import RUNGS_KEY
from search.records.states import INTERRUPTED
from search.study_file.policy import Policy

SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}


def add(study, value=None, *, seconds=10.0, reports=0, state=TrialState.COMPLETE, **more):
    values = value if isinstance(value, tuple) else None if value is None else (value,)
    trial = create_trial(state=state, values=values, intermediate_values=dict.fromkeys(range(reports), 0.0), **more)
    start = datetime.datetime(2026, 1, 1) + datetime.timedelta(hours=len(study.trials))
    trial.datetime_start = start
    trial.datetime_complete = start + datetime.timedelta(seconds=seconds) if state.is_finished() else None
    study.add_trial(trial)


def add_climber(study, *values, state=TrialState.WAITING):
    """Adds a trial that has these values at its first rungs: a report and a second for each."""
    result = values[-1] if state is TrialState.COMPLETE else None
    rungs = {RUNGS_KEY: {str(2**rung): [value, 1.0] for rung, value in enumerate(values)}}
    add(study, result, seconds=1.0, reports=len(values), state=state, system_attrs=rungs, user_attrs={RAN_KEY: len(values)})


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
        (Policy(trials=4, timeout_s=1e-9, max_reports=12, max_device_time_s=45, patience=2), "budget"),
        (Policy(trials=5, timeout_s=1e-9), "timeout"),
        (Policy(trials=5, max_reports=12), "reports"),
        (Policy(trials=5, max_reports=13), None),
        (Policy(trials=5, max_device_time_s=45), "device_time"),
        (Policy(trials=5, max_device_time_s=45, device_share=0.5), None),
        (Policy(trials=5, max_device_time_s=90), None),
        (Policy(trials=5, max_device_time_s=90, device_share=2.0), "device_time"),
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
    usage.add(6, 1.0, counts=True, values=(3.0,))
    assert usage.since_better == 0


def test_an_infeasible_trial_is_never_better():
    study = optuna.create_study(direction="minimize")
    add(study, 1.0)
    add(study, float("-inf"), constraints={MEMORY_CONSTRAINT: 1.0})
    assert BudgetUsage.of(study).since_better == 1


def test_with_several_directions_better_means_not_dominated():
    usage = BudgetUsage(optuna.create_study(directions=["minimize", "maximize"]).directions)
    counts = []
    for number, values in enumerate([(1.0, 1.0), (2.0, 2.0), (2.0, 1.5), (1.0, 1.0), (0.5, 3.0), (0.6, 2.9)]):
        usage.add(number, 1.0, counts=True, values=values)
        counts.append(usage.since_better)
    assert counts == [0, 0, 1, 2, 0, 1]


def test_what_is_left_is_that_of_the_budget_nearest_to_its_end(study, clock):
    usage = BudgetUsage.of(study)
    usage._started_at = clock.now
    assert usage.budget_left(Policy(trials=8)) == 0.5
    assert usage.budget_left(Policy(trials=8, max_reports=16)) == 0.25
    assert usage.budget_left(Policy(trials=8, max_device_time_s=50)) == pytest.approx(0.1)
    assert usage.budget_left(Policy(trials=80, max_device_time_s=50, device_share=0.5)) == pytest.approx(0.55)
    assert usage.budget_left(Policy(trials=3)) == 0.0
    clock.pass_(90)
    assert usage.budget_left(Policy(trials=8, timeout_s=100)) == pytest.approx(0.1)


def test_what_is_paused_has_used_its_part_of_every_budget():
    study = optuna.create_study(direction="maximize")
    add_climber(study, 0.1, 0.9, state=TrialState.COMPLETE)
    for values in ([0.2, 0.3], [0.4], [0.8, 0.7]):
        add_climber(study, *values)
    usage = BudgetUsage.of(study)
    assert (usage.finished, usage.paused, usage.reports, usage.trial_seconds, usage.since_better) == (1, 3, 7, 7.0, 3)
    assert usage.exhausted(Policy(trials=9, max_reports=7), 0, 0.0) == "reports"
    assert usage.exhausted(Policy(trials=9, max_device_time_s=7), 0, 0.0) == "device_time"
    assert usage.exhausted(Policy(trials=9, patience=3), 0, 0.0) == "patience"
    assert usage.exhausted(Policy(trials=4, max_reports=7), 0, 0.0) == "reports", "though no config is left to begin"
    assert usage.exhausted(Policy(trials=4, timeout_s=1e-9), 0, 0.0) == "timeout"
    assert usage.exhausted(Policy(trials=4, max_reports=8), 0, 0.0) == "budget"
    assert usage.budget_left(Policy(trials=5)) == pytest.approx(0.2)
    assert usage.budget_left(Policy(trials=9, max_device_time_s=28)) == pytest.approx(5 / 9)
    assert usage.budget_left(Policy(trials=9, max_device_time_s=8)) == pytest.approx(1 / 8)


def test_nothing_is_counted_twice():
    study = optuna.create_study(direction="maximize")
    for values in ([0.1, 0.9], [0.2, 0.3], [0.4]):
        add_climber(study, *values)
    usage = BudgetUsage.of(study)

    def used(usage):
        return usage.finished, usage.paused, usage.reports, usage.trial_seconds, usage.since_better

    before = (0, 3, 5, 5.0, 2)
    assert used(usage) == before
    usage.update(study.trials)
    assert used(usage) == before, "however often they are looked at"
    for number in (1, 0):  # the best one, too
        study._storage.set_trial_state_values(number, TrialState.RUNNING)
        requeue(study, number, INTERRUPTED)
        usage.update(study.trials)
    assert used(usage) == before, "a retry goes on where the one before it was, and is no other config"
    assert used(BudgetUsage.of(study))[:4] == before[:4]
    study._storage.set_trial_intermediate_value(3, 2, 0.0)
    for trial in study.trials[2:]:
        if not trial.state.is_finished():
            study._storage.set_trial_state_values(trial.number, TrialState.PRUNED)
    usage.update(study.trials)
    assert used(usage)[:3] == used(BudgetUsage.of(study))[:3] == (3, 0, 6), "another driver may end them"


def test_patience_outlives_an_interrupt():
    study = optuna.create_study(direction="maximize")
    for values in ([0.1, 0.9], [0.2], [0.3], [0.4]):
        add_climber(study, *values)
    assert BudgetUsage.of(study).since_better == 3
    study._storage.set_trial_state_values(2, TrialState.RUNNING)
    requeue(study, 2, INTERRUPTED)
    assert BudgetUsage.of(study).since_better == 3, "a retry without a better value brings none"


def test_patience_counts_from_the_last_better_value_in_the_order_in_which_values_came():
    """However the trials are numbered: one may take long, and what is paused has its value since then."""
    hour = 3600.0
    for values in ([1.0, 0.5, 0.7], [2.0, 1.0, 1.5]):
        study = optuna.create_study(direction="maximize")
        add(study, values[0], seconds=5 * hour)  # begins at 0 h
        add(study, values[1])  # at 1 h
        add(study, values[2])
        assert BudgetUsage.of(study).since_better == 0
    rungs = {RUNGS_KEY: {"1": [1.0, 0.1 * hour], "2": [2.0, 4 * hour]}}
    for state, value in ((TrialState.WAITING, None), (TrialState.COMPLETE, 2.0)):
        study = optuna.create_study(direction="maximize")
        add(study, value, seconds=4 * hour, state=state, system_attrs=rungs)
        add(study, 0.5)
        add(study, 1.5)
        assert BudgetUsage.of(study).since_better == 0
        add(study, 1.5, seconds=9 * hour)
        assert BudgetUsage.of(study).since_better == 1


def test_patience_counts_from_the_last_better_value_whatever_a_wall_clock_shows(two_launches):
    assert BudgetUsage.of(two_launches).since_better == 1


def test_a_rung_that_another_driver_has_had_a_trial_climb_counts_though_it_is_paused_as_before():
    study = optuna.create_study(direction="maximize")
    add(study, state=TrialState.WAITING, system_attrs={RUNGS_KEY: {"1": [0.5, 1.0]}})
    usage = BudgetUsage.of(study)
    usage.add(1, 1.0, counts=True, values=(0.6,))
    study._storage.set_trial_system_attr(0, RUNGS_KEY, {"1": [0.5, 1.0], "2": [0.7, 2.0]})
    usage.add(2, 1.0, counts=True, values=(0.5,))
    usage.update(study.trials)
    assert (usage.paused, usage.trial_seconds, usage.since_better) == (1, 5.0, 0)


def test_a_trial_that_another_driver_took_for_lost_and_ended_is_not_counted_again_by_its_own():
    study = optuna.create_study(direction="maximize")
    add(study, 1.0)
    add(study, state=TrialState.FAIL, reports=1)
    usage = BudgetUsage.of(study)
    usage.add(1, 99.0, counts=True, values=(9.0,))
    assert (usage.finished, usage.reports, usage.trial_seconds, usage.since_better) == (1, 1, 20.0, 0)
    usage.add(2, 1.0, counts=True, values=(2.0,))
    assert usage.since_better == 0, "9 was none to beat"


def test_a_run_counts_as_what_is_then_in_the_storage():
    study = optuna.create_study(direction="maximize")
    usage = BudgetUsage.of(study)
    usage.report(0)
    usage.add(0, 1.0, counts=False, values=(0.9,), is_paused=True)
    add_climber(study, 0.9)
    usage.update(study.trials)
    assert (usage.paused, usage.reports, usage.trial_seconds, usage.since_better) == (1, 1, 1.0, 0)
    for number in (1, 2):
        usage.add(number, 1.0, counts=False, values=(0.5,), is_paused=True)
    usage.add(1, 2.0, counts=True, values=(0.6,))
    assert (usage.finished, usage.paused, usage.trial_seconds, usage.since_better) == (1, 2, 5.0, 2), "each config counts once"


def test_what_another_driver_runs_counts_as_far_as_it_is_known():
    study = optuna.create_study(direction="maximize")
    usage, running = BudgetUsage.of(study), study.ask()
    for step in range(2):
        running.report(0.5, step)
        usage.update(study.trials)
        assert (usage.finished, usage.reports) == (0, step + 1)
    running.report(0.5, 2)
    study.tell(running, 0.5)
    for _ in range(2):
        usage.update(study.trials)
        assert (usage.finished, usage.reports, usage.since_better) == (1, 3, 0)
