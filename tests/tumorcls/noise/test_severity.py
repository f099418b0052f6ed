import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tumorcls.noise.kinds import NOISES
from tumorcls.noise.severity import SEVERITIES, SEVERITY_LEVELS, corrupt, intensity_of, meaning_of, parameter_of

REPOSITORY = Path(__file__).parents[3]
KEYS = [f"image-{i}" for i in range(4)]

DIGEST = """
import hashlib, numpy as np
from tumorcls.noise.kinds import NOISES
from tumorcls.noise.severity import corrupt
images = np.random.default_rng(0).integers(0, 256, (4, 24, 20, 3)).astype(np.uint8)
whole = [corrupt(images, noise, 3, 7, [f"image-{i}" for i in range(4)]) for noise in NOISES]
print(hashlib.sha256(np.stack(whole).tobytes()).hexdigest())
"""


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 24, 20, 3)).astype(np.uint8)


def test_every_noise_has_five_rising_severities_up_to_intensity_1():
    assert set(SEVERITIES) == set(NOISES)
    for noise in NOISES:
        intensities = [intensity_of(noise, severity) for severity in SEVERITY_LEVELS]
        assert len(intensities) == 5
        assert intensities[0] > 0
        assert sorted(set(intensities)) == intensities
        assert intensities[-1] == pytest.approx(1.0)


def test_the_table_is_medmnist_c_s_where_it_has_one():
    assert SEVERITIES["gaussian"] == (0.04, 0.08, 0.12, 0.16, 0.20)
    assert SEVERITIES["salt_pepper"] == (0.01, 0.02, 0.03, 0.05, 0.08)
    assert SEVERITIES["speckle"] == (0.05, 0.10, 0.20, 0.30, 0.40)


def test_where_medmnist_c_has_none_rician_is_gaussian_and_the_others_rise_evenly():
    """Figures at each severity, not only at the last, are compared with those of before."""
    assert SEVERITIES["rician"] == SEVERITIES["gaussian"]
    assert SEVERITIES["ghosting"] == SEVERITIES["bias_field"] == (0.1, 0.2, 0.3, 0.4, 0.5)


def test_a_page_names_the_parameter_at_the_severity_and_what_it_is():
    assert [parameter_of("gaussian", severity) for severity in SEVERITY_LEVELS] == ["0.04", "0.08", "0.12", "0.16", "0.2"]
    assert {meaning_of(noise) for noise in NOISES} == {noise.parameter for noise in NOISES.values()}
    assert meaning_of("salt_pepper") == "fraction of pixels, half of them black"


def test_two_processes_corrupt_alike(images):
    here = np.stack([corrupt(images, noise, 3, 7, KEYS) for noise in NOISES])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "123"}
    done = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


@pytest.mark.parametrize("noise", NOISES)
def test_an_image_s_noise_does_not_depend_on_its_neighbours(noise, images):
    together = corrupt(images, noise, 4, 0, KEYS)
    backwards = corrupt(images[::-1], noise, 4, 0, KEYS[::-1])[::-1]
    alone = corrupt(images[2:3], noise, 4, 0, KEYS[2:3])
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together[2:3], alone)


@pytest.mark.parametrize("noise", NOISES)
def test_noise_severity_seed_and_key_each_change_it(noise, images):
    def difference(severity, seed, key):
        return corrupt(images[:1], noise, severity, seed, [key]).tolist()

    seen = [difference(4, 0, "a"), difference(5, 0, "a"), difference(4, 1, "a"), difference(4, 0, "b")]
    assert all(seen.count(one) == 1 for one in seen)


WAS = {
    "gaussian": [78, 16, 4, 0, 1, 96, 219, 152, 72, 3, 131, 211, 122, 164, 149, 220],
    "speckle": [46, 54, 34, 74, 38, 59, 50, 68, 90, 90, 168, 145, 234, 160, 42, 163],
    "rician": [37, 179, 162, 74, 112, 124, 162, 131, 63, 172, 162, 177, 113, 111, 255, 255],
    "ghosting": [50, 50, 60, 60, 90, 90, 100, 100, 130, 130, 140, 140, 170, 170, 180, 180],
    "bias_field": [145, 129, 108, 41, 88, 90, 111, 76, 115, 113, 162, 161, 186, 136, 180, 202],
}
"""Of a picture of 4 x 4 pixels at the last severity; what changes these must raise `NOISE_VERSION` of training.validation."""


def test_noise_is_what_it_has_always_been():
    """Studies, references and caches of before hold figures that were measured under it."""
    assert {*WAS, "salt_pepper"} == {*NOISES}
    picture = np.arange(40, 200, 10, dtype=np.uint8).reshape(1, 4, 4, 1)
    for noise, was in WAS.items():
        np.testing.assert_allclose(corrupt(picture, noise, 5, 7, ["a"]).ravel(), was, atol=1, err_msg=noise)
    dots = corrupt(np.full((1, 12, 12, 1), 128, np.uint8), "salt_pepper", 5, 7, ["a"]).ravel()
    assert np.flatnonzero(dots == 0).tolist() == [35, 39, 92, 97]
    assert np.flatnonzero(dots == 255).tolist() == [44, 60, 64, 121, 124, 133]


def test_grey_values_are_rounded_and_not_cut():
    assert np.unique(corrupt(np.full((1, 4, 4, 3), 101, np.uint8), "brightness_down", 1, 0, ["a"])).tolist() == [81]  # of 80.8


def test_ghosts_lie_a_tenth_to_half_of_the_picture_away():
    points = np.zeros((200, 40, 40, 1), np.uint8)
    points[:, 20, 20] = 200
    ghosts = corrupt(points, "ghosting", 5, 0, range(200))
    away = [np.abs(np.argwhere(ghost[:, :, 0]) - 20).max() for ghost in ghosts]
    assert (min(away), max(away)) == (4, 20)


def test_a_harder_severity_is_further_from_the_image(images):
    flat = np.full_like(images, 128)
    for noise in ("gaussian", "salt_pepper", "speckle", "rician"):
        distance = [np.abs(corrupt(flat, noise, severity, 0, KEYS).astype(float) - 128).mean() for severity in SEVERITY_LEVELS]
        assert distance == sorted(distance)
