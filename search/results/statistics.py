"""Intervals of a mean over a few seeds: Student's and Welch's."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

LEVEL = 0.95
_FEWEST, _MOST = 4, 17  # significant digits that are shown of a value; more than 17 a float has not
_SAME = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean, and how far to either side the interval reaches that holds the true one in 95 of 100 cases.

    `half` is None where there were too few values to tell, and where it is no number.
    """

    mean: float
    half: float | None

    def __str__(self) -> str:
        """As it is shown: ``0.842 ± 0.012``, the mean to a tenth of the interval at least."""
        return self.among(())

    def among(self, others: Iterable[float]) -> str:
        """Returns the same, told apart from other means where there is no interval."""
        return show_among(self.mean, others) if self.half is None else f"{show(self.mean, self.half)} ± {self.half:.2g}"

    def signed(self) -> str:
        """As a difference is shown: ``+0.012 ± 0.008``."""
        return f"+{self}" if self.mean > 0 else str(self)


def show(value: float, apart: float = 0.0) -> str:
    """Returns a value with so many digits, four or more, that another looks different which is `apart` from it at least.

    Where there is no other, `apart` is 0.
    """
    if not (math.isfinite(value) and 0 < apart < math.inf) or value == 0:
        return f"{value:.4g}"
    digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(apart)) + 2
    return f"{value:.{min(max(digits, _FEWEST), _MOST)}g}"


def show_among(value: float, others: Iterable[float | None]) -> str:
    """Returns a value with so many digits that none of others which is not the `same` looks the same."""
    there = (other for other in others if other is not None and not same(value, other))
    return show(value, min((abs(value - other) for other in there), default=0.0))


def same(value: float, other: float) -> bool:
    """Returns whether two values are equal, or arithmetic alone may have made them differ."""
    return math.isclose(value, other, rel_tol=_SAME)


def mean_interval(values: Sequence[float]) -> Interval:
    """Returns the mean of at least one value with Student's t interval; the mean also of such whose sum is no number."""
    return _scaled(_student, values)


def paired_interval(values: Sequence[float], reference: Sequence[float], comparisons: int = 1) -> Interval:
    """Returns the mean of each value less its reference, of at least one pair, with Student's t interval.

    Of several comparisons all intervals together hold the true differences in 95 of 100 cases (Bonferroni).
    """
    level = 1 - (1 - LEVEL) / comparisons
    return _scaled(
        lambda *sides: _student([value - other for value, other in zip(*sides, strict=True)], level), values, reference
    )


def difference_interval(values: Sequence[float], reference: Sequence[float]) -> Interval:
    """Returns the mean of `values` less that of `reference`, with Welch's t interval where each has at least two values."""
    return _scaled(_welch, values, reference)


def _scaled(interval_of: Callable[..., Interval], *groups: Sequence[float]) -> Interval:
    """Returns the interval of groups of values by way of that of values in (-2, 2): squares of the largest are no numbers."""
    scale = 2.0 ** (math.frexp(max(abs(value) for group in groups for value in group))[1] - 1)  # exact, as a power of two is
    shrunk = interval_of(*([value / scale for value in group] for group in groups))
    half = math.inf if shrunk.half is None else shrunk.half * scale
    return Interval(shrunk.mean * scale, half if math.isfinite(half) else None)


def _student(values: Sequence[float], level: float = LEVEL) -> Interval:
    half = _t(len(values) - 1, level) * math.sqrt(variance(values) / len(values)) if len(values) > 1 else None
    return Interval(fmean(values), half)


def _welch(*sides: Sequence[float]) -> Interval:
    """Welch 1947: the variances may differ; the degrees of freedom are Satterthwaite's."""
    mean = fmean(sides[0]) - fmean(sides[1])
    if min(map(len, sides)) < 2:
        return Interval(mean, None)
    parts = [variance(side) / len(side) for side in sides]
    total = sum(parts)
    if total == 0:
        return Interval(mean, 0.0)
    freedom = 1 / sum((part / total) ** 2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    return Interval(mean, _t(freedom) * math.sqrt(total))


def _t(freedom: float, level: float = LEVEL) -> float:
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, in a third of the time that its import takes

    return float(stdtrit(freedom, (1 + level) / 2))
