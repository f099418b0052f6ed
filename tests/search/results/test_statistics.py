import math
import sys

import pytest
from scipy import stats

from search.results.statistics import difference_interval, mean_interval, mean_of, paired_interval

A, B = [0.81, 0.84, 0.83, 0.86], [0.80, 0.79, 0.82]


def test_the_mean_has_students_interval():
    found = mean_interval(A)
    low, high = stats.t.interval(0.95, df=3, loc=sum(A) / 4, scale=stats.sem(A))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert str(found) == "0.835 ± 0.033"


def test_the_difference_has_welchs_interval():
    found = difference_interval(A, B)
    expected = stats.ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((expected.low, expected.high))


def test_too_few_values_have_no_interval():
    assert mean_interval([0.5]).half is None
    assert str(mean_interval([0.5])) == "0.5"
    assert difference_interval([0.5], A).half is None


def test_values_that_do_not_vary():
    assert mean_interval([0.5, 0.5]).half == 0
    assert difference_interval([0.5, 0.5], [0.25, 0.25]).half == 0


LARGEST = sys.float_info.max


@pytest.mark.parametrize("scale", [1e-300, 1e200, 1e307])
def test_values_of_any_size_have_intervals(scale):
    a, b = ([value * scale for value in side] for side in (A, B))
    for found, expected in (
        (mean_interval(a), mean_interval(A)),
        (difference_interval(a, b), difference_interval(A, B)),
        (paired_interval(a[:3], b), paired_interval(A[:3], B)),
    ):
        assert (found.mean / scale, found.half / scale) == pytest.approx((expected.mean, expected.half))
    assert mean_of(a) == pytest.approx(mean_of(A) * scale)


def test_an_interval_that_is_no_number_is_none():
    for values in ([LARGEST, 0.2], [LARGEST, -LARGEST], [LARGEST, LARGEST, 0.5]):
        found = mean_interval(values)
        assert (math.isfinite(found.mean), found.half) == (True, None)
    assert (mean_of([LARGEST] * 3), mean_interval([LARGEST] * 3).half) == (LARGEST, 0)
    assert difference_interval([LARGEST, 0.2], [0.1, 0.3]).half is None
    for apart in (difference_interval([LARGEST] * 2, [-LARGEST] * 2), paired_interval([LARGEST] * 2, [-LARGEST] * 2)):
        assert (apart.mean, apart.signed()) == (math.inf, "+inf ± 0")


def test_one_side_that_hardly_varies_beside_a_large_one_has_an_interval():
    assert difference_interval([1.0, 2.0], [1e90, 1e90]).half == pytest.approx(mean_interval([1.0, 2.0]).half)
