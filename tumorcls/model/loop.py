"""The compiled loop over a program's steps, as JAX and TensorFlow have it."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import keras
from numpy.typing import NDArray

from tumorcls.model.backend import keras_runs_on_jax
from tumorcls.model.moving_average import MovingAverage
from tumorcls.model.pieces import Piece


class Loop(Protocol):
    """Trains and predicts with one model and its optimizer, whose variables it reads and writes."""

    whole: bool
    """Whether a dispatch may hold many steps; else it holds one."""

    def place(self, rows: NDArray[Any]) -> Any:
        """Returns rows in the memory of the device."""

    def train(self, pieces: Iterable[Piece]) -> float:
        """Trains on the pieces in turn, and makes the next one ready while the device works; returns the sum of all losses."""

    def predict(self, rows: Any, batches: int) -> Any:
        """Returns logits of the first `batches` times `PREDICT_BATCH` rows; there may be more of them, and are of others."""


def make_loop(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    average: MovingAverage,
    *,
    convolves: bool,
    precision: Callable[[], AbstractContextManager[None]],
) -> Loop:
    """Returns the loop of the backend that runs.

    Args:
        model: Built.
        optimizer: Built.
        average: Updated after each step.
        convolves: Whether a step has convolutions.
        precision: Makes a context in which training steps are traced.
    """
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    if keras_runs_on_jax():
        from tumorcls.model.loop_jax import JaxLoop

        return JaxLoop(model, optimizer, average, loss, convolves=convolves, precision=precision)
    from tumorcls.model.loop_tensorflow import TensorFlowLoop

    return TensorFlowLoop(model, optimizer, average, loss, convolves=convolves, precision=precision)
