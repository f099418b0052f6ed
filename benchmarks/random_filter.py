"""A random filter of training images: their spatial frequencies are weighted at random, from coarse to fine.

A piece of `benchmarks.recipe`, not of the product: what it gains under blur it loses on clean images (docs/recipe.md).
"""

import math
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops
from numpy.typing import NDArray

from tumorcls.noise.counter_rng import random_normal, random_uniform

OCTAVE_DEVIATION = 0.8
"""Standard deviation of the change of the logarithm of the weight from one octave of frequencies to the next."""

MAX_LOG_WEIGHT = 1.5
"""What the logarithm of a weight is cut off at: where structures are 4.5 times as strong, an image is nothing but edges."""

WHITE = 255.0


class RandomFilter(keras.layers.Layer):
    """Weights the spatial frequencies of a share of the images in training, drawn anew for each image on each call.

    The logarithm of the weight is 0 up to one cycle an image, then a random walk over the octaves with normal steps, linear in
    between. Across a direction that is drawn it keeps a share that is drawn too, so that a filter may be round or work along
    one axis alone. Weights are positive, phases stay, and so does the mean grey value: structures stay where they are, and
    become fainter or stronger by their size. That amplitudes are style and phases shape is from Xu et al., A Fourier-based
    framework for domain generalization, CVPR 2021, who take other amplitudes from other images.

    Images that are not chosen come out bit for bit as they went in, and so do all outside training.

    Input and output: float32 (batch, height, width, channels) in [0, 255]; height and width must be known.

    Attributes:
        share: Scalar variable in [0, 1], 0 at first: the probability that an image is filtered; may be assigned between calls
            without a new program.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        """Makes the layer.

        Args:
            seed: Of the layer's own random state.
            **kwargs: As for every Keras layer.
        """
        super().__init__(**{"dtype": "float32", **kwargs})  # half precision would round pixels that are to stay as they are
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.share = self.add_weight(shape=(), initializer="zeros", trainable=False, name="share")

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Returns images of which a share is filtered in training, the inputs otherwise."""
        if not training:
            return inputs
        batch, (height, width) = ops.shape(inputs)[0], inputs.shape[1:3]
        u = random_uniform(self.seed_generator.next(), (3, batch))
        steps = OCTAVE_DEVIATION * random_normal(self.seed_generator.next(), (batch, octaves(height, width)))
        filtered = _weighted(inputs, weights(height, width, steps, u[1], u[2]))
        return ops.where((u[0] < self.share)[:, None, None, None], ops.clip(filtered, 0.0, WHITE), inputs)


def weights(height: int, width: int, steps: KerasTensor, narrowness: KerasTensor, direction: KerasTensor) -> KerasTensor:
    """Returns the weight of each frequency, (batch, height, width) in the order of an FFT.

    Args:
        height: Of an image, in pixels.
        width: Of an image, in pixels.
        steps: (batch, octaves): how much the logarithm changes in each octave.
        narrowness: (batch,), in [0, 1]: 0 is a round filter, 1 leaves frequencies across `direction` as they are.
        direction: (batch,), in [0, 1]: a half turn.
    """
    basis, double_cos, double_sin = _frequencies(height, width)
    flat = ops.matmul(steps, ops.convert_to_tensor(basis.reshape(len(basis), -1)))
    walk = ops.reshape(flat, (-1, height, width))
    turn = 2.0 * math.pi * direction[:, None, None]
    across = (1.0 - double_cos * ops.cos(turn) - double_sin * ops.sin(turn)) / 2.0  # the sine of the angle between, squared
    return ops.exp(ops.minimum(walk * (1.0 - narrowness[:, None, None] * across), MAX_LOG_WEIGHT))


def octaves(height: int, width: int) -> int:
    """Returns how many octaves there are from one cycle an image to the finest pattern, the last one perhaps in part."""
    return max(1, math.ceil(math.log2(math.hypot(height, width) / 2)))


def _frequencies(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Returns what share of each octave lies below a frequency, (octaves, height, width); cos and sin of twice its angle."""
    y, x = np.fft.fftfreq(height, 1 / height)[:, None], np.fft.fftfreq(width, 1 / width)[None, :]
    octave = np.log2(np.maximum(np.hypot(x, y), 1.0))
    basis = np.clip(octave - np.arange(octaves(height, width))[:, None, None], 0.0, 1.0)
    angle = 2.0 * np.arctan2(y, x)
    return basis.astype(np.float32), np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _weighted(images: KerasTensor, weight: KerasTensor) -> KerasTensor:
    planes = ops.transpose(images, (0, 3, 1, 2))
    real, imaginary = ops.fft2((planes, ops.zeros_like(planes)))
    filtered, _ = ops.ifft2((real * weight[:, None], imaginary * weight[:, None]))
    return ops.transpose(filtered, (0, 2, 3, 1))
