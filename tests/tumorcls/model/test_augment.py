import keras
import numpy as np
import pytest

from tumorcls.config.train_config import TrainConfig
from tumorcls.model import layers
from tumorcls.model.layers import RandomAugment, _gather, _resample, assign_recipe, view_layers
from tumorcls.noise.kinds import NOISES


def make(seed=0, **ranges):
    layer = RandomAugment(seed=seed)
    for name, value in ranges.items():
        getattr(layer, name).assign(value)
    return layer


def apply(layer, images, training=True):
    return keras.ops.convert_to_numpy(layer(images, training=training))


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (8, 21, 30, 3)).astype(np.float32)


@pytest.fixture
def blob():
    """A smooth spot right of and above the centre, on black."""
    y, x = np.mgrid[:61, :61]
    spot = 200 * np.exp(-((x - 42) ** 2 + (y - 24) ** 2) / 18)
    return np.repeat(spot[None, :, :, None], 3, axis=3).astype(np.float32)


def centre(image):
    """Row and column of the centre of mass, from the centre of the image."""
    weights = image[:, :, 0]
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    middle = (np.array(weights.shape) - 1) / 2
    return np.array([(y * weights).sum(), (x * weights).sum()]) / weights.sum() - middle


def test_ranges_of_zero_and_inference_change_no_bit(images):
    np.testing.assert_array_equal(apply(make(), images), images)
    everything = make(rotation=45.0, width_shift=0.3, height_shift=0.3, flip=1.0)
    np.testing.assert_array_equal(apply(everything, images, training=False), images)


def test_a_certain_flip_mirrors_left_and_right_exactly(images):
    np.testing.assert_array_equal(apply(make(flip=1.0), images), images[:, :, ::-1])


def test_half_of_the_images_are_flipped(images):
    flipped = apply(make(flip=0.5), np.repeat(images[:1], 400, axis=0))
    share = np.mean([np.array_equal(one, images[0, :, ::-1]) for one in flipped])
    assert abs(share - 0.5) <= 3 * np.sqrt(0.25 / 400)


def test_rotation_turns_about_the_centre_by_at_most_the_range(blob):
    turned = apply(make(rotation=20.0), np.repeat(blob, 300, axis=0))
    start = centre(blob[0])
    places = np.array([centre(image) for image in turned])
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), np.linalg.norm(start), atol=0.1)
    angles = np.degrees(np.arctan2(places[:, 0], places[:, 1]) - np.arctan2(start[0], start[1]))
    assert np.abs(angles).max() <= 20.2
    assert abs(angles.mean()) <= 3 * (20 / np.sqrt(3)) / np.sqrt(300)
    assert angles.std() == pytest.approx(20 / np.sqrt(3), rel=0.12)


@pytest.mark.parametrize(("name", "axis"), [("height_shift", 0), ("width_shift", 1)])
def test_a_shift_moves_along_its_own_axis_by_at_most_the_range(blob, name, axis):
    moved = apply(make(**{name: 0.1}), np.repeat(blob, 300, axis=0))
    offsets = np.array([centre(image) for image in moved]) - centre(blob[0])
    np.testing.assert_allclose(offsets[:, 1 - axis], 0, atol=0.01)
    reach = 0.1 * 61
    assert np.abs(offsets[:, axis]).max() <= reach + 0.01
    assert offsets[:, axis].std() == pytest.approx(reach / np.sqrt(3), rel=0.12)


def test_what_comes_in_from_outside_is_black(images):
    white = np.full_like(images, 255)
    shifted = apply(make(width_shift=0.5), np.repeat(white, 8, axis=0))
    assert shifted.min() == 0
    assert shifted.max() == 255


def test_both_ways_to_resample_agree(images):
    layer = make(rotation=30.0, width_shift=0.2, height_shift=0.1, flip=0.5)
    maps = layer._draw_maps(keras.ops.convert_to_tensor(images))
    kernel, gathered = (keras.ops.convert_to_numpy(way(images, maps)) for way in (_resample, _gather))
    np.testing.assert_allclose(gathered, kernel, atol=0.05)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has one way for all devices")
@pytest.mark.parametrize("compiled", [False, True])
def test_what_a_gpu_runs_gives_what_a_cpu_does(images, monkeypatch, compiled):
    """TensorFlow's optimizer of graphs and XLA, of which the one for CPUs stands in for that for GPUs: each knows no kernel."""
    import tensorflow as tf

    expected = apply(make(seed=5, rotation=30.0, width_shift=0.2, height_shift=0.1, flip=0.5), images)
    monkeypatch.setattr(layers, "is_tensorflow_on_cpu", lambda: False)
    layer = make(seed=5, rotation=30.0, width_shift=0.2, height_shift=0.1, flip=0.5)
    assert layer.supports_jit
    found = tf.function(lambda rows: layer(rows, training=True), jit_compile=compiled)(images)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.05)


def test_gathering_changes_no_bit_where_it_need_not(images):
    maps = np.tile(np.array([1, 0, 0, 0, 1, 0], np.float32), (len(images), 1))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(_gather(images, maps)), images)
    maps[:, [0, 2]] = -1, images.shape[2] - 1
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(_gather(images, maps)), images[:, :, ::-1])


def test_each_image_and_each_call_is_drawn_anew_and_the_state_brings_it_back(images):
    layer = make(seed=5, rotation=20.0, flip=0.5)
    same = np.repeat(images[:1], 4, axis=0)
    first, second = apply(layer, same), apply(layer, same)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)
    layer.seed_generator.state.assign(np.array([5, 0], np.uint32))
    np.testing.assert_array_equal(apply(layer, same), first)


VIEWS = {
    "gaussian": [94, 73, 96, 57, 29, 60, 59, 59, 91, 122, 87, 216, 114, 112, 144, 127],
    "salt_pepper": [36, 51, 61, 71, 70, 91, 101, 111, 104, 131, 141, 151, 125, 157, 166, 176],
    "speckle": [52, 60, 78, 63, 48, 69, 67, 66, 93, 121, 81, 228, 114, 102, 137, 107],
    "rician": [94, 73, 96, 62, 82, 60, 59, 61, 99, 137, 108, 216, 114, 112, 144, 128],
    "ghosting": [45, 59, 52, 63, 82, 99, 89, 103, 118, 139, 127, 143, 141, 164, 151, 169],
    "bias_field": [29, 45, 66, 163, 48, 82, 120, 255, 68, 114, 144, 239, 74, 104, 95, 102],
}
"""Of a picture of 4 x 4 pixels; what changes these must raise `VIEWS_VERSION` of training.features."""


@pytest.mark.parametrize("noise", NOISES)
def test_a_view_is_what_it_has_always_been(noise):
    """Else old cached views would be taken for new ones."""
    recipe = TrainConfig(data=("x",), noises=(noise,), clean_share=0.0, noise_intensity=1.0).view_recipe
    augment, add_noise = view_layers(recipe, 5, 3)
    assign_recipe(recipe, augment, add_noise)
    picture = np.repeat(np.arange(40, 200, 10, dtype=np.float32).reshape(1, 4, 4, 1), 3, axis=3)
    view = apply(add_noise, apply(augment, picture))[0, :, :, 0]
    np.testing.assert_allclose(view.ravel(), VIEWS[noise], atol=1)
