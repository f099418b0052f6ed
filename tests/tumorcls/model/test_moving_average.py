"""Averages are what the arithmetic of a moving average gives, whatever runs the steps."""

import contextlib

import keras
import numpy as np
import pytest

from tumorcls.model.moving_average import MovingAverage
from tumorcls.model.pieces import Piece
from tumorcls.model.program import loop_of_backend

STEPS = 20


def make_small():
    """Returns what is averaged of a network with BatchNormalization, its average and its loop."""
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((6,)), norm, keras.layers.Dense(4)])
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(model.trainable_variables)
    averaged = [*model.trainable_variables, *norm.non_trainable_variables]
    average = MovingAverage(averaged, optimizer.iterations)
    return averaged, average, loop_of_backend()(model, optimizer, average, False, contextlib.nullcontext)


def piece(first, steps):
    """Returns steps `first` and following of a fixed run, eight rows each."""
    generator = np.random.default_rng(0)
    rows = generator.normal(0, 1, (64, 6)).astype(np.float32)
    order = generator.integers(0, 64, (STEPS, 8)).astype(np.int32)
    return Piece(rows, np.eye(4, dtype=np.float32)[np.arange(64) % 4], order[first : first + steps], steps)


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def test_an_average_follows_its_variable_at_the_decay_of_the_step(monkeypatch):
    monkeypatch.setattr("tumorcls.model.moving_average.MAX_DECAY", 0.6)
    held, average, loop = make_small()
    expected = values(held)
    for step in range(STEPS):
        loop.train([piece(step, 1)])
        decay = min(0.6, (2 + step) / (11 + step))
        trained = values(average.variables)  # between two dispatches they are exchanged
        expected = [decay * mean + (1 - decay) * now for mean, now in zip(expected, trained, strict=True)]
    assert decay == 0.6
    for mean, wanted, now in zip(values(held), expected, trained, strict=True):
        np.testing.assert_allclose(mean, wanted, rtol=1e-4, atol=1e-6)
        assert np.abs(mean - now).max() > 1e-3, "it is not the variable itself"


def test_after_many_steps_a_hundred_weigh_two_thirds():
    """And nothing needs no average."""
    steps = keras.Variable(10_000, dtype="int32", trainable=False)
    held = keras.Variable(np.zeros(2, np.float32))
    average = MovingAverage([held], steps)
    held.assign([3.0, -3.0])
    for _ in range(100):
        average.update()
    np.testing.assert_allclose(values(average.variables)[0], [3 * (1 - 0.99**100), -3 * (1 - 0.99**100)], rtol=1e-4)
    assert pytest.approx(2 / 3, abs=0.04) == 1 - 0.99**100
    nothing = MovingAverage([], steps)
    nothing.update()
    nothing.swap()
    assert nothing.variables == []


@pytest.mark.slow  # what it builds stays in the process
def test_many_steps_in_one_dispatch_give_what_they_give_one_by_one():
    (held, together, loop), (others_held, one_by_one, other) = make_small(), make_small()
    loop.train([piece(0, STEPS)])
    for step in range(STEPS):
        other.train([piece(step, 1)])
    for found, expected in ((held, others_held), (together.variables, one_by_one.variables)):
        np.testing.assert_allclose(flat(values(found)), flat(values(expected)), rtol=1e-4, atol=1e-6)


def test_what_is_swapped_or_begun_anew_shares_no_memory():
    held, average, loop = make_small()
    loop.train([piece(0, 3)])
    means, trained = values(held), values(average.variables)
    average.swap()
    np.testing.assert_array_equal(flat(values([*held, *average.variables])), flat([*trained, *means]))
    average.begin()
    np.testing.assert_array_equal(flat(values(average.variables)), flat(trained))
    loop.train([piece(3, 1)])
    assert (flat(values(average.variables)) != flat(trained)).any()
    assert (flat(values(average.variables)) != flat(values(held))).any()


def flat(arrays):
    return np.concatenate([array.ravel() for array in arrays])
