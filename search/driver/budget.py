"""What a study has used of its budgets, and which one is used up."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import is_infeasible, is_result, is_warm, retry_of
from search.records.durations import duration_of
from search.records.moments import by_driver, moments_of
from search.records.rungs import count_rungs, is_paused, paused_seconds, reports_made, rungs_of
from search.study_file.policy import Policy

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of a trial that counts against the budget."""

EndReason = Literal["budget", "timeout", "reports", "device_time", "patience", "grid", "sampler", "interrupted"]

CLIMBED_AFTER: tuple[EndReason, ...] = ("budget", "sampler")
"""The reasons for which no config begins any more, while one that is paused at a rung may still go on."""


@dataclass
class BudgetUsage:
    """What a study has used, kept up to date without reading its trials again.

    A trial counts once, and so do its reports and its seconds, however often it is looked at and whoever ran its legs.

    Attributes:
        directions: Of the study.
        finished: COMPLETE and PRUNED trials.
        reports: Intermediate values, of all trials.
        trial_seconds: How long all trials ran; those that have not ended, up to their last rungs.
        since_better: Finished and paused trials since the last one that was better than all before it, or that no other one
            dominates.
    """

    directions: Sequence[StudyDirection]
    finished: int = 0
    reports: int = 0
    trial_seconds: float = 0.0
    since_better: int = 0
    _started_at: float = field(default_factory=time.monotonic)
    _front: list[tuple[float, ...]] = field(default_factory=list)
    _reports: dict[int, int] = field(default_factory=dict)  # by trial, as the next
    _seconds: dict[int, float] = field(default_factory=dict)
    _used: dict[int, tuple[TrialState, int, int]] = field(default_factory=dict)  # its state, reports and rungs
    _looked_at: dict[int, FrozenTrial] = field(default_factory=dict)
    _paused: set[int] = field(default_factory=set)
    _ended: set[int] = field(default_factory=set)
    _firsts: dict[int, int] = field(default_factory=dict)  # the first try of each retry
    _judged: set[int] = field(default_factory=set)  # the first tries that `since_better` has counted, or a better value has

    @classmethod
    def of(cls, study: optuna.Study, trials: Sequence[FrozenTrial] | None = None) -> Self:
        """Returns what the trials in the storage, or those given, have used."""
        usage = cls(study.directions)
        usage.update(study.get_trials(deepcopy=False) if trials is None else trials)
        return usage

    @property
    def paused(self) -> int:
        """Trials that wait for their promotion, which have been begun."""
        return len(self._paused)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Takes note of what trials have used, as they are in the storage."""
        for trial in _as_valued(self._changed(trials), trials):
            values = [tuple(trial.values)] if is_result(trial) else []
            if (first := retry_of(trial)) is not None:
                self._firsts[trial.number] = first
            if is_warm(trial):
                self._ended.add(trial.number)
                self._judge(trial.number, values, counts=False)
                continue
            rungs = rungs_of(trial)
            climbed = [] if is_infeasible(trial) else [(rung.value,) for rung in rungs.values()]
            ended = trial.state.is_finished()
            (self._paused.add if is_paused(trial) else self._paused.discard)(trial.number)
            self._set_reports(trial.number, max(reports_made(trial), self._reports.get(trial.number, 0)))
            self._set_seconds(trial.number, (duration_of(trial) or 0.0) if ended else paused_seconds(trial))
            counts = trial.state in FINISHED
            if ended:
                self._ended.add(trial.number)
                self.finished += counts
            self._judge(trial.number, [*climbed, *values], counts=counts or bool(rungs))

    def _changed(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Returns those of the trials that may have used something since they were last looked at: of hundreds, one or two."""
        changed = []
        for trial in trials:
            if self._looked_at.get(trial.number) is trial:  # a storage puts another object in its place, once it has changed
                continue
            self._looked_at[trial.number] = trial
            used = (trial.state, len(trial.intermediate_values), count_rungs(trial))
            if trial.number not in self._ended and self._used.get(trial.number) != used:
                self._used[trial.number] = used
                changed.append(trial)
        return changed

    def report(self, number: int) -> None:
        """Adds a report that a trial has just made."""
        self._set_reports(number, self._reports.get(number, 0) + 1)

    def add(self, number: int, seconds: float, *, counts: bool, values: Sequence[float] = (), is_paused: bool = False) -> None:
        """Adds a run of a trial, up to its end or to a rung.

        Args:
            number: The trial.
            seconds: How long the run took.
            counts: The trial counts against the budget of trials; not where it is paused.
            values: What it returned; empty where it is neither complete nor paused.
            is_paused: It has not ended.
        """
        if number in self._ended:  # another driver has taken it for lost, and what it used is counted
            return
        self._set_seconds(number, self._seconds.get(number, 0.0) + seconds)
        (self._paused.add if is_paused else self._paused.discard)(number)
        if not is_paused:
            self._ended.add(number)
            self.finished += counts
        self._judge(number, [tuple(values)] if values else [], counts=counts or is_paused)

    def exhausted(self, policy: Policy, running: int, running_seconds: float) -> EndReason | None:
        """Returns the budget that lets no further trial start, or None.

        Where trials are paused, any other budget comes before that of trials, which lets them go on.

        Args:
            policy: The budgets.
            running: How many trials run at the moment, other drivers' too.
            running_seconds: The sum of the times that they have taken so far, as far as that is known.
        """
        all_begun = self.finished + self.paused + running >= policy.trials
        if all_begun and not self.paused:
            return "budget"
        for reason, used, limit in (*self._used_of(policy, running_seconds), ("patience", self.since_better, policy.patience)):
            if limit is not None and used >= limit:
                return reason
        return "budget" if all_begun else None

    def budget_left(self, policy: Policy) -> float:
        """Returns the part that is left, in [0, 1], of the budget that is nearest to its end."""
        parts = [used / limit for _, used, limit in self._used_of(policy) if limit is not None]
        return max(0.0, 1 - max([(self.finished + self.paused) / policy.trials, *parts]))

    def _used_of(self, policy: Policy, running_seconds: float = 0.0) -> list[tuple[EndReason, float, float | None]]:
        """Returns what is used of each budget but that of trials, and the budget."""
        return [
            ("timeout", time.monotonic() - self._started_at, policy.timeout_s),
            ("reports", self.reports, policy.max_reports),
            ("device_time", (self.trial_seconds + running_seconds) * policy.device_share, policy.max_device_time_s),
        ]

    def _set_reports(self, number: int, reports: int) -> None:
        self.reports += reports - self._reports.get(number, 0)
        self._reports[number] = reports

    def _set_seconds(self, number: int, seconds: float) -> None:
        self.trial_seconds += seconds - self._seconds.get(number, 0.0)
        self._seconds[number] = seconds

    def _judge(self, number: int, values: Sequence[tuple[float, ...]], *, counts: bool) -> None:
        """Counts a trial as one more without a better value, where none of its values is better."""
        better = sum(map(self._is_better, values)) > 0  # of all of them: each may move the front
        first = self._firsts.get(number, number)
        self.since_better = 0 if better else self.since_better + (counts and first not in self._judged)
        if counts:
            self._judged.add(first)

    def _is_better(self, values: Sequence[float]) -> bool:
        """Whether no earlier trial is at least as good in all directions; keeps the front of those that are not dominated."""
        signs = [1 if direction is StudyDirection.MINIMIZE else -1 for direction in self.directions]
        losses = tuple(sign * value for sign, value in zip(signs, values, strict=True))
        if any(all(a <= b for a, b in zip(other, losses, strict=True)) for other in self._front):
            return False
        self._front = [other for other in self._front if not all(a <= b for a, b in zip(losses, other, strict=True))]
        self._front.append(losses)
        return True


def _as_valued(changed: list[FrozenTrial], trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns some of the trials in the order in which they got their last values; at the end those that have not run."""
    moments = moments_of(trials if len(by_driver(changed)) > 1 else changed)  # those of one driver are in order alone

    def valued_at(trial: FrozenTrial) -> float:
        began, ended = moments.get(trial.number, (math.inf, math.inf))
        lost = bool(rungs_of(trial)) and not is_paused(trial) and trial.state not in FINISHED  # or on its way to the next rung
        return began if lost else ended

    return sorted(changed, key=valued_at)
