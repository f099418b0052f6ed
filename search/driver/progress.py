"""How a launch stands: trials by state, the best value, what each worker runs, the time that is left."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.driver.budget import FINISHED
from search.driver.tell import Verdict
from search.records.attributes import is_infeasible, is_result, is_warm
from search.records.rungs import is_paused, rungs_of
from search.records.states import state_name
from search.records.values import value_names
from search.text import clock, plain


@dataclass
class AtWork:
    """What a worker is at: a trial, and what is known of it so far, or its objective, which it builds."""

    started: float
    activity: str = ""
    number: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    step: int | None = None
    value: float | None = None

    def shown_step(self) -> str:
        """Returns how far it is: ``3/20`` where it is known how many steps there are, else the number of its last one."""
        if self.steps is None:
            return "-" if self.step is None else str(self.step)
        return f"{0 if self.step is None else self.step + 1}/{self.steps}"


@dataclass
class Progress:
    """The state of a launch, as far as a person wants to know it.

    Attributes:
        metric: The name of the value, as shown.
        budget: COMPLETE and PRUNED trials wanted in total.
        timeout_s: The seconds that this launch may take; None where it takes what it takes.
        directions: Of the study.
        complete: COMPLETE trials; likewise `pruned`, `failed` and `infeasible`, over all launches.
        values: By number, the value of each trial that may be the best one; of one that climbs rungs, that of its last rung.
        best: Number and value of the best of these; None before the first, and with several directions.
        paused: The numbers of the trials that wait for their promotion.
        finished_before: The trials that counted against the budget when the launch began.
        at_work: By worker, without those that wait for a trial.
    """

    metric: str
    budget: int
    directions: list[StudyDirection]
    timeout_s: float | None = None
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    infeasible: int = 0
    values: dict[int, float] = field(default_factory=dict)
    best: tuple[int, float] | None = None
    paused: set[int] = field(default_factory=set)
    finished_before: int = 0
    started: float = field(default_factory=time.monotonic)
    at_work: dict[int, AtWork] = field(default_factory=dict)

    @classmethod
    def of(cls, study: optuna.Study, budget: int, timeout_s: float | None = None) -> "Progress":
        """Returns the board of a study as it is in the storage."""
        progress = cls(plain(value_names(study)[0]), budget, study.directions, timeout_s)
        progress.update(study.get_trials(deepcopy=False))
        progress.finished_before = progress.finished
        return progress

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Counts trials as they are in the storage."""
        for trial in trials:
            infeasible = is_infeasible(trial)
            last = () if infeasible else _last_rung(trial)
            self._consider(trial.number, tuple(trial.values) if is_result(trial) else last)
            if is_warm(trial):
                continue
            (self.paused.add if is_paused(trial) else self.paused.discard)(trial.number)
            self.infeasible += infeasible and trial.state in FINISHED
            self.complete += trial.state is TrialState.COMPLETE and not infeasible
            self.pruned += trial.state is TrialState.PRUNED and not infeasible
            self.failed += state_name(trial) == "fail"

    def add(self, verdict: Verdict) -> bool:
        """Counts a finished trial; returns whether its value is better than all that there were before it, if any.

        A trial that was the best, and on its next rung is worse, or no result, leaves another as the best, which is not new.
        """
        before = self.best
        if verdict.state not in ("interrupted", "lost"):
            self._consider(verdict.number, verdict.result)
        if verdict.state == "paused":
            self.paused.add(verdict.number)
        else:
            self.complete += verdict.state == "complete" and not verdict.breaks
            self.pruned += verdict.state == "pruned" and not verdict.breaks
            self.infeasible += verdict.state == "infeasible" or verdict.breaks
            self.failed += verdict.state in ("failed", "retry")
        return before is not None and self.best is not None and self._best_of([before, self.best]) != before

    @property
    def finished(self) -> int:
        """The trials that count against the budget, those that are paused among them."""
        return self.complete + self.pruned + self.infeasible + len(self.paused)

    def seconds_left(self) -> float | None:
        """Returns the time to the end of the launch: what its trials say the budget takes, or its timeout where that is sooner.

        None before the first trial, and while paused ones may still climb after the last, where there is no timeout.
        """
        elapsed = time.monotonic() - self.started
        ends = [] if self.timeout_s is None else [max(0.0, self.timeout_s - elapsed)]
        climbs = bool(self.paused) and self.finished >= self.budget
        if (finished_here := self.finished - self.finished_before) > 0 and not climbs:
            ends.append(elapsed / finished_here * max(0, self.budget - self.finished))
        return min(ends, default=None)

    def summary(self) -> str:
        """Returns the counts, the best value and the times on one line."""
        best = "none yet" if self.best is None else f"{self.metric} {self.best[1]:.6g} (trial {self.best[0]})"
        if len(self.directions) > 1:
            best = f"{len(self.directions)} directions"
        left = self.seconds_left()
        parts = [
            f"{self.finished}/{self.budget} trials",
            f"best {best}",
            f"{clock(time.monotonic() - self.started)} elapsed",
            f"{'--:--' if left is None else clock(left)} left",
            *([f"{len(self.paused)} paused"] if self.paused else []),
            f"{self.pruned} pruned",
            f"{self.failed} failed",
            *([f"{self.infeasible} infeasible"] if self.infeasible else []),
        ]
        return " · ".join(parts)

    def _consider(self, number: int, values: tuple[float, ...]) -> None:
        """Takes down a trial's value, which may be worse than at its rung before, or that it has none any more."""
        new = {number: values[0]} if len(values) == 1 else {}
        self.values |= new
        if not new:
            self.values.pop(number, None)
        known = self.values if self.best is None or self.best[0] == number else {self.best[0]: self.best[1], **new}
        self.best = self._best_of(known.items())

    def _best_of(self, values: Iterable[tuple[int, float]]) -> tuple[int, float] | None:
        """Returns the best of pairs of number and value: of equal ones the first."""
        choose = max if self.directions[0] is StudyDirection.MAXIMIZE else min
        return choose(values, key=lambda item: item[1], default=None)


def _last_rung(trial: FrozenTrial) -> tuple[float, ...]:
    """Returns the value at the last rung of a trial that may go on."""
    rungs = {} if trial.state.is_finished() else rungs_of(trial)
    return (list(rungs.values())[-1].value,) if rungs else ()
