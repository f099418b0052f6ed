"""Percentile intervals of measured values, from a bootstrap over groups of images."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tumorcls.evaluation.metrics import Floats, Labels, calibration_error

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""Holds where a value is read from a file."""

_TAIL = (1 - 0.95) / 2  # share of the resamples on either side of an interval


@dataclass(frozen=True)
class Estimate:
    """A measured value in [`low`, `high`], its 95% interval; all three None where it cannot be measured."""

    value: Finite | None
    low: Finite | None
    high: Finite | None

    def __str__(self) -> str:
        """Returns ``0.912 (0.880 to 0.941)``."""
        return self._shown(".3f")

    def signed(self) -> str:
        """Returns a difference as ``+0.041 (+0.010 to +0.072)``."""
        return self._shown("+.3f")

    def _shown(self, form: str) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "not defined"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


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

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.counts.shape[1])

    def sums(self, per_image: Floats) -> Floats:
        """Returns sums of (n, ...) values over the test set and, behind it, over each resample: shape (1 + resamples, ...)."""
        flat = per_image.reshape(len(per_image), -1)
        per_group = np.zeros((self.groups, flat.shape[1]))
        np.add.at(per_group, self.group, flat)
        sums = (self.counts @ per_group).reshape(len(self.counts), *per_image.shape[1:])
        return np.concatenate([per_image.sum(axis=0)[None], sums])

    def means(self, per_image: Floats | NDArray[np.bool_]) -> Floats:
        """Returns the mean of (n,) values over the test set and, behind it, over each resample: shape (1 + resamples,)."""
        values = np.asarray(per_image, dtype=np.float64)
        return self.sums(values) / self.sums(np.ones(len(values)))

    def confusions(self, labels: Labels, predicted: Labels, classes: int) -> Floats:
        """Returns the confusion matrices of the test set and of each resample, shape (1 + resamples, classes, classes)."""
        cells = np.eye(classes**2)[labels * classes + predicted]
        return self.sums(cells).reshape(-1, classes, classes)


def draw_resamples(groups: NDArray[np.int64], resamples: int, seed: int) -> Resamples:
    """Draws as many of the images' groups (n,), any numbers, as there are, with replacement, `resamples` times.

    The same groups and seed give the same resamples.
    """
    names, group = np.unique(groups, return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), share, size=resamples)
    return Resamples(counts.astype(np.float64), group)


def estimate(values: Floats, *, groups: int | None = None, most: float = 1.0) -> Estimate:
    """Returns the measured value, which is the first of `values`, with the percentile interval of its resamples, the others.

    A resample in which the value is not defined (NaN: it holds no image of a class) is left out. The value lies in its
    interval.

    Args:
        values: (1 + resamples,).
        groups: Of how many groups a share was measured. Where all resamples are alike, as where no answer is wrong, they say
            nothing, and the interval is that of Clopper & Pearson 1934, for so many independent answers.
        most: What a value can be at most, of which that interval takes the share.
    """
    value, resampled = values[0], values[1:]
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not len(defined):
        return Estimate(None, None, None)
    low, high = np.quantile(defined, [_TAIL, 1 - _TAIL])
    if groups is not None and low == high:
        low, high = (most * bound for bound in _exact(float(value) / most, groups))
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def estimate_calibration_error(sums: Floats, groups: int) -> Estimate:
    """Returns the expected calibration error with its interval.

    Chance makes a gap in each bin, and the error adds up their sizes: a perfectly calibrated model shows .04 on 150 images,
    and a resample, which adds its own chance to that of the set, more. So the high end is that of the resamples less the
    difference of the means. The low end is the smallest error, with gaps in the proportions of those seen, under which at
    least 2.5% of such sets would show as much; chance does to their gaps what it does to those of the resamples.

    In simulated sets (four shapes of confidence; 150, 500 and 1,339 images, and 500 in groups of four; 200 sets each) it
    holds a true error of 0, .01, .02, .05 and .1 in 92 to 99% of the sets.

    Args:
        sums: (1 + resamples, bins, 3), of `tumorcls.evaluation.metrics.calibration_sums`.
        groups: See `estimate`.
    """
    values = calibration_error(sums)
    value, resampled = float(values[0]), values[1:]
    found = estimate(values, groups=groups)
    if not np.ptp(resampled):
        return found
    gaps = (sums[..., 1] - sums[..., 2]) / sums[..., 0].sum(-1, keepdims=True)
    seen, chance = gaps[0], gaps[1:] - gaps[0]

    def as_large(thousandths: int) -> float:
        shown = np.abs(chance + thousandths / 1000 * seen).sum(-1)
        return float((shown >= value).mean())

    low = value * bisect_left(range(1000), _TAIL, key=as_large) / 1000
    high = np.quantile(resampled, 1 - _TAIL) - (resampled.mean() - value)
    return Estimate(value, low, float(np.clip(high, value, 1.0)))


def _exact(share: float, count: int) -> tuple[float, float]:
    """Returns the interval of Clopper and Pearson of a share of so many independent answers."""
    from scipy.special import betaincinv  # what scipy.stats.beta.ppf calls, in a third of the time that its import takes

    right = share * count
    low = betaincinv(right, count - right + 1, _TAIL) if right > 0 else 0.0
    return float(low), float(betaincinv(right + 1, count - right, 1 - _TAIL)) if right < count else 1.0
