"""The compiled loop on TensorFlow: a `tf.while_loop` over steps that change the model's variables in place."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tumorcls.model.backend import is_tensorflow_on_cpu, uses_xla
from tumorcls.model.loop import Loop
from tumorcls.model.pieces import PREDICT_BATCH, Piece
from tumorcls.model.tensorflow_internals import gradients_forgotten


class TensorFlowLoop(Loop):
    """On TensorFlow.

    XLA makes one kernel of a step without convolutions. On a CPU it is slower at those than TensorFlow's own kernels. It
    compiles a step anew for each batch size.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.whole = True
        self._trained = self.model.trainable_variables
        self._on_cpu = is_tensorflow_on_cpu()
        compiled = uses_xla() and not (self.convolves and self._on_cpu)
        self._train = tf.function(self._train_steps, jit_compile=compiled, reduce_retracing=True, autograph=False)
        self._predict = tf.function(self._predict_batches, jit_compile=False, reduce_retracing=True, autograph=False)

    def place(self, rows: NDArray[Any]) -> Any:
        """Returns rows in the memory of the device; float16 as the bits that they are, where it is a CPU.

        They are only picked as such, and float32 from there on. TensorFlow would call it an error, on stderr and in each
        process, that oneDNN computes with float16 on no CPU without AVX-512.
        """
        return tf.convert_to_tensor(rows.view(np.uint16) if rows.dtype == np.float16 and self._on_cpu else rows)

    @gradients_forgotten()
    def train(self, pieces: Iterable[Piece]) -> float:
        """Trains on the pieces in turn; returns the sum of all losses."""
        losses = []
        for piece in pieces:
            rows, targets, order = (self.place(array) for array in piece[:3])
            losses.append(self._train(rows, targets, order, tf.constant(piece.steps)))
            if len(losses) > 1:
                losses[-2].numpy()  # no more than two pieces are on the device
        return float(np.sum([float(loss) for loss in losses]))

    @gradients_forgotten()
    def predict(self, rows: Any, batches: int) -> Any:
        """Returns logits of the first batches."""
        return self._predict(self.place(rows), tf.constant(batches))

    def _train_steps(self, rows: tf.Tensor, targets: tf.Tensor, order: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        def step(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            picked = order[number]
            return number + 1, total + self._step(_numbers(tf.gather(rows, picked)), tf.gather(targets, picked))

        start = (tf.constant(0), tf.constant(0.0))
        self.average.swap()
        losses = tf.while_loop(lambda number, _: number < steps, step, start, parallel_iterations=1)[1]
        self.average.swap()
        return losses

    def _step(self, rows: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape, self.precision():
            loss = self.loss(targets, self.model(rows, training=True))
        self.optimizer.apply(tape.gradient(loss, self._trained), self._trained)
        self.average.update()
        return loss

    def _predict_batches(self, rows: tf.Tensor, batches: tf.Tensor) -> tf.Tensor:
        def batch(number: tf.Tensor) -> tf.Tensor:
            first = number * PREDICT_BATCH
            return self.model(_numbers(rows[first : first + PREDICT_BATCH]), training=False)

        logits = tf.map_fn(batch, tf.range(batches), fn_output_signature=tf.float32, parallel_iterations=1)
        return tf.reshape(logits, (-1, self.model.output_shape[-1]))


def _numbers(rows: tf.Tensor) -> tf.Tensor:
    """Returns the numbers that `place` gave to the device as bits."""
    return tf.bitcast(rows, tf.float16) if rows.dtype == tf.uint16 else rows
