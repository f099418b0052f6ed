"""What all contenders do: the space, the data, the budget, and the settings that are not searched."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
    "noise_intensity": {"low": 0.25, "high": 0.75, "step": 0.25},
}
"""Floats, as Optuna's `suggest_float` names things. What decides the cost (epochs, batch size) is the same in all trials."""

NOISE_LEVELS = (0.25, 0.5, 0.75)
"""The values that `noise_intensity` can take: what a warm cache holds."""

BATCH_SIZE = 32


@dataclass(frozen=True)
class Scenario:
    """One comparison.

    Attributes:
        data: As `data` of the classifier's settings; `sartaj` stands for the folder that the user names.
        trainable_from: First part of the network that is trained.
        image_size: Pixels.
        epochs: Of every trial.
        bar: Times as many trials an hour as each peer that this project promises, those aside that get its cache.
    """

    name: str
    data: str
    trainable_from: str
    image_size: int
    epochs: int
    bar: float


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("all", "phantoms:256", "all", image_size=96, epochs=2, bar=3.0),
        Scenario("block7", "sartaj", "block7", image_size=150, epochs=8, bar=3.5),
        Scenario("head", "sartaj", "head", image_size=150, epochs=8, bar=50.0),
    )
}


@dataclass(frozen=True)
class Work:
    """What one contender is given; written as JSON, because each contender is a process of its own.

    Attributes:
        scenario: What to do.
        weights: As `weights` of the classifier's settings; a file where they are random, so that all begin with the same.
        frozen_batch_norm: Whether BatchNormalization keeps its statistics; random weights have none worth keeping.
        trials: Budget.
        minutes: No trial starts later than that; None for no limit.
        seed: Of the study, and with the trial's number of each trial.
    """

    scenario: Scenario
    weights: str
    frozen_batch_norm: bool
    trials: int
    minutes: float | None
    seed: int

    def settings(self) -> dict[str, Any]:
        """Returns the `[objective]` table: validation is clean, as the peers' is."""
        return {
            "data": self.scenario.data,
            "image_size": self.scenario.image_size,
            "trainable_from": self.scenario.trainable_from,
            "weights": self.weights,
            "batch_norm": "freeze" if self.frozen_batch_norm else "train",
            "epochs": self.scenario.epochs,
            "batch_size": BATCH_SIZE,
            "schedule": "constant",
            "score": "clean_f1",
            "measured_noises": [],
        }

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Work":
        values = json.loads(path.read_text())
        return cls(**{**values, "scenario": Scenario(**values["scenario"])})
