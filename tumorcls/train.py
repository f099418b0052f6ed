"""One training run: `Trainer.fit` takes a config and a seed, and reports each epoch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import keras
import numpy as np

from tumorcls.array_cache import ArrayCache
from tumorcls.config import TrainConfig
from tumorcls.dataset import ImageSet, load_part, prepare_data
from tumorcls.features import Features
from tumorcls.prepare import PreparedData
from tumorcls.program import Program, ProgramCache
from tumorcls.validation import Measured, Validation


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        number: Counted from 0.
        loss: Mean training loss (categorical cross-entropy).
        measured: Of the last epoch on all images and severities, before on a subset.
    """

    number: int
    loss: float
    measured: Measured

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores by name; see `Measured`."""
        return self.measured.scores


@dataclass(frozen=True)
class Seconds:
    """Where the time of a run went, in seconds of wall time."""

    training: float
    validation: float
    total: float


@dataclass(frozen=True)
class Fitted:
    """A finished run. `program` holds the trained state until the next `fit`."""

    program: Program
    config: TrainConfig
    last: Epoch
    seconds: Seconds

    def classifier(self) -> keras.Model:
        """Returns the trained network as a plain Keras model from images in [0, 255] to probabilities."""
        return self.program.classifier(self.config.dropout)


@dataclass
class Trainer:
    """Data and compiled programs that many runs share.

    All configs given to one trainer must agree on `data` and `split`: those are read once, and the test part never is.
    """

    prepared: PreparedData
    cache: Path
    programs: ProgramCache = field(default_factory=ProgramCache)
    _parts: dict[tuple[str, int], ImageSet] = field(default_factory=dict)

    @classmethod
    def open(cls, config: TrainConfig, cache: Path) -> "Trainer":
        """Prepares the data of a config.

        Raises:
            DataError: A folder is missing, its layout is not known, or a part lacks a class.
        """
        return cls(prepare_data(config, cache), cache)

    def images(self, part: str, image_size: int) -> ImageSet:
        """Returns the train or the validation part, decoded once."""
        assert part in ("train", "validation"), "a search never opens a test image"
        if (part, image_size) not in self._parts:
            self._parts[part, image_size] = load_part(self.prepared, part, image_size, self.cache)  # type: ignore[arg-type]
        return self._parts[part, image_size]

    def fit(self, config: TrainConfig, seed: int, on_epoch_end: Callable[[Epoch], None]) -> Fitted:
        """Trains one model.

        Args:
            config: What to do.
            seed: Fixes the head's first weights, the order of images and every random draw, whatever ran before in this
                process. Cached views are the exception: all trials share them.
            on_epoch_end: Called after each epoch; what it raises ends the run.

        Returns:
            The trained state and the last epoch.

        Raises:
            DataError: An image or the cache cannot be read.
            WeightsError: The weights cannot be had.
        """
        started = perf_counter()
        train = self.images("train", config.image_size)
        cache = ArrayCache(self.cache / "arrays")
        validation = Validation(self.images("validation", config.image_size), cache)
        program = self.programs.get(config)
        features = Features(program, cache)
        order_rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
        targets = train.targets(config.label_smoothing)
        program.reset(config, seed)
        epoch: Epoch | None = None
        training = validating = 0.0
        for number in range(config.epochs):
            begun = perf_counter()
            inputs = train.images
            if config.cached_views:
                inputs = features.training_view(config, train, number % config.cached_views)  # type: ignore[assignment]
            program.set_learning_rate(learning_rate_at(config, number))
            loss = program.train_epoch(inputs, targets, order_rng.permutation(len(targets)), config.batch_size)
            trained = perf_counter()
            measured = validation.measure(program, config, final=number == config.epochs - 1)
            training += trained - begun
            validating += perf_counter() - trained
            epoch = Epoch(number, loss, measured)
            on_epoch_end(epoch)
        assert epoch is not None, "a config has at least one epoch"
        return Fitted(program, config, epoch, Seconds(training, validating, perf_counter() - started))


def learning_rate_at(config: TrainConfig, epoch: int) -> float:
    """Returns the learning rate of a zero-based epoch.

    ``cosine`` begins at `config.learning_rate` and would reach 0 after the last epoch (Loshchilov and Hutter, SGDR, ICLR 2017,
    without restarts). A run's value is its last epoch's, and small last steps make that one less of a lottery.
    """
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
