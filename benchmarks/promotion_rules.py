"""Which rule promotes best? Searches with rungs at 2, 4, 8 and 16 epochs, simulated on drawn learning curves.

    python -m benchmarks.promotion_rules | tee benchmarks/results/promotion_rules.txt

A config's value at the first rung is normal, and so is what it gains from each rung to the next; a share of the configs fails
and stays far below all others, the less often the more of them a sampler has seen. Every value has the noise of a seed. New
configs are drawn at random: what differs is only who goes on, by `search.driver.promotion`, and by rules that it had before. A
run ends after so many epochs in all; what counts is the best value without its noise.
"""

import argparse
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.driver.promotion import Board, expected_improvement
from search.records.rungs import RUNGS_KEY, Rung, as_attr
from search.study_file.fidelity import REDUCTION, Fidelity

FIDELITY = Fidelity("epochs", IntDistribution(2, 16))
FIRST, FIRST_SPREAD, GAIN_SPREAD, NOISE, FAILED = 0.79, 0.012, 0.006, 0.004, 0.11
GAINS = {"much": (0.03, 0.02, 0.02), "some": (0.015, 0.015, 0.012), "soon nothing": (0.015, 0.002, 0.0)}
FAILURES = {"none": 0.0, "few": 0.1, "many": 0.3}
EPOCHS = (150, 400)


class AnyValue(Board):
    """The spread of all first values, failed ones too, and of gains that two trials have shown."""

    @cached_property
    def _gains(self) -> tuple[tuple[float, float] | None, ...]:
        found: list[tuple[float, float] | None] = [None]
        for below, above in pairwise(self.scores):
            gains = [above[number] - below[number] for number in above.keys() & below.keys()]
            found.append((float(np.mean(gains)), float(np.std(gains, ddof=1))) if len(gains) > 1 else None)
        return tuple(found)

    def _rate_of_new(self) -> float:
        first = list(self.scores[0].values())[-30:]
        if len(first) < REDUCTION:
            return float("inf")
        mean, spread = float(np.mean(first)), float(np.std(first, ddof=1))
        return max(expected_improvement(mean, spread, self._best) / FIDELITY.rungs[0], self._promise(mean, spread, 0, 0))


class OneByOne(AnyValue):
    """A rung opens only while the two below it disagree on who is better, or gain, by more than noise (PASHA, ICLR 2023)."""

    def _promotable(self) -> Iterator[tuple[int, int]]:
        top = 1
        while top + 1 < len(self.scores) and self._disagree(self.scores[top - 1], self.scores[top]):
            top += 1
        return ((number, level) for number, level in super()._promotable() if level < top)

    def _disagree(self, below: Mapping[int, float], above: Mapping[int, float]) -> bool:
        both = sorted(above.keys() & below.keys(), key=lambda number: (-above[number], number))[:10]
        if len(both) < 2:
            return False
        noise = self._noise(both)
        swapped = any(
            (below[a] - below[b]) * (above[a] - above[b]) < 0
            and min(abs(below[a] - below[b]), abs(above[a] - above[b])) > noise
            for a, b in combinations(both, 2)
        )
        return swapped or float(np.mean([above[number] - below[number] for number in both])) > noise

    def _noise(self, numbers: list[int]) -> float:
        apart = []
        for a, b in combinations(numbers, 2):
            values = [(scores[a], scores[b]) for scores in self.scores if a in scores and b in scores]
            signs = [one > other for one, other in values]
            if sum(one is not other for one, other in pairwise(signs)) >= 2:
                apart.append(abs(values[-1][0] - values[-1][1]))
        return float(np.quantile(apart, 0.9, method="higher")) if apart else 0.0


RULES: dict[str, type[Board]] = {"rung by rung (PASHA)": OneByOne, "spread of any value": AnyValue, "as it is": Board}


@dataclass
class Search:
    """A search on drawn curves.

    Attributes:
        rule: Who goes on.
        gains: Means of what a config gains from rung to rung.
        failures: Share of configs that fail, at the beginning.
        rng: Draws them.
        curves: The true values of each config at the rungs.
        scores: By rung, the values that were seen, by config.
    """

    rule: type[Board]
    gains: tuple[float, ...]
    failures: float
    rng: np.random.Generator
    curves: list[NDArray[np.float64]] = field(default_factory=list)
    scores: tuple[dict[int, float], ...] = field(default_factory=lambda: tuple({} for _ in FIDELITY.rungs))

    def run(self, epochs: int) -> float:
        """Searches for so many epochs, and returns the best value without its noise."""
        spent = 0
        while True:
            chosen = self._board().choose()
            number = len(self.curves) if chosen is None else chosen.number
            if chosen is None:
                self.curves.append(self._draw(number))
            level = sum(number in scores for scores in self.scores)
            spent += FIDELITY.rungs[level] - (FIDELITY.rungs[level - 1] if level else 0)
            if spent > epochs:
                break
            self.scores[level][number] = float(self.curves[number][level] + self.rng.normal(0, NOISE))
        _, number, level = max(
            (score, number, level) for level, seen in enumerate(self.scores) for number, score in seen.items()
        )
        return float(self.curves[number][level])

    def _draw(self, number: int) -> NDArray[np.float64]:
        if number and self.rng.random() < self.failures / (1 + number / 10):
            return np.full(len(FIDELITY.rungs), FAILED)
        return np.cumsum([self.rng.normal(FIRST, FIRST_SPREAD), *self.rng.normal(self.gains, GAIN_SPREAD)])

    def _board(self) -> Board:
        paused = {number: self._trial(number) for number in self.scores[0] if number not in self.scores[-1]}
        return self.rule(FIDELITY, self.scores, paused, max(self.scores[-1].values(), default=-np.inf))

    def _trial(self, number: int) -> FrozenTrial:
        rungs = {
            rung: Rung(seen[number], 1.0) for rung, seen in zip(FIDELITY.rungs, self.scores, strict=True) if number in seen
        }
        trial = create_trial(state=TrialState.WAITING, system_attrs={RUNGS_KEY: as_attr(rungs)})
        trial.number = number
        return trial


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promotion_rules", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=120)
    arguments = parser.parse_args()
    width = max(map(len, RULES))
    for gain, gains in GAINS.items():
        for failure, failures in FAILURES.items():
            print(f"{gain} gained from rung to rung, failed configs: {failure}")
            for rule, board in RULES.items():
                found = [
                    [Search(board, gains, failures, np.random.default_rng(seed)).run(epochs) for seed in range(arguments.seeds)]
                    for epochs in EPOCHS
                ]
                shown = ", ".join(
                    f"{np.mean(values):.4f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.4f} after {epochs} epochs"
                    for epochs, values in zip(EPOCHS, found, strict=True)
                )
                print(f"  {rule:{width}}  {shown}", flush=True)
    print(f"\nmean ± standard error over {arguments.seeds} searches; {platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
