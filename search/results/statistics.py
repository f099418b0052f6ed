"""Intervals of a mean over a few seeds: Student's and Welch's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, and how far to either side the interval reaches that holds the true one in 95 of 100 cases.

    `half` is None where there were too few values to tell.
    """

    mean: float
    half: float | None

    def __str__(self) -> str:
        """As it is shown: ``0.842 ± 0.012``."""
        return f"{self.mean:.4g}" if self.half is None else f"{self.mean:.4g} ± {self.half:.2g}"

    def signed(self) -> str:
        """As a difference is shown: ``+0.012 ± 0.008``."""
        return f"+{self}" if self.mean > 0 else str(self)


def mean_interval(values: Sequence[float]) -> Interval:
    """Returns the mean of at least one value with Student's t interval."""
    if len(values) < 2:
        return Interval(fmean(values), None)
    return Interval(fmean(values), _t(len(values) - 1) * math.sqrt(variance(values) / len(values)))


def difference_interval(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """Returns the mean of `values` less that of `reference`, with Welch's t interval where each has at least two values.

    Welch 1947: the variances may differ; the degrees of freedom are Satterthwaite's.
    """
    mean = fmean(values) - fmean(reference)
    if len(values) < 2 or len(reference) < 2:
        return Interval(mean, None)
    parts = [variance(side) / len(side) for side in (values, reference)]
    total = sum(parts)
    if total == 0:
        return Interval(mean, 0.0)
    freedom = total**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (values, reference), strict=True))
    return Interval(mean, _t(freedom) * math.sqrt(total))


def _t(freedom: float) -> float:
    from scipy.stats import t  # takes a second to import

    return float(t.ppf((1 + LEVEL) / 2, freedom))
