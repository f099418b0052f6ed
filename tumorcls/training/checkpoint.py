"""What a run needs to go on after its last whole epoch, in one file, whether it was lost or paused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tumorcls.cache.arrays import content_key
from tumorcls.cache.checked import load_arrays, store_arrays
from tumorcls.config.train_config import TrainConfig
from tumorcls.evaluation.mistakes import Mistake
from tumorcls.model.program import TrainingProgram, is_mixed
from tumorcls.training.validation import Epoch, ValidationScores

_VERSION = 2
"""Of what a checkpoint holds; one of another version is not found."""


@dataclass(frozen=True)
class Checkpoints:
    """In which folder the state of runs is kept, and when.

    After each epoch, so that little is lost with a worker; `paused`, after the last one, for a run may be taken up again with
    more epochs.
    """

    folder: Path
    each_epoch: bool = True
    paused: bool = False

    def of(self, config: TrainConfig, seed: int, data: str) -> "Checkpoint":
        """Returns the checkpoint of a run; `data` names the content of the images it trains and validates on.

        A run of another config, seed, data, backend or precision, as a device decides it, has another one. Only the number of
        epochs may differ, where a run is the beginning of a longer one.
        """
        backend = f"{keras.backend.backend()} {keras.__version__}"
        settings = config.model_dump(mode="json", exclude={"epochs"} if config.can_go_on else None)
        if is_mixed(config):
            settings["precision"] = "mixed"
        key = content_key(config=settings, seed=seed, data=data, backend=backend, version=_VERSION)
        return Checkpoint(self.folder / f"{key}.npz", self.each_epoch, self.paused)


@dataclass(frozen=True)
class Checkpoint:
    """One run's checkpoint; see `Checkpoints`."""

    path: Path
    each_epoch: bool = True
    paused: bool = False

    def keep(self, program: TrainingProgram, epochs: Sequence[Epoch], total: int) -> None:
        """Writes the checkpoint, where one is wanted after these epochs of a run that has so many in all."""
        if self.each_epoch or (self.paused and len(epochs) == total):
            self.write(program, epochs)

    def write(self, program: TrainingProgram, epochs: Sequence[Epoch]) -> None:
        """Replaces the checkpoint. One that cannot be written, on a full disk say, is done without, and the run goes on."""
        text = json.dumps([_as_json(epoch) for epoch in epochs], default=np.ndarray.tolist)
        try:
            store_arrays(self.path, np.frombuffer(text.encode(), np.uint8), *program.state())  # as arr_0, arr_1, ...
        except OSError as error:
            print(f"no checkpoint after epoch {epochs[-1].number}: {error}")

    def restore(self, program: TrainingProgram, total: int) -> list[Epoch]:
        """Puts a program in the state of the checkpoint, and returns the epochs before it.

        Without a checkpoint that can be used no epoch is returned, and the program is not changed. One of more epochs than the
        `total` that the run is to have is of no use to it.
        """
        stored = load_arrays(self.path, ("arr_0",))
        if stored is None:
            return []
        payload = json.loads(stored.pop("arr_0").tobytes())
        if len(payload) > total:
            return []
        try:
            program.set_state([stored[f"arr_{number}"] for number in range(1, len(stored) + 1)])
        except ValueError as error:
            print(f"checkpoint {self.path} cannot be used: {error}; beginning anew")
            return []
        return [_from_json(epoch) for epoch in payload]


def _as_json(epoch: Epoch) -> dict[str, Any]:
    measured = {} if epoch.measured is None else asdict(epoch.measured)
    return {"number": epoch.number, "loss": epoch.loss, **measured}


def _from_json(payload: Mapping[str, Any]) -> Epoch:
    if "scores" not in payload:
        return Epoch(payload["number"], payload["loss"], None)
    curves = {noise: tuple(curve) for noise, curve in payload["noisy_f1"].items()}
    mistakes = tuple(Mistake(**mistake) for mistake in payload["mistakes"])
    confusion = np.array(payload["confusion"])
    measured = ValidationScores(payload["scores"], confusion, curves, mistakes, payload["final_scores"])
    return Epoch(payload["number"], payload["loss"], measured)
