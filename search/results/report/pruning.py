"""Estimates what pruning saved: steps that were not run, and the time that they would have taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import number_in
from search.records.constraints import lacks_memory
from search.records.durations import duration_of
from search.records.rungs import rungs_of


@dataclass(frozen=True)
class Pruning:
    """What pruning saved, estimated from the COMPLETE trials.

    Attributes:
        trials: How many were pruned; what needed more memory than there is was not.
        steps_run: Steps (as a rule epochs) that were reported, by trials of any state.
        steps_saved: Steps that the pruned trials would still have run.
        seconds_saved: `steps_saved` times the median time of a step.
        planned_by: The parameter that says how many steps a trial has; None where COMPLETE trials say it.
        climbed: Trials climbed rungs, and those that have been on the highest say it; else the median COMPLETE trial does.
    """

    trials: int
    steps_run: int
    steps_saved: float
    seconds_saved: float
    planned_by: str | None
    climbed: bool

    @property
    def share(self) -> float:
        """Part of all the work that was saved, in [0, 1)."""
        return self.steps_saved / (self.steps_saved + self.steps_run)


def estimate_pruning(trials: Sequence[FrozenTrial]) -> Pruning | None:
    """Returns what pruning saved, or None without a pruned trial, or a COMPLETE one that reported its steps."""
    ended = [trial for trial in trials if trial.state.is_finished() and not lacks_memory(trial)]
    pruned = [trial for trial in ended if trial.state is TrialState.PRUNED]
    whole = [
        trial for trial in ended if trial.state is TrialState.COMPLETE and trial.intermediate_values and duration_of(trial)
    ]
    if not pruned or not whole:
        return None
    top = max((rung for trial in whole for rung in rungs_of(trial)), default=None)
    planned_by = _planning_parameter(whole) if top is None else None  # the fidelity of a pruned one is what it has reached
    usual = median(len(trial.intermediate_values) for trial in whole if top is None or top in rungs_of(trial))
    saved = 0.0
    for trial in pruned:
        planned = number_in(trial.params.get(planned_by)) if planned_by else None
        saved += max(0.0, (usual if planned is None else planned) - len(trial.intermediate_values))
    run = sum(len(trial.intermediate_values) for trial in trials)
    step_s = median((duration_of(trial) or 0.0) / len(trial.intermediate_values) for trial in whole)
    return Pruning(len(pruned), run, saved, saved * step_s, planned_by, top is not None)


def _planning_parameter(whole: Sequence[FrozenTrial]) -> str | None:
    """Returns the parameter whose value is the number of steps in every COMPLETE trial, such as ``epochs``."""
    if len({len(trial.intermediate_values) for trial in whole}) < 2:
        return None  # nothing to tell a coincidence by
    for name in whole[0].params:
        if all(trial.params.get(name) == len(trial.intermediate_values) for trial in whole):
            return name
    return None
