"""What no training draws, next to second implementations: Pillow's, SciPy's, MedMNIST-C's own where it can be imported."""

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from tumorcls.config.train_config import TrainConfig
from tumorcls.errors import ConfigError
from tumorcls.noise.kinds import NOISES, NoiseName
from tumorcls.noise.severity import KINDS, SEVERITY_LEVELS, corrupt, meaning_of, parameter_of
from tumorcls.noise.unseen import UNSEEN, disk, motion_blur, unseen_kinds

SIDE = 224


@pytest.fixture(scope="module")
def picture():
    """A smooth grey picture with an edge, uint8 (224, 224, 3)."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    grey = 120 + 80 * np.sin(9 * x) * np.cos(7 * y) - 100 * (x + y < 0.6)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def ours(picture, kind, severity, key="a"):
    return corrupt(picture[None], kind, severity, 0, [key])[0]


def most_apart(first, second):
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def pillow(picture, kind, parameter):
    """What MedMNIST-C calls for a corruption."""
    image = Image.fromarray(picture)
    if kind.startswith("brightness"):
        return np.asarray(ImageEnhance.Brightness(image).enhance(parameter))
    if kind == "contrast_down":
        return np.asarray(ImageEnhance.Contrast(image).enhance(parameter))
    if kind == "pixelate":
        small = image.resize((int(SIDE * parameter),) * 2, Image.Resampling.BOX)
        return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BOX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=parameter)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("kind", ["brightness_up", "brightness_down", "contrast_down", "pixelate", "jpeg_compression"])
def test_it_does_what_pillow_does(picture, kind):
    for severity in SEVERITY_LEVELS:
        (parameter,) = UNSEEN[kind].severities[severity - 1]
        expected = pillow(picture, kind, parameter)
        apart = np.abs(ours(picture, kind, severity).astype(int) - expected)
        assert apart.mean() < 0.6, severity
        assert np.quantile(apart, 0.99) <= (4 if kind == "jpeg_compression" else 1), severity


@pytest.mark.parametrize("kind", ["gamma_up", "gamma_down"])
def test_gamma_is_a_power(picture, kind):
    for severity in SEVERITY_LEVELS:
        (exponent,) = UNSEEN[kind].severities[severity - 1]
        assert most_apart(ours(picture, kind, severity), np.rint(255 * (picture / 255) ** exponent)) <= 1


def test_a_defocused_point_is_a_disk(picture):
    for severity, (radius,) in zip(SEVERITY_LEVELS, UNSEEN["defocus_blur"].severities, strict=True):
        kernel = disk(radius)
        assert kernel.sum() == pytest.approx(1)
        assert kernel.max() == pytest.approx(1 / (np.pi * radius**2), rel=0.01)
        expected = ndimage.convolve(picture[:, :, 0].astype(float), kernel, mode="mirror")
        assert most_apart(ours(picture, "defocus_blur", severity)[:, :, 0], np.rint(expected)) <= 1


def test_a_disk_s_second_moment_is_that_of_a_disk():
    """A quarter of the squared radius, and a twelfth for the pixel's own width."""
    for radius in (2.0, 3.35, 7.0):
        kernel = disk(radius).astype(float)
        places = np.arange(len(kernel)) - len(kernel) // 2
        assert (kernel.sum(axis=0) * places**2).sum() == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.05)


def test_motion_is_the_weighted_sum_of_shifted_pictures(picture):
    """As ImageMagick's MotionBlurImage adds them up: half a normal curve along a line, at whole pixels."""
    image = picture[:, :, :1].astype(np.float32) / 255
    for seed, (radius, sigma) in enumerate(UNSEEN["motion_blur"].severities):
        angle = np.deg2rad(np.random.default_rng(seed).uniform(-45, 45))
        expected, total, reach = np.zeros_like(image), 0.0, 2 * int(radius)
        wider = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")  # beyond its edge lies what is there
        for step in range(reach + 1):
            weight, total = np.exp(-(step**2) / (2 * sigma**2)), total + np.exp(-(step**2) / (2 * sigma**2))
            down, right = (reach + int(np.ceil(step * part - 0.5)) for part in (np.sin(angle), np.cos(angle)))
            expected += weight * wider[down : down + SIDE, right : right + SIDE]
        moved = motion_blur(image, (radius, sigma), np.random.default_rng(seed))
        np.testing.assert_allclose(moved, expected / total, atol=1e-5)


def test_a_trail_in_a_smaller_picture_is_of_the_nearest_whole_length():
    """13 pixels of 224 are 8.7 of 150: 18 beyond the first, either way."""
    point = np.zeros((150, 150, 1), np.float32)
    point[75, 75] = 1
    for seed in range(3):
        trail = np.argwhere(motion_blur(point, (13, 10), np.random.default_rng(seed))[:, :, 0] > 1e-4) - 75
        assert np.hypot(*trail.T).max() == pytest.approx(18, abs=0.75)


