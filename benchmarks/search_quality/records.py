"""What a run is given, and what is written down of it."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kept import named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `Task.of` reads."""
    parser.add_argument("--data", help="a folder or phantoms:N; SARTAJ otherwise")
    parser.add_argument("--image-size", type=int, default=150)
    parser.add_argument("--weights", default=os.environ.get("TUMORCLS_WEIGHTS", "imagenet"), help="or `none`: random")


STACKS = {"same": "the same objective for all, on cached activations", "own": "each tool with its own stack"}
"""What trains, as a table says it."""


@dataclass(frozen=True)
class Task:
    """What all contenders are given: the objective's settings, the seconds of a run, and what trains (of `STACKS`)."""

    settings: dict[str, Any]
    seconds: float
    stacks: str = "same"

    @property
    def metric(self) -> str:
        return str(self.settings.get("score", "robust_f1"))

    @classmethod
    def of(cls, arguments: argparse.Namespace, seconds: float, stacks: str = "same", **settings: Any) -> "Task":
        """Returns the head on cached activations, unless `settings` say otherwise, with what a command line names.

        Args:
            arguments: With `data` (SARTAJ where there is none), `weights` and `image_size`.
            seconds: Of a run.
            stacks: Of `STACKS`.
            **settings: Further ones of the objective.
        """
        data = arguments.data or str(Path(os.environ.get("TUMORCLS_DATA", "data")) / "sartaj")
        given = {
            "data": data if isinstance(data, list) else [data],
            "weights": arguments.weights,
            "batch_norm": "train" if arguments.weights == "none" else "freeze",
            "image_size": arguments.image_size,
            "trainable_from": "head",
            "views": 2,
        }
        return cls({**given, **settings}, seconds, stacks)

    def shown(self) -> dict[str, Any]:
        """Returns the task without the paths of this machine."""
        return {"settings": named(self.settings), "seconds": self.seconds, "stacks": self.stacks}


@dataclass(frozen=True)
class Finished:
    """A trial that was trained to its end: when, in seconds since the run began, how good, and what it was."""

    ended: float
    value: float
    params: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        begun: How many trials, those included that were pruned or not finished in time.
        finished: When each finished trial ended and its value, in the order in which they ended.
        winner: The one that the contender chose, or else that of the best value.
        test_score: The winner's score on the test part, trained again.
    """

    contender: str
    seed: int
    begun: int
    finished: Sequence[tuple[float, float]] = field(default_factory=list)
    winner: Finished | None = None
    test_score: float | None = None

    @classmethod
    def of(cls, contender: str, seed: int, begun: int, finished: Sequence[Finished], chosen: Finished | None = None) -> "Run":
        winner = chosen or max(finished, key=lambda trial: trial.value, default=None)
        return cls(contender, seed, begun, [(round(trial.ended, 2), round(trial.value, 5)) for trial in finished], winner)

    @property
    def best(self) -> float:
        """The best value, 0 where no trial finished."""
        return max((value for _, value in self.finished), default=0.0)

    def time_to(self, score: float) -> float:
        """Returns after how many seconds this score was there; inf where it never was."""
        return next((ended for ended, value in self.finished if value >= score), float("inf"))

    def area(self, seconds: float, begin: float = 0.0) -> float:
        """Returns the mean of the best value so far from `begin` on, to so many seconds."""
        return float(self.best_by(np.linspace(begin, seconds, 2001)).mean())

    def best_by(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the best value so far at each time, 0 before the first."""
        ended, values = np.array(self.finished).reshape(-1, 2).T
        return np.concatenate([[0.0], np.maximum.accumulate(values)])[np.searchsorted(ended, times, side="right")]
