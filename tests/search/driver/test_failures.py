"""When a launch gives up. With workers that follow a script: test_verdicts.py."""

import pytest

from search.driver.failures import Failures
from search.driver.tell import Verdict
from search.errors import ObjectiveError, WorkerError
from search.workers.protocol import Died

FAILED = Verdict(7, "failed", reason="no disk")
INFEASIBLE = Verdict(7, "infeasible", reason="OOM when allocating tensor.")


@pytest.fixture
def failures():
    return Failures("objectives:parabola", 3)


def test_so_many_failures_in_a_row_end_a_launch(failures):
    failures.trial_ended(FAILED)
    failures.trial_ended(FAILED)
    with pytest.raises(ObjectiveError, match=r"parabola: 3 trials in a row failed, the last one \(trial 7\) because: no disk"):
        failures.trial_ended(FAILED)


@pytest.mark.parametrize("state", ["complete", "pruned", "paused"])
def test_a_trial_that_ran_well_ends_the_row(failures, state):
    for _ in range(3):
        failures.trial_ended(FAILED)
        failures.trial_ended(FAILED)
        failures.trial_ended(Verdict(8, state))


@pytest.mark.parametrize("state", ["retry", "infeasible", "interrupted", "lost"])
def test_what_says_nothing_of_the_objective_is_no_part_of_it(failures, state):
    for _ in range(5):
        failures.trial_ended(Verdict(8, state))
    failures.trial_ended(FAILED)
    failures.trial_ended(Verdict(8, state))
    failures.trial_ended(FAILED)
    failures.trial_ended(Verdict(8, state))
    with pytest.raises(ObjectiveError, match="3 trials in a row"):
        failures.trial_ended(FAILED)


@pytest.mark.parametrize("between", ["retry", "interrupted", "lost", "failed"])
def test_memory_that_suffices_for_no_trial_ends_a_launch(failures, between):
    for number in range(9):
        failures.trial_ended(INFEASIBLE)
        if between != "failed" or number < 2:
            failures.trial_ended(Verdict(8, between))
    wanted = r"10 trials in a row .* in fresh workers too, .* \(trial 7\) because: "
    with pytest.raises(WorkerError, match=wanted + r"OOM when allocating tensor\. Look whether others use the GPU"):
        failures.trial_ended(INFEASIBLE)


@pytest.mark.parametrize("state", ["complete", "pruned", "paused"])
def test_memory_that_suffices_for_some_trial_does_not(failures, state):
    for _ in range(5):
        for _ in range(9):
            failures.trial_ended(INFEASIBLE)
        failures.trial_ended(Verdict(8, state))


def test_more_trials_may_run_out_of_memory_where_more_may_fail():
    failures = Failures("objectives:parabola", 12)
    for _ in range(11):
        failures.trial_ended(INFEASIBLE)
    with pytest.raises(WorkerError, match="12 trials in a row"):
        failures.trial_ended(INFEASIBLE)


def test_a_first_worker_must_start(failures):
    with pytest.raises(WorkerError, match="worker 1: must start; got: killed"):
        failures.died_at_start(1, Died("killed"))
    with pytest.raises(ObjectiveError, match="no module"):
        failures.start_failed("no module")


def test_where_others_start_a_worker_may_die_but_not_so_many_in_a_row(failures):
    for _ in range(3):
        failures.worker_started()
        failures.start_failed("no module")
        failures.died_at_start(1, Died("killed"))
        failures.died_at_start(1, Died("killed"))
    with pytest.raises(WorkerError, match="worker 1: must start; got: killed"):
        failures.died_at_start(1, Died("killed"))
