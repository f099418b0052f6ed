"""How a file becomes pixels.

Pillow decodes, because it refuses a truncated file that OpenCV completes with grey and a message on stderr (see
`docs/deduplication.md`, "Decoding"); OpenCV resizes.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from tumorcls.errors import DataError
from tumorcls.intensity import to_uint8
from tumorcls.matlab import read_mat

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 4096 * 4096
"""Larger images are refused from their header: MR slices end at 2048x2048, and a forged header could ask for all memory."""

PIXELS_VERSION = 1
"""Raised when decoding or resizing gives other pixels, so that old arrays are not taken for new ones."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm"})

_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
_BROKEN_FILE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, struct.error, zlib.error)
_STRIP_PIXELS = 2**20  # converted at once, so that an image is never in memory four times over


@dataclass(frozen=True)
class Decoded:
    """What a file holds.

    `pixels` is uint8 (height, width, 3) RGB in [0, 255]; `channels` counts those stored in the file (1 for grey). `label` and
    `patient` are None unless the file itself states them, as figshare's ``.mat`` files do.
    """

    pixels: Pixels
    channels: int
    label: str | None = None
    patient: str | None = None


def read_image(path: Path) -> Pixels:
    """Reads an image file.

    The orientation tag of EXIF is applied: it is how the picture was shown to whoever labelled it. Transparent parts become
    black, the background of a slice. Values deeper than 8 bits are scaled by percentiles (`tumorcls.intensity`).

    Returns:
        uint8 (height, width, 3), RGB, [0, 255].

    Raises:
        DataError: The file is missing, empty, truncated, no image, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with path.open("rb") as file:
            return decode(file, str(path)).pixels
    except OSError as error:
        raise DataError(f"{path}: the file must be readable; got {error.strerror or error}.") from error


def decode(file: BinaryIO, where: str) -> Decoded:
    """Decodes an open file; `where` names it in errors. Of too large an image only the header is read. See `read_image`."""
    if not file.read(1):
        raise DataError(f"{where}: an image must not be empty; got 0 bytes. Copy the file again.")
    file.seek(0)
    if where.lower().endswith(".mat"):
        mat = read_mat(file, where, MAX_PIXELS)
        return Decoded(np.repeat(mat.image[:, :, None], 3, axis=2), 1, mat.label, mat.patient)
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _check_size(image, where)
            image.load()
            channels = len(image.getbands())
            if "exif" in image.info:
                ImageOps.exif_transpose(image, in_place=True)
            return Decoded(_to_rgb(image), channels)
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: must be an image ({', '.join(_FORMATS)}); got something else.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where}: an image must have at most {MAX_PIXELS:,} pixels; its header claims far more.") from error
    except _BROKEN_FILE as error:
        raise DataError(f"{where}: must be a whole image; got {error}. Copy the file again.") from error


def _check_size(image: Image.Image, where: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{where}: an image must have at most {MAX_PIXELS:,} pixels; its header claims {width}x{height}.")


def _to_rgb(image: Image.Image) -> Pixels:
    width, height = image.size
    if image.mode.startswith(("I", "F")):  # 16-bit and deeper: Pillow's own conversion would clip at 255
        return np.repeat(to_uint8(_taken(image))[:, :, None], 3, axis=2)
    rgb = np.empty((height, width, 3), np.uint8)
    for rows, strip in _strips(image):
        rgb[rows] = np.asarray(_on_black(strip))
    return rgb


def _taken(image: Image.Image) -> npt.NDArray[np.generic]:
    """Returns the image's values as they are stored, and frees the image: both at once would be 64 MB."""
    values = np.empty((image.height, image.width), np.asarray(image.crop((0, 0, 1, 1))).dtype)
    for rows, strip in _strips(image):
        values[rows] = np.asarray(strip)
    image.close()
    return values


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    width, height = image.size
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        yield slice(top, bottom), image.crop((0, top, width, bottom))


def _on_black(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    return image.convert("RGB")


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
