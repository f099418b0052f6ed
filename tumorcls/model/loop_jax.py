"""The compiled loop on JAX: Keras's stateless calls in a `fori_loop`, with the state donated."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax
from numpy.typing import NDArray

from tumorcls.model.loop import Loop
from tumorcls.model.pieces import PREDICT_BATCH, Piece

State = tuple[list[Any], ...]
"""Values of what is trained, of what else the model holds, of the optimizer, and of the moving averages."""


class JaxLoop(Loop):
    """On JAX.

    On a CPU a convolution takes ten times as long inside a loop as outside, because XLA gives it one thread there, so a step
    with convolutions is a dispatch of its own. It takes a hundred times as long as the dispatch.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole = not self.convolves or jax.default_backend() != "cpu"
        self._variables = (
            self.model.trainable_variables,
            self.model.non_trainable_variables,
            self.optimizer.variables,
            self.average.variables,
        )
        self._train = jax.jit(self._train_steps if self.whole else self._train_step, donate_argnums=0)
        self._predict = jax.jit(self._predict_batches if self.whole else self._predict_batch)

    def place(self, rows: NDArray[Any]) -> Any:
        """Returns rows in the memory of the device."""
        return jnp.array(rows)

    def train(self, pieces: Iterable[Piece]) -> float:
        """Trains on the pieces in turn; returns the sum of all losses."""
        state, losses = self._state(), []
        try:
            for piece in pieces:
                state, loss = self._train(state, *piece)
                losses.append(loss)
                if len(losses) > 1:
                    losses[-2].block_until_ready()  # no more than two pieces are on the device
        finally:
            for variables, values in zip(self._variables, state, strict=True):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
        return float(np.sum([float(loss) for loss in losses]))

    def predict(self, rows: Any, batches: int) -> Any:
        """Returns logits of the first batches."""
        trained, others, *_ = self._state()
        return self._predict(trained, others, rows, batches)

    def _state(self) -> State:
        return tuple([variable.value for variable in some] for some in self._variables)

    def _train_steps(
        self, state: State, rows: jax.Array, targets: jax.Array, order: jax.Array, steps: jax.Array
    ) -> tuple[State, jax.Array]:
        def step(number: Any, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            state, total = carry
            state, loss = self._step(state, rows[order[number]], targets[order[number]])
            return state, total + loss

        state, losses = lax.fori_loop(0, steps, step, (self._after(self.average.swap, state), jnp.float32(0.0)))
        return self._after(self.average.swap, state), losses

    def _train_step(self, state: State, rows: jax.Array, targets: jax.Array, *_: Any) -> tuple[State, jax.Array]:
        state, loss = self._step(self._after(self.average.swap, state), rows, targets)
        return self._after(self.average.swap, state), loss

    def _step(self, state: State, rows: jax.Array, targets: jax.Array) -> tuple[State, jax.Array]:
        trained, others, optimizer, averages = state

        def loss_of(trained: list[Any], others: list[Any]) -> tuple[jax.Array, list[Any]]:
            with self.precision():
                logits, others = self.model.stateless_call(trained, others, rows, training=True)
            return self.loss(targets, logits), others

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained, others)
        trained, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trained)
        return self._after(self.average.update, (trained, others, optimizer, averages)), loss

    def _after(self, change: Callable[[], None], state: State) -> State:
        """Returns a state after what `change` assigns to the variables."""
        pairs = (zip(variables, values, strict=True) for variables, values in zip(self._variables, state, strict=True))
        with keras.StatelessScope(state_mapping=list(chain.from_iterable(pairs))) as scope:
            change()
        return tuple([scope.get_current_value(variable) for variable in some] for some in self._variables)

    def _predict_batches(self, trained: list[Any], others: list[Any], rows: jax.Array, batches: jax.Array) -> jax.Array:
        def batch(number: Any, logits: jax.Array) -> jax.Array:
            first = number * PREDICT_BATCH
            some = self._predict_batch(trained, others, lax.dynamic_slice_in_dim(rows, first, PREDICT_BATCH))
            return lax.dynamic_update_slice_in_dim(logits, some, first, 0)

        empty = jnp.zeros((len(rows), self.model.output_shape[-1]), jnp.float32)
        logits: jax.Array = lax.fori_loop(0, batches, batch, empty)
        return logits

    def _predict_batch(self, trained: list[Any], others: list[Any], rows: jax.Array, *_: Any) -> jax.Array:
        logits: jax.Array = self.model.stateless_call(trained, others, rows, training=False)[0]
        return logits
