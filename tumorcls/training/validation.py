"""How well a program does on validation images, clean and under noise, while it trains and at its end."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tumorcls.cache.arrays import ArrayCache, Rows, content_key
from tumorcls.config.train_config import TrainConfig
from tumorcls.data.dataset import ImageSet, Mirrored, stratified_subset
from tumorcls.evaluation.metrics import accuracy, confusion_matrix, macro_f1, noisy_f1
from tumorcls.evaluation.mistakes import Mistake, find_mistakes, most_confident
from tumorcls.model.calibration import softmax
from tumorcls.model.pieces import DeviceCache
from tumorcls.model.program import TrainingProgram
from tumorcls.noise.kinds import NoiseName
from tumorcls.noise.severity import SEVERITY_LEVELS, corrupt
from tumorcls.training.features import Features

_Curves = Mapping[NoiseName, tuple[float, ...]]
_Conditions = tuple[tuple[NoiseName, int], ...]

Logits = NDArray[np.float32]
"""(n, classes)."""

EPOCH_SEVERITIES = (3,)
"""Severities of the scores of an epoch; all five make the final ones."""

CORRUPTION_SEED = 0
"""Fixes the noise of every validation and test image, for every trial, model and worker."""

NOISE_VERSION = 1
"""Raised when the same image, noise, severity and seed give another picture, so that old entries are not taken for new ones."""


@dataclass(frozen=True)
class ValidationScores:
    """What was measured of a program.

    Attributes:
        scores: `accuracy` and `clean_f1` on clean images; `f1_NOISE` for each noise, the mean over severities; `noisy_f1`, the
            mean over noises; `robust_f1`, the mean of clean and noisy; `worst_f1`, that of the worst noise. All are
            macro-averaged. Where no noise is measured, only the first two. Noise is that of `EPOCH_SEVERITIES` on half of the
            subset, after each epoch alike, so that epochs and trials of any length can be compared.
        confusion: int64 (classes, classes), counts of clean images; rows are the true class.
        noisy_f1: For each noise, the macro-F1 at each severity that was measured, the mildest first, on as many images.
        mistakes: The surest wrong answers to clean images, before calibration; none is kept before the last epoch.
        final_scores: The same at all severities on the whole subset: a trial's result. None before the last epoch.
    """

    scores: Mapping[str, float]
    confusion: NDArray[np.int64]
    noisy_f1: _Curves
    mistakes: tuple[Mistake, ...] = ()
    final_scores: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Validation:
    """Validation images, and where their corrupted copies are kept: on disk, and what fits in the memory of the device."""

    images: ImageSet
    cache: ArrayCache
    device: DeviceCache = field(default_factory=DeviceCache)

    def measure(self, program: TrainingProgram, config: TrainConfig, *, final: bool) -> ValidationScores:
        """Measures a program, in the state that it is in, on clean and on corrupted images.

        With `final` noise is measured on a fixed subset of `config.noisy_images` at all severities, the scores of an epoch
        among them; otherwise on half of it at `EPOCH_SEVERITIES` alone. Each image is measured many times there, and that must
        not outweigh the training.
        """
        return self.score_logits(self.logits(program, config, final=final), config, final=final)

    def logits(self, program: TrainingProgram, config: TrainConfig, *, final: bool) -> Logits:
        """Returns a program's logits (n, classes) for all that `measure` looks at; see there."""
        return self._logits(program, config, *self._noisy(config, final))

    def score_logits(self, logits: Logits, config: TrainConfig, *, final: bool) -> ValidationScores:
        """Returns what such logits, whoever gives them, are worth; see `measure`."""
        labels, classes = self.images.labels, len(self.images.classes)
        severities = SEVERITY_LEVELS if final else EPOCH_SEVERITIES
        conditions, chosen = self._noisy(config, final)
        half = self._half(config) if final else chosen
        clean_logits, noisy_logits = logits[: len(labels)], logits[len(labels) :].reshape(len(conditions), len(chosen), classes)
        clean = confusion_matrix(labels, clean_logits.argmax(axis=1), classes)
        predicted = dict(zip(conditions, noisy_logits.argmax(axis=2), strict=True))

        def curves(severities: Sequence[int], rows: NDArray[np.int64]) -> _Curves:
            truth, among = labels[rows], np.isin(chosen, rows)
            found = {key: confusion_matrix(truth, answers[among], classes) for key, answers in predicted.items()}
            return {
                noise: tuple(float(macro_f1(found[noise, severity])) for severity in severities)
                for noise in config.measured_noises
            }

        epochs, everything = curves(EPOCH_SEVERITIES, half), curves(severities, chosen)
        mistakes = find_mistakes(softmax(clean_logits), labels, self.images.keys) if final else []
        return ValidationScores(
            scores=_scores(clean, epochs),
            confusion=clean,
            noisy_f1=everything,
            mistakes=tuple(most_confident(mistakes, self.images.groups)),
            final_scores=_scores(clean, everything) if final else None,
        )

    def _noisy(self, config: TrainConfig, final: bool) -> tuple[_Conditions, NDArray[np.int64]]:
        severities = SEVERITY_LEVELS if final else EPOCH_SEVERITIES
        chosen = stratified_subset(self.images.labels, config.noisy_images) if final else self._half(config)
        return tuple((noise, severity) for noise in config.measured_noises for severity in severities), chosen

    def _half(self, config: TrainConfig) -> NDArray[np.int64]:
        """A part of the whole subset."""
        return stratified_subset(self.images.labels, math.ceil(config.noisy_images / 2))

    def clean_logits(self, program: TrainingProgram, config: TrainConfig) -> Logits:
        """Returns logits (n, classes) for the images as they are, averaged with their mirror images' if the config says so."""
        return self._logits(program, config, (), np.empty(0, np.int64))

    def _logits(
        self, program: TrainingProgram, config: TrainConfig, conditions: _Conditions, chosen: NDArray[np.int64]
    ) -> Logits:
        logits = self._logits_of(program, conditions, chosen, mirrored=False)
        if not config.mirror_average:
            return logits
        return (logits + self._logits_of(program, conditions, chosen, mirrored=True)) / np.float32(2)

    def _logits_of(
        self, program: TrainingProgram, conditions: _Conditions, chosen: NDArray[np.int64], *, mirrored: bool
    ) -> Logits:
        """Returns logits of all clean images, and then of the chosen ones under each condition: in as few dispatches as fit."""

        def parts() -> list[Rows]:
            rows = [(self.images.images, self.images.key), *(self._corrupted(*condition, chosen) for condition in conditions)]
            if mirrored:
                rows = [(Mirrored(images), content_key(images=key, mirrored=True)) for images, key in rows]
            if not program.takes_activations:
                return [images for images, _ in rows]
            features = Features(program, self.cache)
            return [features.of_images(images, key) for images, key in rows]

        key = (self.images.key, program.activations_key, conditions, len(chosen), mirrored)
        placed = self.device.get(key, lambda: program.place_parts(parts()))
        return program.predict_logits(placed) if placed else program.predict_logits(*parts())

    def _corrupted(self, noise: NoiseName, severity: int, chosen: NDArray[np.int64]) -> tuple[Rows, str]:
        drawn = {"noise": noise, "severity": severity, "seed": CORRUPTION_SEED, "version": NOISE_VERSION}
        key = content_key(images=self.images.key, rows=chosen.tolist(), **drawn)
        keys = [self.images.keys[i] for i in chosen]

        def make() -> Iterator[NDArray[np.uint8]]:
            yield corrupt(self.images.images[chosen], noise, severity, CORRUPTION_SEED, keys)

        shape = (len(chosen), *self.images.images.shape[1:])
        return self.cache.get(key, shape, np.uint8, make), key


