"""One slice of a volume: how it is numbered, which one stands for the volume, and what is read of it.

Slices are counted from 1. A file that holds one picture has one slice.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tumorcls.errors import DataError

Which = Literal["middle", "all"]
"""Which slices of a volume are used where a table names none. Not each slice of a tumour's patient shows the tumour."""

MAX_SLICES = 4096
"""Of one file: a header could claim 2,000,000,000."""


@dataclass(frozen=True)
class VolumeSlice:
    """A slice as it is read.

    Attributes:
        image: uint8 (height, width) grey in [0, 255].
        number: Which of the file's slices it is, from 1.
        count: How many the file has.
        patient: A hash; None where the file names nobody.
        volume: A hash of what the slice belongs to, where that may be more than this file; None where it is not known.
        position: Where it lies among the slices of the volume, in any unit.
    """

    image: npt.NDArray[np.uint8]
    number: int = 1
    count: int = 1
    patient: str | None = None
    volume: str | None = None
    position: float = 0.0


def middle(count: int) -> int:
    """Returns the number of the middle one of `count` slices, the latter of two."""
    return count // 2 + 1


def number_of(asked: int | None, count: int, where: str) -> int:
    """Returns the number of the slice to read: the one that is asked for, or the middle one.

    Raises:
        DataError: The file has no such slice.
    """
    if asked is not None and not 1 <= asked <= count:
        has = f"must be from 1 to {count:,}" if count > 1 else "must be 1: the file holds one picture"
        raise DataError(f"{where}: slice {has}; got {asked}. Name another.")
    return middle(count) if asked is None else asked


def slice_name(name: str, number: int | None) -> str:
    """Returns how a slice of a file is named to people: ``volume.nii.gz#78``, or the name alone where it has one picture."""
    return name if number is None else f"{name}#{number}"
