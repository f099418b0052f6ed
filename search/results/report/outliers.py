"""Leaves the worst outliers out of what is shown, such as trials that diverged: one of them would squeeze all the rest."""

import math
from collections.abc import Sequence


def sensible_range(values: Sequence[float], maximize: bool, shown: Sequence[float] = ()) -> tuple[float, float] | None:
    """Returns a range that leaves the worst outliers out; None where there are none.

    An outlier lies farther than three interquartile ranges beyond the quartile on the side of the worse values. None of
    `shown`, which are among the values, is left out.
    """
    ordered = sorted(filter(math.isfinite, values))
    if len(ordered) < 8:
        return None
    low, high = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
    fence = 3 * (high - low)
    worst = min([low - fence, *shown]) if maximize else max([high + fence, *shown])
    inside = [value for value in ordered if (value >= worst if maximize else value <= worst)]
    if len(inside) == len(ordered) or inside[0] == inside[-1]:
        return None
    margin = (inside[-1] - inside[0]) * 0.05
    return inside[0] - margin, inside[-1] + margin


def cut(values: Sequence[float], maximize: bool) -> tuple[list[float], float | None]:
    """Returns the values, that of an outlier being the worst that is shown, and which that is; None where there are none."""
    limits = sensible_range(values, maximize)
    if limits is None:
        return list(values), None
    low, high = limits
    return [min(max(value, low), high) for value in values], low if maximize else high
