"""How often a model may say nothing, and how often it then errs: coverage against error, on the images that were measured."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from tumorcls.evaluation.bootstrap import Estimate, Resamples, estimate
from tumorcls.evaluation.metrics import Floats, Labels, RoundedShare, ratio, risk_coverage

_POINTS = 60


@dataclass(frozen=True)
class Operating:
    """A threshold of confidence: what share of the images gets an answer there, and what share of these answers is wrong."""

    threshold: RoundedShare
    coverage: RoundedShare
    error: RoundedShare


@dataclass(frozen=True)
class Selective:
    """A model that answers only where it is sure enough (Geifman & El-Yaniv 2017, sec. 2).

    The curve goes from the surest images to all of them. Coverage, the share of the images that get an answer, and the share of
    these answers that is wrong are those at the model's own threshold.
    """

    curve: Annotated[tuple[Operating, ...], Field(max_length=200)]
    threshold: RoundedShare
    coverage: Estimate
    error: Estimate


def measure(labels: Labels, probabilities: Floats, threshold: float, resamples: Resamples) -> Selective:
    """Returns coverage against error of probabilities (n, k), and both, with intervals, at a threshold."""
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    answered = confidence >= threshold
    sums = resamples.sums(np.stack([np.ones(len(labels)), answered, answered & wrong], axis=1).astype(np.float64))
    coverage = estimate(sums[:, 1] / sums[:, 0], groups=resamples.groups)
    error = estimate(ratio(sums[:, 2], sums[:, 1]), groups=len(np.unique(resamples.group[answered])))
    return Selective(_curve(confidence, wrong), threshold, coverage, error)


def _curve(confidence: Floats, wrong: np.ndarray) -> tuple[Operating, ...]:
    points = np.stack(risk_coverage(confidence, wrong), axis=1)
    chosen = np.unique(np.linspace(0, len(points) - 1, min(_POINTS, len(points))).round().astype(int))
    return tuple(Operating(*point) for point in points[chosen].tolist())
