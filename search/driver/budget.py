"""What a study has used of its budgets, and which one is used up."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import is_result, is_warm
from search.records.durations import duration_of, ended_at
from search.records.rungs import is_paused, paused_seconds
from search.study_file.policy import Policy

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of a trial that counts against the budget."""

EndReason = Literal["budget", "timeout", "reports", "device_time", "patience", "grid", "interrupted"]


@dataclass
class BudgetUsage:
    """What a study has used, kept up to date without reading its trials again.

    Attributes:
        directions: Of the study.
        finished: COMPLETE and PRUNED trials.
        reports: Intermediate values, of all trials.
        trial_seconds: How long all trials ran.
        since_better: Finished trials since the last one that was better than all before it, or that no other one dominates.
        paused: Trials that wait for their promotion, which have been begun.
        unfinished_s: How long the trials that have not ended ran up to their last rungs, which `trial_seconds` does not hold.
    """

    directions: Sequence[StudyDirection]
    finished: int = 0
    reports: int = 0
    trial_seconds: float = 0.0
    since_better: int = 0
    paused: int = 0
    unfinished_s: float = 0.0
    _started_at: float = field(default_factory=time.monotonic)
    _front: list[tuple[float, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, study: optuna.Study, trials: Sequence[FrozenTrial] | None = None) -> Self:
        """Returns what the trials in the storage, or those given, have used."""
        usage = cls(study.directions)
        trials = study.get_trials(deepcopy=False) if trials is None else trials
        usage.update(trials)
        usage.look(trials)
        return usage

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Adds those of the trials that have ended."""
        for trial in sorted(
            (trial for trial in trials if trial.datetime_complete is not None), key=lambda trial: ended_at(trial) or 0.0
        ):
            values = tuple(trial.values) if is_result(trial) else ()
            if is_warm(trial):
                self.add(0.0, counts=False, values=values)
                continue
            self.reports += len(trial.intermediate_values)
            self.add(duration_of(trial) or 0.0, counts=trial.state in FINISHED, values=values)

    def add(self, seconds: float, *, counts: bool, values: Sequence[float], earlier_s: float = 0.0) -> None:
        """Adds a trial that has ended.

        Args:
            seconds: How long it ran.
            counts: It counts against the budget of trials.
            values: What it returned; empty where it is not complete.
            earlier_s: How long it had run before it was paused, which is among `unfinished_s`.
        """
        self.trial_seconds += seconds + earlier_s
        self.unfinished_s -= earlier_s
        self.finished += counts
        self.since_better = 0 if values and self._is_better(values) else self.since_better + counts

    def look(self, trials: Sequence[FrozenTrial]) -> None:
        """Notes which of all trials of the study have been begun, and have not ended."""
        self.paused = sum(map(is_paused, trials))
        self.unfinished_s = sum(paused_seconds(trial) for trial in trials if not trial.state.is_finished())

    def pause(self, seconds: float, value: float, *, first: bool) -> None:
        """Adds the run of a trial up to a rung.

        Args:
            seconds: How long it took.
            value: What the trial has there.
            first: It is the trial's first rung.
        """
        self.paused += 1
        self.unfinished_s += seconds
        self.since_better = 0 if self._is_better((value,)) else self.since_better + first

    def exhausted(self, policy: Policy, running: int, running_seconds: float, reports: int = 0) -> EndReason | None:
        """Returns the budget that lets no further trial start, or None.

        Args:
            policy: The budgets.
            running: How many trials run at the moment, other drivers' too.
            running_seconds: The sum of the times that they have taken so far, as far as that is known.
            reports: What the trials of other drivers that run have reported.
        """
        device_time_s = (self.trial_seconds + self.unfinished_s + running_seconds) * policy.device_share
        if self.finished + self.paused + running >= policy.trials:
            return "budget"
        if _reached(time.monotonic() - self._started_at, policy.timeout_s):
            return "timeout"
        if _reached(self.reports + reports, policy.max_reports):
            return "reports"
        if _reached(device_time_s, policy.max_device_time_s):
            return "device_time"
        return "patience" if _reached(self.since_better, policy.patience) else None

    def budget_left(self, policy: Policy) -> float:
        """Returns the part that is left, in [0, 1], of the budget that is nearest to its end."""
        used = [
            (self.finished, policy.trials),
            (time.monotonic() - self._started_at, policy.timeout_s),
            (self.reports, policy.max_reports),
            (self.trial_seconds * policy.device_share, policy.max_device_time_s),
        ]
        return max(0.0, 1 - max(amount / limit for amount, limit in used if limit is not None))

    def _is_better(self, values: Sequence[float]) -> bool:
        """Whether no earlier trial is at least as good in all directions; keeps the front of those that are not dominated."""
        signs = [1 if direction is StudyDirection.MINIMIZE else -1 for direction in self.directions]
        losses = tuple(sign * value for sign, value in zip(signs, values, strict=True))
        if any(all(a <= b for a, b in zip(other, losses, strict=True)) for other in self._front):
            return False
        self._front = [other for other in self._front if not all(a <= b for a, b in zip(losses, other, strict=True))]
        self._front.append(losses)
        return True


def _reached(used: float, limit: float | None) -> bool:
    return limit is not None and used >= limit
