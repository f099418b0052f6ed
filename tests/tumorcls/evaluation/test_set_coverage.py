import numpy as np
import pytest

from tumorcls.evaluation.bootstrap import draw_resamples
from tumorcls.evaluation.set_coverage import measure
from tumorcls.model.conformal import ClassSets

LABELS = np.array([0, 1, 1])
CLEAN = np.array([[0.8, 0.2], [0.5, 0.5], [0.7, 0.3]])


def test_coverage_and_size_by_hand():
    corrupted = {("gaussian", 1): CLEAN, ("gaussian", 2): np.full((3, 2), 0.5), ("ghosting", 1): np.eye(2)[LABELS]}
    found = measure(LABELS, CLEAN, corrupted, ClassSets(0.9, 0.5), draw_resamples(np.array([4, 4, 7]), 50, 0))
    assert (found.asked, found.cutoff) == (0.9, 0.5)
    # Sets of the clean images: {0}, {0, 1} and {0}, where a class is in from the cutoff on; at gaussian 2 all hold both.
    assert [(row.noise, row.coverage.value, row.size.value) for row in found.rows] == [
        (None, pytest.approx(2 / 3), pytest.approx(4 / 3)),
        ("gaussian", pytest.approx((2 / 3 + 1) / 2), pytest.approx((4 / 3 + 2) / 2)),
        ("ghosting", 1, 1),
    ]
    always = found.rows[-1].coverage
    assert (always.low, always.high) == (pytest.approx(0.025 ** (1 / 2)), 1), "of two groups, not of three images"


def test_a_set_that_no_class_reaches_holds_the_likeliest():
    found = measure(LABELS, CLEAN, {}, ClassSets(0.9, 0.75), draw_resamples(np.array([4, 4, 7]), 50, 0))
    # {0}, both, which are equally likely, and {0}: only the first has a class above the cutoff.
    assert [(row.coverage.value, row.size.value) for row in found.rows] == [(pytest.approx(2 / 3), pytest.approx(4 / 3))]
