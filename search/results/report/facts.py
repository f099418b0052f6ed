"""Gathers what a report says in numbers: everything that is on the page, computed once and drawn elsewhere."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.errors import StudyError
from search.records.attributes import failure_of, is_warm, references_of, traceback_of
from search.records.states import state_name
from search.results.ranking import Metric, best_trials, find_baseline, metrics_of, rank
from search.results.report.importances import Importances, measure
from search.results.report.pruning import Pruning, estimate_pruning
from search.results.report.timeline import Timeline, lay_out

TOP = 10
"""So many configs are shown of the best."""

NO_REASON = "no reason on record"
"""Stands for the reason of a failed trial of plain Optuna, which keeps none."""


@dataclass(frozen=True)
class Failure:
    """The numbers of the trials that failed for one reason, and the first one's traceback, empty where there is none."""

    reason: str
    numbers: tuple[int, ...]
    traceback: str


@dataclass(frozen=True)
class Facts:
    """A study in numbers.

    Attributes:
        trials: All of them, by number.
        ranked: COMPLETE trials that are feasible and finite: the best first, or by number with several directions.
        best: The best of them, or the Pareto front by number.
        baseline: The trial of the config that was enqueued first; None where none was.
        references: What is reached without a search, by name a value for each direction.
        importances: For each direction; None where they cannot be had.
        pruning: What it saved; None where no trial was pruned, or nothing tells how long one would have gone on.
        timeline: Who worked when.
        failures: The most frequent reason first.
    """

    name: str
    metrics: tuple[Metric, ...]
    trials: tuple[FrozenTrial, ...]
    ranked: tuple[FrozenTrial, ...]
    best: tuple[FrozenTrial, ...]
    baseline: FrozenTrial | None
    references: dict[str, tuple[float, ...]]
    importances: tuple[Importances | None, ...]
    pruning: Pruning | None
    timeline: Timeline
    failures: tuple[Failure, ...]

    @property
    def top(self) -> tuple[FrozenTrial, ...]:
        """At most `TOP` trials: the best ones, or the first of the Pareto front."""
        return (self.ranked if len(self.metrics) == 1 else self.best)[:TOP]

    def gain(self) -> float | None:
        """Returns how much better the best trial is than the baseline, at least 0; None where they cannot be compared."""
        if len(self.metrics) > 1 or self.baseline is None or self.baseline not in self.ranked:
            return None
        metric = self.metrics[0]
        return metric.loss_of(self.baseline) - metric.loss_of(self.best[0])

    def order(self, metric: Metric) -> list[str]:
        """Returns the parameters, those that matter most for a direction first; by name where that is not known."""
        found = self.importances[metric.index]
        return (found.ranking() if found else []) or sorted({name for trial in self.ranked for name in trial.params})


def gather(study: optuna.Study, *, importances: bool = True) -> Facts:
    """Returns the facts about a study, whoever made it.

    They are of a snapshot where the study may still go on. Importances take seconds.

    Raises:
        StudyError: It has no trial to tell of: none has ended.
    """
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state.is_finished() for trial in trials):
        got = f"{len(trials)} unfinished" if trials else "none"
        runs = any(trial.state is TrialState.RUNNING for trial in trials)
        remedy = "Wait for the first one." if runs else "Run search launch first."
        raise StudyError(f'study "{study.study_name}": must have a finished trial; got {got}. {remedy}')
    metrics = metrics_of(study)
    ranked = rank(trials, metrics)
    own = [trial for trial in trials if not is_warm(trial)]
    return Facts(
        name=study.study_name,
        metrics=metrics,
        trials=tuple(trials),
        ranked=tuple(ranked),
        best=tuple(best_trials(study)),
        baseline=find_baseline(study),
        references=references_of(study),
        importances=tuple(measure(study, ranked, metric) if importances else None for metric in metrics),
        pruning=estimate_pruning(own),
        timeline=lay_out(own),
        failures=_failures(trials),
    )


def _failures(trials: Sequence[FrozenTrial]) -> tuple[Failure, ...]:
    by_reason = defaultdict(list)
    for trial in trials:
        if state_name(trial) == "fail":
            by_reason[failure_of(trial) or NO_REASON].append(trial)
    failures = (
        Failure(reason, tuple(trial.number for trial in failed), traceback_of(failed[0]) or "")
        for reason, failed in by_reason.items()
    )
    return tuple(sorted(failures, key=lambda failure: -len(failure.numbers)))