def _scores(clean: NDArray[np.int64], curves: _Curves) -> dict[str, float]:
    """Returns the scores of clean images' confusion matrix and of the macro-F1 under each noise, by severity."""
    scores = {"accuracy": float(accuracy(clean)), "clean_f1": float(macro_f1(clean))}
    if not curves:
        return scores
    f1 = noisy_f1(scores["clean_f1"], curves)
    return {
        **scores,
        **{f"f1_{noise}": float(value) for noise, value in f1.by_noise.items()},
        "noisy_f1": float(f1.noisy),
        "robust_f1": float(f1.robust),
        "worst_f1": float(f1.worst),
    }


def describe_scores(scores: Mapping[str, float]) -> str:
    """Returns the scores that a person follows while a model trains, in one line; a final run has none."""
    names = ("clean_f1", "noisy_f1", "accuracy")
    return "  ".join(f"{name} {scores[name]:.3f}" for name in names if name in scores)


@dataclass(frozen=True)
class Epoch:
    """What one epoch, counted from 0, gave: its mean training loss (categorical cross-entropy), and what was measured.

    See `Validation.measure`; nothing is in a final run, which has trained on the validation images.
    """

    number: int
    loss: float
    measured: ValidationScores | None

    @property
    def is_final(self) -> bool:
        """Whether it was the last one when it was measured."""
        return self.measured is not None and self.measured.final_scores is not None

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores by name, as they compare with those of other epochs (see `ValidationScores`); none in a final run."""
        return self.measured.scores if self.measured else {}
