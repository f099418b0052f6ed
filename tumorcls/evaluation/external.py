"""How a model did on other data than its own: what it may have seen of it, and what that is worth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tumorcls.evaluation.bootstrap import Estimate

if TYPE_CHECKING:
    from tumorcls.evaluation.record import Evaluation

_Count = Annotated[int, Field(ge=0)]


def score_rows(evaluation: "Evaluation") -> list[tuple[str, Estimate, Estimate]]:
    """Returns the scores of an evaluation on other data: their name, without what the model may have seen, and with it."""
    assert evaluation.external is not None, "only other data has both"
    clean, with_seen = evaluation.clean, evaluation.external.with_seen
    return [
        ("accuracy", clean.accuracy, with_seen.accuracy),
        ("balanced accuracy", clean.balanced_accuracy, with_seen.balanced_accuracy),
        ("macro-F1", clean.macro_f1, with_seen.macro_f1),
    ]


@dataclass(frozen=True)
class WithSeen:
    """Scores on clean images of the whole of other data, what the model may have seen of it too."""

    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate


@dataclass(frozen=True)
class External:
    """What an evaluation on other data left out.

    Attributes:
        images: Of the other data that have a class of the model.
        seen_pictures: Those of them whose picture the model may have trained or been validated with: left out.
        seen_patients: Others, of whose patient it may have: left out too.
        with_seen: Scores on all of them.
    """

    images: _Count
    seen_pictures: _Count
    seen_patients: _Count
    with_seen: WithSeen

    @property
    def left_out(self) -> int:
        """How many images were left out."""
        return self.seen_pictures + self.seen_patients

    def sentence(self) -> str:
        """Returns what was left out, in words."""
        patients = f", and {self.seen_patients:,} more of patients that it has" if self.seen_patients else ""
        return (
            f"Of {self.images:,} images the model may have seen {self.seen_pictures:,}, or copies of them, "
            f"in its training{patients}: {self.left_out:,} are left out."
        )
