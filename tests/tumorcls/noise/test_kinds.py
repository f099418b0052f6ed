import numpy as np
import pytest
from scipy import special, stats

from tumorcls.noise.kinds import MAX_GHOST_SHIFT, MIN_GHOST_SHIFT, NOISES, add_noise, bias_basis

SIDE = 400
PIXELS = SIDE * SIDE


def flat(value):
    return np.full((SIDE, SIDE), value, np.float32)


def within_3_errors(samples, mean, variance):
    """The sample mean and variance lie within 3 standard errors of what theory says."""
    samples = samples.ravel().astype(np.float64)
    assert abs(samples.mean() - mean) <= 3 * np.sqrt(variance / samples.size)
    deviations = (samples - samples.mean()) ** 2
    assert abs(deviations.mean() - variance) <= 3 * deviations.std() / np.sqrt(samples.size)


def clipped_normal_moments(mean, sigma):
    """Mean and variance of a normal variable clipped to [0, 1]."""
    low, high = (0 - mean) / sigma, (1 - mean) / sigma
    inside = stats.norm.cdf(high) - stats.norm.cdf(low)
    down, up = stats.norm.pdf(low), stats.norm.pdf(high)
    above = stats.norm.sf(high)
    first = mean * inside + sigma * (down - up) + above
    second = (mean**2 + sigma**2) * inside + 2 * mean * sigma * (down - up) + sigma**2 * (low * down - high * up) + above
    return first, second - first**2


