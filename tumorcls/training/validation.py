"""How well a program does on validation images, clean and under noise, while it trains and at its end."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.arrays import ArrayCache, Rows, content_key
from tumorcls.config.train_config import NoiseName, TrainConfig
from tumorcls.data.dataset import ImageSet, stratified_subset
from tumorcls.evaluation.metrics import accuracy, confusion_matrix, macro_f1, noisy_f1
from tumorcls.evaluation.mistakes import Mistake, find_mistakes, most_confident
from tumorcls.model.calibration import softmax
from tumorcls.model.pieces import PlacedParts
from tumorcls.model.program import TrainingProgram
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt
from tumorcls.training.device_cache import DeviceCache
from tumorcls.training.features import Features

EPOCH_SEVERITIES = (3,)
"""Severities measured after each epoch; all five are at the end of a trial."""

CORRUPTION_SEED = 0
"""Fixes the noise of every validation and test image, for every trial, model and worker."""

NOISE_VERSION = 1
"""Raised when the same image, noise, severity and seed give another picture, so that old entries are not taken for new ones."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a program.

    Attributes:
        scores: `accuracy` and `clean_f1` on clean images; `f1_NOISE` for each noise, the mean over severities; `noisy_f1`, the
            mean over noises; `robust_f1`, the mean of clean and noisy; `worst_f1`, that of the worst noise. All are
            macro-averaged. Where no noise is measured, only the first two.
        confusion: int64 (classes, classes), counts of clean images; rows are the true class.
        noisy_f1: For each noise, the macro-F1 at each severity that was measured, the mildest first.
        mistakes: The surest wrong answers to clean images, before calibration; none is kept before the last epoch.
    """

    scores: Mapping[str, float]
    confusion: NDArray[np.int64]
    noisy_f1: Mapping[NoiseName, tuple[float, ...]]
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True)
class Validation:
    """Validation images, and where their corrupted copies are kept: on disk, and what fits in the memory of the device."""

    images: ImageSet
    cache: ArrayCache
    device: DeviceCache = field(default_factory=DeviceCache)

    def measure(self, program: TrainingProgram, config: TrainConfig, *, final: bool) -> Measured:
        """Measures a program on clean and on corrupted images.

        Args:
            program: In the state to be measured.
            config: Names the noises and the size of the subset.
            final: Noise on a fixed subset of `config.noisy_images` at all severities; otherwise on half of it at
                `EPOCH_SEVERITIES`. Each image is measured many times there, and that must not outweigh the training.
        """
        labels, classes = self.images.labels, len(self.images.classes)
        severities = SEVERITY_LEVELS if final else EPOCH_SEVERITIES
        conditions = tuple((noise, severity) for noise in config.measured_noises for severity in severities)
        chosen = stratified_subset(labels, config.noisy_images if final else math.ceil(config.noisy_images / 2))
        logits = self._logits(program, conditions, chosen)
        clean_logits, noisy_logits = logits[: len(labels)], logits[len(labels) :].reshape(len(conditions), len(chosen), classes)
        clean = confusion_matrix(labels, clean_logits.argmax(axis=1), classes)
        mistakes = self._most_confident_mistakes(clean_logits) if final else ()
        clean_f1 = float(macro_f1(clean))
        clean_scores = {"accuracy": float(accuracy(clean)), "clean_f1": clean_f1}
        if not conditions:
            return Measured(clean_scores, clean, {}, mistakes)
        noisy = [float(macro_f1(confusion_matrix(labels[chosen], some.argmax(axis=1), classes))) for some in noisy_logits]
        curves = {
            noise: tuple(noisy[first : first + len(severities)])
            for noise, first in zip(config.measured_noises, range(0, len(noisy), len(severities)), strict=True)
        }
        f1 = noisy_f1(clean_f1, curves)
        noisy_scores = {
            **{f"f1_{noise}": float(value) for noise, value in f1.by_noise.items()},
            "noisy_f1": float(f1.noisy),
            "robust_f1": float(f1.robust),
            "worst_f1": float(f1.worst),
        }
        return Measured({**clean_scores, **noisy_scores}, clean, curves, mistakes)

    def clean_logits(self, program: TrainingProgram) -> NDArray[np.float32]:
        """Returns logits (n, classes) for the images as they are."""
        return self._logits(program, (), np.empty(0, np.int64))

    def _most_confident_mistakes(self, logits: NDArray[np.float32]) -> tuple[Mistake, ...]:
        return tuple(most_confident(find_mistakes(softmax(logits), self.images.labels, self.images.keys), self.images.groups))

    def _logits(
        self, program: TrainingProgram, conditions: tuple[tuple[NoiseName, int], ...], chosen: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Returns logits of all clean images, and then of the chosen ones under each condition: in as few dispatches as fit."""

        def parts() -> list[Rows]:
            rows = [(self.images.images, self.images.key), *(self._corrupted(*condition, chosen) for condition in conditions)]
            if not program.takes_activations:
                return [images for images, _ in rows]
            features = Features(program, self.cache)
            return [features.of_images(images, key) for images, key in rows]

        key = (self.images.key, program.activations_key, conditions, len(chosen))
        placed = self.device.get(key, PlacedParts, lambda: program.place_parts(parts()))
        return program.predict_logits(placed) if placed else program.predict_logits(*parts())

    def _corrupted(self, noise: NoiseName, severity: int, chosen: NDArray[np.int64]) -> tuple[Rows, str]:
        content = {
            "images": self.images.key,
            "noise": noise,
            "severity": severity,
            "seed": CORRUPTION_SEED,
            "version": NOISE_VERSION,
        }
        key = content_key(rows=chosen.tolist(), **content)
        keys = [self.images.keys[i] for i in chosen]

        def make() -> Iterator[NDArray[np.uint8]]:
            yield corrupt(self.images.images[chosen], noise, severity, CORRUPTION_SEED, keys)

        shape = (len(chosen), *self.images.images.shape[1:])
        return self.cache.get(key, shape, np.uint8, make), key


def describe_scores(scores: Mapping[str, float]) -> str:
    """Returns the scores that a person follows while a model trains, in one line; a final run has none."""
    names = ("clean_f1", "noisy_f1", "accuracy")
    return "  ".join(f"{name} {scores[name]:.3f}" for name in names if name in scores)


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        number: Counted from 0.
        loss: Mean training loss (categorical cross-entropy).
        measured: See `Validation.measure`, more of it in the last epoch; None in a final run, which has trained on
            the validation images.
    """

    number: int
    loss: float
    measured: Measured | None

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores by name (see `Measured`); none in a final run."""
        return self.measured.scores if self.measured else {}
