"""Which images that a data set holds out have a copy among those that it gives to training: the leaks of its own split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumorcls.data.dedup.groups import Groups
from tumorcls.data.manifest import Entry

_LESS_PROTECTED = {"validation": ("train",), "test": ("train", "validation")}
"""By a part that is held out, those in which its images must have no copy."""


@dataclass(frozen=True)
class Twins:
    """How many images of a part that a source holds out have a copy in a less protected part, of whichever source.

    `test` counts the images of the part.
    """

    source: str
    test: int
    same_file: int
    same_pixels: int
    same_picture: int
    part: str = "test"


@dataclass(frozen=True)
class Pair:
    """Places in the manifest of an image that is held out and of its closest copy, and how alike they are."""

    held_out: int
    copy: int
    likeness: str


def count_twins(entries: Sequence[Entry], copies: Groups) -> tuple[Twins, ...]:
    """Counts the twins of each source that gives a split."""
    source = np.array([entry.source for entry in entries])
    result = []
    for name in sorted(set(source.tolist())):
        for part in reversed(_LESS_PROTECTED):
            held_out, others = _sides(entries, part)
            ours = held_out & (source == name)
            if ours.any():
                groupings = (copies.files, copies.pixels, copies.images)
                file, pixels, picture = (int(np.isin(groups[ours], groups[others]).sum()) for groups in groupings)
                result.append(Twins(name, int(ours.sum()), file, pixels, picture, part))
    return tuple(result)


def list_twins(entries: Sequence[Entry], copies: Groups) -> tuple[Pair, ...]:
    """Returns each image that is held out and has a twin, in the order of the manifest, with one of its closest copies."""
    closest: dict[int, Pair] = {}
    likenesses = (("same picture", copies.images), ("same pixels", copies.pixels), ("same file", copies.files))
    for part in _LESS_PROTECTED:
        held_out, others = _sides(entries, part)
        for likeness, groups in likenesses:  # the closer ones replace the others
            first: dict[int, int] = {}
            for i in np.flatnonzero(others).tolist():
                first.setdefault(int(groups[i]), i)
            for i in np.flatnonzero(held_out & np.isin(groups, groups[others])).tolist():
                closest[i] = Pair(i, first[int(groups[i])], likeness)
    return tuple(closest[i] for i in sorted(closest))


def _sides(entries: Sequence[Entry], part: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    given = np.array([entry.official_split or "" for entry in entries])
    return given == part, np.isin(given, _LESS_PROTECTED[part])
