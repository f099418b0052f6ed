"""Infers what a KerasTuner project optimized from the score and the metrics of each trial: its files do not say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from search.errors import ProjectError
from search.keras_tuner.project import Project, TrialFile
from search.study_file.tables import Direction

_DIRECTIONS: dict[str, Literal["min", "max"]] = {"min": "min", "max": "max"}


@dataclass(frozen=True)
class Objective:
    """A metric and where it is to go."""

    name: str
    goal: Literal["min", "max"]

    @property
    def direction(self) -> Direction:
        """The direction in Optuna's words."""
        return "minimize" if self.goal == "min" else "maximize"


def parse_objective(text: str) -> Objective:
    """Returns the objective that ``NAME:min`` or ``NAME:max`` names.

    Raises:
        ProjectError: It is neither.
    """
    name, _, goal = text.rpartition(":")
    if not name or goal not in _DIRECTIONS:
        raise ProjectError(f"--objective: must be a metric and its direction; got {text}. Write NAME:min or NAME:max.")
    return Objective(name, _DIRECTIONS[goal])


def find_objective(project: Project) -> Objective:
    """Returns the one metric whose best value is each COMPLETED trial's score, as `keras_tuner.Oracle.score_trial` has it.

    Several objectives are one for KerasTuner: their sum, ``multi_objective``, to be minimized.

    Raises:
        ProjectError: There is no such metric, or more than one.
    """
    scored = [trial for trial in project.trials if trial.status == "COMPLETED" and trial.score is not None]
    remedy = "Add --objective NAME:min or NAME:max; score:min and score:max take the score, whatever it is."
    if not scored:
        raise ProjectError(f"{project.folder}: the objective shows in COMPLETED trials only; got none. {remedy}")
    fitting = [
        Objective(name, metric.direction)
        for name, metric in scored[0].metrics.metrics.items()
        if all(_explains_score(trial, name) for trial in scored)
    ]
    if len(fitting) != 1:
        got = ", ".join(objective.name for objective in fitting) or f"none of {', '.join(scored[0].metrics.metrics) or 'none'}"
        raise ProjectError(f"{project.folder}: one metric must explain the scores of the trials; got {got}. {remedy}")
    return fitting[0]


def values_of(trial: TrialFile, objectives: Sequence[Objective]) -> list[float] | None:
    """Returns a trial's value for each objective; None where one is not there or not a number."""
    values = [_value(trial, objective, alone=len(objectives) == 1) for objective in objectives]
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return numbers if len(numbers) == len(values) else None


def _value(trial: TrialFile, objective: Objective, *, alone: bool) -> float | None:
    metric = trial.metrics.metrics.get(objective.name)
    if metric is None:
        return _number(trial.score) if alone and objective.name == "score" else None
    best = metric.best(objective.goal)
    # Several values are those of one moment, the step whose sum was best.
    together = None if alone else metric.at(trial.best_step)
    return best if together is None else together


def _number(score: float | None) -> float | None:
    try:
        return None if score is None else float(score)
    except OverflowError:  # a whole number of 400 digits
        return None


def _explains_score(trial: TrialFile, name: str) -> bool:
    metric = trial.metrics.metrics.get(name)
    best = metric.best(metric.direction) if metric is not None else None
    return best is not None and trial.score is not None and math.isclose(best, trial.score, rel_tol=1e-12, abs_tol=1e-300)
