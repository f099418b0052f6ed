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
_LARGEST = 8e307
_STRIP = 2**20  # pixels in float64 at once


def to_uint8(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scales values deeper than 8 bits to [0, 255], colours all alike.

    Args:
        pixels: Any shape; an integer or a float type. uint8 is returned as it is. NaN counts as the lowest value.

    Returns:
        uint8 in [0, 255], same shape. A constant image becomes 0 everywhere.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    flat = pixels.reshape(-1)
    strips = [slice(start, start + _STRIP) for start in range(0, flat.size, _STRIP)]
    low, high = _percentiles(pixels)
    if high <= low:  # nearly all pixels are alike, e.g. a few bright ones on black: percentiles would erase them
        ends = [(part.min(), part.max()) for strip in strips if (part := _finite(flat[strip])).size]
        low, high = (min(ends)[0], max(top for _, top in ends)) if ends else (0.0, 0.0)
    result = np.zeros(flat.size, np.uint8)
    if high > low:
        for strip in strips:
            part = np.clip(np.nan_to_num(flat[strip].astype(np.float64), nan=low, posinf=high, neginf=low), low, high)
            result[strip] = np.rint((part - low) / (high - low) * 255.0)
    return result.reshape(pixels.shape)


def _percentiles(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    """Of colours, the lower one is of each pixel's darkest and the upper of its brightest: grey in three channels is grey."""
    sample = pixels.reshape(-1, pixels.shape[2]) if pixels.ndim == 3 else pixels.reshape(-1, 1)
    step = -(-max(len(sample), 1) // _SAMPLE) | 1  # odd, so that it is not every time one of the same few columns
    sample = sample[::step]
    return _percentile(sample.min(axis=1), PERCENTILES[0]), _percentile(sample.max(axis=1), PERCENTILES[1])


def _percentile(values: npt.NDArray[Any], percentile: float) -> float:
    finite = values if values.dtype.kind in "iu" else _finite(values)  # integers as they are: a quarter of the memory
    return float(np.percentile(finite, percentile)) if finite.size else 0.0


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Returns the finite values, at most `_LARGEST` from 0, so that their differences are finite too."""
    finite: npt.NDArray[np.float64] = values[np.isfinite(values)].astype(np.float64)
    return np.clip(finite, -_LARGEST, _LARGEST)
