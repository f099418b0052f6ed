"""What a model is asked about: the pictures in files, in volumes and in folders."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tumorcls.data.image_files import IMAGE_SUFFIXES, walk
from tumorcls.data.images import fit_square, read_slice
from tumorcls.data.series import Series, gather
from tumorcls.data.slices import Which, middle
from tumorcls.errors import DataError, shown


@dataclass(frozen=True)
class Picture:
    """What is asked about.

    Attributes:
        path: The file.
        image: uint8 (size, size, 3), what the network sees, or why there is nothing to see.
        slice_number: Which slice of its volume it is, from 1; None where it is no slice of one.
        slices: How many the volume has.
        series: What the series is called that the file is a slice of; None where a volume is in one file.
    """

    path: Path
    image: NDArray[np.uint8] | str
    slice_number: int | None = None
    slices: int = 1
    series: str | None = None

    @property
    def blank(self) -> bool:
        """Whether it can be read and shows nothing."""
        return not isinstance(self.image, str) and int(self.image.min()) == int(self.image.max())


def find_images(paths: Iterable[Path]) -> Iterator[Path]:
    """Yields files as they are and, sorted, the image files in and below folders (`tumorcls.data.image_files`).

    Raises:
        DataError: A folder holds no image file, or cannot be read.
    """
    for path in paths:
        yield from _images_below(path) if os.path.isdir(path) else [path]


def find_volumes(paths: Iterable[Path]) -> Iterator[Path | Series]:
    """Yields what `find_images` does, but DICOM files of one series that lie in one folder as one.

    Raises:
        DataError: As `find_images`.
    """
    for path in paths:
        yield from gather(_images_below(path)) if os.path.isdir(path) else [path]


def _images_below(folder: Path) -> list[Path]:
    images = sorted(image for listing in walk(folder) for image in listing.images)
    if not images:
        raise DataError(f"{shown(folder)}: a folder must hold image files ({', '.join(sorted(IMAGE_SUFFIXES))}); got none.")
    return images


def pictures(asked: Path | Series, image_size: int, slices: Which) -> Iterator[Picture]:
    """Yields what a file or a series shows; of a volume the slice in its middle, or all but those that show nothing.

    Of a series, files that cannot be read are passed over and yielded with the reason, so that another slice is the middle one.
    """
    if isinstance(asked, Series):
        read = partial(_of_series, asked, image_size)
        yield from _all(read, len(asked.files)) if slices == "all" else _middle(read, len(asked.files))
        return
    whole = _of_file(asked, image_size, None)
    if slices == "middle" or whole.slices == 1:
        yield whole
    else:
        yield from _all(partial(_of_file, asked, image_size), whole.slices)


def _middle(read: Callable[[int], Picture], count: int) -> Iterator[Picture]:
    numbers = list(range(1, count + 1))
    while numbers:
        picture = read(numbers.pop(middle(len(numbers)) - 1))
        yield picture
        if not isinstance(picture.image, str):
            return


def _all(read: Callable[[int], Picture], count: int) -> Iterator[Picture]:
    """Yields the slices that show something; the middle one where none does."""
    blank = 0
    for number in range(1, count + 1):
        picture = read(number)
        if picture.blank:
            blank += 1
        else:
            yield picture
    if blank == count:
        yield read(middle(count))


def _of_file(path: Path, image_size: int, number: int | None) -> Picture:
    try:
        read = read_slice(path, number)
    except DataError as error:
        return Picture(path, str(error), number)
    return Picture(path, fit_square(read.pixels, image_size), read.slice_number, read.count)


def _of_series(series: Series, image_size: int, number: int) -> Picture:
    path = series.files[number - 1]
    return Picture(path, _of_file(path, image_size, None).image, number, len(series.files), series.name)
