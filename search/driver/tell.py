"""How a trial that has ended is recorded."""

from dataclasses import replace

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.driver.faults import judge, tell, tell_complete, tell_infeasible
from search.driver.resume import fail, give_back
from search.records.attributes import RAN_KEY, retries_of
from search.study_file.load import StudySpec
from search.workers.protocol import Died, Outcome

_GIVEN_BACK = "another driver held this one for dead, and gave it back"


def settle(
    trial: optuna.Trial, outcome: Outcome, spec: StudySpec, *, death: Died | None, fresh: bool, ran_s: float | None = None
) -> Outcome:
    """Records how a trial ended; returns its outcome as it was settled, `lost` where another driver has ended it before.

    Args:
        trial: The trial.
        outcome: What its worker said, or what is known of its worker's end.
        spec: The study's file.
        death: The worker's, where it died, or hung and was killed.
        fresh: It was the worker's first trial.
        ran_s: For how many seconds it ran, where the wall clock does not tell.
    """
    try:
        if ran_s is not None:
            trial.set_user_attr(RAN_KEY, ran_s)
        if outcome.state == "failed":
            return _settle_failed(trial, outcome, spec, death=death, fresh=fresh)
        if outcome.state == "interrupted":
            give_back(trial.study, trial.number, "interrupted")
        elif outcome.state == "complete":
            tell_complete(trial, outcome, spec.sampler.name)
        else:
            tell(trial, TrialState.PRUNED)
    except UpdateFinishedTrialError:
        return lost(outcome)
    return outcome


def lost(outcome: Outcome) -> Outcome:
    """Returns the outcome of a trial that another driver has given back meanwhile."""
    return replace(outcome, state="lost", values=(), reason=_GIVEN_BACK)


def _settle_failed(trial: optuna.Trial, outcome: Outcome, spec: StudySpec, *, death: Died | None, fresh: bool) -> Outcome:
    if death is not None and death.node_lost:
        give_back(trial.study, trial.number, outcome.reason)
        return replace(outcome, state="retry")
    died = death is not None
    retries = retries_of(trial)
    settled = judge(outcome, died=died, fresh=fresh, retries=retries, max_retries=spec.policy.max_retries)
    if settled == "retry":
        give_back(trial.study, trial.number, outcome.reason, outcome.traceback, blamed=True)
    elif settled == "infeasible":
        tell_infeasible(trial, outcome, spec.sampler.name)
    else:
        fail(trial.study, trial.number, outcome.reason, outcome.traceback)
    return replace(outcome, state=settled)
