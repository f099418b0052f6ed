"""How a trial that has ended is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState

from search.driver.legs import Leg, climbed
from search.driver.retry import fail, requeue
from search.optuna_internals import storage_of, tell_once, trial_id_of
from search.records.attributes import RAN_KEY, constraints_of, retries_of
from search.records.constraints import MEMORY_CONSTRAINT, describe_broken
from search.records.saving import save_failure
from search.records.states import INTERRUPTED
from search.storage.open import telling
from search.storage.together import Changes
from search.study_file import samplers
from search.study_file.load import StudySpec
from search.workers.protocol import Died, Outcome

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


@dataclass(frozen=True)
class Verdict:
    """How a trial has ended in its study.

    Attributes:
        number: The trial.
        state: Of a trial that failed, `retry` where it is tried again, and `infeasible` where its config needs more memory than
            there is; of any trial, `lost` where another driver of the study has requeued it meanwhile. A trial that is
            `paused` has reached a rung, and may go on.
        values: One for each direction; empty unless complete.
        reason: Why it failed or was lost, or what constraints of its objective it breaks, in one line; else empty.
    """

    number: int
    state: Literal["complete", "pruned", "failed", "infeasible", "retry", "interrupted", "lost", "paused"]
    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def counts(self) -> bool:
        """Whether the trial counts against the budget."""
        return self.state in ("complete", "pruned", "infeasible")

    @property
    def breaks(self) -> bool:
        """Whether it has come to its end, or to a rung, and breaks a constraint of its objective."""
        return self.state in ("complete", "pruned", "paused") and bool(self.reason)

    @property
    def result(self) -> tuple[float, ...]:
        """Its values, where it may be the best trial so far; else empty."""
        return () if self.breaks else self.values

    @property
    def is_final(self) -> bool:
        """Whether nobody will try the trial again."""
        return self.counts or self.state == "failed"


def tell(
    trial: optuna.Trial,
    outcome: Outcome,
    spec: StudySpec,
    *,
    death: Died | None,
    fresh: bool,
    ran_s: float | None = None,
    leg: Leg | None = None,
) -> Verdict:
    """Records how a trial ended; the verdict is `lost` where another driver has ended it before.

    Args:
        trial: The trial.
        outcome: What its worker said, or what is known of its worker's end.
        spec: The study's file.
        death: The worker's, where it died, or hung and was killed.
        fresh: It was the worker's first trial.
        ran_s: For how many seconds it ran, in all its legs, where the wall clock does not tell.
        leg: What it ran of its way up; None where its study has no fidelity.
    """
    trial_id, state, values, changes = trial_id_of(trial), _STATES.get(outcome.state), outcome.values, Changes()
    broken = describe_broken(constraints_of(storage_of(trial.study).get_trial(trial_id)))
    if leg is not None and state is TrialState.COMPLETE:
        changes = climbed(trial, leg, values[0], ran_s or 0.0)
        if not leg.is_last:
            state, values = TrialState.WAITING, ()
    if ran_s is not None and state is not TrialState.WAITING:
        changes.user_attrs[RAN_KEY] = ran_s
    try:
        with telling(trial.study, trial_id, state, values, changes):
            if state is TrialState.WAITING:
                storage_of(trial.study).set_trial_state_values(trial_id, state)
                return Verdict(trial.number, "paused", outcome.values, broken)
            if outcome.state == "failed":
                return _tell_failed(trial, outcome, spec, death=death, fresh=fresh)
            if outcome.state == "interrupted":
                requeue(trial.study, trial.number, INTERRUPTED)
                return Verdict(trial.number, "interrupted", reason=outcome.reason)
            if outcome.state == "complete":
                _tell_state(trial, TrialState.COMPLETE, outcome.values)
            else:
                _tell_state(trial, TrialState.PRUNED)
    except UpdateFinishedTrialError:
        return lost(trial)
    return Verdict(trial.number, outcome.state, outcome.values, broken)


def lost(trial: optuna.Trial) -> Verdict:
    """Returns the verdict on a trial that another driver has requeued meanwhile."""
    return Verdict(trial.number, "lost", reason="another driver held this one for dead, and gave it back")


def _tell_failed(trial: optuna.Trial, outcome: Outcome, spec: StudySpec, *, death: Died | None, fresh: bool) -> Verdict:
    if death is not None and death.node_lost:
        requeue(trial.study, trial.number, outcome.reason)
        return Verdict(trial.number, "retry", reason=outcome.reason)
    died = death is not None
    retries = retries_of(trial)
    state = judge(outcome, died=died, fresh=fresh, retries=retries, max_retries=spec.policy.max_retries)
    if state == "retry":
        requeue(trial.study, trial.number, outcome.reason, outcome.traceback, blamed=True)
    elif state == "infeasible":
        tell_infeasible(trial, outcome, spec.sampler.name)
    else:
        fail(trial.study, trial.number, outcome.reason, outcome.traceback)
    return Verdict(trial.number, state, reason=outcome.reason)


def judge(
    outcome: Outcome, *, died: bool, fresh: bool, retries: int, max_retries: int
) -> Literal["retry", "infeasible", "failed"]:
    """Returns what becomes of a trial that failed.

    A death, a hang or the failure of a device may be an accident, and memory may have run out because of what the worker had
    run before, or because of its neighbours: all of these are worth another try. What the objective itself raised or returned
    would come again.

    Args:
        outcome: How it failed.
        died: The worker died, or hung and was killed.
        fresh: It was the worker's first trial.
        retries: How often this config was tried again already.
        max_retries: How often it may be.
    """
    accident = died or outcome.device_failed or (outcome.out_of_memory and not fresh)
    if accident and retries < max_retries:
        return "retry"
    return "infeasible" if outcome.out_of_memory else "failed"


def tell_infeasible(trial: optuna.Trial, outcome: Outcome, sampler: str) -> None:
    """Tells the sampler that this config cannot run, so that it keeps away from there.

    The trial becomes PRUNED and breaks a constraint. For samplers that learn from COMPLETE trials alone it becomes COMPLETE
    with the worst values there are; Optuna takes no trial that breaks a constraint for the best one.
    """
    storage, trial_id = storage_of(trial.study), trial_id_of(trial)
    save_failure(storage, trial_id, outcome.reason, outcome.traceback)
    trial.set_constraint(MEMORY_CONSTRAINT, 1.0)
    if samplers.learns_of_complete(sampler):
        worst = {StudyDirection.MINIMIZE: float("inf"), StudyDirection.MAXIMIZE: float("-inf")}
        _tell_state(trial, TrialState.COMPLETE, [worst[direction] for direction in trial.study.directions])
    else:
        _tell_state(trial, TrialState.PRUNED)


def _tell_state(trial: optuna.Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
    """Tells how a trial ended.

    Raises:
        UpdateFinishedTrialError: It has ended otherwise: another driver has given it back.
    """
    stored = tell_once(trial, state, values)
    if stored is not state:
        raise UpdateFinishedTrialError(f"Trial {trial.number} has ended as {stored.name}.")
