import pytest
from scipy import stats

from search.results.statistics import difference_interval, mean_interval

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
