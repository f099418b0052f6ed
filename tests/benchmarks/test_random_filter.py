import keras
import numpy as np
import pytest

from benchmarks.altered_views import AlteredViews
from benchmarks.random_filter import MAX_LOG_WEIGHT, OCTAVE_DEVIATION, RandomFilter, _weighted, octaves, weights
from tumorcls.config.train_config import TrainConfig
from tumorcls.model.program import TrainingProgram


def make(share, seed=0):
    layer = RandomFilter(seed=seed)
    layer.share.assign(share)
    return layer


def apply(layer, images, training=True):
    return keras.ops.convert_to_numpy(layer(images, training=training))


def filtered(images, steps, narrowness=0.0, direction=0.0):
    """What comes of each image with the same steps of the walk, not cut off at black and white."""
    count, (height, width) = len(images), images.shape[1:3]
    drawn = [np.repeat(np.float32([value]), count, axis=0) for value in (steps, narrowness, direction)]
    return keras.ops.convert_to_numpy(_weighted(images, weights(height, width, *drawn)))


def second_implementation(plane, steps, narrowness, direction):
    """The same with NumPy, from the walk's values at whole octaves, on half of the frequencies."""
    height, width = plane.shape
    y, x = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    cycles = np.maximum(np.hypot(y, x), 1)
    walk = np.interp(np.log2(cycles), np.arange(len(steps) + 1), np.concatenate([[0], np.cumsum(steps)]))
    across = np.sin(np.arctan2(y, x) - np.pi * direction) ** 2
    weight = np.exp(np.minimum(walk * (1 - narrowness * across), MAX_LOG_WEIGHT))
    return np.fft.irfft2(np.fft.rfft2(plane) * weight, s=plane.shape)


def waves(cycles_y, cycles_x, size=64):
    """A pattern of amplitude 40 around a mean of 100."""
    y, x = np.mgrid[:size, :size] / size
    wave = 100 + 40 * np.cos(2 * np.pi * (cycles_y * y + cycles_x * x) + 0.3)
    return np.repeat(wave[None, :, :, None], 3, axis=3).astype(np.float32)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (6, 21, 31, 3)).astype(np.float32)


def test_a_share_of_zero_and_inference_change_no_bit(images):
    np.testing.assert_array_equal(apply(make(0.0), images), images)
    np.testing.assert_array_equal(apply(make(1.0), images, training=False), images)


def test_a_share_of_the_images_is_filtered_and_the_others_keep_every_bit(images):
    seen = apply(make(0.3), np.repeat(images[:1], 400, axis=0))
    same = np.mean([np.array_equal(image, images[0]) for image in seen])
    assert abs(same - 0.7) <= 3 * np.sqrt(0.21 / 400)


@pytest.mark.parametrize(("narrowness", "direction"), [(0.0, 0.0), (1.0, 0.0), (0.6, 0.8)])
def test_a_second_implementation_agrees(images, narrowness, direction):
    steps = OCTAVE_DEVIATION * np.random.default_rng(1).normal(size=octaves(21, 31))
    here = filtered(images, steps, narrowness, direction)
    for image, result in zip(images, here, strict=True):
        for channel in range(3):
            wanted = second_implementation(image[..., channel], steps, narrowness, direction)
            np.testing.assert_allclose(result[..., channel], wanted, atol=2e-3)


@pytest.mark.parametrize(
    ("cycles", "log_weight"), [((0, 1), 0.0), ((0, 2), -0.5), ((4, 0), -0.5 + 0.2), ((0, 8), -0.5 + 0.2 - 1)]
)
def test_a_wave_comes_out_with_the_weight_of_its_octave_and_the_mean_stays(cycles, log_weight):
    image = waves(*cycles)
    seen = filtered(image, [-0.5, 0.2, -1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(seen, 100 + np.exp(log_weight) * (image - 100), atol=2e-3)


def test_a_narrow_filter_works_along_its_direction_alone():
    steps = [-1.0] * 6
    along, across = waves(0, 4), waves(4, 0)
    np.testing.assert_allclose(filtered(along, steps, 1.0, 0.0), 100 + np.exp(-2) * (along - 100), atol=2e-3)
    np.testing.assert_allclose(filtered(across, steps, 1.0, 0.0), across, atol=2e-3)
    np.testing.assert_allclose(filtered(along, steps, 1.0, 0.5), along, atol=2e-3)


def test_no_structure_becomes_stronger_than_the_limit_and_pixels_stay_in_range(images):
    image = waves(0, 8)
    np.testing.assert_allclose(filtered(image, [5.0] * 6), 100 + np.exp(MAX_LOG_WEIGHT) * (image - 100), atol=1e-2)
    seen = apply(make(1.0), np.repeat(images, 20, axis=0))
    assert seen.min() == 0
    assert seen.max() == 255


def test_steps_of_nothing_give_the_image_back(images):
    np.testing.assert_allclose(filtered(images, [0.0] * octaves(21, 31)), images, atol=1e-3)


def test_the_octaves_reach_the_finest_pattern():
    assert [octaves(size, size) for size in (32, 64, 150, 224)] == [5, 6, 7, 8]


def test_each_image_and_each_call_is_drawn_anew_and_the_state_brings_it_back(images):
    layer = make(1.0, seed=5)
    same = np.repeat(images[:1], 4, axis=0)
    first, second = apply(layer, same), apply(layer, same)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)
    layer.seed_generator.state.assign(np.array([5, 0], np.uint32))
    np.testing.assert_array_equal(apply(layer, same), first)


def test_an_altered_view_is_the_programs_own_where_nothing_is_altered():
    config = TrainConfig.parse(
        {"data": "phantoms:8", "weights": "phantoms", "image_size": 32, "trainable_from": "block7", "noise_intensity": 1.0},
        where="test",
    )
    program = TrainingProgram(config)
    program.set_view_recipe(config.view_recipe)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    altered = AlteredViews(program, keras.layers.Identity()).draw(images, 5)
    np.testing.assert_array_equal(altered, program.draw_view(images, 5))
    assert (altered != program.draw_view(images, 6)).any()
