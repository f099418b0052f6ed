"""How pixel values of any depth become 8-bit grey levels.

Magnetic resonance images carry no absolute unit: the same tissue is 300 on one scanner and 3,000 on another, and 12-bit values
in a 16-bit file fill a sixteenth of its range. Values deeper than 8 bits are therefore scaled by their own percentiles.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

PERCENTILES = (0.5, 99.5)
"""Values at and below the first become 0, at and above the second 255: a few hot pixels do not darken the whole slice."""

_SAMPLE = 2**22  # pixels; of a larger image, only every so many decide its percentiles
_STRIP = 2**20  # pixels in float64 at once


def to_uint8(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scales values deeper than 8 bits to [0, 255].

    Args:
        pixels: Any shape; an integer or a float type. uint8 is returned as it is. NaN and infinity count as 0.

    Returns:
        uint8 in [0, 255], same shape. A constant image becomes 0 everywhere.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    flat = pixels.reshape(-1)
    low, high = _percentiles(flat[:: -(-max(flat.size, 1) // _SAMPLE)])
    strips = [slice(start, start + _STRIP) for start in range(0, flat.size, _STRIP)]
    if high <= low:  # nearly all pixels are alike, e.g. a few bright ones on black: percentiles would erase them
        low = min(_finite(flat[strip]).min() for strip in strips)
        high = max(_finite(flat[strip]).max() for strip in strips)
    result = np.zeros(flat.size, np.uint8)
    if high > low:
        for strip in strips:
            result[strip] = np.rint(np.clip((_finite(flat[strip]) - low) / (high - low), 0.0, 1.0) * 255.0)
    return result.reshape(pixels.shape)


def _percentiles(sample: npt.NDArray[Any]) -> tuple[float, float]:
    finite = sample if sample.dtype.kind in "iu" else _finite(sample)  # integers as they are: a quarter of the memory
    low, high = np.percentile(finite, PERCENTILES)
    return float(low), float(high)


def _finite(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
