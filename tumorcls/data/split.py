"""Which image belongs to which part? Seeded, stratified, and never with a group on two sides."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

PARTS = ("train", "validation", "test", "left_out")
"""Names of the parts; `left_out` holds what no part may use."""


def split_groups(
    groups: npt.NDArray[np.int64], strata: Sequence[Hashable], fractions: Mapping[str, float], seed: int
) -> npt.NDArray[np.str_]:
    """Deals whole groups out to parts so that every stratum is shared as the fractions say.

    Groups are dealt from the largest to the smallest, in an order drawn from the seed among equals, each to the part where it
    lessens most the distance to the wanted counts; the many single images come last and even out what the large groups left.

    Args:
        groups: (n,) group of each image.
        strata: Label and source of each image, or whatever shall be shared evenly; n values.
        fractions: Share of each part, in (0, 1], with sum 1; a part with share 0 gets nothing.
        seed: Fixes which groups go where.

    Returns:
        (n,) names of parts.
    """
    names = [name for name, share in fractions.items() if share > 0]
    shares = np.array([fractions[name] for name in names])
    _, group_of = np.unique(groups, return_inverse=True)
    counts = _members(group_of, strata)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts.sum(axis=1)[order], kind="stable")]
    # Scaled by the square root of its size, a stratum's relative errors weigh alike whether it is large or small.
    scale = 1 / np.sqrt(counts.sum(axis=0))
    missing = shares[:, None] * (counts.sum(axis=0) * scale)[None, :]
    scaled = counts * scale
    # Deviations matter in proportion to the wanted share, or the largest part would get all large groups.
    weight = 1 / np.maximum(shares, 1e-6)  # of the smallest numbers there is no inverse
    part_of_group = np.empty(len(counts), np.int64)
    for group in order:
        # Change of sum((missing - group)^2) is |group|^2 - 2 missing.group; the first part is the same for all but its weight.
        # Parts often tie but for the last digit. Sums are the same on every processor, BLAS's products are not.
        gain = weight * (2 * (missing * scaled[group]).sum(axis=1) - (scaled[group] ** 2).sum())
        best = int(np.argmax(gain))
        part_of_group[group] = best
        missing[best] -= scaled[group]
    return np.array(names, dtype=np.str_)[part_of_group[group_of]]


def _members(group_of: npt.NDArray[np.intp], strata: Sequence[Hashable]) -> npt.NDArray[np.float64]:
    """Counts the images of each group, numbered from 0, in each stratum."""
    number: dict[Hashable, int] = {}
    stratum_index = [number.setdefault(stratum, len(number)) for stratum in strata]
    counts = np.zeros((group_of.max() + 1, len(number)))
    np.add.at(counts, (group_of, np.array(stratum_index, dtype=np.intp)), 1)
    return counts


class SplitSettings(BaseModel):
    """How images are de-duplicated and split.

    Attributes:
        validation: Share of validation images, of those outside an official test part. In [0, 1).
        test: Share of test images, unused with `official_test`. In [0, 1).
        seed: Fixes which groups go to which part.
        official_test: Whether the data sets' own test folders are the test part. Images elsewhere that have a copy there are
            left out.
        duplicates: ``group`` keeps all copies, on one side; ``keep-best`` keeps of each group the image with most pixels;
            ``drop`` keeps none of an image that occurs more than once.
        conflicts: Whether groups whose labels disagree are left out (of an official test part they are not).
        flips: Whether mirror images count as copies. Both public sets hold thousands (`docs/deduplication.md`).
        quarter_turns: Whether pictures turned by 90 degrees do too.
        binary: Whether labels are tumour and no tumour only; images of untyped tumours are used then, and left out otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation: float = Field(default=0.15, ge=0, lt=1)
    test: float = Field(default=0.15, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
    official_test: bool = False
    duplicates: Literal["group", "keep-best", "drop"] = "group"
    conflicts: Literal["leave-out", "keep"] = "leave-out"
    flips: bool = True
    quarter_turns: bool = False
    binary: bool = False

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "SplitSettings":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must be below 1; got {self.validation} + {self.test}")
        return self
