"""How often a tumour is missed and how often an alarm is false, whatever type of tumour the model names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tumorcls.data.labels import percent
from tumorcls.evaluation.bootstrap import Estimate, Resamples, estimate
from tumorcls.evaluation.metrics import Labels, ratio

_NONE = "no_tumor"
_RARE = 0.01  # a share of scans with a tumour, for an example


@dataclass(frozen=True)
class Errors:
    """How many of so many images are wrong, and their share with its interval."""

    count: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(ge=1)]
    share: Estimate

    def __str__(self) -> str:
        """Returns ``13 of 240: 0.054 (0.030 to 0.081)``."""
        return f"{self.count:,} of {self.images:,}: {self.share}"


@dataclass(frozen=True)
class Detection:
    """Errors of the likeliest class on clean images, "uncertain" or not, and with no gate before it.

    Of the images that show a tumour, those that were called none are missed; of the others, those called one are false alarms.
    """

    missed: Errors
    false_alarms: Errors

    @property
    def rows(self) -> tuple[tuple[str, Errors], tuple[str, Errors]]:
        """Both, after what they are called."""
        return ("Missed: tumours called no tumor", self.missed), ("False alarms: no tumor called a tumour", self.false_alarms)

    @property
    def note(self) -> str:
        """How both are counted, and what the share of tumours among the images has to do with what an alarm is worth."""
        tumours = self.missed.images / (self.missed.images + self.false_alarms.images)
        worth = self._right_alarms()
        example = f" Were it 1 in 100, {' to '.join(worth)} of 100 alarms would be right at these rates." if worth else ""
        return (
            f"Counted by the likeliest class, whichever tumour it names and however unsure it is. {percent(tumours)} of these "
            f"images show a tumour: what an alarm is worth depends on that share, and a clinic's may be another.{example}"
        )

    def _right_alarms(self) -> tuple[str, str] | None:
        """Returns how many of 100 alarms would be right at the ends of the intervals, the worst first; None without alarms."""
        worst = (self.missed.share.high, self.false_alarms.share.high)
        best = (self.missed.share.low, self.false_alarms.share.low)
        found = []
        for missed, false_alarms in (worst, best):
            if missed is None or false_alarms is None or not 0 <= missed <= 1 or not 0 <= false_alarms <= 1:
                return None
            right, wrong = _RARE * (1 - missed), (1 - _RARE) * false_alarms
            if not right + wrong:
                return None
            found.append(f"{100 * right / (right + wrong):.0f}")
        return found[0], found[1]


def measure(labels: Labels, predicted: Labels, classes: Sequence[str], resamples: Resamples) -> Detection | None:
    """Returns both of class indices (n,); None where the images are all of tumours, or all of none."""
    shows = np.array([name != _NONE for name in classes])
    tumour, called = shows[labels], shows[predicted]
    if tumour.all() or not tumour.any():
        return None
    return Detection(_errors(tumour, ~called, resamples), _errors(~tumour, called, resamples))


def _errors(among: NDArray[np.bool_], wrong: NDArray[np.bool_], resamples: Resamples) -> Errors:
    sums = resamples.sums(np.stack([among & wrong, among], axis=1).astype(np.float64))
    share = estimate(ratio(sums[:, 0], sums[:, 1]), groups=len(np.unique(resamples.group[among])))
    return Errors(int(sums[0, 0]), int(sums[0, 1]), share)
