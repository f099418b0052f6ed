"""What a study's author believes of a parameter: a likely value, and how sure of it he is.

``prior = 1e-3, confidence = "medium"`` in a parameter's table is a density over its range: a normal one around the value, cut
at the ends, on the parameter's own scale, with one tenth spread evenly over the whole range. That tenth bounds what a wrong
prior can cost: nowhere does it speak against a value by more than a factor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.study_file.distributions import as_drawn, check_value, fraction_of, value_at
from search.study_file.rule_errors import rule_error
from search.text import show

Confidence = Literal["low", "medium", "high"]

_SPREAD: Mapping[Confidence, float] = {"low": 0.3, "medium": 0.15, "high": 0.075}
"""Standard deviation of the normal part, as a part of the range."""

_WEIGHT: Mapping[Confidence, float] = {"low": 2.0, "medium": 4.0, "high": 8.0}
"""How much more likely than another choice the prior one is."""

_EVEN = 0.1
_CELLS = 256


@dataclass(frozen=True)
class Prior:
    """A density over the range of a parameter, and how narrow it is around its likeliest value."""

    value: Any
    confidence: Confidence
    distribution: BaseDistribution

    def at(self, fraction: float) -> Any:
        """Returns the value below which this part of the density lies, in [0, 1)."""
        edges = np.linspace(0.0, 1.0, len(self._masses) + 1)
        place = np.interp(fraction, np.concatenate([[0.0], np.cumsum(self._masses)]), edges)
        return value_at(self.distribution, min(float(place), np.nextafter(1.0, 0.0)))

    def log_density(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the log of the density at each value, of a range of length 1: 0 everywhere would be no prior.

        The values have any shape, and Optuna's internal representation.
        """
        cells = len(self._masses)
        at = np.clip((fraction_of(self.distribution, values) * cells).astype(int), 0, cells - 1)
        return np.asarray(np.log(self._masses[at] * cells))

    @cached_property
    def _masses(self) -> NDArray[np.float64]:
        """How much of the density lies in each of the equal cells of the range; shape (cells,), sum 1."""
        if self.distribution.single():
            return np.ones(1)
        if isinstance(self.distribution, CategoricalDistribution):
            masses = np.ones(len(self.distribution.choices))
            masses[self.distribution.choices.index(self.value)] = _WEIGHT[self.confidence]
            return np.asarray(masses / masses.sum())
        middle = float(fraction_of(self.distribution, np.array(self.value)))
        normal = NormalDist(middle, _SPREAD[self.confidence])
        masses = np.diff([normal.cdf(edge) for edge in np.linspace(0.0, 1.0, _CELLS + 1)])
        return np.asarray((1 - _EVEN) * masses / masses.sum() + _EVEN / _CELLS)


def read_priors(
    written: Mapping[str, tuple[Any, Confidence | None]], space: Mapping[str, BaseDistribution], sampler: str, *, usable: bool
) -> dict[str, Prior]:
    """Returns the priors by parameter, of what its table has as `prior` and `confidence`; `usable` if the sampler goes by it.

    Raises:
        PydanticCustomError: Its key is ``NAME.prior`` or ``NAME.confidence``.
    """
    priors: dict[str, Prior] = {}
    for name, (value, confidence) in written.items():
        if value is None:
            if confidence is not None:
                rule, remedy = "confidence needs a prior", "Add prior = VALUE, or remove it."
                raise rule_error(rule, got=show(confidence), remedy=remedy, key=f"{name}.confidence")
            continue
        key = f"{name}.prior"
        if problem := check_value(name, value, space):
            raise rule_error(problem[0], got=show(value), remedy=problem[1], key=key)
        if not usable:
            rule = "a prior needs the sampler tpe"
            raise rule_error(rule, got=sampler, remedy="Remove the prior, or take that sampler.", key=key)
        priors[name] = Prior(as_drawn(value, space[name]), confidence or "medium", space[name])
    return priors
