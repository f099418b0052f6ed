"""How training images are turned, shifted and mirrored inside the compiled program."""

import math
from typing import Any

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable(package="tumorcls")
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
        """Makes the layer.

        Args:
            seed: Of the layer's own random state.
            **kwargs: As for every Keras layer.
        """
        super().__init__(**{"dtype": "float32", **kwargs})  # half precision would round pixels that are to stay as they are
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rotation = self._range("rotation")
        self.width_shift = self._range("width_shift")
        self.height_shift = self._range("height_shift")
        self.flip = self._range("flip")

    def _range(self, name: str) -> Any:
        return self.add_weight(shape=(), initializer="zeros", trainable=False, name=name)

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Returns augmented images in training, the inputs otherwise."""
        if not training:
            return inputs
        return ops.image.affine_transform(
            inputs,
            self._draw_transforms(inputs),
            interpolation="bilinear",
            fill_mode="constant",
            fill_value=0.0,
            data_format="channels_last",
        )

    def _draw_transforms(self, images: KerasTensor) -> KerasTensor:
        """Returns (batch, 8) coefficients that map a pixel of the output to its place in the input.

        The place is found by undoing the steps in turn: from the centre, the shift, the rotation, the mirroring.
        """
        height, width = images.shape[1:3]
        u = keras.random.uniform((4, ops.shape(images)[0]), -1.0, 1.0, dtype="float32", seed=self.seed_generator)
        angle = u[0] * self.rotation * (math.pi / 180.0)
        cos, sin = ops.cos(angle), ops.sin(angle)
        x0 = (width - 1) / 2.0 + u[1] * self.width_shift * width
        y0 = (height - 1) / 2.0 + u[2] * self.height_shift * height
        mirror = ops.where((u[3] + 1.0) / 2.0 < self.flip, -1.0, 1.0)
        zero = ops.zeros_like(cos)
        x_row = [mirror * cos, mirror * sin, (width - 1) / 2.0 - mirror * (cos * x0 + sin * y0)]
        y_row = [-sin, cos, (height - 1) / 2.0 + sin * x0 - cos * y0]
        return ops.stack([*x_row, *y_row, zero, zero], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}
