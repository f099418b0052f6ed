"""The test part, clean and corrupted, for benchmarks that measure many models on it."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.arrays import ArrayCache, content_key
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import load_part
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt
from tumorcls.training.features import Features
from tumorcls.training.trainer import Fitted, Trainer
from tumorcls.training.validation import CORRUPTION_SEED

CLEAN = ("clean", 0)

Condition = tuple[str, int]
"""Noise and severity."""


class HeldOut:
    """Test images that share corruptions and frozen activations over all models.

    Attributes:
        images: The test part.
        conditions: `CLEAN`, then each measured noise at each severity.
    """

    def __init__(self, trainer: Trainer, config: TrainConfig) -> None:
        self.images = load_part(trainer.prepared, "test", config.image_size, trainer.cache)
        self.conditions: list[Condition] = [CLEAN, *product(config.measured_noises, SEVERITY_LEVELS)]
        self._cache = ArrayCache(trainer.cache)

    def predict(self, fitted: Fitted, condition: Condition) -> NDArray[np.int64]:
        """Returns the class index that a model gives each image under a condition."""
        noise, severity = condition
        test = self.images
        images, key = test.images, content_key(images=test.key, noise=noise, severity=severity, seed=CORRUPTION_SEED)
        if condition != CLEAN:
            images = self._cache.get(
                key,
                images.shape,
                np.uint8,
                lambda _: iter([corrupt(test.images[:], noise, severity, CORRUPTION_SEED, test.keys)]),
            )
        inputs = images
        if fitted.program.takes_activations:
            inputs = Features(fitted.program, self._cache).of_images(images, key)
        classes: NDArray[np.int64] = fitted.program.predict_logits(inputs).argmax(axis=1)
        return classes
