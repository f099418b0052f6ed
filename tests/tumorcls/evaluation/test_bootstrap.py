import numpy as np
import pytest

from tumorcls.evaluation.bootstrap import Estimate, draw_resamples, estimate, estimate_calibration_error
from tumorcls.evaluation.metrics import calibration_sums


def interval(right, groups):
    drawn = draw_resamples(groups, 2000, 0)
    accuracy = drawn.sums(right)[1:] / drawn.sums(np.ones(len(right)))[1:]
    found = estimate(np.array([right.mean(), *accuracy]))
    return found.high - found.low


def test_groups_that_are_right_or_wrong_together_widen_the_interval():
    right = np.repeat(np.random.default_rng(0).random(40) < 0.8, 10).astype(float)
    groups = np.repeat(np.arange(40), 10)
    by_group, by_image = interval(right, groups), interval(right, np.arange(400))
    assert by_group == pytest.approx(by_image * np.sqrt(10), rel=0.15)


def test_single_images_agree_with_the_binomial_standard_error():
    right = (np.arange(500) < 400).astype(float)
    assert interval(right, np.arange(500)) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 500), rel=0.1)


def test_every_resample_holds_as_many_groups_as_there_are():
    drawn = draw_resamples(np.array([5, 5, -3, 900, 900, 900]), 50, 0)
    assert drawn.counts.shape == (50, 3)
    assert (drawn.counts.sum(axis=1) == 3).all()


def test_sums_by_hand():
    drawn = draw_resamples(np.array([1, 1, 2]), 20, 0)
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = drawn.sums(values)[1:]
    for counts, row in zip(drawn.counts, sums, strict=True):
        np.testing.assert_allclose(row, counts[0] * np.array([3, 30]) + counts[1] * np.array([4, 40]))


def test_means_are_of_as_many_images_as_a_resample_holds():
    drawn = draw_resamples(np.array([1, 1, 1, 2]), 50, 0)
    values = np.array([1.0, 1.0, 1.0, 0.0])
    wanted = drawn.counts[:, 0] * 3 / (drawn.counts @ [3, 1])
    np.testing.assert_allclose(drawn.means(values), [3 / 4, *wanted])


def test_the_seed_fixes_the_draw():
    groups = np.arange(30)
    once, again, other = (draw_resamples(groups, 10, seed).counts for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_one_group_has_an_interval_without_width():
    assert interval(np.array([1.0, 0.0, 1.0]), np.zeros(3, dtype=np.int64)) == 0


def test_what_is_not_defined_has_no_estimate():
    assert estimate(np.array([np.nan, np.nan, 1.0])) == Estimate(None, None, None)
    assert estimate(np.array([0.5, np.nan, np.nan])) == Estimate(None, None, None)
    assert str(Estimate(None, None, None)) == "not defined"
    found = estimate(np.array([0.5, np.nan, 0.4, 0.6]))
    assert found.low == pytest.approx(0.4, abs=0.01)


def test_where_nothing_is_wrong_the_interval_is_that_of_so_many_groups():
    found = estimate(np.ones(50), groups=20)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    assert str(found) == "1.000 (0.832 to 1.000)"
    assert estimate(np.zeros(50), groups=20).high == pytest.approx(1 - 0.025 ** (1 / 20))
    some = estimate(np.full(50, 0.5), groups=1)
    assert some.low < 0.05 < 0.95 < some.high


def test_a_value_lies_in_its_interval():
    plain = estimate(np.array([0.02, *np.linspace(0.03, 0.09, 200)]))
    assert plain.low == 0.02


def calibration_errors(images, error, sets):
    """The estimates of sets of a model that is right less often than it says, by so much."""
    generator, drawn = np.random.default_rng(0), draw_resamples(np.arange(images), 300, 0)
    for _ in range(sets):
        confidence = 0.6 + 0.4 * generator.beta(4, 1, images)
        right = generator.random(images) < confidence - error
        sums = calibration_sums(np.where(right, 0, 1), np.stack([confidence, 1 - confidence], axis=1))
        yield estimate_calibration_error(drawn.sums(sums), images)


@pytest.mark.parametrize("images", [150, 500, 1339])
def test_a_perfectly_calibrated_model_may_be_one_by_its_interval(images):
    found = list(calibration_errors(images, 0.0, 50))
    assert np.mean([one.low == 0 for one in found]) >= 0.8
    assert all(one.low <= one.value <= one.high < 0.15 for one in found)


@pytest.mark.parametrize("images", [150, 500])
@pytest.mark.parametrize("error", [0.02, 0.05, 0.1])
def test_the_interval_of_a_calibration_error_holds_the_true_one(images, error):
    found = list(calibration_errors(images, error, 100))
    assert np.mean([one.low <= error <= one.high for one in found]) >= 0.9
    if (images, error) == (500, 0.1):
        assert np.mean([one.low > 0 for one in found]) >= 0.9, "an interval that always begins at 0 would say nothing"


def test_a_calibration_error_without_chance_has_the_interval_of_a_share():
    sums = calibration_sums(np.zeros(20, np.int64), np.eye(2)[np.zeros(20, np.int64)])
    drawn = draw_resamples(np.arange(20), 50, 0)
    assert estimate_calibration_error(drawn.sums(sums), 20) == estimate(np.zeros(51), groups=20)
