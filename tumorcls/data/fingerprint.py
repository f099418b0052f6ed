"""What identifies an image: hashes of its bytes and pixels, a perceptual hash and a thumbnail.

Everything that de-duplication needs is taken while the file is decoded once.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from tumorcls.data.decoding import PIXELS_VERSION, decode
from tumorcls.data.image_files import read_file
from tumorcls.data.slices import Pixels, SlicePlace
from tumorcls.errors import shown

THUMB = 64
"""Side of a thumbnail in pixels: a neighbouring slice still differs visibly, 9,000 thumbnails take 37 MB."""

VERSION = 6 * 1000 + PIXELS_VERSION
"""Another number whenever any value here would come out differently, so that old caches are not used."""


@dataclass(frozen=True)
class Fingerprint(SlicePlace):
    """`sha256` is of the file, `pixel_sha256` of the decoded pixels and their shape, both hexadecimal.

    `phash` is `imagehash.phash` (8x8) as an unsigned 64-bit number whose highest bit is the hash's first; `thumb` is uint8
    (THUMB, THUMB) grey. `label` and `patient` are None unless the file itself states them.
    """

    sha256: str
    pixel_sha256: str
    phash: int
    width: int
    height: int
    channels: int
    label: str | None
    patient: str | None
    thumb: npt.NDArray[np.uint8]

    @property
    def blank(self) -> bool:
        """Whether nothing is to be seen, as at the ends of many volumes."""
        return int(self.thumb.min()) == int(self.thumb.max())


def fingerprint(path: Path, known: Fingerprint | None = None, number: int | None = None) -> Fingerprint:
    """Reads and decodes one file; only reads it where it holds what is known of it.

    Args:
        path: The file.
        known: What it was before.
        number: Of the slice, as in `tumorcls.data.decoding.decode`.

    Raises:
        DataError: The file is no whole image (see `tumorcls.data.decoding.decode`).
        OSError: The file cannot be read, now; it may be another time.
    """
    data = read_file(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if known is not None and known.sha256 == sha256:
        return known
    decoded = decode(io.BytesIO(data), shown(path), number)
    height, width = decoded.pixels.shape[:2]
    grey = Image.fromarray(decoded.pixels).convert("L")
    return Fingerprint(
        sha256=sha256,
        pixel_sha256=hash_pixels(decoded.pixels),
        phash=perceptual_hash(grey),
        width=width,
        height=height,
        channels=decoded.channels,
        label=decoded.label,
        patient=decoded.patient,
        thumb=thumbnail(np.asarray(grey)),
        number=decoded.number,
        count=decoded.count,
        volume=decoded.volume or (sha256[:24] if decoded.count > 1 else None),
        position=decoded.position,
    )


def perceptual_hash(image: Image.Image) -> int:
    """Returns `imagehash.phash(image)` as a number."""
    return int.from_bytes(np.packbits(imagehash.phash(image).hash).tobytes(), "big")


def thumbnail(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Shrinks a grey image to (THUMB, THUMB) by area, stretching it to a square."""
    return cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def hash_pixels(pixels: Pixels) -> str:
    """Returns a SHA-256 of an image's pixels and shape, in hexadecimal digits."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
