"""How good predictions are: measures from confusion matrices, many matrices at a time, and from probabilities.

A matrix has shape (..., k, k): rows are true classes, columns predicted ones. The leading axes let one call measure every
resample of a bootstrap. Counts may be weighted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
_Noise = TypeVar("_Noise", bound=str)

RoundedShare = Annotated[float, Field(ge=0.0, le=1.001)]
"""Of a whole; the limits hold where it is read from a file, and leave room for rounding."""

CALIBRATION_BINS = 15
"""Bins of the expected calibration error: Guo et al. 2017, "On Calibration of Modern Neural Networks", sec. 5."""


@dataclass(frozen=True)
class Bin:
    """Predictions of one range of confidence: how many, how sure on average, and what share of them is right."""

    count: Annotated[int, Field(ge=0)]
    confidence: RoundedShare
    accuracy: RoundedShare


@dataclass(frozen=True)
class NoisyF1:
    """Macro-F1 under noise in short, of trials and of evaluations alike; each of shape (...), as the values it is made of.

    Each noise has its mean over severities, `noisy` is the mean over the noises, `robust` that of clean and noisy, and `worst`
    that of `worst_noise`, where it is lowest.
    """

    by_noise: dict[str, Floats]
    noisy: Floats
    robust: Floats
    worst: Floats
    worst_noise: str


def noisy_f1(clean: float | Floats, curves: Mapping[_Noise, Sequence[float] | Sequence[Floats]]) -> NoisyF1:
    """Sums up macro-F1 of clean images, shape (...), and the same under each noise, one at least, at each severity.

    Each is a measured value, alone or with its resamples behind it. The first one decides which noise is the worst.
    """
    by_noise: dict[str, Floats] = {noise: np.asarray(np.mean(curve, axis=0)) for noise, curve in curves.items()}
    noisy = np.asarray(np.mean(list(by_noise.values()), axis=0))
    worst = min(by_noise, key=lambda noise: float(np.ravel(by_noise[noise])[0]))
    return NoisyF1(by_noise, noisy, (np.asarray(clean) + noisy) / 2, by_noise[worst], worst)


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Returns counts of shape (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def accuracy(confusion: Floats | NDArray[np.int64]) -> Floats:
    """Returns the share of right predictions, shape (...)."""
    return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def recall(confusion: Floats | NDArray[np.int64]) -> Floats:
    """Returns each class's recall, shape (..., k); NaN where no image has the class."""
    return ratio(_right(confusion), confusion.sum(-1))


def precision(confusion: Floats | NDArray[np.int64]) -> Floats:
    """Returns each class's precision, shape (..., k); NaN where no image was given the class."""
    return ratio(_right(confusion), confusion.sum(-2))


def f1(confusion: Floats | NDArray[np.int64]) -> Floats:
    """Returns each class's F1, shape (..., k); NaN where no image has the class nor was given it."""
    return ratio(2 * _right(confusion), confusion.sum(-1) + confusion.sum(-2))


def macro_f1(confusion: Floats | NDArray[np.int64]) -> Floats:
    """Returns the mean F1 of the classes that occur as a label, shape (...): scikit-learn's, with `labels=np.unique(y_true)`.

    A class that only a wrong answer names has an F1 of 0, and would count as much as all images of a class: one such answer
    among hundreds would take a quarter of it. It lowers the recall of its own class, as any wrong answer does.
    """
    return np.asarray(np.nanmean(np.where(confusion.sum(-1) > 0, f1(confusion), np.nan), axis=-1))


def guessing_f1(labels: Labels, classes: int) -> float:
    """Returns the macro-F1 of expected counts where every class is guessed equally often, whatever the image."""
    counts = np.bincount(labels, minlength=classes)
    return float(macro_f1(np.repeat(counts[:, None] / classes, classes, axis=1)))


def balanced_accuracy(confusion: Floats | NDArray[np.int64]) -> Floats:
    """Returns the mean recall of the classes that occur as a label, shape (...), as scikit-learn does."""
    return np.asarray(np.nanmean(recall(confusion), axis=-1))


def roc_auc(labels: Labels, probabilities: Floats) -> list[float | None]:
    """Returns the area under the ROC curve of each class against the rest; None where all or no images have the class.

    Labels (n,) are class indices, probabilities are (n, k).
    """
    from sklearn.metrics import roc_auc_score

    areas: list[float | None] = []
    for index in range(probabilities.shape[1]):
        is_class = labels == index
        defined = 0 < is_class.sum() < len(labels)
        areas.append(float(roc_auc_score(is_class, probabilities[:, index])) if defined else None)
    return areas


def risk_coverage(confidence: Floats, wrong: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Returns thresholds, highest first; at each the share of the images (n,) that get an answer, and of these the wrong ones.

    A threshold lets in all images of its confidence, so that equals have one together.
    """
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))  # of equals
    answered = last + 1
    return confidence[order][last], answered / len(order), np.cumsum(wrong[order])[last] / answered


def brier(labels: Labels, probabilities: Floats) -> Floats:
    """Returns of each image (n,) the squared distance of its probabilities (n, k) from the truth, in [0, 2].

    Its mean is the Brier score (Brier 1950), smallest in expectation where the probabilities are the true ones.
    """
    distances: Floats = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)
    return distances


def calibration_sums(labels: Labels, probabilities: Floats) -> Floats:
    """Returns what each image adds to its bin of confidence: shape (n, `CALIBRATION_BINS`, 3), count, confidence, right or not.

    Bins are equally wide and closed above, (0, 1/15] to (14/15, 1].
    """
    confidence = probabilities.max(axis=1)
    place = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    sums = np.zeros((len(labels), CALIBRATION_BINS, 3))
    right = probabilities.argmax(axis=1) == labels
    sums[np.arange(len(labels)), place] = np.stack([np.ones(len(labels)), confidence, right], axis=1)
    return sums


def calibration_error(sums: Floats) -> Floats:
    """Returns the expected calibration error, shape (...), from sums over images, shape (..., bins, 3)."""
    gaps = np.abs(sums[..., 1] - sums[..., 2]).sum(-1)
    return ratio(gaps, sums[..., 0].sum(-1))


def calibration_bins(sums: Floats) -> list[Bin]:
    """Returns the bins that hold images, from sums over images, shape (bins, 3)."""
    return [Bin(int(count), float(sure / count), float(right / count)) for count, sure, right in sums if count > 0]


def _right(confusion: Floats | NDArray[np.int64]) -> Floats:
    return np.asarray(np.diagonal(confusion, axis1=-2, axis2=-1), dtype=np.float64)


def ratio(above: Floats | NDArray[np.int64], below: Floats | NDArray[np.int64], least: float = 0.0) -> Floats:
    """Divides where `below` is positive and at least `least`; NaN elsewhere."""
    result = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=result, where=(np.asarray(below) > 0) & (np.asarray(below) >= least))
    return result
