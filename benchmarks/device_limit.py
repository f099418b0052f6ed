"""The limit of `benchmarks.device_speed`: a training step written by hand, compiled, its input on the device."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

JAX = keras.backend.backend() == "jax"

Precision = Callable[[], AbstractContextManager[None]]


def head_epoch(
    kernel: Any, inputs: Any, targets: Any, order: Any, random_uint16: Callable[..., Any], rate: float, learning_rate: float
) -> Callable[[], float]:
    """Returns an epoch of dropout, a dense layer, cross-entropy and Adam, as one compiled program."""
    make = _head_epoch_jax if JAX else _head_epoch_tensorflow
    return make(kernel, inputs, targets, order, random_uint16, int(rate * 65536), learning_rate)


def network_steps(
    model: keras.Model, rows: Any, targets: Any, steps: int, learning_rate: float, precision: Precision
) -> Callable[[], float]:
    """Returns so many steps of a network and Adam, each one dispatch traced in a precision, with one batch over and over."""
    make = _network_steps_jax if JAX else _network_steps_tensorflow
    return make(model, rows, targets, steps, learning_rate, precision)


def _adam_jax(values: Any, gradients: Any, state: Any, learning_rate: float) -> Any:
    import jax
    import jax.numpy as jnp

    first, second, count = state
    count = count + 1
    first = jax.tree.map(lambda m, g: m + (g - m) * 0.1, first, gradients)
    second = jax.tree.map(lambda v, g: v + (g * g - v) * 0.001, second, gradients)
    rate = learning_rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    values = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), values, first, second)
    return values, (first, second, count)


def _adam_state_jax(values: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jax.tree.map(jnp.zeros_like, values), jax.tree.map(jnp.zeros_like, values), jnp.float32(0)


def _head_epoch_jax(
    kernel: Any, inputs: Any, targets: Any, order: Any, random_uint16: Any, dropped: int, learning_rate: float
) -> Callable[[], float]:
    import jax
    import jax.numpy as jnp

    scale = 65536 / (65536 - dropped)

    def loss_of(values: Any, rows: Any, wanted: Any, number: Any) -> Any:
        bits = random_uint16(jnp.stack([jnp.uint32(7), number.astype(jnp.uint32)]), rows.shape)
        features = jnp.where(bits >= dropped, rows.astype(jnp.float32) * scale, 0.0)
        return -(wanted * jax.nn.log_softmax(features @ values[0] + values[1])).sum(-1).mean()

    def epoch(state: Any, inputs: Any, targets: Any, order: Any) -> Any:
        def step(state: Any, given: Any) -> Any:
            values, adam = state
            picked, number = given
            loss, gradients = jax.value_and_grad(loss_of)(values, inputs[picked], targets[picked], number)
            return _adam_jax(values, gradients, adam, learning_rate), loss

        state, losses = jax.lax.scan(step, state, (order, jnp.arange(len(order))))
        return state, losses.mean()

    compiled = jax.jit(epoch, donate_argnums=0)
    given = [jnp.array(array) for array in (inputs, targets, order)]
    values = (jnp.array(kernel), jnp.zeros(kernel.shape[1]))
    holder = [(values, _adam_state_jax(values))]

    def run() -> float:
        holder[0], loss = compiled(holder[0], *given)
        return float(loss)

    return run


def _network_steps_jax(
    model: keras.Model, rows: Any, targets: Any, steps: int, learning_rate: float, precision: Precision
) -> Callable[[], float]:
    import jax
    import jax.numpy as jnp

    def loss_of(values: Any, others: Any, rows: Any, wanted: Any) -> Any:
        with precision():
            logits, others = model.stateless_call(values, others, rows, training=True)
        return -(wanted * jax.nn.log_softmax(logits)).sum(-1).mean(), others

    def step(state: Any, rows: Any, wanted: Any) -> Any:
        values, others, adam = state
        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(values, others, rows, wanted)
        values, adam = _adam_jax(values, gradients, adam, learning_rate)
        return (values, others, adam), loss

    compiled = jax.jit(step, donate_argnums=0)
    values, others = ([jnp.array(v.value) for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables))
    holder = [(values, others, _adam_state_jax(values))]
    given = jnp.array(rows), jnp.array(targets)

    def run() -> float:
        for _ in range(steps):
            holder[0], loss = compiled(holder[0], *given)
        return float(loss)

    return run


def _adam_tensorflow(values: Any, learning_rate: float) -> Callable[[Any], None]:
    import tensorflow as tf

    first, second = ([tf.Variable(tf.zeros_like(value)) for value in values] for _ in range(2))
    count = tf.Variable(0.0)

    def update(gradients: Any) -> None:
        count.assign_add(1.0)
        rate = learning_rate * tf.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        for value, gradient, m, v in zip(values, gradients, first, second, strict=True):
            m.assign_add((gradient - m) * 0.1)
            v.assign_add((gradient * gradient - v) * 0.001)
            value.assign_sub(rate * m / (tf.sqrt(v) + 1e-7))

    return update


def _head_epoch_tensorflow(
    kernel: Any, inputs: Any, targets: Any, order: Any, random_uint16: Any, dropped: int, learning_rate: float
) -> Callable[[], float]:
    import tensorflow as tf

    values = [tf.Variable(kernel), tf.Variable(tf.zeros(kernel.shape[1]))]
    update = _adam_tensorflow(values, learning_rate)
    scale, shape = 65536 / (65536 - dropped), (order.shape[1], inputs.shape[1])

    def epoch(inputs: Any, targets: Any, order: Any) -> Any:
        def step(number: Any, total: Any) -> Any:
            rows, wanted = tf.gather(inputs, order[number]), tf.gather(targets, order[number])
            bits = random_uint16(tf.stack([tf.constant(7), number]), shape)
            with tf.GradientTape() as tape:
                features = tf.where(bits >= tf.constant(dropped, tf.uint16), tf.cast(rows, tf.float32) * scale, 0.0)
                logits = features @ values[0] + values[1]
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))
            update(tape.gradient(loss, values))
            return number + 1, total + loss

        start = (tf.constant(0), tf.constant(0.0))
        steps = order.shape[0]
        return tf.while_loop(lambda number, _: number < steps, step, start, parallel_iterations=1)[1] / steps

    compiled = tf.function(epoch, jit_compile=True, autograph=False)
    given = [tf.constant(array) for array in (inputs, targets, order)]
    return lambda: float(compiled(*given))


def _network_steps_tensorflow(
    model: keras.Model, rows: Any, targets: Any, steps: int, learning_rate: float, precision: Precision
) -> Callable[[], float]:
    import tensorflow as tf

    values = [variable.value for variable in model.trainable_variables]
    update = _adam_tensorflow(values, learning_rate)

    def step(rows: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape, precision():
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, model(rows, training=True)))
        update(tape.gradient(loss, values))
        return loss

    compiled = tf.function(step, jit_compile=bool(tf.config.list_physical_devices("GPU")), autograph=False)
    given = tf.constant(rows), tf.constant(targets)

    def run() -> float:
        losses = [compiled(*given) for _ in range(steps)]
        return float(np.mean([float(loss) for loss in losses]))

    return run
