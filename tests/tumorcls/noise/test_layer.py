import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import stats

from tests.patience import PATIENCE_S
from tumorcls.config.train_config import TrainConfig
from tumorcls.noise.kinds import NOISES, add_noise
from tumorcls.noise.layer import RandomNoise

REPOSITORY = Path(__file__).parents[3]
ALL = tuple(NOISES)
IMAGES, SIDE, PIXEL = 4000, 8, (2, 5)
CLEAN = np.repeat(np.random.default_rng(7).uniform(60, 120, (SIDE, SIDE, 1)).astype(np.float32), 3, axis=2)


def make(noises=ALL, clean_share=0.0, max_intensity=1.0, seed=0):
    layer = RandomNoise(noises, clean_share, seed=seed)
    layer.max_intensity.assign(max_intensity)
    return layer


def apply(layer, images, training=True):
    return keras.ops.convert_to_numpy(layer(images, training=training))


def grey(count, value=128.0, side=16):
    return np.full((count, side, side, 3), value, np.float32)


@pytest.fixture
def images():
    single = np.random.default_rng(0).uniform(0, 255, (12, 16, 20, 1)).astype(np.float32)
    return np.repeat(single, 3, axis=3)


def layer_samples(noise):
    """The value of one pixel in each of `IMAGES` copies of `CLEAN`, float32; one pixel each, so that they are independent."""
    copies = np.repeat(CLEAN[None], IMAGES, axis=0)
    return apply(make((noise,), seed=11), copies)[:, *PIXEL, 0]


def numpy_samples(noise):
    """The same by the NumPy reference."""
    generator = np.random.default_rng(5)
    intensities = 1 - generator.random(IMAGES)
    return np.array([255 * add_noise(CLEAN / 255, noise, i, generator)[*PIXEL, 0] for i in intensities])


