"""A part of the data, clean and corrupted, for benchmarks that measure many models on it."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.arrays import ArrayCache, Rows, content_key
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import Mirrored, Part, load_part
from tumorcls.model.program import TrainingProgram
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt
from tumorcls.training.features import Features
from tumorcls.training.trainer import Fitted, Trainer
from tumorcls.training.validation import CORRUPTION_SEED, NOISE_VERSION

CLEAN = ("clean", 0)

Condition = tuple[str, int]
"""Noise and severity."""


class HeldOut:
    """Images that share corruptions and frozen activations over all models: the test part, unless another is named.

    Attributes:
        images: Of the part.
        conditions: `CLEAN`, then each measured noise at each severity.
    """

    def __init__(self, trainer: Trainer, config: TrainConfig, part: Part = "test") -> None:
        self.images = load_part(trainer.prepared, part, config.image_size, trainer.cache)
        self.conditions: list[Condition] = [CLEAN, *product(config.measured_noises, SEVERITY_LEVELS)]
        self._cache = ArrayCache(trainer.cache)

    def predict(self, fitted: Fitted, condition: Condition) -> NDArray[np.int64]:
        """Returns the class index that a model gives each image under a condition."""
        logits = fitted.logits(lambda program: program.predict_logits(self.inputs(program, condition)))
        classes: NDArray[np.int64] = logits.argmax(axis=1)
        return classes

    def inputs(self, program: TrainingProgram, condition: Condition, *, mirrored: bool = False) -> Rows:
        """Returns what a program takes: images under a condition, left and right exchanged if asked, or their activations."""
        noise, severity = condition
        part = self.images
        images, key = (
            part.images,
            content_key(images=part.key, noise=noise, severity=severity, seed=CORRUPTION_SEED, version=NOISE_VERSION),
        )
        if condition != CLEAN:
            images = self._cache.get(
                key,
                images.shape,
                np.uint8,
                lambda: iter([corrupt(part.images[:], noise, severity, CORRUPTION_SEED, part.keys)]),
            )
        if mirrored:
            images, key = Mirrored(images), content_key(images=key, mirrored=True)
        return Features(program, self._cache).of_images(images, key) if program.takes_activations else images
