"""How a trial climbs the rungs of its study's fidelity: one leg at a time, paused in between, and what ends with the study."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.optuna_internals import storage_of, trial_id_of
from search.records.attributes import RAN_KEY, given_of, is_result, shown_attrs
from search.records.durations import end_after
from search.records.rungs import RUNGS_KEY, Rung, as_attr, is_paused, paused_seconds, rungs_of
from search.storage.folders import checkpoints_of, delete_checkpoints
from search.storage.open import end_trial, longest_attr, study_lock
from search.study_file.fidelity import Fidelity
from search.workers.pool import WorkerState
from search.workers.protocol import RunTrial


@dataclass(frozen=True)
class Leg:
    """One run of a trial, from a rung to the next.

    Attributes:
        fidelity: Of the study.
        reached: The value of the fidelity at which it begins; 0 at the beginning of the trial.
        target: The value that it goes to.
        is_last: Whether the trial is complete there.
        reported: The steps that it has reported before; one whose checkpoint is lost reports them again.
        earlier_s: For how many seconds it ran before it was paused.
    """

    fidelity: Fidelity
    reached: int
    target: int
    is_last: bool
    reported: frozenset[int]
    earlier_s: float


def leg_of(trial: optuna.Trial, fidelity: Fidelity | None) -> Leg | None:
    """Returns what a trial is to run now; None where the study has no fidelity.

    A config that was enqueued with a value of the fidelity goes there at once.
    """
    if fidelity is None:
        return None
    stored = storage_of(trial.study).get_trial(trial_id_of(trial))
    reached = max(rungs_of(stored), default=0)
    given = given_of(stored).get(fidelity.name)
    target = given if isinstance(given, int) else fidelity.after(reached)
    is_last = given is not None or target == fidelity.rungs[-1]
    return Leg(fidelity, reached, target, is_last, frozenset(stored.intermediate_values), paused_seconds(stored))


def ran_seconds(leg: Leg | None, worker: WorkerState) -> float | None:
    """Returns for how many seconds a worker's trial has run, in all its legs, where the wall clock does not tell; else None."""
    return worker.unrecorded_seconds() if leg is None else leg.earlier_s + worker.seconds()


def task_of(trial: optuna.Trial, leg: Leg | None, checkpoints: Path | None, *, answered: bool) -> RunTrial:
    """Returns what a worker is told to run.

    Args:
        trial: The trial.
        leg: What of it is to be run now; None for all.
        checkpoints: The folder of the study's checkpoints; None where there is none.
        answered: Whether each report will be answered.
    """
    params = trial.params if leg is None else {**trial.params, leg.fidelity.name: leg.target}
    folder = checkpoints_of(trial, checkpoints).absolute() if checkpoints else None
    directions, longest = len(trial.study.directions), longest_attr(trial.study)
    return RunTrial(trial.number, params, shown_attrs(trial), directions, answered, folder, longest)


def climb(trial: optuna.Trial, leg: Leg, value: float, ran_s: float) -> None:
    """Records that a trial has reached the end of a leg: it waits for its promotion, or is ready to be told complete.

    Args:
        trial: The trial.
        leg: What it ran.
        value: What the objective returned.
        ran_s: For how many seconds it ran, in all its legs.

    Raises:
        UpdateFinishedTrialError: Another driver has ended it.
    """
    storage, trial_id = storage_of(trial.study), trial_id_of(trial)
    rungs = {**rungs_of(storage.get_trial(trial_id)), leg.target: Rung(value, ran_s - leg.earlier_s)}
    storage.set_trial_system_attr(trial_id, RUNGS_KEY, as_attr(rungs))
    if leg.is_last:
        _fix(trial.study, storage.get_trial(trial_id), leg.fidelity, leg.target)
    else:
        storage.set_trial_state_values(trial_id, TrialState.WAITING)


def settle(study: optuna.Study, fidelity: Fidelity, checkpoints: Path | None = None) -> list[FrozenTrial]:
    """Ends the paused trials of a study that is over, and removes their checkpoints; returns them as they are then.

    Those that stand on the highest rung that there is a value of are COMPLETE, and so are those with a better value than every
    complete trial: their config, trained as far as that, is a result. The others are PRUNED.
    """
    with study_lock(study):
        trials = study.get_trials(deepcopy=False)
        paused = {trial.number: rungs_of(trial) for trial in trials if is_paused(trial)}
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        complete = [trial for trial in trials if is_result(trial)]
        top = max((rung for rungs in (*paused.values(), *map(rungs_of, complete)) for rung in rungs), default=0)
        results = [trial.values[0] for trial in complete]
        results += [rungs[top].value for rungs in paused.values() if top in rungs]
        best = max((sign * value for value in results), default=math.inf)
        for number, rungs in paused.items():
            reached, rung = list(rungs.items())[-1]
            state = TrialState.COMPLETE if reached == top or sign * rung.value > best else TrialState.PRUNED
            with contextlib.suppress(UpdateFinishedTrialError):  # another driver settles too
                _fix(study, trials[number], fidelity, reached)
                _end(study, trials[number], state, rung)
            delete_checkpoints(trials[number], checkpoints)
        return [trial for trial in study.get_trials(deepcopy=False) if trial.number in paused]


def _fix(study: optuna.Study, trial: FrozenTrial, fidelity: Fidelity, reached: int) -> None:
    """Makes the value of the fidelity that a trial has reached its parameter, where it is not one yet."""
    if fidelity.name not in trial.params:
        distribution = fidelity.distribution
        internal = distribution.to_internal_repr(reached)
        storage_of(study).set_trial_param(trial_id_of(trial), fidelity.name, internal, distribution)


def _end(study: optuna.Study, trial: FrozenTrial, state: TrialState, last: Rung) -> None:
    """Ends a paused trial at the time at which its last leg was over, with a value in any case, as Optuna does."""
    storage_of(study).set_trial_user_attr(trial_id_of(trial), RAN_KEY, paused_seconds(trial))
    end_trial(study, trial_id_of(trial), state, [last.value], end_after(trial, last.seconds))
