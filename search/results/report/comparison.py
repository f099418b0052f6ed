"""Compares what searches found, and how soon: two studies or more in numbers; several of one label are its seeds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import optuna
from optuna.trial import TrialState

from search.errors import StudyError
from search.records.attributes import NOTICE, is_warm, provenance_of
from search.results.ranking import Metric, describe_results_missing, improvements, metrics_of, rank
from search.results.report.origin import notice_in
from search.results.report.timeline import lay_out
from search.results.statistics import Interval, difference_interval, mean_interval

UNNAMED = "value"
"""What a metric is called that has no name; it goes with any."""


@dataclass(frozen=True)
class Run:
    """One study of a comparison.

    Attributes:
        trials: How many are COMPLETE or PRUNED.
        values: Those of its COMPLETE trials that are feasible and finite.
        by_trials: The best value so far after so many COMPLETE or PRUNED trials, one entry for each improvement.
        by_seconds: The same against wall time in seconds, without what lies between launches.
        wall_s: Wall time of the whole study in seconds.
        provenance: What its best trial has on record of its data and the like.
    """

    name: str
    trials: int
    best: float
    values: tuple[float, ...]
    by_trials: tuple[tuple[float, float], ...]
    by_seconds: tuple[tuple[float, float], ...]
    wall_s: float
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """A label and its studies.

    Attributes:
        best: The mean of its studies' best values.
        gain: `best` less that of the first side; None for the first.
        trials_to_target: The median number of trials until a study reached the target.
        seconds_to_target: The same in seconds of wall time.
    """

    label: str
    runs: tuple[Run, ...]
    best: Interval
    gain: Interval | None
    trials_to_target: float
    seconds_to_target: float


@dataclass(frozen=True)
class Comparison:
    """Sides of one metric.

    Attributes:
        target: The best value that every study reached.
        sides: In the order in which they were named.
        notice: What an objective wants said wherever its values are shown; empty where none says anything.
        differing: What the studies' best trials have on record and do not agree on, such as the hash of their data.
    """

    metric: Metric
    target: float
    sides: tuple[Side, ...]
    differing: tuple[str, ...]
    notice: str


def compare(labelled: Sequence[tuple[str, Sequence[optuna.Study]]]) -> Comparison:
    """Compares studies, given the label of each side with its studies.

    Raises:
        StudyError: A study has several directions, no COMPLETE trial, or another metric than the first one.
    """
    studies = [study for _, group in labelled for study in group]
    metric = _common_metric(studies)
    runs = [(label, tuple(_run(study, metric) for study in group)) for label, group in labelled]
    everyone = [run for _, group in runs for run in group]
    target = max((run.best for run in everyone), key=lambda value: metric.sign * value)
    reference = [run.best for run in runs[0][1]]
    sides: list[Side] = []
    for label, group in runs:
        bests = [run.best for run in group]
        gain = difference_interval(bests, reference) if sides else None
        trials = median(_reached(run.by_trials, target, metric) for run in group)
        seconds = median(_reached(run.by_seconds, target, metric) for run in group)
        sides.append(Side(label, group, mean_interval(bests), gain, trials, seconds))
    notice = notice_in(run.provenance for run in everyone)
    return Comparison(metric, target, tuple(sides), _differing(everyone), notice)


def value_at(curve: Sequence[tuple[float, float]], x: float) -> float | None:
    """Returns the best value so far at `x`; None before the first one."""
    known = [value for at, value in curve if at <= x]
    return known[-1] if known else None


def _common_metric(studies: Sequence[optuna.Study]) -> Metric:
    first = None
    for study in studies:
        metrics = metrics_of(study)
        where = f'study "{study.study_name}"'
        if len(metrics) > 1:
            raise StudyError(f"{where}: only studies of one direction can be compared; got {len(metrics)}. Leave it out.")
        [metric] = metrics
        if first is not None and metric.maximize != first.maximize:
            raise StudyError(f"{where}: must be {_way(first)}, as the first study is; got {_way(metric)}. Leave it out.")
        if first is not None and UNNAMED not in (metric.name, first.name) and metric.name != first.name:
            raise StudyError(f"{where}: must measure {first.name}, as the first study does; got {metric.name}. Leave it out.")
        if first is None or first.name == UNNAMED:
            first = metric
    assert first is not None
    return first


def _way(metric: Metric) -> str:
    return "maximized" if metric.maximize else "minimized"


def _run(study: optuna.Study, metric: Metric) -> Run:
    trials = [trial for trial in study.get_trials(deepcopy=False) if not is_warm(trial)]
    ranked = rank(trials, [metric])
    if not ranked:
        got = describe_results_missing(trials)
        raise StudyError(f'study "{study.study_name}": must have a COMPLETE trial; got {got}. Leave it out, or let it run.')
    timeline = lay_out(trials)
    seconds = defaultdict(float, timeline.ended_s)  # of a trial that never started, nobody knows when it ended
    finished = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    finished.sort(key=lambda trial: (seconds[trial.number], trial.number))
    sound = {trial.number: metric.of(trial) for trial in ranked}
    by_trials = ((float(count), sound[trial.number]) for count, trial in enumerate(finished, 1) if trial.number in sound)
    by_seconds = ((seconds[trial.number], sound[trial.number]) for trial in finished if trial.number in sound)
    return Run(
        name=study.study_name,
        trials=len(finished),
        best=metric.of(ranked[0]),
        values=tuple(map(metric.of, ranked)),
        by_trials=tuple(improvements(by_trials, metric)),
        by_seconds=tuple(improvements(by_seconds, metric)),
        wall_s=timeline.wall_s,
        provenance=provenance_of(ranked[0]),
    )


def _reached(curve: Sequence[tuple[float, float]], target: float, metric: Metric) -> float:
    return next(x for x, value in curve if metric.sign * value <= metric.sign * target)


def _differing(runs: Sequence[Run]) -> tuple[str, ...]:
    keys = dict.fromkeys(key for run in runs for key in run.provenance if key != NOTICE)
    told = {key: [run.provenance[key] for run in runs if key in run.provenance] for key in keys}
    return tuple(key for key, values in told.items() if any(value != values[0] for value in values))
