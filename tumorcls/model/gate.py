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
"""Share of slices like the validation images that would pass without `MARGIN`."""

MARGIN = 1.03
"""By how much more than these an image may differ: validation images are few, and show not every way to blur and fade."""

_GRID = 3
_OVERALL = 2 * 192
FEATURES = _OVERALL + _GRID**2 * 112
"""Means and standard deviations of block 6's 192 channels, then the means of block 5's 112 in nine parts of the picture."""

_STEADIEST = 1e-3  # of a channel's standard deviation: one that never varies must not decide alone

_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


@dataclass(frozen=True)
class GateLimit:
    """What decides, and what came of it; limits hold where it is read from a file.

    Attributes:
        distance: From which an image is no slice.
        passed: Share of the validation images within it.
        features: How many of `gate_features` count, the first ones.
    """

    distance: _Positive
    passed: _Share
    features: Annotated[int, Field(ge=1, le=FEATURES)] = _OVERALL


@dataclass(frozen=True)
class Gate:
    """Where training images lie.

    Attributes:
        space: float16 (2 + images, features): what is taken off each feature, what it is then divided by, and what of each
            training image is left.
        limit: What decides.
    """

    space: NDArray[np.float16]
    limit: GateLimit

    def distances(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Returns the distance (n,) of `gate_features` (n, features) from the nearest training image."""
        judged = features[:, : self.space.shape[1]]
        nearest: NDArray[np.float64] = cdist(_scaled(judged, self.space), self.space[2:].astype(np.float64)).min(axis=1)
        return nearest

    def passes(self, features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Returns for each of `gate_features` (n, features) whether the image may be a slice."""
        passed: NDArray[np.bool_] = self.distances(features) <= self.limit.distance
        return passed


def gate_features(network: keras.Model) -> keras.KerasTensor:
    """Returns the output (n, `FEATURES`) of a network, see `tumorcls.model.backbone.build_network`, that a gate judges."""
    ops = keras.ops
    block5, block6 = (network.get_layer(FROZEN_OUTPUT[next_block]).output for next_block in ("block6", "block7"))
    means, deviations = ops.mean(block6, axis=(1, 2)), ops.std(block6, axis=(1, 2))
    places = ops.reshape(ops.adaptive_average_pool(block5, (_GRID, _GRID), "channels_last"), (-1, FEATURES - _OVERALL))
    return ops.concatenate([means, deviations, places], axis=-1)


def fit_gate(train: NDArray[np.floating], validation: NDArray[np.floating]) -> Gate:
    """Fits a gate.

    Args:
        train: (n, features) of training images, clean and noisy.
        validation: (m, features), of images that were not trained on; they choose the limit.
    """
    scale = np.stack([train.mean(axis=0), train.std(axis=0) + _STEADIEST]).astype(np.float16)
    gate = Gate(np.concatenate([scale, _scaled(train, scale).astype(np.float16)]), GateLimit(math.inf, 1.0))
    distances = gate.distances(validation)
    limit = MARGIN * float(np.quantile(distances, PASSED, method="higher"))
    return Gate(gate.space, GateLimit(max(limit, _STEADIEST), float((distances <= limit).mean()), train.shape[1]))


def _scaled(features: NDArray[np.floating], space: NDArray[np.float16]) -> NDArray[np.float64]:
    taken, scale = space[:2].astype(np.float64)
    scaled: NDArray[np.float64] = (np.asarray(features, dtype=np.float64) - taken) / scale
    return scaled
