"""Grey levels of deep images, against values reckoned here."""

import numpy as np
import pytest

from tumorcls.data import windowing
from tumorcls.data.windowing import to_uint8

STEPS = np.arange(1001, dtype=np.uint16).reshape(7, 143)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_half_a_per_cent_at_either_end_is_black_and_white(dtype):
    wanted = np.rint((STEPS.clip(5, 995) - 5.0) / 990 * 255)
    assert (to_uint8(STEPS.astype(dtype)) == wanted).all()


@pytest.mark.parametrize("strip", [500, 2**20])
def test_of_an_image_nearly_all_of_whose_pixels_are_alike_the_others_are_still_seen(monkeypatch, strip):
    monkeypatch.setattr(windowing, "_STRIP", strip)
    values = np.full(2000, 100, np.int16)
    values[[10, 900, 1700]] = (150, 300, 50)  # the brightest and the darkest in neither the first strip nor the same one
    shown = to_uint8(values.reshape(40, 50)).ravel()
    assert shown[[0, 10, 900, 1700]].tolist() == [51, 102, 255, 0]
    assert (to_uint8(np.full((4, 5), 7, np.int16)) == 0).all()


def test_colours_are_scaled_by_the_darkest_and_the_brightest_of_them():
    coloured = np.stack([STEPS, STEPS + 1000, STEPS + 2000], axis=2)
    wanted = np.rint((coloured.clip(5, 2995) - 5.0) / 2990 * 255)
    assert (to_uint8(coloured) == wanted).all()
    grey = np.repeat(STEPS[:, :, None], 3, axis=2)
    assert (to_uint8(grey) == to_uint8(STEPS)[:, :, None]).all()


def test_what_is_no_number_is_black_and_what_is_infinite_is_at_its_end():
    values = STEPS.astype(np.float32)
    values[3, 3:6] = (np.nan, np.inf, -np.inf)
    assert to_uint8(values)[3, 3:6].tolist() == [0, 255, 0]


def test_the_largest_numbers_that_there_are_have_a_difference_too():
    largest = np.finfo(np.float64).max
    assert to_uint8(np.array([[-largest, 0.0, largest]])).tolist() == [[0, 128, 255]]


def test_of_a_large_image_pixels_of_all_columns_decide(monkeypatch):
    monkeypatch.setattr(windowing, "_SAMPLE", 500)
    values = STEPS[:, :100].astype(np.uint16) % 50
    values[:, 1::2] += 1000
    shown = to_uint8(np.tile(values, (2, 1))[:10])
    assert shown[:, ::2].max() < 50
    assert len(np.unique(shown[:, 1::2])) > 5, "the bright columns were looked at too, and are not all white"
