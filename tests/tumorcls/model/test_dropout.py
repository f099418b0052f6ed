import keras
import numpy as np
import pytest

from tumorcls.model.layers import VariableDropout

ONES = np.ones((400, 1280), np.float32)


def test_a_rate_of_zero_and_inference_change_nothing():
    layer = VariableDropout(seed=3)
    np.testing.assert_array_equal(layer(ONES, training=True), ONES)
    layer.rate.assign(0.5)
    np.testing.assert_array_equal(layer(ONES, training=False), ONES)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(rate):
    layer = VariableDropout(seed=3)
    layer.rate.assign(rate)
    after = keras.ops.convert_to_numpy(layer(ONES, training=True))
    assert abs((after == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / ONES.size) + 2**-17
    np.testing.assert_allclose(after[after > 0], 1 / (1 - rate), rtol=2e-4)
