"""Ranks trials by their value in a study's direction, and finds the best ones and the baseline of any study."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.optuna_internals import pareto_front
from search.records.attributes import file_of, given_of, is_infeasible, is_result, queued_of, retry_of
from search.records.optuna_keys import FAILED_TRIAL
from search.records.values import value_names
from search.text import format_params, plain

_X = TypeVar("_X")


@dataclass(frozen=True)
class Metric:
    """One direction of a study.

    Attributes:
        index: Its place among a trial's values.
        maximize: Whether more is better.
    """

    name: str
    index: int
    maximize: bool

    @property
    def sign(self) -> int:
        """What a value is multiplied by so that less is better: -1 or 1."""
        return -1 if self.maximize else 1

    def of(self, trial: FrozenTrial) -> float:
        """Returns a COMPLETE trial's value in this direction."""
        return float(trial.values[self.index])

    def loss_of(self, trial: FrozenTrial) -> float:
        """Returns the value with its sign such that less is better."""
        return self.sign * self.of(trial)


def metrics_of(study: optuna.Study) -> tuple[Metric, ...]:
    """Returns the directions of a study with their names."""
    pairs = zip(value_names(study), study.directions, strict=True)
    return tuple(Metric(name, index, direction is StudyDirection.MAXIMIZE) for index, (name, direction) in enumerate(pairs))


def rank(trials: Sequence[FrozenTrial], metrics: Sequence[Metric]) -> list[FrozenTrial]:
    """Returns the trials that are results, the best first; by number with several directions."""
    sound = [trial for trial in trials if is_result(trial)]
    return sorted(sound, key=metrics[0].loss_of) if len(metrics) == 1 else sound


def improvements(points: Iterable[tuple[_X, float]], metric: Metric) -> list[tuple[_X, float]]:
    """Returns the points (x, value), in their order, whose value is better than all before."""
    curve: list[tuple[_X, float]] = []
    for x, value in points:
        if not curve or metric.sign * value < metric.sign * curve[-1][1]:
            curve.append((x, value))
    return curve


def find_baseline(study: optuna.Study) -> FrozenTrial | None:
    """Returns the trial of the config that was enqueued first, or its retry where that completed.

    A study of this driver names its queue; in one of plain Optuna it is the first trial whose parameters were given.
    """
    trials = study.get_trials(deepcopy=False)
    file = file_of(study)
    if file is None:
        first = next((trial.number for trial in trials if given_of(trial) and _first_try(trial) is None), None)
        tries = [trial for trial in trials if first in (trial.number, _first_try(trial)) and first is not None]
    else:
        queue = file["enqueue"]
        tries = [trial for trial in trials if queue and queued_of(trial) == queue[0]]
    complete = (trial for trial in tries if trial.state is TrialState.COMPLETE)
    return next(complete, tries[-1] if tries else None)


def _first_try(trial: FrozenTrial) -> object:
    """Returns the number of the trial that this one takes up again, for a driver of ours or a callback of Optuna's."""
    first = retry_of(trial)
    return trial.system_attrs.get(FAILED_TRIAL) if first is None else first


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the best COMPLETE trial, or the Pareto front of several directions by number; empty where there is no result."""
    ranked = rank(study.get_trials(deepcopy=False), metrics_of(study))
    return pareto_front(ranked, study.directions) if len(study.directions) > 1 else ranked[:1]


def describe_results_missing(trials: Sequence[FrozenTrial]) -> str:
    """Returns what there is where no trial is a result: ``none``, or how many are COMPLETE and what they all lack."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        return "none"
    lacks = dict.fromkeys(map(_lacks, complete))
    return f"{len(complete)} COMPLETE trial{'s' if len(complete) > 1 else ''}, none of which {' and '.join(lacks)}"


def _lacks(trial: FrozenTrial) -> str:
    """Returns what keeps a COMPLETE trial from being a result."""
    if is_infeasible(trial):
        return "keeps the constraints"
    is_finite = all(map(math.isfinite, trial.values or [math.nan]))
    return "is comparable with this study's own" if is_finite else "has a finite value"


def describe_best(study: optuna.Study) -> str:
    """Returns the best trial with its parameters in a line, or the Pareto front in a few; empty without a COMPLETE trial."""
    lines = []
    for trial in best_trials(study):
        values = ", ".join(f"{plain(name)} {value:.6g}" for name, value in zip(value_names(study), trial.values, strict=True))
        lines.append(f"trial {trial.number}: {values} with {format_params(trial.params)}")
    if len(study.directions) > 1 and lines:
        return "\n  ".join([f"Pareto front, {len(lines)} trials:", *lines])
    return f"Best {lines[0]}" if lines else ""
