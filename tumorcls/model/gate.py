"""Is it a brain MRI slice at all? How far an image lies from the nearest training image decides.

A classifier names one of its classes for any image, a photograph too. The gate looks at what the network makes of an image half
way, where it still says what kind of picture it is; the last features tell classes apart and nothing else: at block 6 at each
channel's mean and standard deviation over the picture, at block 5 also at where in the picture a channel is strong. Each is set
in proportion to how it varies over training images, and the distance to the nearest of these, clean or noisy, is compared with
those of validation images (Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML).
"""

import math
from dataclasses import dataclass
from typing import Annotated

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial.distance import cdist

from tumorcls.model.backbone import FROZEN_OUTPUT

PASSED = 0.995
"""Share of slices like the validation images that would pass without `MARGINS`."""

MARGINS = (1.03, 1.1)
"""By how much more than these an image may differ, for the network's features and for the picture's: validation images are few,
and show not every way to blur and fade."""

_GRID = 3
_OVERALL = 2 * 192
_COARSE = 6
PICTURE = _COARSE**2
FEATURES = _OVERALL + _GRID**2 * 112 + PICTURE
"""Means and standard deviations of block 6's 192 channels, the means of block 5's 112 in nine parts of the picture, and the
grey values of its 36 parts, last."""

_LEAST_CONTRAST = 2.0  # grey values of 256, added to a picture's own: where there is none, rounding is not made a picture

_STEADIEST = 1e-3  # of a channel's standard deviation: one that never varies must not decide alone

_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


@dataclass(frozen=True)
class GateLimit:
    """What decides, and what came of it; limits hold where it is read from a file.

    Attributes:
        distance: From which an image is no slice.
        passed: Share of the validation images within it.
        features: How many of `gate_features` count, the first ones.
        picture: The distance for the last `PICTURE` of these; None where they are not judged apart.
    """

    distance: _Positive
    passed: Annotated[float, Field(ge=0.0, le=1.0)]
    features: Annotated[int, Field(ge=1, le=FEATURES)] = _OVERALL
    picture: _Positive | None = None

    def __post_init__(self) -> None:
        """Raises a ValueError where `features` leaves no room for a picture."""
        if self.picture is not None and self.features <= PICTURE:
            raise ValueError(f"features must be above {PICTURE} where the picture is judged; got {self.features}")

    @property
    def distances(self) -> tuple[float, ...]:
        """The limit for each part that is judged."""
        return (self.distance,) if self.picture is None else (self.distance, self.picture)


@dataclass(frozen=True)
class Gate:
    """Where training images lie, and how far from there an image may.

    `space` is float16 (2 + images, features): what is taken off each feature, what it is then divided by, and what of each
    training image is left.
    """

    space: NDArray[np.float16]
    limit: GateLimit

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Returns the distances (n, parts) of `gate_features` (n, features) from the nearest training image.

        Each of the limit's `distances` has its part: the network's features, and the picture's.
        """
        judged, known = _scaled(features[:, : self.space.shape[1]], self.space), self.space[2:].astype(np.float64)
        parts = [slice(None)] if self.limit.picture is None else [slice(-PICTURE), slice(-PICTURE, None)]
        return np.stack([cdist(judged[:, part], known[:, part]).min(axis=1) for part in parts], axis=1)

    def passes(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Returns for each of `gate_features` (n, features) whether the image may be a slice."""
        passed: NDArray[np.bool_] = np.all(self.distances(features) <= self.limit.distances, axis=1)
        return passed


def gate_features(network: keras.Model) -> keras.KerasTensor:
    """Returns the output (n, `FEATURES`) of a network, see `tumorcls.model.backbone.build_network`, that a gate judges."""
    ops = keras.ops
    block5, block6 = (network.get_layer(FROZEN_OUTPUT[next_block]).output for next_block in ("block6", "block7"))
    means, deviations = ops.mean(block6, axis=(1, 2)), ops.std(block6, axis=(1, 2))
    places = _in_parts(block5, _GRID)
    picture = _in_parts(ops.mean(ops.cast(network.input, "float32"), axis=-1, keepdims=True), _COARSE)
    brightness, contrast = ops.mean(picture, axis=1, keepdims=True), ops.std(picture, axis=1, keepdims=True)
    return ops.concatenate([means, deviations, places, (picture - brightness) / (contrast + _LEAST_CONTRAST)], axis=-1)


def _in_parts(maps: keras.KerasTensor, grid: int) -> keras.KerasTensor:
    """Returns the means (n, grid * grid * channels) of maps (n, height, width, channels) in so many parts along each axis."""
    pooled = keras.ops.adaptive_average_pool(maps, (grid, grid), "channels_last")
    return keras.ops.reshape(pooled, (-1, grid**2 * maps.shape[-1]))


def fit_gate(train: NDArray[np.floating], validation: NDArray[np.floating]) -> Gate:
    """Fits a gate to `gate_features` (n, features) of training images, clean and noisy.

    Those of validation images (m, features), which were not trained on, choose the limit.
    """
    scale = np.stack([train.mean(axis=0), train.std(axis=0) + _STEADIEST]).astype(np.float16)
    space = np.concatenate([scale, _scaled(train, scale).astype(np.float16)])
    features = space.shape[1]
    distances = Gate(space, GateLimit(math.inf, 1.0, features, math.inf)).distances(validation)
    limits = np.maximum(MARGINS * np.quantile(distances, PASSED, axis=0, method="higher"), _STEADIEST)
    passed = float((distances <= limits).all(axis=1).mean())
    return Gate(space, GateLimit(float(limits[0]), passed, features, float(limits[1])))


def _scaled(features: NDArray[np.floating], space: NDArray[np.float16]) -> NDArray[np.float64]:
    taken, scale = space[:2].astype(np.float64)
    scaled: NDArray[np.float64] = (np.asarray(features, dtype=np.float64) - taken) / scale
    return scaled
