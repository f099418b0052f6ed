"""Mirror images and quarter turns: how they change a thumbnail and its perceptual hash.

Turning a picture only swaps and negates the frequencies that the hash is made of, so one transform of each thumbnail gives the
hashes of all its orientations.
"""

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

_SIDE, _LOW = 32, 8  # as in imagehash.phash: 8x8 low frequencies of a 32x32 picture

_Scalar = TypeVar("_Scalar", bound=np.generic)

Orientation = tuple[bool, bool, bool]
"""Whether a picture is transposed, then flipped upside down, then left to right."""

UPRIGHT: Orientation = (False, False, False)
MIRRORED: tuple[Orientation, ...] = ((False, False, True), (False, True, False), (False, True, True))
"""Mirror image, upside down, half turn."""
QUARTER_TURNED: tuple[Orientation, ...] = ((True, False, False), (True, True, True), (True, False, True))
"""Transposed along either diagonal, and turned by a quarter; turned the other way is the same with the two pictures swapped."""
TURNED_BACK: Orientation = (True, True, False)
"""Turned the other way, for whoever does not swap them."""


def turn(pictures: npt.NDArray[_Scalar], orientation: Orientation) -> npt.NDArray[_Scalar]:
    """Turns pictures (n, side, side)."""
    transpose, down, across = orientation
    pictures = pictures.transpose(0, 2, 1) if transpose else pictures
    return np.ascontiguousarray(pictures[:, :: -1 if down else 1, :: -1 if across else 1])


def hash_blocks(thumbs: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Returns the low frequencies (n, 8, 8) that `turned_hashes` compares with their median."""
    import scipy.fft

    small = np.stack([cv2.resize(thumb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for thumb in thumbs])
    low: npt.NDArray[np.float64] = scipy.fft.dctn(small.astype(np.float64), axes=(1, 2))[:, :_LOW, :_LOW]
    return low


def turned_hashes(low: npt.NDArray[np.float64], orientation: Orientation) -> npt.NDArray[np.uint64]:
    """Returns the hashes, (n,), that the turned pictures would have.

    They differ from `imagehash.phash` of the turned file in a few bits at most, as they come from thumbnails.
    """
    transpose, down, across = orientation
    odd = np.where(np.arange(_LOW) % 2 == 1, -1.0, 1.0)  # mirroring negates the odd frequencies
    turned = low.transpose(0, 2, 1) if transpose else low
    turned = turned * (odd[:, None] if down else 1.0) * (odd[None, :] if across else 1.0)
    flat = turned.reshape(len(low), -1)
    bits = np.packbits(flat > np.median(flat, axis=1, keepdims=True), axis=1)
    return bits.view(">u8")[:, 0].astype(np.uint64)
