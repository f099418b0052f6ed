"""Which classes cannot be ruled out: sets that hold the true one with a chosen probability, by split conformal prediction.

Validation images say how little probability a true class may get; a class with less is ruled out (Sadinle, Lei & Wasserman
2019, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels"). Where new images are drawn as those were, the share
of sets that hold the true class is at least what was asked for, whatever the model (Vovk et al. 2005, "Algorithmic Learning in
a Random World"). Under noise, on other scanners and in other hospitals nothing is promised; `tumorcls evaluate` measures it.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from tumorcls.evaluation.metrics import Floats, Labels

COVERAGE = 0.9
"""Share of sets that are to hold the true class, unless another is asked for."""

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""From 0 to 1 exactly; `tumorcls.evaluation.metrics.RoundedShare` leaves room for rounding."""


@dataclass(frozen=True)
class ClassSets:
    """What validation images said; limits hold where it is read from a file.

    A share `coverage` of the sets is to hold the true class. A class is in the set from the probability `cutoff` on, which is 0
    where there were too few images to rule anything out.
    """

    coverage: Share
    cutoff: Share

    @property
    def single(self) -> bool:
        """Whether no set can hold two classes: a second one has at most half of the probability."""
        return self.cutoff > 0.5

    def contain(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Returns which classes are in the sets of probabilities (..., k): from the cutoff on, and the likeliest always.

        A set is never empty beside an answer. It only grows by that, and the promise stays, as with `disallow_zero_sets` in the
        code to Angelopoulos et al. 2021, "Uncertainty Sets for Image Classifiers using Conformal Prediction".
        """
        shares = np.asarray(probabilities)
        inside: NDArray[np.bool_] = (shares >= self.cutoff) | (shares == shares.max(axis=-1, keepdims=True))
        return inside


def calibrate_sets(probabilities: Floats, labels: Labels, coverage: float = COVERAGE) -> ClassSets:
    """Chooses the cutoff for a coverage in (0, 1).

    Calibrated probabilities (n, k) are of validation images, none of which may have been trained on, labels (n,) the true class
    indices.
    """
    true = np.sort(probabilities[np.arange(len(labels)), labels])
    above = _above(len(labels), coverage)
    return ClassSets(coverage, float(true[len(true) - above]) if above <= len(true) else 0.0)


def range_of_shares(coverage: float, groups: int) -> tuple[float, float] | None:
    """Returns between which shares of sets those lie that hold the true class, for 95% of validation parts; None of too few.

    What is asked for holds on average over validation parts. The share that a cutoff of one has is distributed as
    Beta(k, n + 1 - k), where k of n must reach it (Vovk 2012, "Conditional Validity of Inductive Conformal Predictors"). Images
    of one group tell little more than one of them, so groups are counted.
    """
    from scipy.special import betaincinv

    above = _above(groups, coverage)
    if above > groups:
        return None
    low, high = betaincinv(above, groups + 1 - above, (0.025, 0.975)).tolist()
    return low, high


def _above(count: int, coverage: float) -> int:
    """Returns how many images must reach the cutoff for the set of one more to hold its class with this probability."""
    return math.ceil((count + 1) * coverage)