@pytest.fixture(scope="session")
def other_backend(tmp_path_factory):
    """Samples of every noise under JAX, from a process of its own."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    path = tmp_path_factory.mktemp("jax") / "samples.npz"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, __file__, str(path)], check=True, env=environment, timeout=PATIENCE_S)
    with np.load(path) as samples:
        return dict(samples)


def assert_same_distribution(noise, ours, theirs):
    clean = CLEAN[*PIXEL, 0]
    # The reference works in [0, 1]; that rounding must not count as a change.
    ours, theirs = (np.where(np.abs(s - clean) < 1e-3, clean, s).astype(np.float32) for s in (ours, theirs))
    assert stats.ks_2samp(ours, theirs, method="asymp").pvalue > 0.01
    changed = [np.count_nonzero(s != clean) for s in (ours, theirs)]
    both = sum(changed) / (2 * IMAGES)
    error = np.sqrt(2 * both * (1 - both) / IMAGES)
    assert abs(changed[0] - changed[1]) / IMAGES <= 3 * error


@pytest.mark.parametrize("noise", NOISES)
def test_agrees_with_the_numpy_reference(noise):
    assert_same_distribution(noise, layer_samples(noise), numpy_samples(noise))


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_tensorflow_and_jax_give_the_same_statistics(noise, other_backend):
    assert_same_distribution(noise, layer_samples(noise), other_backend[noise])


@pytest.mark.parametrize("noise", NOISES)
def test_a_lower_maximum_lowers_the_distance(noise, images):
    distances = [np.abs(apply(make((noise,), max_intensity=top), images) - images).mean() for top in (0.1, 0.5, 1.0)]
    assert distances == sorted(distances)


def test_the_intensity_is_uniform_up_to_the_maximum():
    noisy = apply(make(("gaussian",), max_intensity=0.5), grey(1500))
    sigmas = noisy[..., 0].reshape(1500, -1).std(axis=1) / 255 / 0.20
    assert sigmas.mean() == pytest.approx(0.25, abs=3 * 0.5 / np.sqrt(12 * 1500) + 0.002)
    assert stats.kstest(sigmas, stats.uniform(0, 0.5).cdf).statistic < 0.05
    assert sigmas.max() < 0.5 * (1 + 4 / np.sqrt(2 * 256)), "four standard errors of a sigma that 256 pixels tell"


def test_nothing_changes_outside_training_or_without_intensity(images):
    np.testing.assert_array_equal(apply(make(), images, training=False), images)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(make()(images)), images)
    np.testing.assert_array_equal(apply(make(max_intensity=0.0), images), images)


def test_the_clean_share_stays_clean_to_the_last_bit():
    before = np.repeat(np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)), 2000, axis=0).astype(np.float32)
    after = apply(make(ALL, clean_share=0.3), before)
    clean = (after == before).all(axis=(1, 2, 3)).mean()
    assert abs(clean - 0.3) <= 3 * np.sqrt(0.3 * 0.7 / 2000) + 0.01  # salt and pepper of low intensity may miss all pixels
    np.testing.assert_array_equal(apply(make(ALL, clean_share=1.0), before), before)


def test_each_noise_is_as_likely_as_the_others():
    # On black, Gaussian noise leaves about half of the pixels black, salt and pepper nearly all, speckle all, Rician none.
    after = apply(make(("gaussian", "speckle", "rician")), grey(1500, value=0.0))[..., 0].reshape(1500, -1)
    lit = (after > 0).mean(axis=1)
    for share in ((lit == 0).mean(), ((lit > 0.2) & (lit < 0.8)).mean(), (lit == 1).mean()):
        assert abs(share - 1 / 3) <= 3 * np.sqrt(2 / 9 / 1500)


def test_whether_which_and_how_strong_are_drawn_apart():
    count, noises = 6000, ("gaussian", "speckle", "rician")
    strengths = make(noises, clean_share=0.3, max_intensity=0.5)._draw_strengths(count)
    drawn = np.stack([keras.ops.convert_to_numpy(strengths[name]).ravel() / NOISES[name].maximum for name in noises])
    noisy = drawn > 0
    assert noisy.sum(axis=0).max() == 1
    assert abs(noisy.any(axis=0).mean() - 0.7) <= 3 * np.sqrt(0.3 * 0.7 / count)
    for intensities in drawn:
        share = (intensities > 0).mean()
        assert abs(share - 0.7 / 3) <= 3 * np.sqrt(0.7 / 3 * (1 - 0.7 / 3) / count)
        assert stats.kstest(intensities[intensities > 0], stats.uniform(0, 0.5).cdf).pvalue > 0.01


def test_salt_is_white_pepper_black_and_there_is_as_much_of_both():
    noisy = apply(make(("salt_pepper",)), grey(400))[..., 0]
    shares = [(noisy == end).mean() for end in (0, 255)]
    assert shares == pytest.approx([0.08 / 4] * 2, rel=0.15), "half of the maximum on average, and of that half of each"


def test_a_ghost_is_of_its_own_picture_along_one_axis_and_as_far_as_it_may_be():
    height, width = 20, 40
    places = np.random.default_rng(0).integers((height, width), size=(300, 2))
    points = np.zeros((300, height, width, 3), np.float32)
    points[np.arange(300), *places.T] = 200
    away = [[], []]
    for noisy, place in zip(apply(make(("ghosting",)), points)[..., 0], places, strict=True):
        moved = np.argwhere(noisy > 0) - place
        moved = np.minimum(moved % (height, width), -moved % (height, width))  # around the edge
        assert len(moved) in (2, 3), "itself and one either way, which may meet"
        axis = int(moved.any(axis=0).argmax())
        assert not moved[:, 1 - axis].any()
        away[axis].append(moved[:, axis].max())
    assert [(min(found), max(found)) for found in away] == [(2, 10), (4, 20)], "a tenth to half"
    assert abs(len(away[0]) / 300 - 0.5) <= 3 * np.sqrt(0.25 / 300)
    far = sum(moved > 0.4 * side for found, side in zip(away, (height, width), strict=True) for moved in found) / 300
    assert abs(far - 0.203) <= 3 * np.sqrt(0.203 * 0.797 / 300), "of whole pixels above two fifths, one in five"


def test_all_channels_get_one_draw(images):
    noisy = apply(make(), images)
    assert (noisy != images).any()
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 1])
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 2])


def test_stays_in_range(images):
    noisy = apply(make(), images)
    assert noisy.dtype == np.float32
    assert noisy.shape == images.shape
    assert noisy.min() >= 0
    assert noisy.max() <= 255


def test_images_and_calls_are_drawn_anew_and_the_state_brings_them_back():
    layer = make(("gaussian",), seed=9)
    first, second = apply(layer, grey(2)), apply(layer, grey(2))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)
    layer.seed_generator.state.assign(np.array([9, 0], np.uint32))
    np.testing.assert_array_equal(apply(layer, grey(2)), first)


def test_all_random_state_is_among_the_layer_s_variables():
    layer = make()
    assert sorted(variable.name for variable in layer.variables) == ["max_intensity", "seed_generator_state"]
    assert not layer.trainable_variables


@pytest.mark.parametrize("noise", NOISES)
def test_a_compiled_model_follows_the_variable_without_a_new_trace(noise, images):
    layer = RandomNoise((noise,), 0.0, seed=0)
    traces = []

    class Watched(keras.Model):
        def call(self, inputs, training=False):
            traces.append(training)
            return layer(inputs, training=True)

    model = Watched()
    model.compile(jit_compile=False)
    np.testing.assert_array_equal(model.predict(images, verbose=0, batch_size=12), images)
    before = len(traces)
    layer.max_intensity.assign(1.0)
    assert (model.predict(images, verbose=0, batch_size=12) != images).any()
    assert len(traces) == before


def test_half_precision_policies_do_not_round_images():
    images = grey(4, value=128.03125)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        after = apply(make(clean_share=1.0), images)
    finally:
        keras.config.set_dtype_policy(previous)
    np.testing.assert_array_equal(after, images)


def test_unknown_or_no_noises_are_refused_with_the_names_that_there_are():
    with pytest.raises(ValueError, match=r"must be names of gaussian, .*got \['fog'\]"):
        RandomNoise(("fog",))
    with pytest.raises(ValueError, match=r"at least one; got \[\]"):
        RandomNoise(())


def test_a_noise_that_is_named_twice_is_one_noise(images):
    """Else its second name's images would stay clean."""
    np.testing.assert_array_equal(apply(make(("gaussian", "gaussian")), images), apply(make(("gaussian",)), images))


def test_config_round_trip():
    layer = RandomNoise(("speckle", "rician"), 0.1, seed=3, name="noise")
    config = layer.get_config()
    assert RandomNoise.from_config(config).get_config() == config
    assert (config["noises"], config["clean_share"], config["seed"]) == (("speckle", "rician"), 0.1, 3)


def test_without_a_word_it_does_what_a_config_without_one_says():
    config, default = RandomNoise().get_config(), TrainConfig.parse({"data": "phantoms:8"}, where="here")
    assert (config["noises"], config["clean_share"]) == (default.noises, default.clean_share)


if __name__ == "__main__":  # `other_backend` runs this file under JAX
    np.savez(sys.argv[1], **{noise: layer_samples(noise) for noise in NOISES})
