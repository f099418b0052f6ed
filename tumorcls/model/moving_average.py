"""The moving average of what a program trains, kept up inside its compiled steps."""

from collections.abc import Sequence

import keras
from keras import ops

MAX_DECAY = 0.99
"""Of the average at each step. The last hundred steps weigh two thirds of it: on few images that is an epoch or two."""


class MovingAverage:
    """An exponential moving average of variables (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992).

    After t steps the decay is min(`MAX_DECAY`, (1 + t) / (10 + t)), as `tf.train.ExponentialMovingAverage` has it, so that a
    run of 50 steps does not end near its first weights. Keras's `use_ema` has one decay for all steps, and leaves out the
    statistics of BatchNormalization, which would then be those of other weights.

    Between two dispatches of a training loop the model's variables hold the averages, and these what is trained: so whatever
    measures, predicts or saves takes the averages, and need not know of them.
    """

    def __init__(self, averaged: Sequence[keras.Variable], steps: keras.Variable) -> None:
        """Makes averages, in `variables`, that are what `averaged` is now; `steps` counts those taken, and is only read."""
        self._steps = steps
        self.variables = [keras.Variable(ops.copy(variable), trainable=False, name="average") for variable in averaged]
        self._pairs = list(zip(averaged, self.variables, strict=True))

    def begin(self) -> None:
        """Makes each average what its variable is now."""
        for variable, average in self._pairs:
            average.assign(ops.copy(variable))

    def update(self) -> None:
        """Takes a step's new values in; part of a compiled step."""
        if not self.variables:
            return
        steps = ops.cast(self._steps, "float32")
        decay = ops.minimum(MAX_DECAY, (1.0 + steps) / (10.0 + steps))
        for variable, average in self._pairs:
            average.assign(decay * average + (1.0 - decay) * variable)

    def swap(self) -> None:
        """Exchanges the variables and their averages; a second time undoes it. Part of a compiled program."""
        for variable, average in self._pairs:
            value = ops.copy(variable)
            variable.assign(ops.copy(average))
            average.assign(value)