@pytest.mark.parametrize("grey", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("intensity", [0.2, 1.0])
def test_gaussian_has_the_moments_of_a_clipped_normal(grey, intensity):
    noisy = add_noise(flat(grey), "gaussian", intensity, np.random.default_rng(1))
    within_3_errors(noisy, *clipped_normal_moments(grey, 0.20 * intensity))


@pytest.mark.parametrize("grey", [0.0, 0.3, 0.6])
def test_speckle_grows_with_the_signal_and_leaves_black_alone(grey):
    noisy = add_noise(flat(grey), "speckle", 0.5, np.random.default_rng(2))
    if grey == 0:
        assert not noisy.any()
    else:
        within_3_errors(noisy, *clipped_normal_moments(grey, grey * 0.20))


@pytest.mark.parametrize("intensity", [0.125, 1.0])
def test_salt_and_pepper_changes_the_stated_fraction_half_to_each_side(intensity):
    noisy = add_noise(flat(0.5), "salt_pepper", intensity, np.random.default_rng(3))
    fraction = 0.08 * intensity
    for changed, expected in [(noisy != 0.5, fraction), (noisy == 0, fraction / 2), (noisy == 1, fraction / 2)]:
        assert abs(changed.mean() - expected) <= 3 * np.sqrt(expected * (1 - expected) / PIXELS)
    within_3_errors(noisy, 0.5, fraction / 4)


@pytest.mark.parametrize("grey", [0.0, 0.05, 0.4])
def test_rician_has_the_moments_of_the_rice_distribution(grey):
    sigma = 0.20 * 0.4
    noisy = add_noise(flat(grey), "rician", 0.4, np.random.default_rng(4))
    ratio = grey**2 / (2 * sigma**2)
    laguerre = np.exp(-ratio / 2) * ((1 + ratio) * special.i0(ratio / 2) + ratio * special.i1(ratio / 2))
    mean = sigma * np.sqrt(np.pi / 2) * laguerre
    within_3_errors(noisy, mean, 2 * sigma**2 + grey**2 - mean**2)


@pytest.mark.parametrize(("noise", "least"), [("gaussian", 0.999), ("rician", 0.999), ("speckle", 0.999)])
def test_normal_noises_change_every_pixel(noise, least):
    assert (add_noise(flat(0.5), noise, 0.5, np.random.default_rng(5)) != 0.5).mean() > least


def test_ghosting_moves_the_stated_share_to_two_copies_and_keeps_the_mean():
    image = np.zeros((100, 80), np.float32)
    image[50, 40] = 1.0
    axes = set()
    for seed in range(40):
        noisy = add_noise(image, "ghosting", 0.6, np.random.default_rng(seed))
        share = 0.5 * 0.6
        assert noisy[50, 40] == pytest.approx(1 - share)
        assert noisy.sum() == pytest.approx(1.0)
        ghosts = [place for place in np.argwhere(noisy > 0) if tuple(place) != (50, 40)]
        if len(ghosts) == 1:  # half a field away both ghosts fall on one place
            assert noisy[tuple(ghosts[0])] == pytest.approx(share)
        for ghost in ghosts:
            moved = np.abs(ghost - (50, 40))
            axis = int(np.argmax(moved))
            axes.add(axis)
            assert moved[1 - axis] == 0
            distance = moved[axis] / image.shape[axis]
            assert MIN_GHOST_SHIFT - 0.01 <= distance <= MAX_GHOST_SHIFT + 0.01
    assert axes == {0, 1}


def test_ghosting_is_the_weighting_of_phase_encoding_lines_that_it_says_it_is():
    image = np.random.default_rng(0).random((60, 40), dtype=np.float32)
    for seed in range(10):
        generator = np.random.default_rng(seed)
        axis, fraction = int(generator.integers(2)), float(generator.uniform(MIN_GHOST_SHIFT, MAX_GHOST_SHIFT))
        n = image.shape[axis]
        lines = np.fft.fftfreq(n, 1 / n)
        weights = 1 - 0.5 + 0.5 * np.cos(2 * np.pi * lines * round(fraction * n) / n)
        weighted = np.fft.ifft(np.fft.fft(image, axis=axis) * np.expand_dims(weights, 1 - axis), axis=axis).real
        np.testing.assert_allclose(
            add_noise(image, "ghosting", 1.0, np.random.default_rng(seed)), np.clip(weighted, 0, 1), atol=1e-6
        )


def test_the_log_of_the_bias_field_has_the_polynomial_s_mean_and_variance():
    grey, draws = 0.25, 3000
    places = ([5, 10, 20], [5, 30, 10])
    basis = bias_basis(41, 41)[:, *places]
    variance = (0.5 * 0.4) ** 2 / 3 * (basis**2).sum(axis=0)
    image = np.full((41, 41), grey, np.float32)
    generator = np.random.default_rng(6)
    logs = np.stack([np.log(add_noise(image, "bias_field", 0.4, generator)[places] / grey) for _ in range(draws)])
    for column in range(3):
        within_3_errors(logs[:, column], 0.0, variance[column])


@pytest.mark.parametrize("noise", NOISES)
class TestEveryNoise:
    def test_keeps_shape_type_and_range(self, noise):
        image = np.random.default_rng(0).random((30, 20, 3), dtype=np.float32)
        for shape in [(30, 20), (30, 20, 3), (30, 20, 1)]:
            part = image[:, :, 0] if len(shape) == 2 else image[:, :, : shape[2]]
            noisy = add_noise(part, noise, 1.0, np.random.default_rng(1))
            assert noisy.shape == shape
            assert noisy.dtype == np.float32
            assert noisy.min() >= 0
            assert noisy.max() <= 1

    def test_at_intensity_zero_changes_nothing(self, noise):
        image = np.random.default_rng(0).random((30, 20, 3), dtype=np.float32)
        np.testing.assert_array_equal(add_noise(image, noise, 0.0, np.random.default_rng(1)), image)

    def test_gives_all_channels_of_a_grey_image_one_draw(self, noise):
        image = np.repeat(np.random.default_rng(0).random((30, 20, 1), dtype=np.float32), 3, axis=2)
        noisy = add_noise(image, noise, 1.0, np.random.default_rng(1))
        assert (noisy != image).any()
        np.testing.assert_array_equal(noisy[:, :, 0], noisy[:, :, 1])
        np.testing.assert_array_equal(noisy[:, :, 0], noisy[:, :, 2])

    def test_is_fixed_by_the_generator_and_leaves_its_input_alone(self, noise):
        image = np.random.default_rng(0).random((30, 20, 3), dtype=np.float32)
        before = image.copy()
        once, again, other = (add_noise(image, noise, 0.7, np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(once, again)
        assert (once != other).any()
        np.testing.assert_array_equal(image, before)
