"""The compiled loop over a program's steps, as JAX and TensorFlow have it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import keras
from numpy.typing import NDArray

from tumorcls.model.moving_average import MovingAverage
from tumorcls.model.pieces import Piece


@dataclass(eq=False)
class Loop(ABC):
    """Trains and predicts with one model and its optimizer, both built, whose variables it reads and writes.

    `average` is updated after each step, `precision` makes a context in which steps are traced, and `convolves` says whether a
    step has convolutions. A dispatch may hold many steps where it is `whole`, and else holds one.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: MovingAverage
    convolves: bool
    precision: Callable[[], AbstractContextManager[None]]
    whole: bool = field(init=False)

    def __post_init__(self) -> None:
        """Makes the loss."""
        self.loss = keras.losses.CategoricalCrossentropy(from_logits=True)

    @abstractmethod
    def place(self, rows: NDArray[Any]) -> Any:
        """Returns rows in the memory of the device."""

    @abstractmethod
    def train(self, pieces: Iterable[Piece]) -> float:
        """Trains on the pieces in turn, and makes the next one ready while the device works; returns the sum of all losses."""

    @abstractmethod
    def predict(self, rows: Any, batches: int) -> Any:
        """Returns logits of the first `batches` times `PREDICT_BATCH` rows; there may be more of them, and are of others."""
