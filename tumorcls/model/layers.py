"""Keras layers whose rates are variables, so that one compiled program serves every trial."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from keras import KerasTensor, ops

from tumorcls.config.train_config import ViewRecipe
from tumorcls.model.backend import is_tensorflow_on_cpu
from tumorcls.noise.counter_rng import random_uint16, random_uniform
from tumorcls.noise.layer import RandomNoise


class VariableDropout(keras.layers.Layer):
    """Dropout whose rate is a variable, 0 at first, and can change between calls without a new program.

    The same as `keras.layers.Dropout` (inverted dropout, only in training) otherwise, which fixes its rate when it is built.
    The rate is rounded to a 65,536th: 16 bits a mask are half of what 32 cost. The last axis must be even.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rate = self.add_weight(shape=(), initializer="zeros", trainable=False, name="rate")

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Drops a share `rate` of the inputs in training and scales the rest by 1 / (1 - rate)."""
        if not training:
            return inputs
        bits = random_uint16(self.seed_generator.next(), ops.shape(inputs))
        dropped = ops.minimum(ops.round(self.rate * 65536.0), 65535.0)
        retained = bits >= ops.cast(dropped, "uint16")
        return ops.where(retained, inputs * (65536.0 / (65536.0 - dropped)), 0.0)


class RandomAugment(keras.layers.Layer):
    """Rotates, shifts and mirrors images in training, drawn anew for each image on each call.

    The three are one affine map, so an image is resampled once (bilinear) and not blurred three times. What comes in from
    outside is black, as the background of an MR slice is; mirrored or stretched edges would show anatomy that is not there.
    With all ranges 0, and outside training, images come out bit for bit as they went in.

    Input and output: float32 (batch, height, width, channels); height and width must be known.

    Attributes:
        rotation: Scalar variable, degrees in [0, 180]; the angle is uniform in [-rotation, rotation].
        width_shift: Scalar variable; the shift is uniform in [-width_shift, width_shift], a fraction of the width.
        height_shift: Scalar variable; the same for the height.
        flip: Scalar variable in [0, 1]: the probability of exchanging left and right.

    All four are 0 at first and may be assigned between calls without a new program.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})  # half precision would round pixels that are to stay as they are
        self.supports_jit = not is_tensorflow_on_cpu()
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rotation, self.width_shift, self.height_shift, self.flip = (
            self.add_weight(shape=(), initializer="zeros", trainable=False, name=name)
            for name in ("rotation", "width_shift", "height_shift", "flip")
        )

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Returns augmented images in training, the inputs otherwise."""
        if not training:
            return inputs
        return _resample(inputs, self._draw_maps(inputs))

    def _draw_maps(self, images: KerasTensor) -> KerasTensor:
        """Returns (batch, 6): pixel (x, y) shows the place (a x + b y + c, d x + e y + f) of the input.

        It is found by undoing the steps in turn: from the centre, the shift, the rotation, the mirroring.
        """
        height, width = images.shape[1:3]
        u = 2.0 * random_uniform(self.seed_generator.next(), (4, ops.shape(images)[0])) - 1.0
        angle = u[0] * self.rotation * (math.pi / 180.0)
        cos, sin = ops.cos(angle), ops.sin(angle)
        middle_x, middle_y = (width - 1) / 2.0, (height - 1) / 2.0
        x0, y0 = middle_x + u[1] * self.width_shift * width, middle_y + u[2] * self.height_shift * height
        mirror = ops.where((u[3] + 1.0) / 2.0 < self.flip, -1.0, 1.0)
        to_x = [mirror * cos, mirror * sin, middle_x - mirror * (cos * x0 + sin * y0)]
        to_y = [-sin, cos, middle_y + sin * x0 - cos * y0]
        return ops.stack([*to_x, *to_y], axis=1)


def view_layers(recipe: ViewRecipe, *seeds: int) -> tuple[RandomAugment, RandomNoise]:
    """Returns what draws views. It knows the recipe alone, since that is all by which cached views are told apart."""
    of_augment, of_noise = seeds or (None, None)
    augment = RandomAugment(of_augment, name="augment")
    return augment, RandomNoise(recipe.noises, recipe.clean_share, of_noise, name="noise")


def assign_recipe(recipe: ViewRecipe, augment: RandomAugment, noise: RandomNoise) -> None:
    """Gives what `view_layers` made the ranges of a recipe with the same noises and the same share of clean images."""
    augment.rotation.assign(recipe.rotation_degrees)
    augment.width_shift.assign(recipe.width_shift)
    augment.height_shift.assign(recipe.height_shift)
    augment.flip.assign(0.5 if recipe.horizontal_flip else 0.0)
    noise.max_intensity.assign(recipe.noise_intensity)


@contextlib.contextmanager
def mixed_precision(layers: Iterable[keras.layers.Layer]) -> Iterator[None]:
    """Lets layers compute in bfloat16 while a step is traced; their variables, and what is traced outside, stay float32.

    Those that bring pixels to the network's range keep float32 too: bfloat16 has room for 256 values, and noise has more.
    """
    policies = {layer: layer.dtype_policy for layer in layers if not isinstance(layer, _OF_PIXELS)}
    for layer in policies:
        layer.dtype_policy = "mixed_bfloat16"
    try:
        yield
    finally:
        for layer, policy in policies.items():
            layer.dtype_policy = policy


_OF_PIXELS = (keras.layers.InputLayer, keras.layers.Rescaling, keras.layers.Normalization)


def _resample(images: KerasTensor, maps: KerasTensor) -> KerasTensor:
    """Returns the images at the mapped places, interpolated linearly, black outside.

    TensorFlow has a kernel for this, twice as fast on a CPU as the gathering below. XLA cannot compile it, which a GPU's steps
    are compiled by, and on JAX Keras's own version is ten times slower than the gathering.
    """
    if is_tensorflow_on_cpu():
        kernel_maps = ops.pad(maps, ((0, 0), (0, 2)))
        return ops.image.affine_transform(images, kernel_maps, fill_mode="constant", data_format="channels_last")
    return _gather(images, maps)


def _gather(images: KerasTensor, maps: KerasTensor) -> KerasTensor:
    height, width, channels = images.shape[1:]
    # TensorFlow loses new axes of an index into a stack: RemoveStackSliceSameAxis, of its optimizer of graphs.
    a, b, c, d, e, f = (ops.reshape(maps[:, i], (-1, 1, 1)) for i in range(6))
    x, y = ops.arange(width, dtype="float32")[None, None, :], ops.arange(height, dtype="float32")[None, :, None]
    # A rim of black pixels, one before and two after, lets places outside fall on it without a test per corner.
    stride = width + 3
    rimmed = ops.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    pixels = ops.reshape(rimmed, (-1, channels))
    columns, rows = ops.clip(a * x + b * y + c, -1.0, width) + 1.0, ops.clip(d * x + e * y + f, -1.0, height) + 1.0
    top, left = ops.floor(rows), ops.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    first = ops.reshape(ops.arange(ops.shape(images)[0], dtype="int32"), (-1, 1, 1)) * ((height + 3) * stride)
    corner = first + ops.cast(top, "int32") * stride + ops.cast(left, "int32")

    def row_at(index: KerasTensor) -> KerasTensor:
        here, next_ = ops.take(pixels, index, axis=0), ops.take(pixels, index + 1, axis=0)
        return here + right * (next_ - here)

    upper = row_at(corner)
    return upper + down * (row_at(corner + stride) - upper)
