import numpy as np
import pytest

from tumorcls.evaluation.bootstrap import draw_resamples
from tumorcls.evaluation.selective import measure

LABELS = np.array([0, 0, 1, 1, 0])
SURE_OF_0 = np.array([0.9, 0.9, 0.8, 0.3, 0.6])
PROBABILITIES = np.stack([SURE_OF_0, 1 - SURE_OF_0], axis=1)


def test_coverage_against_error_by_hand():
    found = measure(LABELS, PROBABILITIES, 0.7, draw_resamples(np.arange(5), 50, 0))
    # Sure of .9, .9, .8 (wrong), .7, .6: the two of .9 are let in together.
    curve = [(point.threshold, point.coverage, point.error) for point in found.curve]
    assert curve == [pytest.approx(row) for row in ((0.9, 0.4, 0), (0.8, 0.6, 1 / 3), (0.7, 0.8, 1 / 4), (0.6, 1, 1 / 5))]
    assert (found.coverage.value, found.error.value) == (pytest.approx(0.8), pytest.approx(0.25))
    assert found.error.low <= 0.25 <= found.error.high


def test_only_what_is_answered_can_be_wrong():
    found = measure(LABELS, PROBABILITIES, 0.85, draw_resamples(np.arange(5), 50, 0))
    assert (found.coverage.value, found.error.value) == (pytest.approx(0.4), 0)  # the wrong one is sure of .8
    assert found.error.high == pytest.approx(1 - 0.025 ** (1 / 2)), "two answers say little"
    everything = measure(LABELS, PROBABILITIES, 0.0, draw_resamples(np.array([0, 0, 1, 2, 2]), 50, 0)).coverage
    assert (everything.value, everything.low) == (1, pytest.approx(0.025 ** (1 / 3)))


def test_a_threshold_that_nothing_reaches_has_no_error():
    found = measure(LABELS, PROBABILITIES, 1.0, draw_resamples(np.arange(5), 50, 0))
    assert found.coverage.value == 0
    assert found.error.value is None
