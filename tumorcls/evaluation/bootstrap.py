"""Percentile intervals of measured values, from a bootstrap over groups of images."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tumorcls.evaluation.metrics import Floats, Labels

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""Holds where a value is read from a file."""

CONFIDENCE = 0.95
"""Share of the resamples inside an interval."""


@dataclass(frozen=True)
class Estimate:
    """A measured value in [`low`, `high`], its 95% interval; all three None where it cannot be measured."""

    value: Finite | None
    low: Finite | None
    high: Finite | None

    def __str__(self) -> str:
        """Returns ``0.912 (0.880 to 0.941)``."""
        if self.value is None or self.low is None or self.high is None:
            return "not defined"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Resamples:
    """How often each group is in each resample of a test set.

    Near-duplicates and slices of one patient are right or wrong together. A bootstrap over images takes them for independent
    and comes out too narrow; this one draws whole groups (Field & Welsh 2007, "Bootstrapping clustered data", sec. 3).

    Everything that is measured with the same resamples is paired: differences and means over conditions have intervals too.

    Attributes:
        counts: (resamples, number of groups); each row adds up to the number of groups.
        group: (n,) column of each image's group.
    """

    counts: Floats
    group: NDArray[np.int64]

    def sums(self, per_image: Floats | NDArray[np.int64]) -> Floats:
        """Returns the sum over the images of each resample.

        Args:
            per_image: Shape (n, ...).

        Returns:
            Shape (resamples, ...).
        """
        flat = np.asarray(per_image, dtype=np.float64).reshape(len(per_image), -1)
        per_group = np.zeros((self.counts.shape[1], flat.shape[1]))
        np.add.at(per_group, self.group, flat)
        sums: Floats = (self.counts @ per_group).reshape(len(self.counts), *per_image.shape[1:])
        return sums

    def measured(self, per_image: Floats) -> Floats:
        """Returns the sum over the test set and, behind it, those of `sums`: shape (1 + resamples, ...)."""
        return np.concatenate([per_image.sum(axis=0)[None], self.sums(per_image)])

    def means(self, per_image: Floats | NDArray[np.bool_]) -> Floats:
        """Returns the mean of (n,) values over the test set and, behind it, over each resample: shape (1 + resamples,)."""
        values = np.asarray(per_image, dtype=np.float64)
        means: Floats = self.measured(values) / self.measured(np.ones(len(values)))
        return means

    def confusions(self, labels: Labels, predicted: Labels, classes: int) -> Floats:
        """Returns the confusion matrices of the test set and of each resample, shape (1 + resamples, classes, classes)."""
        cells = np.eye(classes**2)[labels * classes + predicted]
        return self.measured(cells).reshape(-1, classes, classes)


def draw_resamples(groups: NDArray[np.int64], resamples: int, seed: int) -> Resamples:
    """Draws as many groups as there are, with replacement, `resamples` times.

    Args:
        groups: (n,) group of each image; any numbers.
        resamples: How many times.
        seed: Fixes the draw: the same groups and seed give the same resamples.
    """
    names, group = np.unique(groups, return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), share, size=resamples)
    return Resamples(counts.astype(np.float64), group)


def estimate(values: Floats, *, groups: int | None = None, centred: bool = False) -> Estimate:
    """Returns the measured value, which is the first of `values`, with the percentile interval of its resamples, the others.

    A resample in which the value is not defined (NaN: it holds no image of a class) is left out. The value lies in its
    interval.

    Args:
        values: (1 + resamples,).
        groups: Of how many groups a share was measured. Where all resamples are alike, as where no answer is wrong, they say
            nothing, and the interval is that of Clopper & Pearson 1934, for so many independent answers.
        centred: The value of a resample is larger on average than that of the set, as a calibration error's is, which any
            imbalance adds to: the interval is shifted by the difference of the means. Of a share.
    """
    value, resampled = values[0], values[1:]
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not len(defined):
        return Estimate(None, None, None)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    if groups is not None and low == high:
        low, high = _exact(float(value), groups)
    elif centred:
        low, high = np.clip([low, high] - (defined.mean() - value), 0.0, 1.0)
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def _exact(share: float, count: int) -> tuple[float, float]:
    """Returns the interval of Clopper and Pearson of a share of so many independent answers."""
    from scipy.stats import beta

    tail, right = (1 - CONFIDENCE) / 2, share * count
    low = beta.ppf(tail, right, count - right + 1) if right > 0 else 0.0
    return float(low), float(beta.ppf(1 - tail, right + 1, count - right)) if right < count else 1.0
