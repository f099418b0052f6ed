"""How a model did next to a reference: the scores less its own, and the errors divided by its own."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tumorcls.evaluation.bootstrap import Estimate

LONGEST_NAME = 200
"""Letters of a name."""

Name = Annotated[str, Field(max_length=LONGEST_NAME)]


@dataclass(frozen=True)
class RelativeError:
    """Balanced error under one noise relative to a reference model, as MedMNIST-C defines it; below 1 is better than it.

    Attributes:
        noise: Name, or "mean" for the mean over the noises.
        be: Sum over severities of the balanced error, divided by the reference's.
        rbe: The same for the increase of the balanced error over the clean one. Both are None where the reference's sum is too
            small to divide by (see `tumorcls.evaluation.robustness`).
    """

    noise: str
    be: Estimate
    rbe: Estimate


@dataclass(frozen=True)
class Differences:
    """Scores less the reference's, of the same images under the same noise: above 0 is better than it.

    The intervals are of the differences, whose resamples are the same for both. One that holds 0 does not tell the two apart.
    Accuracy and macro-F1 are on clean images; then come means of macro-F1 over noises and severities, and over what was never
    seen and both were measured under; each is None where there is nothing of that.
    """

    accuracy: Estimate
    macro_f1: Estimate
    noisy_f1: Estimate | None = None
    unseen_f1: Estimate | None = None

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What each is called, and its value with a sign: ``+0.041 (+0.010 to +0.072)``."""
        found = (
            ("accuracy, clean", self.accuracy),
            ("macro-F1, clean", self.macro_f1),
            ("macro-F1, mean over noises and severities", self.noisy_f1),
            ("macro-F1, mean over what it has never seen", self.unseen_f1),
        )
        return [(name, difference.signed()) for name, difference in found if difference is not None]


@dataclass(frozen=True)
class Relative:
    """What a model is next to a reference of some name: its errors per noise, and their mean last, if any noise was measured.

    The same of what was never seen stands apart. Older files have no differences.
    """

    reference: Name
    errors: tuple[RelativeError, ...]
    unseen: tuple[RelativeError, ...] = ()
    differences: Differences | None = None
