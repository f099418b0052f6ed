"""How a trial climbs the rungs of its study's fidelity: one leg at a time, paused in between, and what ends with the study."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.optuna_internals import storage_of, trial_id_of
from search.records.attributes import CONFIG_KEY, RAN_KEY, config_of, given_of, is_infeasible, is_result, shown_attrs
from search.records.constraints import set_by_objective
from search.records.durations import end_after
from search.records.rungs import RUNGS_KEY, Rung, as_attr, is_paused, paused_seconds, rungs_of
from search.storage.folders import checkpoints_of, delete_checkpoints
from search.storage.open import end_trial, longest_attr, study_lock, telling
from search.storage.together import Changes
from search.study_file.fidelity import Fidelity
from search.workers.pool import WorkerState
from search.workers.protocol import RunTrial


@dataclass(frozen=True)
class Leg:
    """One run of a trial, from a rung to the next.

    Attributes:
        fidelity: Of the study.
        rungs: Those that the trial has reached before.
        target: The value that it goes to.
        is_last: Whether the trial is complete there.
        reported: The steps that it has reported before; one whose checkpoint is lost reports them again.
    """

    fidelity: Fidelity
    rungs: Mapping[int, Rung]
    target: int
    is_last: bool
    reported: frozenset[int]

    @property
    def earlier_s(self) -> float:
        """For how many seconds the trial ran before it was paused."""
        return sum(rung.seconds for rung in self.rungs.values())


def leg_of(trial: optuna.Trial, fidelity: Fidelity | None) -> Leg | None:
    """Returns what a trial is to run now; None where the study has no fidelity.

    A config that was enqueued with a value of the fidelity goes there at once.
    """
    if fidelity is None:
        return None
    stored = storage_of(trial.study).get_trial(trial_id_of(trial))
    rungs = rungs_of(stored)
    given = given_of(stored).get(fidelity.name)
    target = given if isinstance(given, int) else fidelity.after(max(rungs, default=0))
    is_last = given is not None or target == fidelity.rungs[-1]
    return Leg(fidelity, rungs, target, is_last, frozenset(stored.intermediate_values))


def ran_seconds(leg: Leg | None, worker: WorkerState) -> float | None:
    """Returns for how many seconds a worker's trial has run, in all its legs, where the wall clock does not tell; else None."""
    return worker.unrecorded_seconds() if leg is None else leg.earlier_s + worker.seconds()


def task_of(trial: optuna.Trial, leg: Leg | None, checkpoints: Path | None, *, answered: bool) -> RunTrial:
    """Returns what a worker is told to run: a leg of a trial, or all of it; `checkpoints` is the study's folder for them."""
    params = trial.params if leg is None else {**trial.params, leg.fidelity.name: leg.target}
    folder = checkpoints_of(trial, checkpoints).absolute() if checkpoints else None
    directions, longest = len(trial.study.directions), longest_attr(trial.study)
    constraints = set_by_objective(storage_of(trial.study).get_trial(trial_id_of(trial)))
    return RunTrial(trial.number, params, shown_attrs(trial), directions, answered, folder, longest, constraints)


def climbed(trial: optuna.Trial, leg: Leg, value: float, ran_s: float) -> Changes:
    """Returns what is to be written of a trial that has reached the end of a leg, after `ran_s` seconds in all its legs."""
    rungs = {**leg.rungs, leg.target: Rung(value, ran_s - leg.earlier_s)}
    params = _fixed(trial, leg.fidelity, leg.target) if leg.is_last else {}
    return Changes(params, system_attrs={RUNGS_KEY: as_attr(rungs)})


def settle(study: optuna.Study, fidelity: Fidelity, checkpoints: Path | None = None) -> list[FrozenTrial]:
    """Ends the paused trials of a study that is over, and removes their checkpoints; returns them as they are then.

    Those that stand on the highest rung that there is a value of are COMPLETE, and so are those with a better value than every
    complete trial: their config, trained as far as that, is a result. The others are PRUNED. The value of one that breaks a
    constraint is none to compare with, wherever it stands, unless there is no other.
    """
    with study_lock(study):
        trials = study.get_trials(deepcopy=False)
        paused = {trial.number: rungs_of(trial) for trial in trials if is_paused(trial)}
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        complete = [trial for trial in trials if is_result(trial)]
        feasible = [rungs for number, rungs in paused.items() if not is_infeasible(trials[number])]
        valued = [*feasible, *map(rungs_of, complete)]
        if not any(valued):  # then it is as if there were no constraint
            valued = [rungs_of(trial) for trial in trials if trial.number in paused or trial.state is TrialState.COMPLETE]
        top = max((rung for rungs in valued for rung in rungs), default=0)
        results = [trial.values[0] for trial in complete]
        results += [rungs[top].value for rungs in feasible if top in rungs]
        best = max((sign * value for value in results), default=math.inf)
        for number, rungs in paused.items():
            reached, rung = list(rungs.items())[-1]
            is_better = sign * rung.value > best and not is_infeasible(trials[number])
            state = TrialState.COMPLETE if reached >= top or is_better else TrialState.PRUNED
            with contextlib.suppress(UpdateFinishedTrialError):  # another driver settles too
                _end(study, trials[number], state, rung, fidelity, reached)
            delete_checkpoints(trials[number], checkpoints)
        return [trial for trial in study.get_trials(deepcopy=False) if trial.number in paused]


def _fixed(trial: optuna.Trial | FrozenTrial, fidelity: Fidelity, reached: int) -> dict[str, tuple[float, BaseDistribution]]:
    """Returns the value of the fidelity that a trial has reached as its parameter, where it is not one yet."""
    distribution = fidelity.distribution
    return {} if fidelity.name in trial.params else {fidelity.name: (distribution.to_internal_repr(reached), distribution)}


def _end(study: optuna.Study, trial: FrozenTrial, state: TrialState, last: Rung, fidelity: Fidelity, reached: int) -> None:
    """Ends a paused trial at the time at which its last leg was over, with a value in any case, as Optuna does.

    Its config on record may be that of a leg which was lost, while its value is that of the rung before.
    """
    changes = Changes(_fixed(trial, fidelity, reached), user_attrs={RAN_KEY: paused_seconds(trial)})
    config = config_of(trial) or {}
    if config.get(fidelity.name, reached) != reached:
        kept = changes.system_attrs if CONFIG_KEY in trial.system_attrs else changes.user_attrs
        kept[CONFIG_KEY] = {**config, fidelity.name: reached}
    with telling(study, trial_id_of(trial), state, [last.value], changes):
        end_trial(study, trial_id_of(trial), state, [last.value], end_after(trial, last.seconds))
