"""One training run: `Trainer.fit` takes a config and a seed, and reports each epoch."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tumorcls import activity
from tumorcls.cache.arrays import ArrayCache, Rows
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import Fold, ImageSet, Part, k_folds, load_part
from tumorcls.data.prepare import PreparedData, prepare
from tumorcls.model.calibration import MAX_ERROR, Calibration, calibrate
from tumorcls.model.conformal import COVERAGE
from tumorcls.model.divergence import check_finite
from tumorcls.model.ensemble import join
from tumorcls.model.pieces import DeviceCache, Placed
from tumorcls.model.program import TrainingProgram
from tumorcls.model.program_cache import ProgramCache
from tumorcls.training.checkpoint import Checkpoint, Checkpoints
from tumorcls.training.features import Features
from tumorcls.training.measured_with import fingerprint
from tumorcls.training.validation import Epoch, Logits, Validation, ValidationScores

Weights = Sequence[NDArray[Any]]
"""What a program predicts with, see `TrainingProgram.weights`."""


@dataclass(frozen=True)
class Seconds:
    """Where the time of a run went, in seconds of wall time."""

    training: float
    validation: float
    total: float


@dataclass(frozen=True)
class Fitted:
    """A finished run.

    Attributes:
        program: Holds the trained state until the next `fit`.
        config: What was done.
        epochs: All of them, those of a checkpoint too.
        seconds: Where the time went.
        validation: What it was measured on; None in a final run.
        members: Where several weights answer together, or others than the program's: these, and how often each counts.
    """

    program: TrainingProgram
    config: TrainConfig
    epochs: tuple[Epoch, ...]
    seconds: Seconds
    validation: ImageSet | None
    members: tuple[tuple[Weights, int], ...] = ()

    @property
    def last(self) -> Epoch:
        """The last epoch."""
        return self.epochs[-1]

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores of the run, measured at its end (see `ValidationScores.final_scores`); none of a final run."""
        measured = self.last.measured
        return {} if measured is None or measured.final_scores is None else measured.final_scores

    def classifier(self, temperature: float = 1.0) -> keras.Model:
        """Returns the trained network as a plain Keras model from images in [0, 255] to calibrated probabilities."""
        networks = (program.classifier(self.config.dropout, temperature) for program in self._programs())
        if len(self.members) < 2:
            return next(networks)
        return join(networks, [count for _, count in self.members], self.config.trainable_from)

    def logits(self, logits_of: Callable[[TrainingProgram], Logits]) -> Logits:
        """Returns the mean of what `logits_of` gives for each member, each as often as it counts."""
        counts = [count for _, count in self.members] or None
        return np.average([logits_of(program) for program in self._programs()], axis=0, weights=counts).astype(np.float32)

    def _programs(self) -> Iterator[TrainingProgram]:
        """Yields the program with the weights of each member in turn."""
        for weights, _ in self.members:
            self.program.set_weights(weights)
            yield self.program
        if not self.members:
            yield self.program


