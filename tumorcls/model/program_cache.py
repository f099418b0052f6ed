"""Which configs share a compiled program, and those programs that are kept for the next trial."""

from collections import OrderedDict
from dataclasses import dataclass

from tumorcls import activity
from tumorcls.config.train_config import NoiseName, OptimizerName, TrainableFrom, TrainConfig
from tumorcls.model.program import TrainingProgram, is_mixed


@dataclass(frozen=True)
class ProgramKey:
    """The fields of a config that are part of the compiled graph; configs that share them share a program."""

    image_size: int
    weights: str
    trainable_from: TrainableFrom
    batch_norm: str
    optimizer: OptimizerName
    noises: tuple[NoiseName, ...]
    clean_share: float
    classes: int
    takes_activations: bool
    mixed: bool
    averaged: bool

    @classmethod
    def of(cls, config: TrainConfig) -> "ProgramKey":
        """Returns the key of a config's program."""
        return cls(
            image_size=config.image_size,
            weights=config.weights,
            trainable_from=config.trainable_from,
            batch_norm=config.batch_norm,
            optimizer=config.optimizer,
            noises=config.noises,
            clean_share=config.clean_share,
            classes=len(config.classes),
            takes_activations=config.cached_views > 0,
            mixed=is_mixed(config),
            averaged=config.schedule == "ema",
        )


class ProgramCache:
    """Programs by their key; the least recently used one goes first, because each keeps its compiled code in memory."""

    def __init__(self, capacity: int = 2) -> None:
        """Makes an empty cache for `capacity` programs."""
        self._capacity = capacity
        self._programs: OrderedDict[ProgramKey, TrainingProgram] = OrderedDict()

    def get(self, config: TrainConfig) -> TrainingProgram:
        """Returns the program for a config's key, built where there is none.

        Raises:
            WeightsError: The weights cannot be had.
        """
        activity.finish_call()
        key = ProgramKey.of(config)
        if key not in self._programs:
            activity.tell("building the network")
            while len(self._programs) >= self._capacity:
                self._programs.popitem(last=False)
            self._programs[key] = TrainingProgram(config)
        self._programs.move_to_end(key)
        return self._programs[key]
