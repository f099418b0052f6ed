"""Estimates what pruning saved: steps that were not run, and the time that they would have taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from optuna.trial import FrozenTrial, TrialState

from search.records.durations import duration_of


@dataclass(frozen=True)
class Pruning:
    """What pruning saved, estimated from the COMPLETE trials.

    Attributes:
        trials: How many were pruned.
        steps_run: Steps (as a rule epochs) that were reported, by trials of any state.
        steps_saved: Steps that the pruned trials would still have run.
        seconds_saved: `steps_saved` times the median time of a step.
        planned_by: The parameter that says how many steps a trial has; None where the median of COMPLETE trials was taken.
    """

    trials: int
    steps_run: int
    steps_saved: float
    seconds_saved: float
    planned_by: str | None

    @property
    def share(self) -> float:
        """Part of all the work that was saved, in [0, 1)."""
        return self.steps_saved / (self.steps_saved + self.steps_run)


def estimate_pruning(trials: Sequence[FrozenTrial]) -> Pruning | None:
    """Returns what pruning saved, or None without a pruned trial, or a COMPLETE one that reported its steps."""
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    whole = [
        trial for trial in trials if trial.state is TrialState.COMPLETE and trial.intermediate_values and duration_of(trial)
    ]
    if not pruned or not whole:
        return None
    planned_by = _planning_parameter(whole)
    usual = median(len(trial.intermediate_values) for trial in whole)
    saved = 0.0
    for trial in pruned:
        planned = trial.params.get(planned_by) if planned_by else None
        steps = planned if isinstance(planned, int | float) and math.isfinite(planned) else usual
        saved += max(0.0, steps - len(trial.intermediate_values))
    run = sum(len(trial.intermediate_values) for trial in trials)
    step_s = median((duration_of(trial) or 0.0) / len(trial.intermediate_values) for trial in whole)
    return Pruning(len(pruned), run, saved, saved * step_s, planned_by)


def _planning_parameter(whole: Sequence[FrozenTrial]) -> str | None:
    """Returns the parameter whose value is the number of steps in every COMPLETE trial, such as ``epochs``."""
    if len({len(trial.intermediate_values) for trial in whole}) < 2:
        return None  # nothing to tell a coincidence by
    for name in whole[0].params:
        if all(trial.params.get(name) == len(trial.intermediate_values) for trial in whole):
            return name
    return None
