"""What one epoch of a run gave."""

from collections.abc import Mapping
from dataclasses import dataclass

from tumorcls.training.validation import Measured


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        number: Counted from 0.
        loss: Mean training loss (categorical cross-entropy).
        measured: See `Validation.measure`, more of it in the last epoch; None in a final run, which has trained on
            the validation images.
    """

    number: int
    loss: float
    measured: Measured | None

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores by name (see `Measured`); none in a final run."""
        return self.measured.scores if self.measured else {}
