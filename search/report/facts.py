"""What does a report say in numbers? Everything that is on the page, computed once and drawn elsewhere."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.asking import QUEUED_KEY
from search.errors import StudyError
from search.report.importances import Importances, measure
from search.report.pruning import Pruning, estimate_pruning
from search.report.timeline import Timeline, lay_out
from search.resume import FILE_KEY, RETRY_KEY
from search.status import value_names

TOP = 10
"""So many configs are shown of the best."""

NO_REASON = "no reason on record"
"""Stands for the reason of a failed trial of plain Optuna, which keeps none."""


@dataclass(frozen=True)
class Goal:
    """One direction of a study.

    Attributes:
        name: The metric's.
        index: Its place among a trial's values.
        maximize: Whether more is better.
    """

    name: str
    index: int
    maximize: bool

    def of(self, trial: FrozenTrial) -> float:
        """Returns a COMPLETE trial's value in this direction."""
        return float(trial.values[self.index])

    def loss_of(self, trial: FrozenTrial) -> float:
        """Returns the value with its sign such that less is better."""
        return -self.of(trial) if self.maximize else self.of(trial)


@dataclass(frozen=True)
class Failure:
    """Failed trials with one reason.

    Attributes:
        reason: One line.
        numbers: The trials.
        traceback: Of the first of them; empty where there is none.
    """

    reason: str
    numbers: tuple[int, ...]
    traceback: str


@dataclass(frozen=True)
class Facts:
    """A study in numbers.

    Attributes:
        name: The study's.
        goals: Its directions.
        trials: All of them, by number.
        ranked: COMPLETE trials that are feasible and finite: the best first, or by number with several directions.
        best: The best of them, or the Pareto front by number.
        baseline: The trial of the config that was enqueued first; None where none was.
        importances: For each direction; None where they cannot be had.
        pruning: What it saved; None where no trial was pruned, or nothing tells how long one would have gone on.
        timeline: Who worked when.
        failures: The most frequent reason first.
    """

    name: str
    goals: tuple[Goal, ...]
    trials: tuple[FrozenTrial, ...]
    ranked: tuple[FrozenTrial, ...]
    best: tuple[FrozenTrial, ...]
    baseline: FrozenTrial | None
    importances: tuple[Importances | None, ...]
    pruning: Pruning | None
    timeline: Timeline
    failures: tuple[Failure, ...]

    @property
    def top(self) -> tuple[FrozenTrial, ...]:
        """At most `TOP` trials: the best ones, or the first of the Pareto front."""
        return (self.ranked if len(self.goals) == 1 else self.best)[:TOP]

    def count(self, state: TrialState) -> int:
        """Returns how many trials are in a state."""
        return sum(trial.state is state for trial in self.trials)

    def gain(self) -> float | None:
        """Returns how much better the best trial is than the baseline, at least 0; None where they cannot be compared."""
        if len(self.goals) > 1 or self.baseline is None or self.baseline not in self.ranked:
            return None
        goal = self.goals[0]
        return goal.loss_of(self.baseline) - goal.loss_of(self.best[0])


def gather(study: optuna.Study, *, importances: bool = True) -> Facts:
    """Returns the facts about a study, whoever made it; importances take seconds and can be left out.

    Raises:
        StudyError: It has no trial to tell of: none has ended.
    """
    study = snapshot(study)
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state.is_finished() for trial in trials):
        raise StudyError(
            f'study "{study.study_name}": must have a finished trial; got {len(trials)} unfinished. Wait for the first one.'
        )
    goals = goals_of(study)
    ranked = rank(trials, goals)
    best = tuple(ranked[:1])
    if len(goals) > 1 and ranked:
        best = tuple(sorted(study.best_trials, key=lambda trial: trial.number))
    return Facts(
        name=study.study_name,
        goals=goals,
        trials=tuple(trials),
        ranked=tuple(ranked),
        best=best,
        baseline=find_baseline(study),
        importances=tuple(measure(study, ranked, goal.index, goal.maximize) if importances else None for goal in goals),
        pruning=estimate_pruning(trials),
        timeline=lay_out(trials),
        failures=_failures(trials),
    )


def snapshot(study: optuna.Study) -> optuna.Study:
    """Returns a copy in memory: a study that goes on while its page is made would contradict itself."""
    copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    copy.add_trials(study.get_trials(deepcopy=False))
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    if study.metric_names:
        copy._storage.set_study_system_attr(copy._study_id, "study:metric_names", study.metric_names)
    return copy


def goals_of(study: optuna.Study) -> tuple[Goal, ...]:
    """Returns the directions of a study with their names."""
    pairs = zip(value_names(study), study.directions, strict=True)
    return tuple(Goal(name, at, direction is StudyDirection.MAXIMIZE) for at, (name, direction) in enumerate(pairs))


def rank(trials: Sequence[FrozenTrial], goals: Sequence[Goal]) -> list[FrozenTrial]:
    """Returns the COMPLETE trials that are feasible and finite, the best first; by number with several directions."""
    sound = [
        trial
        for trial in trials
        if trial.state is TrialState.COMPLETE
        and all(map(math.isfinite, trial.values))
        and all(value <= 0 for value in trial.constraints.values())
    ]
    return sorted(sound, key=goals[0].loss_of) if len(goals) == 1 else sound


def find_baseline(study: optuna.Study) -> FrozenTrial | None:
    """Returns the trial of the config that was enqueued first, or its retry where that completed.

    A study of this driver names its queue; in one of plain Optuna it is the first trial whose parameters were given.
    """
    trials = study.get_trials(deepcopy=False)
    queue = study.user_attrs.get(FILE_KEY, {}).get("enqueue")
    if queue is None:
        given = (trial for trial in trials if "fixed_params" in trial.system_attrs and RETRY_KEY not in trial.user_attrs)
        return next(given, None)
    tries = [trial for trial in trials if queue and trial.user_attrs.get(QUEUED_KEY) == queue[0]]
    complete = (trial for trial in tries if trial.state is TrialState.COMPLETE)
    return next(complete, tries[-1] if tries else None)


def _failures(trials: Sequence[FrozenTrial]) -> tuple[Failure, ...]:
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    counts = Counter(str(trial.user_attrs.get("failure", NO_REASON)) for trial in failed)
    groups = []
    for reason, _ in counts.most_common():
        of_it = [trial for trial in failed if str(trial.user_attrs.get("failure", NO_REASON)) == reason]
        numbers = tuple(trial.number for trial in of_it)
        groups.append(Failure(reason, numbers, str(of_it[0].user_attrs.get("traceback", ""))))
    return tuple(groups)
