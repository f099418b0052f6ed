import numpy as np
import pytest
from keras import ops
from scipy import stats

from tumorcls.noise.counter_rng import random_bits, random_normal, random_uint16, random_uniform


def key(seed, draw):
    return ops.convert_to_tensor(np.array([seed, draw], np.uint32))


def numbers(draw, *given):
    return ops.convert_to_numpy(draw(*given))


def test_every_backend_draws_these():
    expected = [1114457095, 3964916545, 3926519287, 141808535, 1696677995, 2682207514, 175083019, 312064328]
    np.testing.assert_array_equal(numbers(random_bits, key(5, 3), 8), expected)


@pytest.mark.parametrize("keys", [[(0, draw) for draw in range(64)], [(seed, 0) for seed in range(64)]], ids=["draws", "seeds"])
def test_draws_and_seeds_that_follow_each_other_have_nothing_in_common(keys):
    drawn = np.stack([numbers(random_bits, key(*one), 4096) for one in keys])
    bits = np.unpackbits(drawn.view(np.uint8), axis=1).astype(np.float64)
    correlations = np.corrcoef(bits)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(bits.shape[1])
    assert np.unique(drawn).size > drawn.size - 40, "2**18 numbers of 2**32: 8 meet by chance"


def test_each_bit_is_set_half_of_the_time_and_alone():
    words = numbers(random_bits, key(1, 1), 2**16)
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.float64)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 4.5 / (2 * 2**8)
    assert np.abs(np.corrcoef(bits.T)[np.triu_indices(32, 1)]).max() < 5 / 2**8
    assert np.abs(np.corrcoef(bits[:-1].T, bits[1:].T)[:32, 32:]).max() < 5 / 2**8


def test_numbers_have_the_distribution_that_they_claim():
    assert stats.kstest(numbers(random_uniform, key(2, 0), (200, 300)).ravel(), stats.uniform.cdf).pvalue > 0.01
    assert stats.kstest(numbers(random_normal, key(2, 1), (200, 300)).ravel(), stats.norm.cdf).pvalue > 0.01
    halves = numbers(random_uint16, key(2, 2), (250, 400))
    assert (halves.dtype, halves.shape) == (np.uint16, (250, 400))
    assert stats.kstest(halves.ravel() / 65536, stats.uniform.cdf).pvalue > 0.01


def test_the_least_and_the_largest_bits_are_numbers_too(monkeypatch):
    """An infinite one, once in millions, would be a pixel that is none, and then a loss that is none."""
    ends = ops.convert_to_tensor(np.array([0, 2**32 - 1], np.uint32))
    monkeypatch.setattr("tumorcls.noise.counter_rng.random_bits", lambda key, count: ends)
    assert numbers(random_uniform, key(0, 0), (2,)).tolist() == [0.0, 1 - 2.0**-24]
    least, largest = numbers(random_normal, key(0, 0), (2,))
    assert least == -largest == pytest.approx(stats.norm.ppf(2.0**-24), rel=1e-3)
