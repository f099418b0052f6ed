import threading

import numpy as np
import pytest

from tumorcls.inference.activation_map import Explainer
from tumorcls.model.backend import keras_runs_on_jax
from tumorcls.model.program import TrainingProgram
from tumorcls.model.tensorflow_internals import _registered, gradients_forgotten

pytestmark = pytest.mark.skipif(keras_runs_on_jax(), reason="TensorFlow's registry")


def custom_gradients():
    return {name for name in _registered() if name.startswith("CustomGradient-")}


def traced():
    """Returns a graph with a custom gradient that nobody has differentiated yet."""
    import tensorflow as tf

    function = tf.function(tf.nn.silu)
    function.get_concrete_function(tf.TensorSpec((3,), tf.float32))
    return function


def derivative(function):
    import tensorflow as tf

    x = tf.constant([0.0, 0.0, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).numpy().tolist()


def test_what_a_program_and_a_model_trace_is_forgotten(untrained, make_config):
    before = custom_gradients()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    config = make_config(trainable_from="block7")
    program = TrainingProgram(config)
    program.reset(config, 0)
    rows = program.frozen_activations(images)
    program.train_epoch(rows.astype(np.float16), np.eye(4, dtype=np.float32)[[0, 1]], np.arange(2), 2)
    program.predict_logits(rows.astype(np.float16))
    untrained.predict(images)
    Explainer(untrained.network).explain(images)
    assert custom_gradients() == before, "each would keep its graph for as long as the process lives"


def test_what_others_traced_can_be_differentiated_still():
    before = custom_gradients()
    others = traced()
    theirs = custom_gradients() - before
    with gradients_forgotten():
        traced()
    assert theirs
    assert custom_gradients() == before | theirs
    assert derivative(others) == [0.5, 0.5, 0.5]


def test_a_block_does_not_forget_what_another_one_needs_that_still_runs():
    before, begun, ended = custom_gradients(), threading.Event(), threading.Event()

    def short():
        with gradients_forgotten():
            begun.set()
            traced()
        ended.set()

    with gradients_forgotten():
        threading.Thread(target=short).start()
        begun.wait()
        mine = traced()
        ended.wait()
        assert derivative(mine) == [0.5, 0.5, 0.5]
    assert custom_gradients() == before


def test_a_block_that_raises_forgets_as_well():
    before = custom_gradients()

    @gradients_forgotten()
    def fail():
        traced()
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert custom_gradients() == before
