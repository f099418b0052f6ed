"""Which trial goes on to its next rung, and when a new config promises more for its cost.

The first trial climbs to the top at once: what it gains from rung to rung is what there is to expect. Then it is successive
halving without waiting (ASHA: Li et al., MLSys 2020): of the trials that have reached a rung, the best half may go on. Among
those, and a new config, the one is taken that promises the largest expected improvement on the best value so far for each unit
of the fidelity, or for each second where time is to count, wherever on its way up it would get there; what a rung gains is
learned from the trials that went on. So a rung where nothing is gained is reached by few.

A trial that breaks a constraint of its objective comes last: it goes on once no config begins any more, and only where no
feasible one has been at the top, or is on its way. Further training may have it keep the constraint; where the least is broken
goes first.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice, pairwise
from statistics import NormalDist, median

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.records.attributes import is_result, is_warm
from search.records.constraints import lacks_memory, set_by_objective, violation
from search.records.rungs import Rung, is_paused, rungs_of
from search.study_file.fidelity import REDUCTION, Fidelity

_RECENT = 30  # new configs, from whose first values that of the next one is guessed
_SHORTEST_S = 1e-3  # a leg, where time counts
_LARGEST = 1e100  # a score that need not be made smaller: far larger ones have no difference and no mean that is a number


@dataclass(frozen=True)
class Standing:
    """What counts of a trial, whatever the others do.

    Attributes:
        rungs: That it has reached; none where it has failed, needs too much memory, or is of another study.
        result: Its value, where it counts as one.
        violation: By how much it breaks the constraints of its objective.
        is_paused: Whether it waits for its promotion.
    """

    rungs: Mapping[int, Rung]
    result: float | None
    violation: float
    is_paused: bool


def standing_of(trial: FrozenTrial) -> Standing:
    """Returns what counts of a trial."""
    if trial.state is TrialState.FAIL or lacks_memory(trial) or is_warm(trial):
        return Standing({}, None, 0.0, is_paused(trial))
    result = trial.values[0] if is_result(trial) else None
    return Standing(rungs_of(trial), result, violation(set_by_objective(trial)), is_paused(trial))


@dataclass(frozen=True)
class Board:
    """The values at each rung, as scores of which more is better.

    Attributes:
        fidelity: Of the study.
        scores: By rung, the score of each trial that has reached it, by number; parts of the largest where that is huge.
        paused: The trials that wait for their promotion, by number.
        complete: The best score of the complete trials, however they got there; -inf without any.
        may_begin: Whether a new config is possible.
        running: The trials that run.
        breaking: By rung, as a score, how much each trial there breaks the constraints of its objective that does so.
        paces: By number, the seconds that a unit of the fidelity takes; empty where time does not count.
    """

    fidelity: Fidelity
    scores: tuple[Mapping[int, float], ...]
    paused: Mapping[int, FrozenTrial]
    complete: float = -math.inf
    may_begin: bool = True
    running: tuple[FrozenTrial, ...] = ()
    paces: Mapping[int, float] = field(default_factory=dict)
    breaking: tuple[Mapping[int, float], ...] = ()

    @classmethod
    def of(
        cls,
        trials: Sequence[FrozenTrial],
        fidelity: Fidelity,
        direction: StudyDirection,
        *,
        may_begin: bool = True,
        by_time: bool = False,
        standing: Callable[[FrozenTrial], Standing] = standing_of,
    ) -> "Board":
        """Returns the board of a study, given all of its trials; `standing` may know what `standing_of` returns.

        With `by_time` a second is what costs, not a unit of the fidelity, which takes longer with one config than with another.
        """
        sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
        scores, breaking = ([dict[int, float]() for _ in fidelity.rungs] for _ in range(2))
        levels = {reached: level for level, reached in enumerate(fidelity.rungs)}
        complete = -math.inf
        paces, paused = {}, {}
        for trial in trials:
            stands = standing(trial)
            for reached, rung in stands.rungs.items():
                if (level := levels.get(reached)) is None:
                    continue
                if stands.violation:
                    breaking[level][trial.number] = -stands.violation
                else:
                    scores[level][trial.number] = sign * rung.value
            if stands.rungs and by_time:
                paces[trial.number] = pace(stands.rungs)
            if stands.result is not None:
                complete = max(complete, sign * stands.result)
            if stands.is_paused:
                paused[trial.number] = trial
        known = (complete, *chain(*map(dict.values, scores)))
        largest = max(map(abs, filter(math.isfinite, known)), default=0.0)
        if largest > _LARGEST:
            scores = [{number: score / largest for number, score in scores_there.items()} for scores_there in scores]
            complete /= largest
        running = tuple(trial for trial in trials if trial.state is TrialState.RUNNING)
        return cls(fidelity, tuple(scores), paused, complete, may_begin, running, paces, tuple(breaking))

    def choose(self) -> FrozenTrial | None:
        """Returns the paused trial that is to go on now; None where a new config is to begin, or nothing is left to do."""
        if (pioneer := self._pioneer()) is not None:
            return pioneer
        rates = {number: self._rate(number, level) for number, level in self._promotable()}
        climbs = any(trial.number in self.scores[0] for trial in self.running)
        if not (rates or self.may_begin or self.scores[-1] or climbs):
            last = replace(self, scores=self.breaking, breaking=())
            return next((self.paused[number] for number, _ in last._promotable()), None)
        if not rates:
            return None
        chosen = max(rates, key=lambda number: rates[number])  # of the lowest rung where several promise the same
        return None if self.may_begin and rates[chosen] < self._rate_of_new() else self.paused[chosen]

    def _pioneer(self) -> FrozenTrial | None:
        """Returns the trial that is ahead of all, until one has been at the top; None while it runs."""
        if self.scores[-1]:
            return None
        feasible = [trial for number, trial in self.paused.items() if number in self.scores[0]]
        if not feasible:
            return None
        first = max(feasible, key=lambda trial: (len(rungs_of(trial)), -trial.number))
        ahead = max((len(rungs_of(trial)) + 1 for trial in self.running), default=0)
        return first if len(rungs_of(first)) > ahead or not ahead else None

    def _promotable(self) -> Iterator[tuple[int, int]]:
        """Yields for each rung the trials that are paused there and may go on, and the rung's index, of each the best first."""
        for level, (scores, above) in enumerate(pairwise(self.scores)):
            at_least = 0 if self.may_begin else 1  # the best of what there is climbs to the top in the end
            best = sorted(sorted(scores), key=scores.__getitem__, reverse=True)[: max(at_least, len(scores) // REDUCTION)]
            waiting = (number for number in best if number in self.paused and number not in above)
            yield from ((number, level) for number in islice(waiting, None if self.paces else 1))

    @cached_property
    def _best(self) -> float:
        return max([self.complete, *(score for scores in self.scores for score in scores.values())])

    @cached_property
    def _gains(self) -> tuple[tuple[float, float] | None, ...]:
        """By rung, the middle and spread of what the trials gained that went on to it; None of one that gained nothing."""
        found: list[tuple[float, float] | None] = [None]
        for below, above in pairwise(self.scores):
            gains = [above[number] - below[number] for number in above.keys() & below.keys()]
            found.append(middle_and_spread(gains) if len(gains) > 1 or any(gain > 0 for gain in gains) else None)
        return tuple(found)

    def _rate(self, number: int, level: int) -> float:
        """What a paused trial promises for each unit of the fidelity."""
        return self._promise(self.scores[level][number], 0.0, level, self.fidelity.rungs[level]) / self.paces.get(number, 1.0)

    def _rate_of_new(self) -> float:
        """What a new config promises: the first values of recent ones say what to expect of its own."""
        recent = sorted(self.scores[0])[-_RECENT:]
        if len(recent) < REDUCTION:
            return math.inf
        middle, spread = middle_and_spread([self.scores[0][number] for number in recent])
        there = expected_improvement(middle, spread, self._best) / self.fidelity.rungs[0]
        return max(there, self._promise(middle, spread, 0, 0)) / median(self.paces.get(number, 1.0) for number in recent)

    def _promise(self, score: float, spread: float, level: int, paid: int) -> float:
        """The largest expected improvement for its cost, over the rungs that are above; inf where one tells something new."""
        rates = [0.0]
        for upper in range(level + 1, len(self.scores)):
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


def middle_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns the median of values, and the standard deviation of those above it, as if those below mirrored them.

    How far the good ones reach is what an improvement hangs on. Some configs fail whatever they are trained for, and their
    values, which may be far below all others, say nothing of it. The spread of a single value is its size.
    """
    middle = median(values)
    if len(values) == 1:
        return middle, abs(middle)
    above = math.hypot(*(value - middle for value in values if value > middle))  # the squares of tiny numbers are none
    return middle, above * math.sqrt(2 / (len(values) - 1))


def expected_improvement(mean: float, spread: float, best: float) -> float:
    """Returns by how much a normal value exceeds the best one, on average (Mockus 1975)."""
    if spread <= 0:
        return max(0.0, mean - best)
    z = (mean - best) / spread
    return (mean - best) * NormalDist().cdf(z) + spread * NormalDist().pdf(z)
