"""Which trial goes on to its next rung, and when a new config promises more for its cost.

The first trial climbs to the top at once: what it gains from rung to rung is what there is to expect. Then it is successive
halving without waiting (ASHA: Li et al., MLSys 2020): of the trials that have reached a rung, the best half may go on. Among
those, and a new config, the one is taken that promises the largest expected improvement on the best value so far for each unit
of the fidelity, or for each second where time is to count, wherever on its way up it would get there; what a rung gains is
learned from the trials that went on. For the others a next higher rung opens only while the two below it disagree beyond noise
on who is best, or while going on gains more than noise (the first is PASHA: Bohdal et al., ICLR 2023).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, islice, pairwise
from statistics import NormalDist, median

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import is_infeasible, is_warm
from search.records.rungs import Rung, is_paused, rungs_of
from search.study_file.fidelity import REDUCTION, Fidelity

_FIRST_OPEN = 2  # rungs
_RECENT = 30  # new configs, from whose first values that of the next one is guessed
_COMPARED = 10  # of the best at a rung
_NOISE_QUANTILE = 0.9
_SHORTEST_S = 1e-3  # a leg, where time counts


def next_promotion(
    trials: Sequence[FrozenTrial], fidelity: Fidelity, direction: StudyDirection, *, may_begin: bool, by_time: bool = False
) -> FrozenTrial | None:
    """Returns the paused trial that is to go on now; None where a new config is to begin, or nothing is left to do.

    Args:
        trials: All trials of the study.
        fidelity: Of the study.
        direction: Of the study.
        may_begin: Whether a new config is possible at all.
        by_time: A second is what costs, not a unit of the fidelity, which takes longer with one config than with another.
    """
    return Board.of(trials, fidelity, direction, may_begin=may_begin, by_time=by_time).choose()


@dataclass(frozen=True)
class Board:
    """The values at each rung, as scores of which more is better.

    Attributes:
        fidelity: Of the study.
        scores: By rung, the score of each trial that has reached it, by number.
        paused: The trials that wait for their promotion, by number.
        curves: The reports of each trial, by number and step, as scores.
        complete: The best score of the complete trials, however they got there; -inf without any.
        may_begin: Whether a new config is possible.
        running: The trials that run.
        paces: By number, the seconds that a unit of the fidelity takes; empty where time does not count.
    """

    fidelity: Fidelity
    scores: tuple[Mapping[int, float], ...]
    paused: Mapping[int, FrozenTrial]
    curves: Mapping[int, Mapping[int, float]]
    complete: float = -math.inf
    may_begin: bool = True
    running: tuple[FrozenTrial, ...] = ()
    paces: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        trials: Sequence[FrozenTrial],
        fidelity: Fidelity,
        direction: StudyDirection,
        *,
        may_begin: bool = True,
        by_time: bool = False,
    ) -> "Board":
        """Returns the board of a study."""
        sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
        scores: list[dict[int, float]] = [{} for _ in fidelity.rungs]
        complete = -math.inf
        curves, paces = {}, {}
        for trial in trials:
            if trial.state is TrialState.FAIL or is_infeasible(trial) or is_warm(trial):
                continue
            rungs = rungs_of(trial)
            for scores_there, reached in zip(scores, fidelity.rungs, strict=True):
                if reached in rungs:
                    scores_there[trial.number] = sign * rungs[reached].value
            if rungs and by_time:
                paces[trial.number] = pace(rungs)
            if rungs:
                curves[trial.number] = {step: sign * value for step, value in trial.intermediate_values.items()}
            if trial.state is TrialState.COMPLETE:
                complete = max(complete, sign * trial.values[0])
        paused = {trial.number: trial for trial in trials if is_paused(trial)}
        running = tuple(trial for trial in trials if trial.state is TrialState.RUNNING)
        return cls(fidelity, tuple(scores), paused, curves, complete, may_begin, running, paces)

    def choose(self) -> FrozenTrial | None:
        """Returns who goes on; None for a new config, or nobody."""
        if (pioneer := self._pioneer()) is not None:
            return pioneer
        rates = {number: self._rate(number, level) for number, level in self._promotable()}
        if not rates:
            return None
        chosen = max(rates, key=lambda number: rates[number])  # of the lowest rung where several promise the same
        return None if self.may_begin and rates[chosen] < self._rate_of_new() else self.paused[chosen]

    def _pioneer(self) -> FrozenTrial | None:
        """Returns the trial that is ahead of all, until one has been at the top; None while it runs."""
        if self.scores[-1] or not self.paused:
            return None
        first = max(self.paused.values(), key=lambda trial: (len(rungs_of(trial)), -trial.number))
        ahead = max((len(rungs_of(trial)) + 1 for trial in self.running), default=0)
        return first if len(rungs_of(first)) > ahead or not ahead else None

    @cached_property
    def top(self) -> int:
        """The index of the highest rung that is open."""
        top = min(_FIRST_OPEN, len(self.scores)) - 1
        while top + 1 < len(self.scores) and self._disagree(top - 1, top):
            top += 1
        return top

    def _promotable(self) -> Iterator[tuple[int, int]]:
        """Yields for each rung the trials that are paused there and may go on, and the rung's index, of each the best first."""
        for level in range(self.top):
            scores = self.scores[level]
            at_least = 0 if self.may_begin else 1  # the best of what there is climbs to the top in the end
            best = sorted(scores, key=lambda number: (-scores[number], number))[: max(at_least, len(scores) // REDUCTION)]
            waiting = (number for number in best if number in self.paused and number not in self.scores[level + 1])
            yield from ((number, level) for number in islice(waiting, None if self.paces else 1))

    def _disagree(self, lower: int, upper: int) -> bool:
        """Whether what is known of a rung differs, beyond noise, from what the rung below it told."""
        there = self.scores[upper]
        both = sorted(there.keys() & self.scores[lower].keys(), key=lambda number: (-there[number], number))[:_COMPARED]
        if len(both) < 2:
            return bool(both) and not self.may_begin  # there will be no other to agree with
        below, above = self.scores[lower], self.scores[upper]
        noise = self._noise(both)
        swapped = any(
            (below[a] - below[b]) * (above[a] - above[b]) < 0
            and min(abs(below[a] - below[b]), abs(above[a] - above[b])) > noise
            for a, b in combinations(both, 2)
        )
        return swapped or float(np.mean([above[number] - below[number] for number in both])) > noise

    def _noise(self, numbers: Sequence[int]) -> float:
        """How far apart trials are whose curves cross each other twice or more: such a distance tells nothing (PASHA, 4.2)."""
        apart = []
        for a, b in combinations(numbers, 2):
            steps = sorted(self.curves[a].keys() & self.curves[b].keys())
            signs = [self.curves[a][step] > self.curves[b][step] for step in steps]
            if sum(one is not other for one, other in pairwise(signs)) >= 2:
                apart.append(abs(self.curves[a][steps[-1]] - self.curves[b][steps[-1]]))
        return sorted(apart)[math.ceil(_NOISE_QUANTILE * len(apart)) - 1] if apart else 0.0

    @cached_property
    def _best(self) -> float:
        return max([self.complete, *(score for scores in self.scores for score in scores.values())])

    @cached_property
    def _gains(self) -> tuple[tuple[float, float] | None, ...]:
        """By rung, the mean and the spread of what the trials gained that went on to it; None of fewer than two."""
        found: list[tuple[float, float] | None] = [None]
        for below, above in pairwise(self.scores):
            gains = np.array([above[number] - below[number] for number in above.keys() & below.keys()])
            found.append((float(gains.mean()), float(gains.std(ddof=1))) if len(gains) > 1 else None)
        return tuple(found)

    def _rate(self, number: int, level: int) -> float:
        """What a paused trial promises for each unit of the fidelity."""
        return self._promise(self.scores[level][number], 0.0, level, self.fidelity.rungs[level]) / self.paces.get(number, 1.0)

    def _rate_of_new(self) -> float:
        """What a new config promises: the first values of recent ones say what to expect of its own."""
        recent = sorted(self.scores[0])[-_RECENT:]
        if len(recent) < REDUCTION:
            return math.inf
        first = [self.scores[0][number] for number in recent]
        mean, spread = float(np.mean(first)), float(np.std(first, ddof=1))
        there = expected_improvement(mean, spread, self._best) / self.fidelity.rungs[0]
        return max(there, self._promise(mean, spread, 0, 0)) / median(self.paces.get(number, 1.0) for number in recent)

    def _promise(self, score: float, spread: float, level: int, paid: int) -> float:
        """The largest expected improvement for its cost, over the rungs that are above; inf where one tells something new."""
        rates = [0.0]
        for upper in range(level + 1, self.top + 1):
            gain = self._gains[upper]
            if gain is None:  # nobody knows what a rung is worth before somebody has been there
                return math.inf if paid and upper == level + 1 else max(rates)
            score, spread = score + gain[0], math.hypot(spread, gain[1])
            rates.append(expected_improvement(score, spread, self._best) / (self.fidelity.rungs[upper] - paid))
        return max(rates)


def pace(rungs: Mapping[int, Rung]) -> float:
    """Returns the seconds that a trial took for a unit of the fidelity on its last leg: its first one has to get ready, too."""
    before, reached = [0, *rungs][-2:]
    return max(rungs[reached].seconds, _SHORTEST_S) / (reached - before)


def expected_improvement(mean: float, spread: float, best: float) -> float:
    """Returns by how much a normal value exceeds the best one, on average (Mockus 1975)."""
    if spread <= 0:
        return max(0.0, mean - best)
    z = (mean - best) / spread
    return (mean - best) * NormalDist().cdf(z) + spread * NormalDist().pdf(z)
