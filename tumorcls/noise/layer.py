"""How training images become noisy inside the compiled program: the noises of `tumorcls.noise.kinds`, a batch at a time."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops

from tumorcls.noise.counter_rng import random_normal, random_uniform
from tumorcls.noise.kinds import MAX_GHOST_SHIFT, MIN_GHOST_SHIFT, NOISES, SEED_NOISES, bias_basis

WHITE = 255.0


@keras.saving.register_keras_serializable(package="tumorcls")
class RandomNoise(keras.layers.Layer):
    """Adds noise to images in training, drawn anew on each call.

    Each image stays clean with probability `clean_share`; otherwise it gets one of `noises`, each as likely as the others, with
    an intensity drawn uniformly from (0, `max_intensity`]. All channels of an image get the same draw. Clean images come out
    bit for bit as they went in, and so do all outside training.

    All images go through one formula in which the parameters of the noises that an image did not draw are 0: on a CPU this
    costs less than to gather the images of each kind, and the batch keeps its shape.

    Input and output: float32 (batch, height, width, channels) in [0, 255]; height and width must be known.

    Attributes:
        max_intensity: Scalar variable in [0, 1], 0 at first; may be assigned between calls without a new program.
    """

    def __init__(
        self,
        noises: Sequence[str] = SEED_NOISES,
        clean_share: float = 0.25,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Makes the layer.

        Args:
            noises: Names from `tumorcls.noise.kinds.NOISES`, at least one; work for others is not part of the program.
            clean_share: Probability in [0, 1] that an image stays clean.
            seed: Of the layer's own random state.
            **kwargs: As for every Keras layer.

        Raises:
            ValueError: A noise is not known, or there is none.
        """
        super().__init__(**{"dtype": "float32", **kwargs})  # half precision would round pixels that are to stay as they are
        unknown = [name for name in noises if name not in NOISES]
        if unknown or not noises:
            raise ValueError(f"noises: must be names of {', '.join(NOISES)}, at least one; got {list(noises)!r}")
        self.noises = tuple(dict.fromkeys(noises))
        self.clean_share = clean_share
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.max_intensity = self.add_weight(shape=(), initializer="zeros", trainable=False, name="max_intensity")

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Returns noisy images in training, the inputs otherwise."""
        if not training:
            return inputs
        strength = self._draw_strengths(ops.shape(inputs)[0])
        images = inputs
        if "ghosting" in strength:
            images = self._add_ghosts(images, strength["ghosting"])
        if "bias_field" in strength:
            images = self._multiply_field(images, strength["bias_field"])
        if strength.keys() & {"gaussian", "speckle", "rician", "salt_pepper"}:
            images = self._add_pixel_noise(images, strength)
        return ops.clip(images, 0.0, WHITE)

    def _draw_strengths(self, batch: Any) -> dict[str, KerasTensor]:
        """Returns each noise's physical parameter, (batch, 1, 1, 1): for every image 0 but for the noise that it drew."""
        u = self._uniform((3, batch, 1, 1, 1))
        kind = ops.floor(u[0] * len(self.noises))
        intensity = ops.where(u[1] < self.clean_share, 0.0, (1.0 - u[2]) * self.max_intensity)
        return {
            name: ops.where(ops.equal(kind, float(i)), NOISES[name].maximum * intensity, 0.0)
            for i, name in enumerate(self.noises)
        }

    def _add_pixel_noise(self, images: KerasTensor, strength: dict[str, KerasTensor]) -> KerasTensor:
        """Adds the noises that treat every pixel alone, from one field of normal numbers, as images * factor + addend.

        An image has one noise only, so the noises can share the field, and the planes cost a third of what images would.
        """
        shape = ops.shape(images[..., :1])
        field = random_normal(self.seed_generator.next(), shape)
        factor, addend = 1.0 + strength.get("speckle", 0.0) * field, ops.zeros_like(field)
        for name in ("gaussian", "rician"):
            if name in strength:
                addend = addend + (WHITE * strength[name]) * field
        if "salt_pepper" in strength:
            # A share s / 2 of normal numbers lies below sqrt(2) erfinv(s - 1): minus infinity where s is 0.
            threshold = math.sqrt(2.0) * ops.erfinv(strength["salt_pepper"] - 1.0)
            salt = field > -threshold
            factor = ops.where(ops.logical_or(salt, field < threshold), 0.0, factor)
            addend = ops.where(salt, WHITE, addend)
        noisy = images * factor + addend
        if "rician" in strength:
            second = WHITE * strength["rician"] * random_normal(self.seed_generator.next(), shape)
            noisy = ops.where(strength["rician"] > 0.0, ops.sqrt(ops.square(noisy) + ops.square(second)), noisy)
        return noisy

    def _add_ghosts(self, images: KerasTensor, share: KerasTensor) -> KerasTensor:
        """Mixes each image with itself, shifted either way along one axis and around the edge."""
        height, width, channels = images.shape[1:]
        u = self._uniform((2, ops.shape(images)[0], 1, 1))
        fraction = MIN_GHOST_SHIFT + (MAX_GHOST_SHIFT - MIN_GHOST_SHIFT) * u[0]
        down = ops.where(u[1] < 0.5, ops.round(fraction * height), 0.0)
        right = ops.where(u[1] < 0.5, 0.0, ops.round(fraction * width))
        rows, columns = ops.arange(height, dtype="int32")[None, :, None], ops.arange(width, dtype="int32")[None, None, :]
        down, right = ops.cast(down, "int32"), ops.cast(right, "int32")
        pixels = ops.reshape(images, (-1, channels))
        first = ops.reshape(ops.arange(ops.shape(images)[0], dtype="int32"), (-1, 1, 1)) * (height * width)

        def shifted(sign: int) -> KerasTensor:
            index = ops.mod(rows - sign * down, height) * width + ops.mod(columns - sign * right, width)
            return ops.take(pixels, first + index, axis=0)

        return images + share * ((shifted(1) + shifted(-1)) / 2.0 - images)

    def _multiply_field(self, images: KerasTensor, largest: KerasTensor) -> KerasTensor:
        """Multiplies each image by a smooth field of its own."""
        height, width = images.shape[1:3]
        basis = bias_basis(height, width).reshape(-1, height * width)
        coefficients = largest[:, :, 0, 0] * (2.0 * self._uniform((ops.shape(images)[0], len(basis))) - 1.0)
        field = ops.exp(ops.matmul(coefficients, ops.convert_to_tensor(basis)))
        return images * ops.reshape(field, (-1, height, width, 1))

    def _uniform(self, shape: Any) -> KerasTensor:
        return random_uniform(self.seed_generator.next(), shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "noises": self.noises, "clean_share": self.clean_share, "seed": self.seed}
