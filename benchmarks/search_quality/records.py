"""What a run is given, and what is written down of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Task:
    """What all contenders are given: the objective's settings, and the seconds of a run."""

    settings: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Finished:
    """A trial that was trained to its end: when, in seconds since the run began, how good, and what it was."""

    ended: float
    value: float
    params: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Run:
    """One search: its finished trials, how many were begun in all, and its winner's robust F1 on the test part."""

    contender: str
    seed: int
    begun: int
    finished: list[Finished]
    test_score: float | None = None

    def best(self) -> Finished:
        return max(self.finished, key=lambda trial: trial.value)

    def best_by(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the best value so far at each time, 0 before the first."""
        ended = np.array([trial.ended for trial in self.finished])
        values = np.maximum.accumulate([trial.value for trial in self.finished])
        return np.concatenate([[0.0], values])[np.searchsorted(ended, times, side="right")]