@dataclass
class Trainer:
    """Data and compiled programs that many runs share.

    All configs given to one trainer must agree on `data` and `split`: those are read once, and the test part never is.
    """

    prepared: PreparedData
    cache: Path
    programs: ProgramCache = field(default_factory=ProgramCache)
    _device: DeviceCache = field(default_factory=DeviceCache)
    _parts: dict[tuple[Part, int], ImageSet] = field(default_factory=dict)
    _folds: dict[tuple[int, int], tuple[Fold, ...]] = field(default_factory=dict)

    @classmethod
    def open(cls, config: TrainConfig, cache: Path) -> "Trainer":
        """Prepares the data of a config.

        Raises:
            DataError: A folder is missing, its layout is not known, or a part lacks a class.
        """
        return cls(prepare(config.data, config.split, cache, config.slices), cache)

    def images(self, part: Part, image_size: int) -> ImageSet:
        """Returns the train, the validation or the development part, decoded once."""
        assert part != "test", "a search never opens a test image"
        if (part, image_size) not in self._parts:
            self._parts[part, image_size] = load_part(self.prepared, part, image_size, self.cache)
        return self._parts[part, image_size]

    def fingerprint(self, config: TrainConfig) -> dict[str, str]:
        """Returns what the values of all configs with these data and weights depend on; see `training.measured_with`."""
        return fingerprint(self.prepared, self.programs.get(config).weights_sha256, keras.backend.backend(), self.cache)

    def folds(self, config: TrainConfig, count: int) -> tuple[Fold, ...]:
        """Returns the development part divided into `count` folds, by the seed of the split.

        Raises:
            DataError: A class has too few groups.
        """
        if (count, config.image_size) not in self._folds:
            images = self.images("development", config.image_size)
            self._folds[count, config.image_size] = k_folds(images, count, config.split.seed)
        return self._folds[count, config.image_size]

    def fit(
        self,
        config: TrainConfig,
        seed: int,
        on_epoch_end: Callable[[Epoch], None] = lambda epoch: None,
        *,
        fold: Fold | None = None,
        checkpoints: Checkpoints | None = None,
        final: bool = False,
    ) -> Fitted:
        """Trains one model.

        Args:
            config: What to do.
            seed: Fixes the head's first weights, the order of images and every random draw, whatever ran before in this
                process. Cached views are the exception: all trials share them.
            on_epoch_end: Called after each epoch; what it raises ends the run.
            fold: One of `folds` instead of the train and the validation part.
            checkpoints: Where the state is kept. Where the same run, or one with fewer epochs whose beginning is the same, left
                it there, in this process or another, it goes on from there, and gives what it would have given. The epochs
                before are reported again, but for those at whose end it had returned.
            final: Train on the development part, validation images too; nothing is left to measure.

        Raises:
            DataError: An image or the cache cannot be read.
            TrainingDivergedError: The loss of an epoch, a weight at its end or an answer of the network is not finite.
            WeightsError: The weights cannot be had.
        """
        started = perf_counter()
        train = self.images("development" if final or fold else "train", config.image_size)
        rows = fold.train if fold else np.arange(len(train.labels))
        validation = None if final else self._validation(config, fold)
        program = self.programs.get(config)
        order_rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
        targets = train.targets(config.label_smoothing)
        program.reset(config, seed)
        data = f"{train.key} {validation.images.key if validation else ''}"
        checkpoint = checkpoints.of(config, seed, data) if checkpoints else None
        epochs = _restored(checkpoint, program, config, validation, on_epoch_end) if checkpoint else []
        for _ in epochs:
            order_rng.permutation(rows)
        training = validating = 0.0
        for number in range(len(epochs), config.epochs):
            begun = perf_counter()
            name = f"epoch {number + 1} of {config.epochs}"
            activity.tell(f"{name}: {'' if program.is_compiled(config.batch_size) else 'compiling, '}training")
            inputs = self._inputs(program, config, train, number)
            program.set_learning_rate(learning_rate_at(config, number))
            loss = program.train_epoch(inputs, targets, order_rng.permutation(rows), config.batch_size)
            check_finite(f"{name}: the training loss", loss)
            check_finite(f"{name}: each weight", *program.weights())
            trained = perf_counter()
            activity.tell(f"{name}: measuring")
            measured = validation.measure(program, config, final=number == config.epochs - 1) if validation else None
            training += trained - begun
            validating += perf_counter() - trained
            epochs.append(Epoch(number, loss, measured))
            if checkpoint:
                checkpoint.keep(program, epochs, config.epochs)
            activity.make_way()
            on_epoch_end(epochs[-1])
        seconds = Seconds(training, validating, perf_counter() - started)
        return Fitted(program, config, tuple(epochs), seconds, validation.images if validation else None)

    def logits(self, fitted: Fitted) -> Logits:
        """Returns a run's logits, not a final one's, for what it was measured on at its end; see `score_logits`."""
        validation = self._validation(fitted.config)
        return fitted.logits(lambda program: validation.logits(program, fitted.config, final=True))

    def score_logits(self, logits: Logits, config: TrainConfig) -> ValidationScores:
        """Returns how well such logits do."""
        return self._validation(config).score_logits(logits, config, final=True)

    def calibrate(self, fitted: Fitted, max_error: float = MAX_ERROR, coverage: float = COVERAGE) -> Calibration:
        """Chooses temperature, threshold and sets of a run just fitted (not a final one) on clean validation images."""
        validation = self._validation(fitted.config)
        logits = fitted.logits(lambda program: validation.clean_logits(program, fitted.config))
        labels, groups = validation.images.labels, len(np.unique(validation.images.groups))
        return calibrate(logits, labels, max_error, coverage, groups)

    def _inputs(self, program: TrainingProgram, config: TrainConfig, train: ImageSet, epoch: int) -> Rows | Placed:
        """Returns what an epoch trains on, from the device's memory where there is room for it."""
        view = epoch % config.cached_views if config.cached_views else None

        def rows() -> Rows:
            if view is None:
                return train.images
            return Features(program, ArrayCache(self.cache)).training_view(config.view_recipe, train, view, config.cached_views)

        key = (train.key, program.activations_key, view, config.view_recipe if view is not None else None)
        return self._device.get(key, lambda: program.place(rows())) or rows()

    def _validation(self, config: TrainConfig, fold: Fold | None = None) -> Validation:
        images = fold.validation if fold else self.images("validation", config.image_size)
        return Validation(images, ArrayCache(self.cache), self._device)


def _restored(
    checkpoint: Checkpoint,
    program: TrainingProgram,
    config: TrainConfig,
    validation: Validation | None,
    on_epoch_end: Callable[[Epoch], None],
) -> list[Epoch]:
    """Returns the epochs of a checkpoint, whose state the program then has, and reports those again that `Trainer.fit` says."""
    epochs = checkpoint.restore(program, config.epochs)
    if validation and len(epochs) == config.epochs:  # it was lost after that, or was to be longer: the last one counts
        epochs[-1] = replace(epochs[-1], measured=validation.measure(program, config, final=True))
    paused_after = [epoch.number for epoch in epochs[: config.epochs - 1] if epoch.is_final]
    for epoch in epochs[max(paused_after, default=-1) + 1 :]:
        on_epoch_end(epoch)
    return epochs


def learning_rate_at(config: TrainConfig, epoch: int) -> float:
    """Returns the learning rate of a zero-based epoch.

    ``cosine`` begins at `config.learning_rate` and would reach 0 after the last epoch (Loshchilov and Hutter, SGDR, ICLR 2017,
    without restarts). A run's value is its last epoch's, and small last steps make that one less of a lottery.
    """
    if config.schedule != "cosine":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2
