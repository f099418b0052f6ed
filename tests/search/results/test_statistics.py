import math
import random
import sys

import pytest
from scipy import stats

from search.results.statistics import (
    Interval,
    difference_interval,
    mean_interval,
    paired_interval,
    show_among,
)

A, B = [0.81, 0.84, 0.83, 0.86], [0.80, 0.79, 0.82]
LARGEST = sys.float_info.max


def test_the_mean_has_students_interval():
    found = mean_interval(A)
    low, high = stats.t.interval(0.95, df=3, loc=sum(A) / 4, scale=stats.sem(A))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert str(found) == "0.835 ± 0.033"


@pytest.mark.parametrize(
    ("mean", "half", "shown"),
    [
        (0.99987, 5e-5, "0.99987 ± 5e-05"),
        (0.999957, 1.5e-5, "0.999957 ± 1.5e-05"),
        (12346.0, 7.5, "12346 ± 7.5"),
        (1e9 + 1, 2.5, "1000000001 ± 2.5"),
        (0.0, 0.1, "0 ± 0.1"),
        (0.123456, 3.0, "0.1235 ± 3"),
        (0.5, 0.0, "0.5 ± 0"),
    ],
)
def test_a_mean_is_shown_as_finely_as_its_interval(mean, half, shown):
    assert str(Interval(mean, half)) == shown


def test_what_is_shown_of_any_mean_is_within_a_tenth_of_its_interval():
    rng = random.Random(0)
    for _ in range(2000):
        mean, half = rng.choice([-1, 1]) * 10 ** rng.uniform(-12, 12), 10 ** rng.uniform(-12, 12)
        shown = float(str(Interval(mean, half)).partition(" ")[0])
        assert abs(shown - mean) <= half / 10 + 1e-15 * abs(mean), (mean, half)
        assert shown == pytest.approx(mean, rel=5e-4)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([-1e9, -1e9 - 3], ["-1000000000", "-1000000003"]),
        ([0.84191, 0.84194, 0.5], ["0.84191", "0.84194", "0.5"]),
        ([0.3, 0.1 + 0.2], ["0.3", "0.3"]),
        ([math.inf, 1.0, None], ["inf", "1"]),
        ([LARGEST, -LARGEST], ["1.798e+308", "-1.798e+308"]),
        ([5e-324, 1.0], ["4.941e-324", "1"]),
        ([], []),
    ],
)
def test_values_that_differ_look_different(values, shown):
    assert [show_among(value, values) for value in values if value is not None] == shown


def test_the_difference_has_welchs_interval():
    found = difference_interval(A, B)
    expected = stats.ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("comparisons", [1, 2, 10])
def test_intervals_of_several_comparisons_are_wider(comparisons):
    found = paired_interval(A[:3], B, comparisons)
    expected = stats.ttest_rel(A[:3], B).confidence_interval(1 - 0.05 / comparisons)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((expected.low, expected.high))


def test_a_difference_has_its_sign():
    pairs = [([2.0, 3.0], [1.0, 1.5]), ([1.0, 1.5], [2.0, 3.0]), ([1.0, 2.0], [1.0, 2.0])]
    assert [difference_interval(*pair).signed()[:4] for pair in pairs] == ["+1.2", "-1.2", "0 ± "]


def test_too_few_values_have_no_interval():
    assert mean_interval([0.5]).half is None
    assert str(mean_interval([0.5])) == "0.5"
    assert difference_interval([0.5], A).half is None


def test_values_that_do_not_vary():
    assert mean_interval([0.5, 0.5]).half == 0
    assert difference_interval([0.5, 0.5], [0.25, 0.25]).half == 0


@pytest.mark.parametrize("scale", [1e-300, 1e200, 1e307])
def test_values_of_any_size_have_intervals(scale):
    a, b = ([value * scale for value in side] for side in (A, B))
    for found, expected in (
        (mean_interval(a), mean_interval(A)),
        (difference_interval(a, b), difference_interval(A, B)),
        (paired_interval(a[:3], b), paired_interval(A[:3], B)),
    ):
        assert (found.mean / scale, found.half / scale) == pytest.approx((expected.mean, expected.half))
    assert mean_interval(a).mean == pytest.approx(mean_interval(A).mean * scale)


def test_an_interval_that_is_no_number_is_none():
    for values in ([LARGEST, 0.2], [LARGEST, -LARGEST], [LARGEST, LARGEST, 0.5]):
        found = mean_interval(values)
        assert (math.isfinite(found.mean), found.half) == (True, None)
    assert mean_interval([LARGEST] * 3) == Interval(LARGEST, 0)
    assert difference_interval([LARGEST, 0.2], [0.1, 0.3]).half is None
    for apart in (difference_interval([LARGEST] * 2, [-LARGEST] * 2), paired_interval([LARGEST] * 2, [-LARGEST] * 2)):
        assert (apart.mean, apart.signed()) == (math.inf, "+inf ± 0")
    assert difference_interval([-LARGEST] * 2, [LARGEST] * 2).signed() == "-inf ± 0"


def test_one_side_that_hardly_varies_beside_a_large_one_has_an_interval():
    assert difference_interval([1.0, 2.0], [1e90, 1e90]).half == pytest.approx(mean_interval([1.0, 2.0]).half)
