"""One slice of a volume: how it is numbered, which one stands for the volume, and what is read of it.

Slices are counted from 1. A file that holds one picture has one slice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tumorcls.errors import DataError, NoReaderError

Pixels = npt.NDArray[np.uint8]

Which = Literal["middle", "all"]
"""Which slices of a volume are used where a table names none. Not each slice of a tumour's patient shows the tumour."""

MAX_SLICES = 4096
"""Of one file: a header could claim 2,000,000,000."""

_SQUARE = 0.01  # a pixel may be longer one way by this share


@dataclass(frozen=True, kw_only=True)
class SlicePlace:
    """Where a picture lies in a file and in a volume; a file that holds one picture is a volume of its own.

    Attributes:
        number: Which of the file's slices it is, from 1.
        count: How many the file has.
        volume: Equal for the slices of one volume, a hash; None where it is not known, or of none.
        position: Where it lies among the slices of the volume, in any unit.
    """

    number: int = 1
    count: int = 1
    volume: str | None = None
    position: float = 0.0

    @property
    def slice_number(self) -> int | None:
        """Which slice of the file it is; None where the file holds one picture."""
        return self.number if self.count > 1 else None


@dataclass(frozen=True)
class Decoded(SlicePlace):
    """What a file holds, or one slice of it.

    `pixels` is uint8 (height, width, 3) RGB in [0, 255]; `channels` counts those stored in the file (1 for grey). `label` and
    `patient` are None unless the file itself states them, as figshare's ``.mat`` files do; of DICOM's the patient is a hash.
    """

    pixels: Pixels
    channels: int
    label: str | None = None
    patient: str | None = None


def grey_to_rgb(grey: Pixels) -> Pixels:
    """Returns (height, width, 3) for (height, width)."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def with_square_pixels(grey: Pixels, across: float, down: float, max_pixels: int) -> Pixels:
    """Returns a slice with as many columns, or rows, as its shape in the body asks for; pixels that are nearly square stay.

    Args:
        grey: Shape (height, width).
        across: How far its columns lie apart; nothing is done where this or the next is no length above 0.
        down: How far its rows lie apart, in the same unit.
        max_pixels: It is left as it is where it would have more.
    """
    import cv2

    if not (across > 0 and down > 0 and abs(down / across - 1) > _SQUARE):
        return grey
    height, width = grey.shape
    wider, higher = max(across / down, 1.0), max(down / across, 1.0)
    if width * wider * height * higher > max_pixels:
        return grey
    size = (max(1, round(width * wider)), max(1, round(height * higher)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


class Refused(Exception):
    """The rule that a file breaks, what it has instead and the remedy."""


@contextmanager
def reading_medical(where: str, kind: str, package: str) -> Iterator[None]:
    """Says in one line why a file is refused, by us or by the package that reads files of its kind.

    Of what a package raises only the type is told: it may quote a header, which may say who the patient is.

    Raises:
        DataError: The block raised `Refused`, or the file is damaged.
        NoReaderError: The package is not installed.
    """
    try:
        import_module(package)
    except ImportError:
        remedy = "Run pip install 'tumorcls[medical]'."
        raise NoReaderError(f"{where}: {kind} needs {package}; it is not installed. {remedy}") from None
    try:
        yield
    except DataError:
        raise
    except Refused as error:
        raise DataError(f"{where}: {error}.") from None
    except Exception as error:
        rule = f"must be a whole {kind} file; reading it ended in {type(error).__name__}"
        raise DataError(f"{where}: {rule}. Copy the file again.") from None


def order(place: SlicePlace, path: Path) -> tuple[float, str]:
    """Returns by what the slices of a volume are sorted that lies in several files: their position, then their names."""
    return place.position, path.as_posix()


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
