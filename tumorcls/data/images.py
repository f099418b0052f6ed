"""How a file becomes pixels, and pixels a square of one size."""

import io
from pathlib import Path

import cv2
import numpy as np

from tumorcls.data.decoding import decode
from tumorcls.data.image_files import read_file
from tumorcls.data.slices import Decoded, Pixels
from tumorcls.errors import DataError, reason, shown


def read_image(path: Path, number: int | None = None) -> Pixels:
    """Returns the pixels that `read_slice` reads: uint8 (height, width, 3), RGB, [0, 255]."""
    return read_slice(path, number).pixels


def read_slice(path: Path, number: int | None = None) -> Decoded:
    """Reads an image file, or a slice of a volume, with what it says of itself; see `tumorcls.data.decoding.decode`.

    Args:
        path: The file.
        number: Of the slice, from 1; None takes the middle one.

    Raises:
        DataError: The file is missing or no regular file, or `decode` refuses it.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise DataError(f"{shown(path)}: the file must be readable; got {reason(error)}.") from error
    return decode(io.BytesIO(content), shown(path), number)


def fit_square(image: Pixels, size: int) -> Pixels:
    """Resizes to (size, size, 3), keeping the aspect ratio and padding with black on both sides alike.

    Shrinking averages areas; enlarging interpolates linearly.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    if (new_height, new_width) != (height, width):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (new_width, new_height), interpolation=method).astype(np.uint8, copy=False)
    if new_height == new_width == size:
        return image
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    square[top : top + new_height, left : left + new_width] = image
    return square
