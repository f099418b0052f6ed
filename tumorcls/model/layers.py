"""Keras layers whose rates are variables, so that one compiled program serves every trial."""

from typing import Any

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable(package="tumorcls")
class VariableDropout(keras.layers.Layer):
    """Dropout whose rate is a variable and can change between calls without a new program.

    The same as `keras.layers.Dropout` (inverted dropout, only in training) otherwise, which fixes its rate when it is built.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        """Makes the layer with a rate of 0.

        Args:
            seed: Of the layer's own random state.
            **kwargs: As for every Keras layer.
        """
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rate = self.add_weight(shape=(), initializer="zeros", trainable=False, name="rate")

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Drops a share `rate` of the inputs in training and scales the rest by 1 / (1 - rate)."""
        if not training:
            return inputs
        kept = keras.random.uniform(ops.shape(inputs), dtype=inputs.dtype, seed=self.seed_generator) >= self.rate
        return ops.where(kept, inputs / (1.0 - self.rate), 0.0)