def test_a_smaller_picture_is_blurred_as_much_of_it():
    """Lengths are shares of the side: half the picture, half the radius."""
    for kind in ("motion_blur", "defocus_blur"):
        widths = []
        for side in (224, 112):
            line = np.zeros((side, side, 3), np.uint8)
            line[:, side // 2] = 255
            blurred = ours(line, kind, 5)[side // 2, :, 0].astype(float)
            places = np.arange(side) - np.average(np.arange(side), weights=blurred)
            widths.append(np.sqrt(np.average(places**2, weights=blurred)) / side)
        assert widths[0] == pytest.approx(widths[1], rel=0.1), kind


def test_the_table_is_medmnist_c_s():
    """Of the organ sets; motion is BreastMNIST's, defocus PathMNIST's."""
    assert {kind: [parameter_of(kind, severity) for severity in SEVERITY_LEVELS] for kind in UNSEEN} == {
        "motion_blur": ["5, 5", "9, 7", "9, 10", "13, 10", "17, 12"],
        "defocus_blur": ["3", "4", "5", "6", "7"],
        "contrast_down": ["0.8", "0.7", "0.6", "0.55", "0.5"],
        "brightness_up": ["1.2", "1.3", "1.4", "1.5", "1.6"],
        "brightness_down": ["0.8", "0.75", "0.7", "0.65", "0.6"],
        "gamma_up": ["1.3", "1.4", "1.6", "1.8", "2"],
        "gamma_down": ["0.9", "0.8", "0.7", "0.6", "0.4"],
        "pixelate": ["0.7", "0.6", "0.5", "0.4", "0.35"],
        "jpeg_compression": ["50", "30", "15", "10", "7"],
    }


def test_colours_stay_where_they_are(picture):
    coloured = picture.copy()
    coloured[:, :, 2] //= 2
    for kind in ("jpeg_compression", "pixelate", "contrast_down"):
        red, _, blue = ours(coloured, kind, 1).astype(float).mean(axis=(0, 1))
        assert red > 1.3 * blue, kind


@pytest.mark.parametrize("kind", UNSEEN)
class TestEveryCorruption:
    def test_five_severities_each_further_from_the_picture(self, picture, kind):
        apart = [np.abs(ours(picture, kind, severity).astype(float) - picture).mean() for severity in SEVERITY_LEVELS]
        assert apart == sorted(apart)
        assert len(set(apart)) == 5
        assert apart[0] > 0
        assert len({parameter_of(kind, severity) for severity in SEVERITY_LEVELS}) == 5
        assert meaning_of(kind)

    def test_grey_stays_grey_and_flat_stays_flat(self, picture, kind):
        found = ours(picture, kind, 5)
        assert most_apart(found[:, :, 0], found[:, :, 1]) <= 1
        assert most_apart(found[:, :, 0], found[:, :, 2]) <= 1
        assert np.ptp(ours(np.full_like(picture, 100), kind, 5)) <= 1

    def test_one_channel_is_enough(self, picture, kind):
        found = corrupt(picture[None, :, :, :1], kind, 3, 0, ["a"])
        assert found.shape == (1, SIDE, SIDE, 1)
        assert most_apart(found[0, :, :, 0], ours(picture, kind, 3)[:, :, 0]) <= 2

    def test_it_is_fixed_by_seed_and_key(self, picture, kind):
        before = picture.copy()
        np.testing.assert_array_equal(ours(picture, kind, 4), ours(picture, kind, 4))
        np.testing.assert_array_equal(picture, before)
        same = np.array_equal(ours(picture, kind, 4, "a"), ours(picture, kind, 4, "b"))
        assert same == (kind != "motion_blur")  # the only one that draws

    def test_no_setting_can_train_or_search_with_it(self, kind):
        assert kind not in NOISES
        for setting in ("noises", "measured_noises"):
            with pytest.raises(ConfigError, match=setting):
                TrainConfig.parse({"data": "x", setting: [kind]}, where="here")


def test_what_was_seen_is_not_unseen():
    assert unseen_kinds(("gaussian",)) == (*UNSEEN, "rician", "ghosting", "bias_field")
    assert unseen_kinds(("bias_field", "rician")) == (*UNSEEN, "ghosting")
    noises = TrainConfig(data=("x",)).noises
    assert {*unseen_kinds(noises), *noises} == set(KINDS), "seen or not, all are measured by default"
    assert set(unseen_kinds(())) <= set(KINDS)
    page = (Path(__file__).parents[3] / "docs" / "unseen-corruptions.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []
    assert get_args(NoiseName) == tuple(NOISES), "what can be measured can be trained with"


@pytest.mark.parametrize(
    ("kind", "module", "name"),
    [
        ("pixelate", "compression", "Pixelate"),
        ("jpeg_compression", "compression", "JPEGCompression"),
        ("defocus_blur", "filter", "DefocusBlur"),
        ("contrast_down", "enhance", "Contrast"),
        ("brightness_up", "enhance", "Brightness"),
        ("brightness_down", "enhance", "Brightness"),
        ("gamma_up", "enhance", "GammaCorrection"),
        ("gamma_down", "enhance", "GammaCorrection"),
    ],
)
def test_it_is_what_medmnist_c_does(picture, kind, module, name):
    theirs = pytest.importorskip(f"medmnistc.corruptions.{module}", exc_type=ImportError)
    parameters = [values if kind == "defocus_blur" else values[0] for values in UNSEEN[kind].severities]
    known = getattr(theirs, name)([(*values, 0.1) for values in parameters] if kind == "defocus_blur" else parameters)
    for severity in SEVERITY_LEVELS:
        expected = known.apply(Image.fromarray(picture), severity - 1)
        apart = np.abs(ours(picture, kind, severity).astype(int) - expected.astype(int))
        assert apart.mean() < 1.0, severity
